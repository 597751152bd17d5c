"""Each recipe is a whole: the product accepts it, and all that it names stands in it and is granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from slackwater.api.grants import airflow_grant, calendar_allows, pool_grant
from slackwater.api.manifest import RawObject, parse_manifests
from slackwater.core.spec import Ref
from slackwater.ports import Kind
from tests.api.corpus import read
from tests.cli.reading_bench import Bench

RECIPES = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.yaml"))


def objects(recipe: Path) -> dict[tuple[Kind, Ref], RawObject]:
    found = parse_manifests(recipe.read_text())
    return {(item.kind, Ref(item.namespace, item.name)): item for item in found}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_all_that_a_recipe_names_stands_in_it_and_is_granted(recipe: Path) -> None:
    known = objects(recipe)
    specs = {key: read(item) for key, item in known.items()}
    windows = [(ref, specs[kind, ref]) for kind, ref in known if kind is Kind.TRAINING_WINDOW]
    assert windows
    used = {(Kind.TRAINING_WINDOW, ref) for ref, _ in windows}
    for ref, window in windows:
        own = {"kubernetes.io/metadata.name": ref.namespace}
        for entry in window.calendars:
            calendar = specs[Kind.CALENDAR, entry.calendar]
            assert calendar_allows(calendar, entry.calendar.namespace, ref.namespace, own)
            used.add((Kind.CALENDAR, entry.calendar))
        airflow = specs[Kind.AIRFLOW_INSTANCE, window.dag.airflow]
        used.add((Kind.AIRFLOW_INSTANCE, window.dag.airflow))
        grant = airflow_grant(airflow, window.dag.airflow.namespace, ref.namespace, own)
        assert grant is not None
        assert grant.allows(window.dag.dag_id)
        assert window.gpu is not None
        pool, rules = specs[Kind.GPU_POOL, window.gpu.pool]
        used.add((Kind.GPU_POOL, window.gpu.pool))
        shared = pool_grant(pool, window.gpu.pool.namespace, ref.namespace, own)
        assert shared is not None
        assert window.gpu.count <= (shared.max_gpus or window.gpu.count)
        used |= {(Kind.CALENDAR, rule.calendar) for rule in rules.reservations}
    assert used == known.keys()


def test_the_recipe_without_a_calendar_plans_its_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch)
    (recipe,) = (path for path in RECIPES if path.stem == "nights-without-a-calendar")
    (bench.manifests / recipe.name).write_text(recipe.read_text())

    pieces = [piece for line in bench.plan() for piece in line["pieces"]]

    # Monday to Friday at ten in New York, eight hours each.
    assert pieces[0] == {"start": "2026-11-24T03:00:00Z", "end": "2026-11-24T11:00:00Z"}
    assert len(pieces) == 5
