"""Better times for a DAG: never where something forbids a start, ranked alike each time."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.bottleneck import Hindrance, bottlenecks
from slackwater.core.event import Busy
from slackwater.core.forecast import LEVELS, Forecast
from slackwater.core.imported import importable, title
from slackwater.core.match import glob
from slackwater.core.occurrence import lay_out
from slackwater.core.plan import Holding
from slackwater.core.reserve import Reservation, Reservations
from slackwater.core.room import MOST_WAIT, Ahead, Other, Rooms
from slackwater.core.span import Span
from slackwater.core.spec import Effect, Ending, Match, Ref
from slackwater.core.suggest import LIKELY, Wanted, allowed, suggest, suitable
from tests.core.builders import (
    DAY,
    HOUR,
    NS,
    OUTLOOK,
    TEAM,
    clock,
    deny,
    event,
    hours,
    inline,
    spec,
    trigger,
)

WITHIN = hours(0, 48)
PLACES = 32


def forecast(*by_hour: float, spread: float = 0.0, long: int = 96) -> Forecast:
    """A load that repeats so many hours, with a spread of so many GPUs either way."""
    steps = (48 + long) * 2
    median = np.array([by_hour[step // 2 % len(by_hour)] for step in range(steps)], dtype=float)
    rows = np.array([(level - 0.5) * 2 * spread for level in LEVELS])
    return Forecast(DAY, median, np.repeat(rows[:, None], steps, axis=1), seasonal=True)


def rooms(load: Forecast, count: int = 8, lasts: float = 2, **changes) -> Rooms:
    ahead = Ahead(forecast=load, places=PLACES, now=DAY, until=WITHIN.end, **changes)
    return Rooms(ahead, NS, count, lasts * HOUR)


def wanted(found: Rooms | None, *entries, events=(), lasts: float = 2, **changes) -> Wanted:
    made = spec(*entries, **changes)
    layout = lay_out(made, {TEAM: tuple(events)}, Span(WITHIN.start, WITHIN.end + 48 * HOUR))
    return Wanted(
        spec=made, layout=layout, within=WITHIN, length=lasts * HOUR, known=True, rooms=found
    )


def found_bottlenecks(one: Wanted):
    return bottlenecks(one, one.layout.occurrences, tuple(suitable(one)))


BUSY_BY_DAY = tuple(30.0 if 6 <= hour < 20 else 8.0 for hour in range(24))


# --- odds


def test_room_is_as_likely_as_the_share_of_courses_that_leave_it():
    assert rooms(forecast(8.0)).at(clock(3)).chance == 1.0
    assert rooms(forecast(30.0)).at(clock(3)).chance == 0.0
    assert rooms(forecast(24.0, spread=60.0)).at(clock(3)).chance == pytest.approx(0.5)


def test_a_forecast_is_of_whole_gpus():
    assert rooms(forecast(24.4)).at(clock(3)).chance == 1.0
    assert rooms(forecast(24.6)).at(clock(3)).chance == 0.0


def test_the_wait_is_until_the_load_falls_and_a_day_at_most():
    found = rooms(forecast(*BUSY_BY_DAY))
    assert found.at(clock(18)).wait == 2 * HOUR
    assert found.at(clock(21)).wait == timedelta()
    assert rooms(forecast(30.0)).at(clock(3)).wait == MOST_WAIT


def test_a_run_while_the_pool_is_busier_than_usual_costs_its_gpu_hours():
    found = rooms(forecast(*(20.0 if 6 <= hour < 20 else 8.0 for hour in range(24))))
    assert found.at(clock(10)).busy_gpu_hours == pytest.approx(16)
    assert found.at(clock(5.25)).busy_gpu_hours == pytest.approx(10)
    assert found.at(clock(1)).busy_gpu_hours == 0


def test_a_run_delays_those_that_it_takes_the_room_from_and_nobody_else():
    other = Other(owner=Ref(NS, "b"), count=16, start=clock(4), end=clock(5))
    found = rooms(forecast(10.0), others=(other,))
    assert found.at(clock(3)).delayed == 1
    assert found.at(clock(1)).delayed == 0
    assert found.at(clock(6)).delayed == 0


def test_runs_of_ours_and_reservations_take_room():
    kept = Reservations((Reservation(hours(10, 12), 20),))
    found = rooms(
        forecast(8.0), holdings=[Holding(20, DAY, clock(6))], reservations=kept, used_by={}
    )
    assert [found.at(clock(at)).chance for at in (3, 7, 9, 10, 12)] == [0, 1, 0, 0, 1]


def test_a_reservation_for_the_namespace_itself_takes_nothing():
    kept = Reservations((Reservation(hours(10, 12), 30, frozenset({NS})),))
    assert rooms(forecast(8.0), reservations=kept).at(clock(10)).chance == 1.0


# --- suggestions


def test_the_quiet_night_comes_before_the_busy_day():
    found = suggest(wanted(rooms(forecast(*BUSY_BY_DAY))))
    assert found
    assert all(one.start.hour >= 20 or one.start.hour < 6 for one in found)
    assert found[0].odds.chance == 1.0


def test_without_a_gpu_pool_what_calendars_allow_is_suggested():
    nights = inline("nights", 20, 24, Effect.ALLOW)
    found = suggest(wanted(None, trigger(), nights))
    assert [one.start for one in found] == [clock(20), clock(22)]


spans = st.tuples(st.integers(0, 90), st.integers(1, 20)).map(
    lambda found: (found[0] / 2, (found[0] + found[1]) / 2)
)


@given(
    denied=st.lists(spans, max_size=5),
    opened=st.lists(spans, max_size=4),
    reserved=st.lists(st.tuples(spans, st.integers(1, 40)), max_size=3),
    load=st.lists(st.floats(0, 40), min_size=1, max_size=24),
    spread=st.floats(0, 10),
    lasts=st.sampled_from([0.5, 2, 5.25]),
    ending=st.sampled_from(Ending),
)
def test_a_suggestion_is_allowed_has_likely_room_keeps_reservations_and_ends_in_time(
    denied, opened, reserved, load, spread, lasts, ending
):
    kept = Reservations(
        tuple(
            sorted((Reservation(hours(*at), gpus) for at, gpus in reserved), key=lambda r: r.span)
        )
    )
    pool = rooms(forecast(*load, spread=spread), lasts=lasts, reservations=kept)
    one = wanted(
        pool,
        trigger(),
        deny(when_running=Ending.CANCEL),
        *(inline(f"a{n}", *at, Effect.ALLOW) for n, at in enumerate(opened)),
        events=[event(f"d{n}", *at, summary="deny") for n, at in enumerate(denied)],
        lasts=lasts,
        on_window_end=ending,
    )
    found = suggest(one)
    assert found == suggest(one)
    free = allowed(one.layout, WITHIN)
    for suggestion in found:
        start, end = suggestion.start, suggestion.start + lasts * HOUR
        assert any(start in span for span in free)
        assert suggestion.odds.chance >= LIKELY
        median = load[int((start - DAY) / HOUR) % len(load)]
        assert round(median - spread) <= PLACES - 8 - kept.highest(NS, start, end, {}).gpus
        assert not any(
            edge.span.start < end for edge in one.layout.denies if edge.span.start > start
        )
        if ending is Ending.CANCEL and one.layout.allows is not None:
            assert any(start in span and end <= span.end for span in one.layout.allows)


# --- bottlenecks


def test_a_window_wholly_denied_is_moved_to_the_nearest_good_time():
    one = wanted(
        rooms(forecast(8.0)),
        trigger(),
        deny(),
        events=[event("t", 10, 13), event("d", 9, 14, summary="deny")],
    )
    (found,) = found_bottlenecks(one)
    assert (found.hindrance, found.entries) == (Hindrance.COVERED, ("reserved",))
    assert found.move is not None
    assert found.move.entry == "train"
    assert found.move.to.start in (clock(8.5), clock(14))


def test_where_all_time_is_denied_the_deny_is_to_move():
    one = wanted(
        rooms(forecast(8.0)),
        trigger(),
        deny(),
        events=[event("t", 10, 13), event("d", -1, 90, summary="deny")],
    )
    (found,) = found_bottlenecks(one)
    assert found.move is not None
    assert found.move.entry == "reserved"
    assert found.move.to.start == clock(12.5)


def test_a_window_that_cancels_before_the_end_of_the_run_is_lengthened():
    one = wanted(
        rooms(forecast(8.0)), events=[event("t", 10, 11)], on_window_end=Ending.CANCEL, lasts=2
    )
    (found,) = found_bottlenecks(one)
    assert found.hindrance is Hindrance.TOO_SHORT
    assert found.move is not None
    assert found.move.to == hours(10, 12.5)


def test_windows_at_the_hour_of_others_are_crowded_and_alike_ones_told_once():
    others = tuple(
        Other(owner=Ref("x", f"w{n}"), count=8, start=clock(at), end=clock(at + 4))
        for n in range(4)
        for at in (10, 34)
    )
    events = [event("a", 10, 11, series="s"), event("b", 34, 35, series="s")]
    one = wanted(rooms(forecast(0.0), others=others), events=events)
    (found,) = found_bottlenecks(one)
    assert (found.hindrance, found.others, found.gpus) == (Hindrance.CROWDED, 4, 32)
    assert found.alike == 2
    assert found.move is not None
    assert found.move.odds is not None
    assert found.move.odds.chance == 1.0


def test_a_window_without_room_or_outside_allow_says_so():
    busy = wanted(rooms(forecast(30.0)), events=[event("t", 10, 12)])
    assert [one.hindrance for one in found_bottlenecks(busy)] == [Hindrance.NO_ROOM]
    assert found_bottlenecks(busy)[0].move is None
    outside = wanted(
        None, trigger(), inline("nights", 20, 24, Effect.ALLOW), events=[event("t", 10, 12)]
    )
    assert [one.hindrance for one in found_bottlenecks(outside)] == [Hindrance.OUTSIDE_ALLOW]


def test_a_window_that_is_well_has_no_bottleneck():
    assert found_bottlenecks(wanted(rooms(forecast(8.0)), events=[event("t", 10, 13)])) == ()


# --- events to import


@given(st.text(alphabet="ab?* []:", min_size=1, max_size=12), st.sampled_from(["nightly", "a b"]))
def test_a_title_fits_the_pattern_it_was_made_for(pattern, name):
    assert glob(pattern, title(pattern, name))


def test_an_import_goes_by_offsets_and_avoids_what_the_same_calendar_denies():
    late = trigger(start_offset=HOUR, end_offset=-HOUR, match=Match(busy=(Busy.TENTATIVE,)))
    found = importable(spec(late), hours(10, 12), "nightly")
    assert found is not None
    assert (found.event.span, found.event.busy) == (hours(9, 13), Busy.TENTATIVE)
    everything = deny(match=Match())
    assert importable(spec(trigger(), everything), hours(10, 12), "nightly") is None
    elsewhere = deny(match=Match(), calendar=OUTLOOK)
    assert importable(spec(trigger(), elsewhere), hours(10, 12), "nightly") is not None
    asked = trigger(match=Match(expression='event.summary == "only this"'))
    assert importable(spec(asked), hours(10, 12), "nightly") is None
