"""The dashboard as a file: what it asks for exists, and every panel explains itself.

That every expression can be evaluated is tested where the operator's own metrics are scraped.
"""

from __future__ import annotations

import re
from pathlib import Path

from slackwater.core.ledger import State
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.ports import Kind
from tests.core.builders import line
from tests.gpucluster.expressions import DASHBOARD, alert_expressions, panel_expressions
from tests.runtime.rig import GPU, NS, Bay, on_virtual_time

PAGE = Path(__file__).parents[2] / "docs" / "gpu" / "dashboard.md"
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
LABELS = re.compile(r"\{([^}]*)\}")
NAMES = re.compile(r"\bslackwater_[a-z_]+\b")


async def exposed(clock) -> tuple[set[str], set[str]]:
    """Names of series and of labels that an operator with one of each object exposes."""
    bay = Bay(clock)
    bay.apply_all()
    bay.pool.foreign = 30
    bay.window(gpu=GPU)
    bay.event(1, 6)
    bay.start()
    bay.metrics.expose(bay.engine.world, leading=lambda: True, dropped=lambda: 0)
    bay.metrics.entered(Ref(NS, "w"), line(state=State.MISSED, reason=Reason.NO_DATA), None)
    bay.metrics.failures.labels(Kind.GPU_POOL).inc()
    await bay.until(1.2)
    found = [s for family in bay.metrics.registry.collect() for s in family.samples]
    await bay.stop()
    return {s.name for s in found}, {label for s in found for label in s.labels}


@on_virtual_time
async def test_no_panel_and_no_alert_asks_for_a_metric_or_label_that_does_not_exist(clock):
    names, labels = await exposed(clock)
    for text in [*panel_expressions().values(), *alert_expressions().values()]:
        asked = NAMES.findall(text)
        assert asked
        assert set(asked) <= names, text
        matched = {
            word for inside in LABELS.findall(text) for word in re.findall(r"(\w+)(?==|!=)", inside)
        }
        grouped = {
            word for inside in re.findall(r"\bby \(([^)]*)\)", text) for word in inside.split(", ")
        }
        assert matched | grouped <= labels, text


@on_virtual_time
async def test_variables_ask_for_what_exists(clock):
    names, labels = await exposed(clock)
    queries = [
        one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"
    ]
    assert len(queries) == 2
    for text in queries:
        assert set(NAMES.findall(text)) <= names
        assert text.removesuffix(")").rpartition(", ")[2] in labels


def test_every_panel_explains_itself_and_asks_the_chosen_prometheus():
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(one["datasource"]["uid"] == "${datasource}" for one in panel["targets"])
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_do_not_lie_on_each_other():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_page_names_every_row():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    page = PAGE.read_text()
    assert all(f"| {row} |" in page for row in rows)
