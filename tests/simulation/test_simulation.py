"""A year of a busy team, and proof that the checks bite."""

from __future__ import annotations

import os

import pytest

from .planted import FAULTS, Planted
from .voyage import Course, Violated, Voyage

SEEDS = int(os.environ.get("SEEDS", "6"))
DAYS = float(os.environ.get("DAYS", "0.25"))
# Seeds that are tried, in order, until a planted fault shows.
HUNT = range(100, 140)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_invariant_holds_on_a_rough_voyage(seed: int) -> None:
    voyage = Voyage(Course(seed=seed, days=DAYS)).sail()

    assert voyage.store.statuses_written > 0


def test_a_calm_voyage_starts_every_window_that_has_room() -> None:
    voyage = Voyage(Course(seed=1, days=0.5, faults=False)).sail()

    assert voyage.triggers == sum(len(flow.times_ran) for flow in voyage.airflows.values())
    assert voyage.triggers > 5


@pytest.mark.server
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_simulation_catches_a_planted_fault(
    fault: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)

    for seed in HUNT:
        try:
            Voyage(Course(seed=seed, days=0.25)).sail()
        except Violated:
            return
    pytest.fail(f"{fault.__name__} went unnoticed on {len(HUNT)} voyages")
