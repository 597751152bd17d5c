"""Quiet for long enough: threshold, hold and hysteresis."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.quiet import Quiet, quiet
from tests.core.builders import HOUR, MINUTE, SECOND, clock

GAP = 2 * MINUTE
HOLD = 5 * MINUTE
START = clock(8)


def series(*percents: float, step: timedelta = MINUTE):
    return [(START + i * step, percent / 100) for i, percent in enumerate(percents)]


def judged(history, now=None, *, limit=50.0, hysteresis=5.0) -> Quiet:
    return quiet(
        history,
        limit_percent=limit,
        hysteresis_percent=hysteresis,
        longest_gap=GAP,
        now=now or (history[-1][0] if history else START),
    )


def ready(history, now=None, hold=HOLD, **changes) -> bool:
    at = now or (history[-1][0] if history else START)
    opens = judged(history, at, **changes).ready_at(hold)
    return opens is not None and opens <= at


def test_a_pool_below_the_limit_for_the_whole_hold_is_quiet():
    assert not ready(series(*[10] * 5))
    assert ready(series(*[10] * 6))


def test_the_gate_says_when_it_opens_if_nothing_changes():
    assert judged(series(10, 10)).ready_at(HOLD) == START + HOLD
    assert judged(series(10, 80)).ready_at(HOLD) is None


def test_one_sample_at_the_limit_begins_the_hold_anew():
    history = series(10, 10, 10, 50, 10, 10, 10, 10, 10)
    assert judged(history).since == START + 4 * MINUTE


def test_a_quiet_time_begins_only_below_the_limit_less_the_hysteresis():
    assert judged(series(*[47] * 9)).since is None
    assert judged(series(45)).since is None
    assert judged(series(44.9)).since == START


def test_once_quiet_the_pool_stays_so_up_to_the_limit():
    assert ready(series(40, *[49.9] * 8))


def test_after_a_busy_sample_the_edge_does_not_count_as_quiet_again():
    assert judged(series(40, 60, *[47] * 30)).since is None


def test_what_was_not_seen_does_not_count_as_quiet():
    history = [*series(10, 10), (START + 2 * HOUR, 0.1)]
    assert judged(history).since == START + 2 * HOUR


def test_an_old_last_sample_is_no_sign_of_quiet():
    history = series(*[10] * 9)
    last = history[-1][0]
    assert ready(history, last + GAP)
    assert judged(history, last + GAP + SECOND).since is None


def test_without_any_sample_nothing_is_quiet():
    assert judged([]).since is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_breaks_the_quiet(value):
    history = [*series(10, 10, 10), (START + 3 * MINUTE, value), (START + 4 * MINUTE, 0.1)]
    assert judged(history).since == START + 4 * MINUTE
    assert judged(history[:4]).since is None


steps = st.integers(1, 400).map(lambda s: s * SECOND)
loads = st.floats(0, 1.2) | st.sampled_from([0.44, 0.45, 0.4999, 0.5, 0.51, float("nan")])


@st.composite
def histories(draw):
    at, found = START, []
    for _ in range(draw(st.integers(0, 30))):
        at += draw(steps)
        found.append((at, draw(loads)))
    return found, at + draw(st.integers(0, 300)) * SECOND


@given(histories(), st.integers(0, 20).map(lambda n: n * MINUTE))
def test_never_ready_with_a_busy_sample_or_an_unseen_time_within_the_hold(made, hold):
    history, now = made
    if not ready(history, now, hold):
        return
    within = [(at, load) for at, load in history if at >= now - hold]
    assert all(load < 0.5 for _, load in within)
    times = [at for at, _ in history if at <= now - hold][-1:] + [at for at, _ in within] + [now]
    assert all(later - sooner <= GAP for sooner, later in itertools.pairwise(times))
    assert times[0] <= now - hold


@given(histories())
def test_between_two_quiet_times_lies_a_break(made):
    """No flapping: to be quiet anew takes a busy sample or a gap, then the hysteresis."""
    history, _ = made
    before: Quiet | None = None
    for index, (at, load) in enumerate(history):
        now_quiet = judged(history[: index + 1], at)
        began = now_quiet.since is not None and (before is None or before.since != now_quiet.since)
        if began:
            assert load * 100 < 45
            assert now_quiet.since == at
        before = now_quiet


@given(histories(), st.floats(0.45, 0.4999))
def test_a_load_at_the_edge_never_opens_the_gate(made, edge):
    history, _ = made
    settled = [(at, edge) for at, _ in history]
    assert not settled or judged(settled).since is None
