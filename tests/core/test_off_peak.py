"""`startPolicy: OffPeak` in the queue, in the decision and in what is said (R18)."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.allot import Pool, Verdict, allot
from slackwater.core.ask import Ask
from slackwater.core.forecast import Forecaster
from slackwater.core.ledger import State
from slackwater.core.plan import MARGIN, Wish, outlook, plan, steps_ahead
from slackwater.core.planned import Planned
from slackwater.core.spec import StartPolicy
from slackwater.core.transition import outline
from slackwater.core.words import Reason

from .builders import (
    CANARY,
    HOUR,
    MINUTE,
    Scene,
    ask,
    clock,
    event,
    gpu,
    hours,
    rules,
    sample,
    spec,
)

NOW = clock(12)


def planned(start: float, **changes) -> Planned:
    fields = {
        "start": clock(start),
        "due_by": clock(20),
        "latest_start": clock(22),
        "expected_percent": 41,
        "present_percent": 78,
    }
    return Planned(**{**fields, **changes})


def answers(plans: dict[str, Planned], *asks: Ask, free=(8,)) -> dict[str, Reason | None]:
    by_owner = {one.owner: plans[one.owner.name] for one in asks if one.owner.name in plans}
    pool = Pool(rules=rules(), sample=sample(NOW, *free), plan=by_owner)
    return {
        ref.name: None if verdict.admitted else verdict.reason
        for ref, verdict in allot(pool, asks, NOW).items()
    }


def quiet(name: str, count: int = 8, **changes) -> Ask:
    return ask(name, count, off_peak=True, **changes)


# --- in the queue


def test_until_its_moment_an_ask_waits_and_delays_nobody():
    first = quiet("first", priority=9, latest_start=clock(13))
    assert answers({"first": planned(15)}, first, ask("other", 8)) == {
        "first": Reason.OFF_PEAK,
        "other": None,
    }


def test_when_its_moment_has_come_it_stands_in_the_queue_like_any_other():
    due = quiet("due", priority=9)
    assert answers({"due": planned(12)}, due, ask("other", 8)) == {
        "due": None,
        "other": Reason.WAITING_FOR_GPUS,
    }
    assert answers({"due": planned(12)}, due, free=(4,)) == {"due": Reason.WAITING_FOR_GPUS}


def test_near_its_latest_start_it_waits_for_nothing_but_room():
    late = planned(15, due_by=clock(11.9))
    assert answers({"a": late}, quiet("a")) == {"a": None}


def test_without_a_plan_it_starts_as_early_as_it_can():
    assert answers({}, quiet("a")) == {"a": None}


def test_a_start_by_hand_asks_no_plan():
    assert answers({"a": planned(15)}, quiet("a", unconditional=True)) == {"a": None}


def test_an_ask_that_is_not_off_peak_is_not_planned():
    assert answers({"a": planned(15)}, ask("a", 8)) == {"a": None}


def test_a_pool_that_cannot_be_read_starts_nobody_planned_or_not():
    pool = Pool(rules=rules(), fault=Reason.NO_DATA, plan={quiet("a").owner: planned(12)})
    (verdict,) = allot(pool, [quiet("a")], NOW).values()
    assert (verdict.admitted, verdict.reason) == (False, Reason.NO_DATA)


# --- in the decision


def scene(**changes) -> Scene:
    wanted = spec(gpu=gpu(8), start_policy=StartPolicy.OFF_PEAK, time_zone="Europe/Berlin")
    fields = {"spec": wanted, "events": [event("e1", 10, 20)], "duration": HOUR, **changes}
    return Scene(**fields)


def told(some: Scene, hour: float, plan_: Planned | None) -> None:
    """The pool answers the ask with this plan."""
    some.verdict = None
    decision = some.look(hour)
    assert decision.ask is not None
    admitted = plan_ is None or plan_.is_due(clock(hour))
    reason = Reason.ENOUGH if admitted else Reason.OFF_PEAK
    some.verdict = Verdict(ask=decision.ask, admitted=admitted, reason=reason, planned=plan_)
    some.look(hour)


def test_the_ask_says_that_it_is_off_peak_and_where_it_may_start():
    found = scene().look(11).ask
    assert found is not None
    assert found.off_peak
    assert found.pieces == (hours(10, 20),)
    earliest = Scene(spec=spec(gpu=gpu(8)), events=[event("e1", 10, 20)]).look(11).ask
    assert earliest is not None
    assert not earliest.off_peak


def test_the_message_says_when_and_why():
    some = scene()
    told(some, 11, planned(15.25))
    assert some.status.message == (
        "Planned for Mon 17:15: load expected 41 %, now 78 %; latest start Tue 00:00."
    )
    assert some.condition("CapacityAvailable")[:2] == ("False", Reason.OFF_PEAK)
    assert some.condition("Ready")[0] == "True"
    assert CANARY not in str(some.status)


def test_the_ledger_says_when_it_is_planned_and_keeps_it_while_something_else_holds_it():
    some = scene()
    told(some, 11, planned(15.25))
    assert some.line().state is State.WAITING
    assert some.line().planned_start == clock(15.25)
    some.pool_fault = Reason.NO_DATA
    some.look(11.5)
    assert some.line().reason is Reason.NO_DATA
    assert some.line().planned_start == clock(15.25)


def test_it_starts_when_the_moment_has_come():
    some = scene()
    told(some, 11, planned(15))
    told(some, 15, planned(15))
    assert some.line().state is State.INTENDED


def test_another_planned_start_alone_is_written_no_sooner_than_other_live_wording():
    some = scene()
    told(some, 11, planned(15))
    before = some.status
    told(some, 11, planned(16, present_percent=80))
    assert some.status != before
    assert outline(some.status) == outline(before)


def test_a_plan_that_says_the_same_changes_nothing():
    some = scene()
    told(some, 11, planned(15))
    before = some.status
    some.look(11.2)
    assert some.status == before


# --- against the load


def wish_of(one: Ask) -> Wish:
    return Wish(
        owner=one.owner,
        count=one.count,
        pieces=one.pieces,
        latest_start=one.latest_start,
        window_start=one.window_start,
        duration=one.duration,
        priority=one.priority,
    )


TICK = 15 * MINUTE

adversary = st.lists(st.integers(0, 32), min_size=1, max_size=60)
history = st.lists(st.one_of(st.floats(0, 64), st.just(math.nan), st.floats(0, 1e9)), max_size=60)


@settings(max_examples=40, deadline=None)
@given(
    history=history,
    load=adversary,
    lasts=st.integers(1, 8),
    window=st.integers(2, 40),
    count=st.integers(1, 32),
)
def test_no_load_makes_it_start_without_room_or_wait_longer_than_to_its_margin(
    history, load, lasts, window, count
):
    """Whatever was learned and whatever comes: R5 holds, and from `due_by` on it is as eager as Earliest."""
    forecaster = Forecaster()
    began = clock(0)
    for number, value in enumerate(history):
        forecaster.learn(began - (len(history) - number) * timedelta(minutes=30), value)
    latest = began + window * HOUR
    one = quiet(
        "a",
        count,
        pieces=(hours(0, window + lasts),),
        latest_start=latest,
        window_start=began,
        duration=lasts * HOUR,
    )
    wish = wish_of(one)
    assert latest - wish.due_by <= MARGIN
    could_start: list[bool] = []
    now, number = began, 0
    while now <= latest:
        free = 32 - load[number % len(load)]
        known = forecaster.forecast(now, float(32 - free), steps_ahead([wish], now))
        plans = plan([wish], outlook(known, (), now), known.start, 32, now)
        pool = Pool(rules=rules(), sample=sample(now, free, each=32), plan=plans)
        (eager,) = allot(replace(pool, plan={}), [one], now).values()
        (verdict,) = allot(pool, [one], now).values()
        assert not verdict.admitted or eager.admitted, "it starts without room"
        if now >= wish.due_by:
            assert verdict.admitted == eager.admitted, "it waits though its time runs out"
        could_start.append(eager.admitted)
        if verdict.admitted:
            return
        now, number = now + TICK, number + 1
    margin_ticks = int((latest - wish.due_by) / TICK)
    assert not any(could_start[len(could_start) - margin_ticks :])


@pytest.mark.parametrize("weird", [math.nan, math.inf, -5.0])
def test_a_load_that_is_no_number_delays_nobody_beyond_the_margin(weird):
    one = quiet("a", pieces=(hours(0, 24),), latest_start=clock(20), duration=HOUR)
    known = Forecaster().forecast(clock(0), weird, 60)
    (found,) = plan([wish_of(one)], outlook(known, (), clock(0)), known.start, 8, clock(0)).values()
    assert np.isfinite(known.median).all()
    assert found.start == clock(0)
    assert found.due_by == clock(17.5)
