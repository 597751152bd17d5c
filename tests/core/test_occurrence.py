"""The layout: what calendars and schedules say about one TrainingWindow (R1, R2, R3, R8, R14)."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core import identity
from slackwater.core.event import Busy, Event
from slackwater.core.occurrence import NO_TIME_LEFT, Edge, Near, anchored, lay_out
from slackwater.core.span import Span, intersect, subtract, union
from slackwater.core.spec import (
    CalendarEntry,
    Dag,
    Effect,
    Ending,
    InlineEntry,
    Match,
    Ref,
    TrainingWindow,
)
from slackwater.core.window import OUTSIDE_ALLOW, Cut

TEAM, OUTLOOK = Ref("research", "team"), Ref("research", "outlook")
DAY = datetime(2026, 6, 1, tzinfo=UTC)
HORIZON = Span(DAY - timedelta(days=2), DAY + timedelta(days=35))
HOUR = timedelta(hours=1)


def hours(start: float, end: float) -> Span:
    return Span(DAY + start * HOUR, DAY + end * HOUR)


def event(key: str, span: Span, **changes) -> Event:
    fields = {
        "key": key,
        "series": f"series-{key}",
        "original_start": span.start.isoformat(),
        "span": span,
        "summary": f"train: {key}",
        "categories": (),
    }
    return Event(**{**fields, **changes})


def entry(
    effect: Effect, name: str | None = None, calendar: Ref = TEAM, **changes
) -> CalendarEntry:
    return CalendarEntry(
        name=name or effect.value.lower(), calendar=calendar, effect=effect, **changes
    )


def spec(*entries, **changes) -> TrainingWindow:
    return TrainingWindow(
        dag=Dag(airflow=Ref("research", "default"), dag_id="train"),
        calendars=tuple(e for e in entries if isinstance(e, CalendarEntry)),
        windows=tuple(e for e in entries if isinstance(e, InlineEntry)),
        **changes,
    )


TRIGGER = entry(Effect.TRIGGER, match=Match(summary="train:*"))


# --- occurrences -------------------------------------------------------------------------------


def test_each_matching_event_is_one_occurrence_with_the_offsets_of_its_entry():
    trigger = replace(TRIGGER, start_offset=HOUR, end_offset=-0.5 * HOUR)
    run, lunch = event("a", hours(0, 8)), event("b", hours(12, 13), summary="lunch")
    found = lay_out(spec(trigger), {TEAM: [lunch, run]}, HORIZON)
    (occurrence,) = found.occurrences
    assert occurrence.key == "a"
    assert occurrence.entry == "trigger"
    assert (occurrence.series, occurrence.original_start) == (run.series, run.original_start)
    assert occurrence.interval == hours(1, 7.5)
    assert occurrence.pieces == (hours(1, 7.5),)
    assert occurrence.cuts == ()
    assert occurrence.event == run
    assert occurrence.end == hours(0, 7.5).end
    assert found.allows is None


def test_an_event_that_several_entries_mean_is_one_occurrence_with_the_first_ones_offsets():
    first = replace(TRIGGER, name="second-by-name", start_offset=HOUR)
    second = replace(TRIGGER, name="first-by-name", start_offset=2 * HOUR)
    (occurrence,) = lay_out(
        spec(first, second), {TEAM: [event("a", hours(0, 8))]}, HORIZON
    ).occurrences
    assert occurrence.entry == "second-by-name"
    assert occurrence.interval == hours(1, 8)


def test_an_event_read_through_two_calendar_objects_is_one_occurrence():
    other = replace(TRIGGER, name="again", calendar=OUTLOOK)
    same = event("a", hours(0, 8))
    assert (
        len(lay_out(spec(TRIGGER, other), {TEAM: [same], OUTLOOK: [same]}, HORIZON).occurrences)
        == 1
    )


def test_occurrences_are_sorted_by_start_then_key():
    given_ = [event("b", hours(1, 2)), event("a", hours(1, 2)), event("z", hours(0, 9))]
    found = lay_out(spec(TRIGGER), {TEAM: given_}, HORIZON)
    assert [o.key for o in found.occurrences] == ["z", "a", "b"]


def test_free_busy_times_have_no_identity_and_never_trigger_but_deny_and_allow():
    anonymous = [
        event("", hours(0, 1), summary=None, categories=None),
        event("", hours(2, 3), summary=None, categories=None),
    ]
    free_busy = spec(
        entry(Effect.TRIGGER, "wrong", OUTLOOK),
        TRIGGER,
        entry(Effect.DENY, calendar=OUTLOOK),
    )
    found = lay_out(free_busy, {TEAM: [event("a", hours(0, 4))], OUTLOOK: anonymous}, HORIZON)
    (occurrence,) = found.occurrences
    assert occurrence.key == "a"
    assert occurrence.pieces == (hours(1, 2), hours(3, 4))
    assert found.unreadable == 0


def test_what_does_not_touch_the_horizon_is_left_out():
    old = event("old", Span(HORIZON.start - 3 * HOUR, HORIZON.start))
    moved_in = replace(TRIGGER, end_offset=HOUR)
    assert lay_out(spec(TRIGGER), {TEAM: [old]}, HORIZON).occurrences == ()
    assert len(lay_out(spec(moved_in), {TEAM: [old]}, HORIZON).occurrences) == 1
    far = event("far", Span(HORIZON.end, HORIZON.end + HOUR))
    everything = spec(TRIGGER, entry(Effect.DENY), entry(Effect.DEADLINE), entry(Effect.ALLOW))
    found = lay_out(everything, {TEAM: [old, far]}, HORIZON)
    assert (found.occurrences, found.allows, found.denies, found.deadlines) == ((), (), (), ())


def test_a_calendar_that_was_not_read_counts_as_empty():
    assert lay_out(spec(TRIGGER), {}, HORIZON).occurrences == ()


def test_offsets_that_leave_nothing_leave_an_occurrence_without_pieces():
    trigger = replace(TRIGGER, start_offset=2 * HOUR, end_offset=-2 * HOUR)
    (occurrence,) = lay_out(spec(trigger), {TEAM: [event("a", hours(0, 3))]}, HORIZON).occurrences
    assert occurrence.pieces == ()
    assert occurrence.cuts == (Cut(hours(0, 3), NO_TIME_LEFT),)
    assert occurrence.end == hours(0, 3).end


# --- allow, deny, deadline ---------------------------------------------------------------------


def test_allow_entries_join_and_deny_wins():
    busy = event("meeting", hours(3, 4), summary="GPU reserved")
    everything = spec(
        TRIGGER,
        InlineEntry(name="early", effect=Effect.ALLOW, fixed=hours(1, 3.5)),
        InlineEntry(name="late", effect=Effect.ALLOW, fixed=hours(3.5, 6)),
        entry(
            Effect.DENY,
            "reserved",
            match=Match(summary="GPU reserved*"),
            when_running=Ending.CANCEL,
        ),
    )
    found = lay_out(everything, {TEAM: [event("a", hours(0, 8)), busy]}, HORIZON)
    (occurrence,) = found.occurrences
    assert found.allows == (hours(1, 6),)
    assert occurrence.pieces == (hours(1, 3), hours(4, 6))
    assert occurrence.cuts == (
        Cut(hours(0, 1), OUTSIDE_ALLOW),
        Cut(hours(3, 4), "reserved"),
        Cut(hours(6, 8), OUTSIDE_ALLOW),
    )
    assert found.denies == (Edge(span=hours(3, 4), entry="reserved", when_running=Ending.CANCEL),)


def test_the_window_end_is_the_triggers_or_the_allows_and_never_a_denys():
    everything = spec(
        TRIGGER,
        InlineEntry(name="one", effect=Effect.ALLOW, fixed=hours(-3, 4)),
        InlineEntry(name="two", effect=Effect.ALLOW, fixed=hours(6, 20)),
        InlineEntry(name="freeze", effect=Effect.DENY, fixed=hours(1, 2)),
    )
    (occurrence,) = lay_out(everything, {TEAM: [event("a", hours(0, 8))]}, HORIZON).occurrences
    assert occurrence.pieces == (hours(0, 1), hours(2, 4), hours(6, 8))
    assert [occurrence.window_end(piece) for piece in occurrence.pieces] == [
        hours(0, 4).end,
        hours(0, 4).end,
        hours(0, 8).end,
    ]
    assert occurrence.end == hours(0, 4).end


def test_a_deny_means_busy_events_by_default():
    given_ = [
        event("a", hours(0, 4)),
        event("free", hours(1, 2), summary="x", busy=Busy.FREE),
        event("away", hours(3, 4), summary="x", busy=Busy.OUT_OF_OFFICE),
    ]
    deny = entry(Effect.DENY, match=Match(summary="x"))
    (occurrence,) = lay_out(spec(TRIGGER, deny), {TEAM: given_}, HORIZON).occurrences
    assert occurrence.pieces == (hours(0, 3),)


def test_one_event_may_trigger_by_one_entry_and_deny_by_another():
    deny = entry(Effect.DENY, match=Match(summary="*a"))
    found = lay_out(
        spec(TRIGGER, deny), {TEAM: [event("a", hours(0, 4)), event("b", hours(0, 8))]}, HORIZON
    )
    assert [(o.key, o.pieces) for o in found.occurrences] == [("a", ()), ("b", (hours(4, 8),))]


def test_offsets_move_what_denies_and_allows_too():
    deny = entry(Effect.DENY, match=Match(summary="x"), start_offset=-HOUR, end_offset=HOUR)
    none = entry(Effect.DENY, "none", match=Match(summary="x"), start_offset=5 * HOUR)
    given_ = [event("a", hours(0, 8)), event("b", hours(3, 4), summary="x")]
    found = lay_out(spec(TRIGGER, deny, none), {TEAM: given_}, HORIZON)
    assert found.occurrences[0].pieces == (hours(0, 2), hours(5, 8))
    assert [edge.entry for edge in found.denies] == ["deny"]


def test_a_deadline_is_the_start_of_its_event_and_the_end_of_a_day():
    given_ = [
        event("paper", hours(5, 6), summary="deadline: paper"),
        event("grant", hours(24, 48), summary="deadline: grant", all_day=True),
    ]
    deadline = entry(Effect.DEADLINE, "papers", match=Match(summary="deadline:*"))
    inline = InlineEntry(name="fixed", effect=Effect.DEADLINE, fixed=hours(7, 8))
    found = lay_out(spec(deadline, inline), {TEAM: given_}, HORIZON)
    assert [(edge.entry, edge.span.start) for edge in found.deadlines] == [
        ("papers", hours(5, 6).start),
        ("fixed", hours(7, 8).start),
        ("papers", hours(48, 49).start),
    ]


def test_the_offset_of_a_deadline_moves_it():
    deadline = entry(
        Effect.DEADLINE, match=Match(summary="d"), start_offset=-2 * HOUR, end_offset=-5 * HOUR
    )
    given_ = [
        event("a", hours(5, 6), summary="d"),
        event("b", hours(24, 48), summary="d", all_day=True),
    ]
    found = lay_out(spec(deadline), {TEAM: given_}, HORIZON)
    assert [edge.span.start for edge in found.deadlines] == [hours(3, 4).start, hours(43, 44).start]


# --- inline entries ----------------------------------------------------------------------------


def test_an_inline_trigger_has_a_key_of_its_entry_and_nominal_start():
    nights = InlineEntry(
        name="nights", effect=Effect.TRIGGER, schedule="30 2 * * *", duration=2 * HOUR
    )
    spring = Span(datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC))
    found = lay_out(spec(nights, time_zone="Europe/Berlin"), {}, spring)
    assert [(o.original_start, o.interval.start.hour) for o in found.occurrences] == [
        ("2026-03-29T02:30", 1),
        ("2026-03-30T02:30", 0),
    ]
    first, second = found.occurrences
    assert first.key == identity.inline_key("nights", "2026-03-29T02:30")
    assert first.series == second.series != ""
    assert first.event is None
    assert first.interval.length == 2 * HOUR


def test_a_fixed_inline_trigger_happens_once_and_keeps_its_key():
    once = InlineEntry(name="once", effect=Effect.TRIGGER, fixed=hours(0, 5))
    (occurrence,) = lay_out(spec(once), {}, HORIZON).occurrences
    assert occurrence.original_start == "2026-06-01T00:00:00Z"
    assert occurrence.pieces == (hours(0, 5),)
    later = lay_out(spec(once, time_zone="Asia/Tokyo"), {}, Span(DAY, DAY + HOUR))
    assert later.occurrences[0].key == occurrence.key
    assert lay_out(spec(once), {}, hours(5, 9)).occurrences == ()


def test_an_allow_schedule_without_an_instance_in_sight_allows_nothing():
    yearly = InlineEntry(
        name="xmas", effect=Effect.ALLOW, schedule="0 0 25 12 *", duration=24 * HOUR
    )
    found = lay_out(spec(TRIGGER, yearly), {TEAM: [event("a", hours(0, 8))]}, HORIZON)
    assert found.allows == ()
    assert found.occurrences[0].pieces == ()


# --- floating events ---------------------------------------------------------------------------


def floating(first: str, last: str, **changes) -> Event:
    wall = (datetime.fromisoformat(first), datetime.fromisoformat(last))
    span = Span(wall[0].replace(tzinfo=UTC), wall[1].replace(tzinfo=UTC))
    return event("f", span, wall=wall, **changes)


def test_a_floating_event_happens_in_the_training_windows_zone():
    given_ = {TEAM: [floating("2026-06-02T22:00", "2026-06-03T06:00")]}
    (berlin,) = lay_out(spec(TRIGGER, time_zone="Europe/Berlin"), given_, HORIZON).occurrences
    (tokyo,) = lay_out(spec(TRIGGER, time_zone="Asia/Tokyo"), given_, HORIZON).occurrences
    assert berlin.interval.start == datetime(2026, 6, 2, 20, tzinfo=UTC)
    assert tokyo.interval.start == datetime(2026, 6, 2, 13, tzinfo=UTC)
    assert berlin.key == tokyo.key
    assert berlin.event is not None
    assert berlin.event.span == berlin.interval


def test_an_expression_sees_a_floating_event_at_its_real_time():
    trigger = entry(
        Effect.TRIGGER, match=Match(expression='event.hour == 22 && event.date == "2026-06-02"')
    )
    given_ = {TEAM: [floating("2026-06-02T22:00", "2026-06-03T06:00")]}
    assert len(lay_out(spec(trigger, time_zone="Asia/Tokyo"), given_, HORIZON).occurrences) == 1


@pytest.mark.parametrize(
    ("zone", "first", "last", "start", "length"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-30", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-26", "2026-10-24T22:00", 25),
        ("Europe/Berlin", "2026-06-01", "2026-06-03", "2026-05-31T22:00", 48),
        ("Africa/Cairo", "2026-04-24", "2026-04-25", "2026-04-23T22:00", 23),  # no midnight
        ("America/Havana", "2026-11-01", "2026-11-02", "2026-11-01T04:00", 25),  # two midnights
    ],
)
def test_a_floating_day_is_the_whole_local_day(zone, first, last, start, length):
    found = anchored(floating(first, last, all_day=True), zone)
    assert found.span.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert found.span.length == length * HOUR
    assert found.wall is None


def test_a_floating_event_inside_a_gap_keeps_its_length():
    found = anchored(floating("2026-03-29T02:10", "2026-03-29T02:40"), "Europe/Berlin")
    assert found.span.start == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert found.span.length == 0.5 * HOUR


def test_a_floating_event_keeps_its_wall_clock_end_over_a_change():
    found = anchored(floating("2026-03-28T22:00", "2026-03-29T06:00"), "Europe/Berlin")
    assert found.span.length == 7 * HOUR


def test_an_event_with_a_zone_of_its_own_stays_where_it_is():
    fixed = event("a", hours(0, 1), all_day=True)
    assert anchored(fixed, "Asia/Tokyo") is fixed


# --- what is not read, not trusted, nearly meant -----------------------------------------------


def test_a_private_event_denies_and_does_not_trigger_and_is_counted_once():
    private = event("p", hours(2, 3), summary=None, categories=None)
    everything = spec(
        TRIGGER,
        replace(TRIGGER, name="again"),
        entry(Effect.DENY, match=Match(summary="GPU reserved*")),
        entry(Effect.ALLOW, match=Match(summary="night*")),
    )
    found = lay_out(everything, {TEAM: [private, event("a", hours(0, 8))]}, HORIZON)
    assert [o.key for o in found.occurrences] == ["a"]
    assert [edge.span for edge in found.denies] == [hours(2, 3)]
    assert found.allows == ()
    assert found.unreadable == 1


def test_a_strangers_event_does_not_trigger_unless_listed_and_is_counted():
    stranger = event("s", hours(0, 1), own=False, organizer="eve@example.org")
    found = lay_out(spec(TRIGGER, replace(TRIGGER, name="again")), {TEAM: [stranger]}, HORIZON)
    assert found.occurrences == ()
    assert found.untrusted == 1
    listed = replace(
        TRIGGER, name="listed", match=Match(summary="train:*", organizers=("*@example.org",))
    )
    found = lay_out(spec(TRIGGER, listed), {TEAM: [stranger]}, HORIZON)
    assert [(o.key, o.entry) for o in found.occurrences] == [("s", "listed")]
    assert found.untrusted == 0


def test_a_strangers_event_may_deny():
    stranger = event("s", hours(0, 1), own=False, organizer="eve@example.org", summary="x")
    deny = entry(Effect.DENY, match=Match(summary="x"))
    found = lay_out(spec(TRIGGER, deny), {TEAM: [stranger, event("a", hours(0, 2))]}, HORIZON)
    assert found.occurrences[0].pieces == (hours(1, 2),)


def test_a_near_miss_is_told_unless_another_entry_means_the_event():
    slip = event("s", hours(0, 1), summary="Trian: llama")
    found = lay_out(
        spec(TRIGGER), {TEAM: [slip, event("l", hours(0, 1), summary="lunch")]}, HORIZON
    )
    assert found.near == (Near("trigger", slip),)
    assert "Trian" not in repr(found)
    second = entry(Effect.TRIGGER, "typo", match=Match(summary="trian*"))
    assert lay_out(spec(TRIGGER, second), {TEAM: [slip]}, HORIZON).near == ()


# --- properties --------------------------------------------------------------------------------

TITLES = ["train: x", "trian: x", "GPU reserved", "night", "deadline: y", None]
some_events = st.lists(
    st.builds(
        lambda key, start, length, title, busy, own, wall, day: event(
            key,
            hours(start, start + length),
            summary=title,
            busy=busy,
            own=own,
            all_day=day,
            wall=tuple(
                at.replace(tzinfo=None)
                for at in (DAY + start * HOUR, DAY + (start + length) * HOUR)
            )
            if wall
            else None,
        ),
        st.sampled_from(["", *"abcdefgh"]),
        st.integers(-40, 80),
        st.integers(1, 40),
        st.sampled_from(TITLES),
        st.sampled_from(list(Busy)),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)
EVERYTHING = spec(
    TRIGGER,
    entry(
        Effect.TRIGGER, "second", match=Match(summary="t*"), start_offset=HOUR, end_offset=-3 * HOUR
    ),
    entry(Effect.ALLOW, "calm", match=Match(summary="night"), start_offset=-HOUR),
    entry(Effect.DENY, "reserved", match=Match(summary="GPU*"), when_running=Ending.CANCEL),
    entry(Effect.DEADLINE, "papers", match=Match(summary="deadline:*")),
    InlineEntry(name="nights", effect=Effect.ALLOW, schedule="0 20 * * *", duration=9 * HOUR),
    InlineEntry(name="backup", effect=Effect.DENY, schedule="0 3 * * 1-5", duration=HOUR),
    InlineEntry(name="weekly", effect=Effect.TRIGGER, schedule="0 21 * * 3", duration=8 * HOUR),
    time_zone="Europe/Berlin",
)


@given(some_events, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_events_means_nothing(given_, random):
    before = lay_out(EVERYTHING, {TEAM: given_}, HORIZON)
    shuffled = list(given_)
    random.shuffle(shuffled)
    assert lay_out(EVERYTHING, {TEAM: shuffled}, HORIZON) == before


@given(some_events)
@settings(max_examples=40)
def test_a_repeated_event_is_one(given_):
    keyed = [e for e in given_ if e.key]
    assert lay_out(EVERYTHING, {TEAM: keyed * 2}, HORIZON) == lay_out(
        EVERYTHING, {TEAM: keyed}, HORIZON
    )


@given(some_events)
@settings(max_examples=40)
def test_pieces_are_the_interval_inside_allow_and_outside_deny(given_):
    found = lay_out(EVERYTHING, {TEAM: given_}, HORIZON)
    denied = [edge.span for edge in found.denies]
    assert found.allows is not None
    keys = [o.key for o in found.occurrences]
    assert len(keys) == len(set(keys))
    assert "" not in keys
    for o in found.occurrences:
        if o.cuts and o.cuts[0].entry == NO_TIME_LEFT:
            assert o.pieces == ()
            continue
        assert o.pieces == subtract(intersect([o.interval], found.allows), denied)
        assert union([*o.pieces, *(c.span for c in o.cuts)]) == (o.interval,)
        for piece in o.pieces:
            (allow,) = [span for span in found.allows if piece.start in span]
            assert o.window_end(piece) == min(allow.end, o.interval.end) >= piece.end
        assert o.end == (o.window_end(o.pieces[0]) if o.pieces else o.interval.end)
        assert o.event is None or (o.event.own and o.event.wall is None)


@given(some_events, st.integers(-30, 60), st.integers(1, 30))
@settings(max_examples=40)
def test_one_more_deny_only_ever_takes_time_away(given_, start, length):
    deny = InlineEntry(name="more", effect=Effect.DENY, fixed=hours(start, start + length))
    more = replace(EVERYTHING, windows=(*EVERYTHING.windows, deny))
    before = {o.key: o.pieces for o in lay_out(EVERYTHING, {TEAM: given_}, HORIZON).occurrences}
    after = {o.key: o.pieces for o in lay_out(more, {TEAM: given_}, HORIZON).occurrences}
    assert after.keys() == before.keys()
    for key, pieces in after.items():
        assert pieces == subtract(before[key], [hours(start, start + length)])


def test_a_layout_takes_well_under_a_millisecond_for_ten_events():
    busy = [
        event(
            f"k{n}", hours(n * 4, n * 4 + 3), summary=("train: x", "lunch", "GPU reserved")[n % 3]
        )
        for n in range(200)
    ]
    one = spec(TRIGGER)
    two = spec(TRIGGER, entry(Effect.DENY, match=Match(summary="GPU*")))
    for wanted, limit in ((one, 20), (two, 40)):
        lay_out(wanted, {TEAM: busy}, HORIZON)
        best = min(
            _milliseconds(lambda w=wanted: lay_out(w, {TEAM: busy}, HORIZON)) for _ in range(5)
        )
        assert best < limit


def _milliseconds(work) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000


@pytest.mark.parametrize("summary", ["GPU reserved: maintenance", None])
def test_an_event_whose_times_cannot_be_read_denies_all_that_it_may_take_and_nothing_else(summary):
    dark = event("", hours(-48, 72), summary=summary, unread=True)
    everything = spec(
        entry(Effect.TRIGGER, match=Match()),
        entry(Effect.DENY, match=Match(summary="GPU reserved*")),
        entry(Effect.ALLOW, match=Match()),
        entry(Effect.DEADLINE, match=Match()),
    )
    found = lay_out(everything, {TEAM: [dark, event("a", hours(0, 8), summary="train")]}, HORIZON)
    assert [o.key for o in found.occurrences] == ["a"]
    assert found.occurrences[0].pieces == ()
    assert [edge.span for edge in found.denies] == [hours(-48, 72)]
    assert found.allows == (hours(0, 8),)
    assert [edge.span for edge in found.deadlines] == [hours(0, 8)]
    assert found.unreadable == 1


def test_an_event_whose_times_cannot_be_read_denies_nothing_that_its_entry_does_not_mean():
    dark = [
        event("", hours(-48, 72), summary="lunch", unread=True),
        event("", hours(-48, 72), summary="GPU reserved", busy=Busy.FREE, unread=True),
    ]
    wanted = spec(TRIGGER, entry(Effect.DENY, match=Match(summary="GPU reserved*")))
    found = lay_out(wanted, {TEAM: dark}, HORIZON)
    assert (found.denies, found.unreadable) == ((), 0)


def test_an_expression_says_nothing_of_an_event_whose_times_cannot_be_read():
    dark = event("", hours(-48, 72), unread=True)
    wanted = spec(TRIGGER, entry(Effect.DENY, match=Match(expression="event.durationMinutes < 60")))
    assert len(lay_out(wanted, {TEAM: [dark]}, HORIZON).denies) == 1
