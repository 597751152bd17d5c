"""How long a DAG's runs take, learned from those that succeeded."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.durations import FEWEST, Durations, learned, task_time
from tests.core.builders import hours

MINUTE = timedelta(minutes=1)


def test_with_fewer_than_five_runs_nothing_is_known():
    assert learned([MINUTE] * 4) == Durations(4)
    assert learned([MINUTE] * 5) == Durations(5, MINUTE, MINUTE)


def test_runs_without_any_work_are_no_runs():
    assert learned([timedelta()] * 20 + [MINUTE] * 4) == Durations(4)


def test_parts_of_a_second_are_rounded_up():
    assert learned([timedelta(seconds=59.2)] * 5).p90 == MINUTE


@given(st.lists(st.integers(1, 10_000), min_size=FEWEST, max_size=60))
def test_nine_of_ten_runs_took_no_longer_and_one_took_just_that(seconds):
    found = learned(timedelta(seconds=one) for one in seconds)
    p90, median = found.p90.total_seconds(), found.median.total_seconds()
    assert {p90, median} <= set(seconds)
    assert sum(one <= p90 for one in seconds) >= 0.9 * len(seconds)
    assert sum(one < p90 for one in seconds) < 0.9 * len(seconds)
    assert sum(one <= median for one in seconds) >= 0.5 * len(seconds)
    assert median <= p90


def test_tasks_side_by_side_count_once_and_waiting_between_them_not_at_all():
    assert task_time([hours(1, 2), hours(1.5, 3), hours(5, 6)]) == timedelta(hours=3)
    assert task_time([]) == timedelta()
