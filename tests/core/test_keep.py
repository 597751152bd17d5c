"""Keeping the ledger: lines come, move, vanish, are missed and forgotten (R2, R10, R11, R12)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.api.observed import OCCURRENCES_LIMIT
from slackwater.core.action import Lookup, Post
from slackwater.core.identity import inline_key, run_id
from slackwater.core.keep import BEHIND, added, forget, noted
from slackwater.core.ledger import State, Waited
from slackwater.core.run import Absent, RunState
from slackwater.core.run import Seen as SeenRun
from slackwater.core.seen import Override
from slackwater.core.spec import Effect, Ending, InlineEntry
from slackwater.core.words import Reason
from tests.core.builders import (
    DAY,
    HOUR,
    IDENTITY,
    MINUTE,
    SECOND,
    Scene,
    actions_of,
    clock,
    deny,
    event,
    gpu,
    hours,
    inline,
    keys,
    line,
    manual,
    run_of,
    spec,
    started,
    trigger,
    waited,
)

ID = run_id(IDENTITY, "e1")


def scene(*events, **changes) -> Scene:
    fields = {"spec": spec(trigger(), deny()), "events": list(events) or [event("e1", 10, 14)]}
    return Scene(**fields | changes)


# --- lines come


def test_an_occurrence_has_a_line_from_12_hours_before_its_window():
    found = scene(event("e1", 10, 14), event("e2", 34, 36))
    found.look(-2.1)
    assert found.lines == {}
    assert found.decision.wake_at == clock(-2)
    found.look(-2)
    assert set(found.lines) == {"e1"}
    assert (found.line().state, found.line().reason) == (State.PLANNED, Reason.AHEAD)
    assert found.line().window == hours(10, 14)


def test_a_line_names_its_entry_series_and_original_start():
    found = scene(event("e1", 10, 14, original_start="2026-06-01T10:00"))
    found.look(0)
    assert found.line().entry == "train"
    assert found.line().series == "series of e1"
    assert found.line().original_start == "2026-06-01T10:00"


def test_a_line_follows_its_event_before_the_start():
    found = scene()
    found.look(0)
    found.events = [event("e1", 11, 13)]
    found.look(1)
    assert found.line().window == hours(11, 13)


def test_an_event_moved_far_ahead_keeps_its_line():
    found = scene()
    found.look(0)
    found.events = [event("e1", 24 * 20, 24 * 20 + 4)]
    found.look(1)
    assert found.line().state is State.PLANNED
    assert found.line().window == hours(24 * 20, 24 * 20 + 4)


# --- lines vanish (R10)


def test_one_absence_forbids_a_start_and_two_end_the_line():
    found = scene()
    found.look(0)
    found.events, found.recent = [], frozenset({"e1"})
    found.look(9)
    assert (found.line().reason, found.line().absent) == (Reason.EVENT_VANISHED, 1)
    assert "missing from the calendar" in found.status.message
    assert not actions_of(found.look(10.5), Post)
    assert found.line().state is State.WAITING
    found.recent = None
    found.look(10.6)
    assert (found.line().state, found.line().reason) == (State.CANCELLED, Reason.EVENT_CANCELLED)
    assert found.line().end_time == clock(10.6)


def test_an_event_that_comes_back_after_one_absence_is_as_if_never_gone():
    found = scene()
    found.look(0)
    events, found.events, found.recent = found.events, [], frozenset({"e1"})
    found.look(5)
    assert found.line().state is State.PLANNED
    found.events, found.recent = events, None
    found.look(6)
    assert (found.line().state, found.line().reason) == (State.PLANNED, Reason.AHEAD)
    assert found.line().absent == 0
    assert "missing" not in found.status.message


def test_a_cancelled_event_that_is_restored_starts_after_all():
    found = scene()
    found.look(0)
    events, found.events = found.events, []
    found.look(1)
    assert found.line().state is State.CANCELLED
    found.events = events
    found.look(2)
    assert (found.line().state, found.line().end_time) == (State.PLANNED, None)
    found.start(10)


def test_a_queued_run_of_a_cancelled_event_may_start_again_once_the_event_is_back():
    found = scene()
    found.start(10)
    events, found.events = found.events, []
    found.look(10.5)
    found.runs[ID] = Absent(clock(10.6))
    found.look(10.6)
    assert found.line().state is State.CANCELLED
    found.events = events
    found.start(11)
    assert found.posts == [ID, ID]


def test_until_a_calendar_was_read_twice_nothing_counts_as_gone_for_good():
    found = scene()
    found.look(0)
    found.events = []
    found.recent = keys([event("e1", 10, 14)])
    for hour in (1, 2, 3):
        found.look(hour)
        assert found.line().absent == 1


def test_an_event_that_no_longer_matches_is_gone_at_once():
    found = scene()
    found.look(0)
    found.events = [event("e1", 10, 14, summary="lunch")]
    found.look(1)
    assert found.line().reason is Reason.EVENT_CANCELLED


def test_an_inline_window_that_was_taken_out_is_gone_at_once():
    found = Scene(spec=spec(inline("nights", 10, 14)))
    found.look(0)
    (key,) = found.lines
    found.spec = spec(inline("others", 20, 21))
    found.look(1)
    assert found.line(key).reason is Reason.EVENT_CANCELLED


def test_an_unreadable_calendar_ends_nothing():
    found = scene()
    found.look(0)
    found.unread = True
    found.look(1)
    assert (found.line().state, found.line().absent) == (State.PLANNED, 0)


def test_an_event_that_vanished_for_long_ends_missed_for_that_reason():
    found = scene()
    found.look(0)
    found.events, found.recent = [], frozenset({"e1"})
    found.look(9)
    found.look(14)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.EVENT_VANISHED)


def test_while_an_event_is_missing_somebody_looks_again_at_the_end_of_its_window():
    found = scene()
    found.look(0)
    found.events, found.recent = [], frozenset({"e1"})
    found.look(9)
    assert found.decision.wake_at is not None
    assert found.decision.wake_at <= clock(14)


# --- missed (R11)


def test_a_window_that_passed_while_nobody_looked_is_missed_and_never_run_late():
    found = scene(up_since=clock(20))
    assert found.look(20).actions == (Lookup(ID),)
    assert found.lines == {}
    found.runs[ID] = Absent(clock(20))
    found.look(20)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.CONTROLLER_DOWN)
    assert found.line().end_time == clock(14)
    assert found.posts == []


def test_a_recorded_window_that_passed_while_the_controller_was_down_is_missed():
    found = scene()
    found.look(0)
    found.up_since = clock(20)
    found.look(20)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.CONTROLLER_DOWN)


def test_so_it_is_after_days_when_its_event_has_left_the_horizon():
    found = scene()
    found.look(0)
    found.up_since = clock(24 * 5)
    found.look(24 * 5)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.CONTROLLER_DOWN)


def test_an_open_window_starts_after_downtime():
    found = scene(up_since=clock(13))
    found.start(13)


def test_a_past_occurrence_whose_run_airflow_knows_is_adopted():
    found = scene(up_since=clock(20))
    found.runs[ID] = SeenRun(
        run_of("e1", RunState.SUCCESS, start_date=clock(10), end_date=clock(12)), clock(20)
    )
    assert found.look(20).actions == ()
    assert (found.line().state, found.line().end_time) == (State.SUCCEEDED, clock(12))


@pytest.mark.parametrize("created", [14, 15])
def test_windows_from_before_the_object_existed_are_left_out_unless_airflow_knows_them(created):
    found = scene(identity=replace(IDENTITY, created=clock(created)), up_since=clock(0))
    assert found.look(20).actions == (Lookup(ID),)
    found.runs[ID] = Absent(clock(20))
    assert found.look(20).actions == ()
    assert found.lines == {}


def test_an_object_made_in_the_middle_of_its_window_starts_at_once():
    found = scene(identity=replace(IDENTITY, created=clock(12)))
    found.start(12)


def test_an_event_put_into_the_past_is_no_miss():
    found = scene(up_since=clock(0))
    found.runs[ID] = Absent(clock(20))
    found.look(20)
    assert found.lines == {}


def test_a_window_that_passed_while_its_calendar_could_not_be_read_is_missed_as_stale():
    found = scene(up_since=clock(0), blind=(hours(9, 16),))
    found.runs[ID] = Absent(clock(20))
    found.look(20)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.STALE)


def test_the_start_deadline_counts_from_the_first_piece():
    found = scene(spec=spec(trigger(), deny(), starting_deadline=2 * HOUR))
    found.events.append(event("d", 9, 11, summary="deny"))
    found.airflow_stop = found.airflow_stop.HOLD
    found.look(11)
    assert found.decision.wake_at is not None
    found.look(12.9)
    assert found.line().state is State.WAITING
    found.look(13)
    assert found.line().state is State.MISSED


def test_a_deadline_that_passes_between_two_pieces_is_missed_as_such():
    found = scene(spec=spec(trigger(), deny(), starting_deadline=2 * HOUR))
    found.events.append(event("d", 11, 13, summary="deny"))
    found.airflow_stop = found.airflow_stop.HOLD
    for hour in (10, 11, 12):
        found.look(hour)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.DEADLINE_EXCEEDED)


def test_a_missed_event_that_is_moved_ahead_gets_another_chance():
    found = scene()
    found.look(0)
    found.airflow_stop = found.airflow_stop.HOLD
    found.look(10)
    found.look(14)
    assert found.line().state is State.MISSED
    found.airflow_stop = found.airflow_stop.NONE
    found.events = [event("e1", 20, 22)]
    found.look(15)
    assert (found.line().state, found.line().end_time) == (State.PLANNED, None)
    found.start(20)


def test_an_event_moved_after_its_run_does_not_run_again():
    found = scene()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.hear(12, state=RunState.SUCCESS)
    found.events = [event("e1", 20, 22)]
    found.settle(20)
    assert found.line().state is State.SUCCEEDED
    assert found.line().window == hours(20, 22)
    assert found.posts == [ID]


def test_skipped_is_final():
    found = scene(override=Override(skip=frozenset({"e1"})))
    found.look(0)
    assert (found.line().state, found.line().reason) == (State.SKIPPED, Reason.SKIPPED_BY_USER)
    found.override = Override()
    found.look(10)
    assert found.line().state is State.SKIPPED


# --- an empty window (R1)


def test_an_occurrence_with_no_piece_left_is_missed_as_empty():
    found = scene()
    found.events.append(event("d", 9, 15, summary="deny"))
    found.look(0)
    assert (found.line().state, found.line().reason) == (State.PLANNED, Reason.EMPTY_WINDOW)
    found.look(14)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.EMPTY_WINDOW)


def test_a_window_that_is_no_longer_empty_is_planned_again():
    found = scene()
    found.events.append(event("d", 9, 15, summary="deny"))
    found.look(0)
    found.events.pop()
    found.look(1)
    assert (found.line().state, found.line().reason) == (State.PLANNED, Reason.AHEAD)


# --- an edited series (R2)


def test_an_edited_event_does_not_run_again_under_its_new_identity():
    found = scene()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.events = [event("new", 10, 15)]
    found.look(11)
    assert (found.line("new").state, found.line("new").reason) == (
        State.SUPERSEDED,
        Reason.REPLACED,
    )
    assert found.line().state is State.RUNNING


def test_a_split_series_does_not_run_twice_on_one_local_day():
    found = scene(event("e1", 10, 11, series="s"), spec=spec(time_zone="Asia/Tokyo"))
    found.start(10)
    found.hear(10.1, state=RunState.SUCCESS)
    found.events = [
        event("same-day", 12, 13, series="s"),
        event("next-day", 15.5, 16, series="s"),
        event("other-series", 12, 13),
    ]
    found.look(11.5)
    assert {k: v.state for k, v in found.lines.items() if k != "e1"} == {
        "same-day": State.SUPERSEDED,
        "next-day": State.PLANNED,
        "other-series": State.PLANNED,
    }


def test_a_new_event_beside_one_that_is_still_there_is_its_own():
    found = scene()
    found.start(10)
    found.events.append(event("new", 10, 15))
    found.look(11)
    assert found.line("new").state is State.WAITING


def test_an_edited_inline_schedule_does_not_start_the_same_night_twice():
    night = InlineEntry(
        name="nights", effect=Effect.TRIGGER, schedule="0 22 * * *", duration=8 * HOUR
    )
    found = Scene(spec=spec(night))
    key = inline_key("nights", "2026-06-01T22:00")
    found.start(22, key)
    found.hear(22.1, key, state=RunState.RUNNING)
    found.spec = spec(replace(night, schedule="30 22 * * *"))
    found.look(23)
    edited = inline_key("nights", "2026-06-01T22:30")
    assert found.line(edited).state is State.SUPERSEDED


# --- requests (R15)


def requested(at=10.0, **changes) -> Scene:
    fields = {"spec": spec(inline("nights", 40, 41)), "override": Override(trigger=clock(at))}
    return Scene(**fields | changes)


def test_a_request_past_the_calendar_starts_a_run_of_its_own_within_ten_minutes():
    requested(allow_override=True).start(clock(10) + 9 * MINUTE, manual(clock(10)))


def test_a_request_older_than_ten_minutes_starts_nothing():
    found = requested(allow_override=True)
    found.settle(clock(10) + 10 * MINUTE)
    assert not any(x.state.is_active for x in found.lines.values())


def test_without_that_right_a_request_starts_only_inside_an_open_window():
    outside = requested()
    outside.settle(10)
    assert not any(x.state.is_active for x in outside.lines.values())
    inside = requested(spec=spec(inline("nights", 8, 12)))
    (night,) = (o.key for o in inside.layout(clock(10)).occurrences)
    inside.override = Override()
    inside.start(9, night)
    inside.hear(9.1, night, state=RunState.SUCCESS)
    inside.override = Override(trigger=clock(10))
    inside.start(10, manual(clock(10)))


@pytest.mark.parametrize("past", [True, False])
def test_a_request_goes_past_deny_and_allow_only_where_the_grant_allows(past):
    allow = InlineEntry(name="ok", effect=Effect.ALLOW, fixed=hours(20, 21))
    found = Scene(
        spec=spec(trigger(), deny(), allow),
        events=[event("e1", 9, 12), event("d", 9, 12, summary="deny")],
        override=Override(trigger=clock(10)),
        allow_override=past,
    )
    found.settle(10)
    assert (found.line(manual(clock(10))).state is State.INTENDED) is past


def test_a_request_goes_past_an_unread_calendar_only_where_the_grant_allows():
    found = Scene(override=Override(trigger=clock(10)), blocks_after=timedelta(0))
    found.settle(10)
    assert found.line(manual(clock(10))).reason is Reason.EMPTY_WINDOW
    found.allow_override = True
    found.settle(10)
    assert found.line(manual(clock(10))).state is State.INTENDED


# --- accounts


def test_what_held_a_line_back_is_added_up():
    found = scene(spec=spec(trigger(), gpu=gpu(8)))
    found.free = (0, 0)
    found.look(0)
    found.settle(10)
    found.pool_fault = Reason.NO_DATA
    found.settle(11)
    found.pool_fault = None
    found.settle(11.5)
    found.settle(14)
    assert found.line().state is State.MISSED
    assert waited(found.line()) == {
        Reason.WAITING_FOR_GPUS: 3600 + 9000,
        Reason.NO_DATA: 1800,
    }
    assert {w.condition for w in found.line().waited} == {"CapacityAvailable"}


def test_the_time_between_two_pieces_is_no_waiting():
    found = scene()
    found.events.append(event("d", 11, 12, summary="deny"))
    found.airflow_stop = found.airflow_stop.HOLD
    for hour in (0, 10, 10.5, 11, 11.5, 12, 13, 14):
        found.look(hour)
    assert waited(found.line()) == {Reason.HELD: 3600 + 7200}


def test_waiting_for_an_event_to_come_back_counts_until_it_is_given_up():
    found = scene()
    found.airflow_stop = found.airflow_stop.HOLD
    found.look(10)
    found.events, found.recent = [], frozenset({"e1"})
    found.look(11)
    found.recent = None
    found.look(12)
    assert waited(found.line()) == {Reason.HELD: 3600, Reason.EVENT_VANISHED: 3600}


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=12), st.data())
def test_the_account_of_waiting_is_the_time_that_the_line_was_open(steps, data):
    reasons = st.sampled_from([Reason.HELD, Reason.STALE, Reason.NO_DATA, Reason.DAG_PAUSED])
    kept, at = line(since=clock(0)), clock(10)
    for step in steps:
        kept = noted(kept, State.WAITING, data.draw(reasons), "DagReady", at)
        at += step * SECOND
    ended = noted(kept, State.MISSED, kept.reason, "WindowOpen", at)
    assert sum(w.seconds for w in ended.waited) == sum(steps)
    assert len({(w.condition, w.reason) for w in ended.waited}) == len(ended.waited)


def test_no_time_is_no_entry_of_the_account():
    assert added((), "DagReady", Reason.HELD, timedelta()) == ()
    assert added((Waited("DagReady", Reason.HELD, 5),), "DagReady", Reason.HELD, MINUTE) == (
        Waited("DagReady", Reason.HELD, 65),
    )


def test_a_wait_is_booked_under_the_condition_that_held_it_back():
    kept = noted(line(since=clock(9)), State.WAITING, Reason.NOT_READ_YET, "DagReady", clock(10))
    assert kept.condition == "DagReady"
    kept = noted(kept, State.WAITING, Reason.NOT_READ_YET, "CapacityAvailable", clock(11))
    kept = noted(kept, State.WAITING, Reason.HELD, "CapacityAvailable", clock(13))
    ended = noted(kept, State.MISSED, Reason.HELD, "WindowOpen", clock(14))
    assert ended.condition == ""
    assert ended.waited == (
        Waited("DagReady", Reason.NOT_READ_YET, 3600),
        Waited("CapacityAvailable", Reason.NOT_READ_YET, 7200),
        Waited("CapacityAvailable", Reason.HELD, 3600),
    )


# --- forgetting


def test_a_line_stays_48_hours_and_then_counts_towards_the_history():
    over = [
        line(f"e{i}", State.MISSED, end_time=clock(i), window=hours(i - 1, i)) for i in range(10)
    ]
    now = clock(9) + BEHIND
    assert len(forget(over, 20, now)) == 10
    assert [x.id for x in forget(over, 3, now)] == ["e7", "e8", "e9"]
    assert [x.id for x in forget(over, 0, now - SECOND)] == ["e9"]


def test_what_is_not_over_is_never_forgotten():
    old = [
        started("run", window=hours(-900, -899)),
        line("open", State.WAITING, window=hours(-900, -899)),
    ]
    assert {x.id for x in forget(old, 0, clock(0))} == {"run", "open"}


def test_the_history_is_what_ended_last():
    found = scene(spec=spec(trigger(), history_limit=2))
    found.events = [event(f"e{i}", 3 * i, 3 * i + 1) for i in range(30)]
    for hour in range(24 * 6):
        found.runs |= {run_id(IDENTITY, f"e{i}"): Absent(clock(hour)) for i in range(30)}
        found.airflow_stop = found.airflow_stop.HOLD
        found.look(hour)
    assert sorted(found.lines) == ["e28", "e29"]


@given(st.integers(0, 100), st.integers(0, 10**6))
def test_the_ledger_of_over_lines_is_bounded(limit, seed):
    lines = [
        line(f"e{i}", State.SUCCEEDED, end_time=clock(-((seed * 31 + i * 7919) % 2000)))
        for i in range(300)
    ]
    young = sum(1 for x in lines if x.end_time > DAY - BEHIND)
    kept = forget(lines, limit, DAY)
    assert len(kept) == young + min(limit, 300 - young)
    assert {x.id for x in lines if x.end_time > DAY - BEHIND} <= {x.id for x in kept}


def test_the_ledger_never_outgrows_what_a_status_may_hold():
    """Else the store would refuse the status for ever."""
    lines = [
        line(f"e{i}", State.MISSED, end_time=clock(0) - i * SECOND, window=hours(-1, 0))
        for i in range(OCCURRENCES_LIMIT + 500)
    ]
    active = started("run", window=hours(-100, -99))
    kept = forget([*lines, active], 100, clock(1))
    assert len(kept) <= OCCURRENCES_LIMIT
    assert "run" in {x.id for x in kept}
    assert "e0" in {x.id for x in kept}


def test_a_run_that_goes_on_for_days_keeps_its_line():
    found = scene(spec=spec(trigger(), on_window_end=Ending.FINISH, history_limit=0))
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    for hour in range(11, 24 * 6, 7):
        found.look(hour)
        assert found.line().state is State.RUNNING
