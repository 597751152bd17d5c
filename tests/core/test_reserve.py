"""Announced demand: what calendar events keep of a pool for others (R5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.allot import Pool, allot
from slackwater.core.reserve import Reservation, Reservations, reservations
from slackwater.core.spec import Match, Ref, ReservationRule
from slackwater.core.words import Reason

from .builders import (
    HOUR,
    NS,
    OUTLOOK,
    TEAM,
    ask,
    clock,
    event,
    hours,
    promise,
    rules,
    sample,
)


def rule(gpus: int | str = 8, **changes: Any) -> ReservationRule:
    fields: dict[str, Any] = {"name": "demos", "calendar": OUTLOOK, "gpus": gpus}
    return ReservationRule(**{**fields, **changes})


def found(events, *rules_: ReservationRule) -> Reservations:
    return reservations(rules_ or (rule(),), {OUTLOOK: events})


def gpus(events, *rules_: ReservationRule) -> list[int]:
    return [one.gpus for one in found(events, *rules_).known]


# --- which events reserve


def test_an_event_that_matches_keeps_its_gpus_while_it_lasts():
    meant = rule(64, match=Match(summary="gpu reserved*"), namespaces=("demo",))
    events = [event("a", 10, 14, summary="GPU reserved: demo"), event("b", 10, 14, summary="lunch")]
    (one,) = found(events, meant).known
    assert one == Reservation(hours(10, 14), 64, frozenset({"demo"}))


@pytest.mark.parametrize(
    ("expression", "changes", "expected"),
    [
        ("event.parameters.gpus", {"description": "gpus=48\nteam=demo"}, [48]),
        ("event.durationMinutes / 10", {}, [24]),
        ("2.5", {}, [3]),
        ("0", {}, []),
    ],
)
def test_how_many_may_be_an_expression(expression, changes, expected):
    assert gpus([event("a", 10, 14, **changes)], rule(expression)) == expected


@pytest.mark.parametrize(
    ("expression", "changes"),
    [
        ("event.parameters.gpus", {"description": None}),
        ("event.parameters.gpus", {"description": "gpus=many"}),
        ("event.parameters.gpus", {"description": "gpu=8"}),
        ("'8'", {}),
        ("true", {}),
        ("-1", {}),
        ("1e9", {}),
        ("1 / 0", {}),
    ],
)
def test_an_event_without_a_number_reserves_nothing_and_is_counted(expression, changes):
    answer = found([event("a", 10, 14, **changes)], rule(expression))
    assert (answer.known, answer.unreadable) == ((), 1)


def test_a_private_event_that_might_be_meant_is_counted():
    answer = found([event("a", 10, 14, summary=None)], rule(match=Match(summary="gpu*")))
    assert (answer.known, answer.unreadable) == ((), 1)


def test_events_of_strangers_reserve_nothing_unless_they_are_named():
    stranger = event("a", 10, 14, own=False, organizer="eve@example.com")
    assert gpus([stranger]) == []
    assert gpus([stranger], rule(match=Match(organizers=("*@example.com",)))) == [8]


def test_the_first_rule_that_means_an_event_counts():
    assert gpus([event("a", 10, 14)], rule(8), rule(64, name="more")) == [8]


def test_busy_times_without_a_key_all_reserve():
    busy = [event("", 10, 11, summary=None), event("", 12, 13, summary=None)]
    assert gpus(busy) == [8, 8]


# --- the most that is kept


def kept(*spans: tuple[float, float, int]) -> Reservations:
    return Reservations(tuple(Reservation(hours(a, b), count) for a, b, count in sorted(spans)))


def test_reservations_add_up_only_while_they_overlap():
    some = kept((10, 12, 8), (11, 13, 4), (13, 14, 9))
    assert some.highest("x", clock(10), clock(14), {}).gpus == 12
    assert some.highest("x", clock(12), clock(14), {}).gpus == 9
    assert some.highest("x", clock(9), clock(10), {}).gpus == 0
    assert some.highest("x", clock(12), clock(13), {}).gpus == 4


def test_what_its_namespaces_use_already_counts_towards_it():
    one = Reservations((Reservation(hours(10, 12), 8, frozenset({"demo", "sales"})),))
    used = {"demo": 3, "sales": 1, "research": 100}
    assert one.highest("research", clock(10), clock(11), used).gpus == 4
    assert one.highest("research", clock(10), clock(11), {"demo": 20}).gpus == 0
    assert one.highest("demo", clock(10), clock(11), {}).gpus == 0


spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(0, 30)).map(
        lambda one: (one[0], one[0] + one[1], one[2])
    ),
    max_size=8,
)


@given(spans, st.integers(0, 20), st.integers(1, 10))
def test_the_highest_is_what_a_look_at_every_instant_finds(some, start, lasts):
    expected = max(
        sum(count for a, b, count in some if a <= instant / 2 < b)
        for instant in range(2 * start, 2 * (start + lasts))
    )
    assert kept(*some).highest("x", clock(start), clock(start + lasts), {}).gpus == expected


# --- in the queue (R5)

NOW = clock(8)


def answers(some: Reservations, *asks, free=(8, 8), **changes) -> dict[str, Reason | None]:
    pool = Pool(rules=rules(), sample=sample(NOW, *free, **changes), reservations=some)
    return {
        ref.name: None if verdict.admitted else verdict.reason
        for ref, verdict in allot(pool, asks, NOW).items()
    }


def test_a_run_that_lasts_into_a_reservation_must_leave_it_free():
    demo = kept((10, 14, 12))
    assert answers(demo, ask("a", 8, duration=3 * HOUR)) == {"a": Reason.RESERVED}
    assert answers(demo, ask("a", 4, duration=3 * HOUR)) == {"a": None}
    assert answers(demo, ask("a", 8, duration=2 * HOUR)) == {"a": None}
    assert answers(demo, ask("a", 8, duration=6 * HOUR, owner=Ref("x", "a"))) == {
        "a": Reason.RESERVED
    }


def test_of_an_unknown_duration_a_run_lasts_until_its_piece_ends():
    demo = kept((10, 14, 12))
    assert answers(demo, ask("a", 8, pieces=(hours(7, 11),))) == {"a": Reason.RESERVED}
    assert answers(demo, ask("a", 8, pieces=(hours(7, 10),))) == {"a": None}


def test_who_is_held_back_by_a_reservation_is_overtaken_by_who_ends_before_it_is_over():
    demo = kept((10, 14, 12))
    long, short = ask("long", 8, duration=9 * HOUR, priority=1), ask("short", 8, duration=HOUR)
    assert answers(demo, long, short) == {"long": Reason.RESERVED, "short": None}
    unknown = ask("unknown", 4, pieces=(hours(7, 9),))
    assert answers(demo, long, unknown)["unknown"] is Reason.WAITING_FOR_TURN


def test_the_answer_says_how_many_are_reserved_and_until_when():
    pool = Pool(rules=rules(), sample=sample(NOW, 8, 8), reservations=kept((10, 14, 12)))
    (verdict,) = allot(pool, [ask("a", 8, duration=4 * HOUR)], NOW).values()
    assert verdict.gaps["reserved"] == 12
    assert verdict.gaps["until"] == clock(14)
    assert verdict.expected_at == clock(14)


def test_while_a_calendar_of_reservations_cannot_be_read_nothing_starts():
    unread = Reservations(unread=TEAM)
    assert answers(unread, ask("a", 1)) == {"a": Reason.RESERVATIONS_UNKNOWN}


@given(spans, st.lists(st.integers(1, 16), max_size=5), st.integers(1, 12))
def test_no_start_leaves_less_than_what_is_reserved(some, counts, lasts):
    asks = [ask(f"a{n}", count, duration=lasts * HOUR) for n, count in enumerate(counts)]
    pool = Pool(
        rules=rules(),
        sample=sample(NOW, 16, each=16),
        reservations=kept(*some),
        promises=(promise("run", 3, unseen=3),),
    )
    verdicts = allot(pool, asks, NOW)
    taken = sum(one.count for one in asks if verdicts[one.owner].admitted)
    highest = kept(*some).highest(NS, NOW, NOW + lasts * HOUR, {}).gpus
    assert taken == 0 or taken + 3 + highest <= 16


def test_an_event_whose_times_cannot_be_read_reserves_all_the_time_that_it_may_take():
    answer = found([event("", -48, 72, unread=True)], rule(8))
    assert [(one.span, one.gpus) for one in answer.known] == [(hours(-48, 72), 8)]
