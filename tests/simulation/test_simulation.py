"""A year of a busy team, and proof that the checks bite."""

from __future__ import annotations

import os

import pytest

from .planted import FAULTS, Planted
from .voyage import Course, Violated, Voyage

SEEDS = int(os.environ.get("SEEDS", "2"))
DAYS = float(os.environ.get("DAYS", "0.05"))
HUNT = 40  # voyages that are sailed until a planted fault shows


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_invariant_holds_on_a_rough_voyage(seed: int) -> None:
    voyage = Voyage(Course(seed=seed, days=DAYS)).sail()

    assert voyage.store.statuses_written > 0


def test_a_calm_voyage_starts_every_window_that_has_room() -> None:
    voyage = Voyage(Course(seed=1, days=0.2, faults=False)).sail()

    assert voyage.triggers == sum(len(flow.times_ran) for flow in voyage.airflows.values())
    assert voyage.triggers > 5


@pytest.mark.server
@pytest.mark.parametrize(
    ("fault", "first", "days"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS]
)
def test_the_simulation_catches_a_planted_fault(
    fault: Planted, first: int, days: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)

    for seed in range(first, first + HUNT):
        try:
            Voyage(Course(seed=seed, days=days)).sail()
        except Violated:
            return
    pytest.fail(f"{fault.__name__} went unnoticed on {HUNT} voyages")
