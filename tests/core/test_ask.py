"""Promises: what runs of ours hold of a pool, and how its numbers pay them down (R6)."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.ask import pay_down, promises_of
from slackwater.core.ledger import State
from slackwater.core.words import Reason
from tests.core.builders import HOUR, MINUTE, OWNER, SECOND, clock, line, promise, started

NOW = clock(11)


def held(*lines, gpus=8, duration=None, now=NOW, per_pod=1):
    return promises_of(OWNER, lines, gpus=gpus, duration=duration, now=now, per_pod=per_pod)


@pytest.mark.parametrize("state", [State.INTENDED, State.TRIGGERED, State.RUNNING])
def test_a_promise_stands_from_the_intent_to_the_end_of_the_run(state):
    (found,) = held(started(state=state, promise=5))
    assert (found.count, found.unseen, found.since) == (8, 5, clock(10))


@pytest.mark.parametrize("state", [State.PLANNED, State.WAITING, State.MISSED, State.SKIPPED])
def test_what_never_started_holds_nothing(state):
    assert held(line(state=state)) == ()


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_a_run_that_is_over_holds_nothing(state):
    assert held(started(state=state, promise=0, end_time=clock(10.5))) == ()


def test_a_cancelled_run_stays_counted_for_a_minute():
    cancelled = started(state=State.CANCELLED, reason=Reason.WINDOW_ENDED, end_time=clock(11))
    assert held(cancelled, now=clock(11) + 59 * SECOND)[0].unseen == 8
    assert held(cancelled, now=clock(11) + MINUTE) == ()


def test_a_run_is_expected_to_end_its_duration_after_it_began():
    began = started(state=State.RUNNING, start_time=clock(10.5))
    assert held(began, duration=2 * HOUR)[0].ends == clock(12.5)
    assert held(started(state=State.TRIGGERED), duration=2 * HOUR)[0].ends == clock(12)
    assert held(began)[0].ends is None


def test_a_promise_knows_the_size_of_its_pods():
    assert held(started(), per_pod=8)[0].per_pod == 8


def test_a_rise_pays_the_oldest_promise_first():
    promises = (
        promise("new", 8, unseen=8, since=clock(2)),
        promise("old", 8, unseen=5, since=clock(1)),
    )
    assert pay_down(promises, 3) == {"old": 2}
    assert pay_down(promises, 7) == {"old": 0, "new": 6}


@pytest.mark.parametrize("rise", [0, -3])
def test_no_rise_pays_nothing(rise):
    assert pay_down((promise("x", 8, unseen=8),), rise) == {}


@given(
    st.lists(st.tuples(st.integers(0, 16), st.integers(0, 5)), max_size=6),
    st.integers(-5, 60),
)
def test_a_rise_pays_exactly_its_own_size_and_nothing_twice(made, rise):
    promises = tuple(
        promise(f"r{i}", 16, unseen=unseen, since=clock(0) + timedelta(minutes=age))
        for i, (unseen, age) in enumerate(made)
    )
    paid = pay_down(promises, rise)
    before = {p.run_id: p.unseen for p in promises}
    total = sum(before.values())
    assert sum(before[r] - left for r, left in paid.items()) == max(0, min(rise, total))
    assert all(0 <= left < before[r] for r, left in paid.items())
    unpaid = [p.since for p in promises if paid.get(p.run_id, p.unseen) > 0]
    settled = [p.since for p in promises if p.run_id in paid]
    assert not unpaid or not settled or max(settled) <= max(unpaid)
    partly = [p for p in promises if p.run_id in paid and paid[p.run_id] > 0]
    assert len(partly) <= 1
