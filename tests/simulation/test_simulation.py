"""A year of a busy team, and proof that the checks bite."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from .planted import FAULTS, SEASON_FAULTS, Planted
from .seasons import DAY, MINUTE, SEASONS, weeks_with_a_change
from .virtual import EPOCH
from .voyage import Course, Violated, Voyage, stretch_of_a_year

SEEDS = int(os.environ.get("SEEDS", "2"))
DAYS = float(os.environ.get("DAYS", "0.05"))
YEAR = os.environ.get("YEAR", "")  # any value: the whole year, not the weeks of changes alone
HUNT = 40  # voyages that are sailed until a planted fault shows


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_invariant_holds_on_a_rough_voyage(seed: int) -> None:
    voyage = Voyage(Course(seed=seed, days=DAYS)).sail()

    assert voyage.store.statuses_written > 0


def test_a_calm_voyage_starts_every_window_that_has_room() -> None:
    voyage = Voyage(Course(seed=1, days=0.2, faults=False)).sail()

    assert voyage.triggers == sum(len(flow.times_ran) for flow in voyage.airflows.values())
    assert voyage.triggers > 5


STRETCHES = (
    [(EPOCH + 28 * month * DAY, 28 + (month == 12)) for month in range(13)]
    if YEAR
    else [(monday, 7.5) for monday in weeks_with_a_change(EPOCH)]
)


@pytest.mark.server
@pytest.mark.parametrize(("begins", "days"), STRETCHES, ids=lambda it: str(it).partition(" ")[0])
def test_every_invariant_holds_over_the_seasons(begins: datetime, days: float) -> None:
    voyage = Voyage(stretch_of_a_year(begins, days)).sail()

    assert voyage.triggers > days


@pytest.mark.server
@pytest.mark.parametrize("monday", weeks_with_a_change(EPOCH), ids=lambda day: str(day.date()))
def test_windows_at_hours_that_clocks_skip_or_repeat_open_once_and_then(monday: datetime) -> None:
    voyage = Voyage(stretch_of_a_year(monday, 7.5, faults=False, actions_per_hour=0.01)).sail()

    _judge_seasons(voyage)


def _judge_seasons(voyage: Voyage) -> None:
    course = voyage.course
    due = {
        (season, day.date()): season.opens(day)
        for season in SEASONS
        for day in season.sundays(course.begins, course.ends)
    }
    assert due
    assert voyage.season_starts.keys() == due.keys()
    late = {
        key: voyage.season_starts[key] - opens
        for key, opens in due.items()
        if not opens <= voyage.season_starts[key] <= opens + 2 * MINUTE
    }
    assert late == {}


@pytest.mark.server
@pytest.mark.parametrize(
    ("fault", "monday"), SEASON_FAULTS, ids=[fault.__name__ for fault, _ in SEASON_FAULTS]
)
def test_the_seasons_catch_a_planted_fault(
    fault: Planted, monday: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert monday in weeks_with_a_change(EPOCH)
    fault(monkeypatch)

    with pytest.raises(AssertionError):
        _judge_seasons(
            Voyage(stretch_of_a_year(monday, 7.5, faults=False, actions_per_hour=0.01)).sail()
        )


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
