"""Where an ask stands in its pool's queue: what is projected, and what would start it sooner."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.allot import Pool, allot
from slackwater.core.gaps import standing_phrase
from slackwater.core.queue import Standing
from slackwater.core.reserve import Reservation, Reservations
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from tests.core.builders import HOUR, MINUTE, NS, ask, clock, hours, promise, rules, sample

NOW = clock(2)


def pool(*free, limit=None, promises=(), reserved=(), **changes):
    return Pool(
        rules=rules(max_concurrent_runs=limit),
        sample=sample(NOW, *free, **changes),
        promises=promises,
        reservations=Reservations(reserved),
    )


def answers(view, *asks):
    return {ref.name: verdict for ref, verdict in allot(view, asks, NOW).items()}


def told(verdict):
    return standing_phrase(verdict).told(UTC)


def running(name, count, ends, **changes):
    return promise(name, count, ends=None if ends is None else clock(ends), **changes)


def test_the_head_hears_its_place_what_would_start_now_and_when_there_is_room():
    view = pool(0, 4, promises=(running("a", 12, 3.17),))
    found = answers(view, ask("x", 16), ask("y", 8))["x"]
    assert found.standing == Standing(place=1, of=2, start=clock(3.25), smaller=4)
    assert told(found) == "; place 1 of 2; with 4 GPUs now, with 16 about 03:15"


def test_those_behind_are_placed_after_the_head_has_taken_its_room():
    view = pool(0, 0, promises=(running("a", 8, 3), running("b", 8, 5)))
    found = answers(
        view,
        ask("x", 8, duration=HOUR, priority=9),
        ask("y", 8, duration=HOUR, priority=8),
        ask("z", 8, duration=HOUR, priority=7),
    )
    assert [found[name].standing.start for name in "xyz"] == [clock(3), clock(4), clock(5)]
    assert [found[name].standing.place for name in "xyz"] == [1, 2, 3]


def test_an_ask_of_unknown_length_overtakes_nobody_in_the_projection_either():
    view = pool(4, 0, promises=(running("a", 8, 3), running("b", 4, 4)))
    head, short = ask("x", 12, priority=9, duration=HOUR), ask("y", 4, duration=None)
    found = answers(view, head, short)
    assert found["y"].standing.start >= found["x"].standing.start
    assert (
        told(found["y"])
        == "; place 2 of 2; a run that ends by 03:00 could start now, this one about 04:00"
    )


def test_where_no_end_is_known_nothing_is_projected():
    view = pool(0, promises=(running("a", 8, None),))
    found = answers(view, ask("x", 8), ask("y", 4, duration=HOUR))
    assert told(found["x"]) == "; place 1 of 2; no end is known that makes room"
    assert told(found["y"]) == "; place 2 of 2; no end is known that makes room for those ahead"


def test_room_that_comes_too_late_is_said_to_be_none():
    view = pool(4, promises=(running("a", 4, 9),))
    found = answers(view, ask("x", 8, latest_start=clock(6)))
    assert told(found["x"]) == ("; place 1 of 1; with 4 GPUs now; no room is expected before 06:00")


def test_smaller_asks_count_in_whole_pods():
    view = pool(7, 7, promises=(running("a", 2, 3),))
    assert answers(view, ask("x", 16, per_pod=4))["x"].standing.smaller == 8
    assert answers(view, ask("x", 16, per_pod=8))["x"].standing.smaller == 0


def test_where_places_are_counted_no_smaller_ask_helps():
    view = pool(8, 8, limit=1, promises=(running("a", 0, 4),))
    found = answers(view, ask("x", 8))["x"]
    assert found.reason is Reason.MAX_CONCURRENT_RUNS
    assert told(found) == "; place 1 of 1; expected about 04:00"


def test_what_a_calendar_keeps_is_over_when_its_event_is():
    view = pool(8, reserved=(Reservation(hours(1, 5), 6),))
    found = answers(view, ask("x", 8, duration=HOUR))["x"]
    assert found.reason is Reason.RESERVED
    assert found.standing == Standing(place=1, of=1, start=clock(5), smaller=2)


def test_a_start_on_another_day_names_the_day():
    view = pool(0, promises=(running("a", 8, 26),))
    found = answers(view, ask("x", 8, latest_start=clock(40)))["x"]
    assert told(found) == "; place 1 of 1; expected about Tue 02:00"


def test_of_a_long_queue_only_the_front_is_projected_and_everybody_hears_his_place():
    view = pool(0, promises=(running("a", 8, 3),))
    found = answers(view, *(ask(f"x{n:03}", 1, duration=HOUR) for n in range(80)))
    assert [found[f"x{n:03}"].standing.place for n in range(80)] == list(range(1, 81))
    assert found["x019"].standing.start is not None
    assert found["x020"].standing == Standing(place=21, of=80)


@pytest.mark.parametrize("seconds", [1, 59, 240])
def test_as_time_goes_by_the_same_start_is_told(seconds):
    view = pool(0, promises=(running("a", 8, 3.01),))
    later = NOW + timedelta(seconds=seconds)
    sooner = allot(view, [ask("x", 8)], NOW)[Ref(NS, "x")].standing
    view = replace(view, sample=replace(view.sample, time=later))
    assert allot(view, [ask("x", 8)], later)[Ref(NS, "x")].standing == sooner


@st.composite
def queues(draw):
    """A pool, its runs and asks; pods of one size, so that GPUs and places are the same."""
    size = draw(st.sampled_from([1, 2, 4, 8]))
    nodes = draw(st.integers(1, 4))
    free = [draw(st.integers(0, 8 // size)) * size for _ in range(nodes)]
    busy = (sum(8 - one for one in free)) // size
    ends = st.integers(1, 20).map(lambda n: NOW + n * 7 * MINUTE)
    runs, left = [], busy
    for number in range(draw(st.integers(0, 4))):
        pods = draw(st.integers(1, 3))
        if pods > left:
            break
        left -= pods
        runs.append(promise(f"r{number}", pods * size, per_pod=size, ends=draw(ends | st.none())))
    lengths = st.integers(1, 20).map(lambda n: n * 10 * MINUTE)
    asks = [
        ask(
            name,
            size * draw(st.integers(1, 6)),
            per_pod=size,
            priority=draw(st.integers(0, 3)),
            duration=draw(lengths | st.none()),
        )
        for name in "abcde"[: draw(st.integers(1, 5))]
    ]
    limit = draw(st.none() | st.none() | st.integers(1, 4))
    kept = draw(st.none() | st.integers(1, 8))
    reserved = () if kept is None else (Reservation(hours(1, draw(st.integers(3, 5))), kept),)
    return pool(*free, promises=tuple(runs), limit=limit, reserved=reserved), asks


@settings(deadline=None)
@given(queues())
def test_what_is_said_to_start_now_does_start_now(made):
    view, asks = made
    for verdict in allot(view, asks, NOW).values():
        standing, wanted = verdict.standing, verdict.ask
        changed = None
        if standing is not None and standing.smaller:
            changed = replace(wanted, count=standing.smaller)
        elif standing is not None and standing.ending_by is not None:
            changed = replace(wanted, duration=standing.ending_by - NOW)
        if changed is not None:
            others = [one for one in asks if one.owner != wanted.owner]
            assert allot(view, [*others, changed], NOW)[wanted.owner].admitted


@settings(deadline=None)
@given(queues())
def test_places_follow_the_order_and_nobody_is_projected_into_the_past(made):
    view, asks = made
    found = [v for v in allot(view, asks, NOW).values() if v.standing is not None]
    found.sort(key=lambda verdict: verdict.ask.rank)
    assert [v.standing.place for v in found] == list(range(1, len(found) + 1))
    assert all(v.standing.of == len(found) for v in found)
    assert all(v.standing.start is None or v.standing.start >= NOW for v in found)
    assert all(v.standing.smaller < v.ask.count for v in found)
    if found and found[0].expected_at is not None:
        late = found[0].standing.start - found[0].expected_at
        assert timedelta() <= late < 5 * MINUTE
