"""When a run must end, or its start be taken back (R8, R9, R10, R17)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from slackwater.core.action import Cancel, Lookup, Post, Withdraw
from slackwater.core.event import Event
from slackwater.core.identity import run_id
from slackwater.core.keep import OVERRIDE_ENTRY
from slackwater.core.ledger import State
from slackwater.core.run import Absent, DagFacts, Denied, InDoubt, RunState
from slackwater.core.seen import Override, Trouble
from slackwater.core.spec import Effect, Ending, InlineEntry, StopPolicy
from slackwater.core.words import Reason
from tests.core.builders import (
    IDENTITY,
    MINUTE,
    SECOND,
    Scene,
    actions_of,
    clock,
    deny,
    event,
    hours,
    inline,
    manual,
    rules,
    spec,
    started,
    trigger,
)

ID = run_id(IDENTITY, "e1")
CANCEL = {"on_window_end": Ending.CANCEL}


def scene(*entries, **changes) -> Scene:
    return Scene(spec=spec(*entries, **changes), events=[event("e1", 10, 14)])


def moved(found: Scene, start: float, end: float, **changes) -> None:
    found.events = [event("e1", start, end, **changes)]


def denied(start: float, end: float) -> Event:
    return event(f"deny{start}", start, end, summary="deny it")


def cancels(found: Scene, hour: float) -> bool:
    found.look(hour)
    return bool(actions_of(found.decision, Cancel))


def withdraws(found: Scene, hour: float) -> bool:
    found.look(hour)
    return bool(actions_of(found.decision, Withdraw))


def running(*entries, **changes) -> Scene:
    found = scene(*entries, **changes)
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    return found


def queued(*entries, **changes) -> Scene:
    found = scene(*entries, **changes)
    found.start(10)
    assert found.line().state is State.TRIGGERED
    return found


# --- an intent


def test_an_intent_is_posted_until_it_is_30_seconds_old():
    found = scene()
    found.settle(10)
    (post,) = actions_of(found.look(10), Post)
    assert post.run_id == ID
    assert post.until == clock(10) + 30 * SECOND
    assert actions_of(found.look(clock(10) + 29 * SECOND), Post)
    assert not actions_of(found.look(clock(10) + 30 * SECOND), Post)


def test_an_intent_is_never_posted_past_the_end_of_its_piece():
    found = Scene(events=[event("e1", 10, 10 + 10 / 3600)])
    found.settle(10)
    (post,) = actions_of(found.look(10), Post)
    assert post.until == clock(10) + 10 * SECOND


def test_an_intent_that_ran_out_is_settled_by_asking_and_then_cleared():
    found = scene()
    found.settle(10)
    assert actions_of(found.look(clock(10) + MINUTE), Lookup) == [Lookup(ID)]
    found.runs[ID] = Absent(clock(10) + MINUTE)
    found.airflow_stop = StopPolicy.HOLD
    found.look(clock(10) + MINUTE)
    assert found.line().state is State.WAITING
    assert found.line().dag_run_id is None


def test_in_doubt_nothing_is_posted_before_airflow_was_asked():
    found = scene()
    found.settle(10)
    found.runs[ID] = InDoubt(clock(10) + SECOND)
    decision = found.look(clock(10) + SECOND)
    assert actions_of(decision, Lookup) == [Lookup(ID)]
    assert not actions_of(decision, Post)


def test_a_start_that_was_lost_is_posted_again_while_the_intent_is_valid():
    found = scene()
    found.settle(10)
    found.runs[ID] = Absent(clock(10) + 5 * SECOND)
    assert actions_of(found.look(clock(10) + 6 * SECOND), Post)
    found.runs[ID] = Absent(clock(10) + 31 * SECOND)
    found.look(clock(10) + 31 * SECOND)
    assert found.line().intent_time != clock(10)


def test_absence_from_before_the_intent_does_not_settle_a_start():
    found = scene()
    found.runs[ID] = Absent(clock(9.9))
    found.settle(10)
    assert actions_of(found.look(10), Post)
    assert actions_of(found.look(clock(10) + 31 * SECOND), Lookup)
    assert found.line().state is State.INTENDED


def test_a_run_that_is_found_instead_of_created_is_followed():
    found = scene()
    found.settle(10)
    assert found.hear(10.001, state=RunState.RUNNING).state is State.RUNNING


@pytest.mark.parametrize("trouble", ["suspended", "airflow held", "pool held", "moved", "denied"])
def test_an_intent_that_may_not_start_any_more_is_not_posted(trouble):
    found = scene(trigger(), deny())
    found.settle(10)
    match trouble:
        case "suspended":
            found.spec = replace(found.spec, suspend=True)
        case "airflow held" | "pool held":
            found.airflow_stop = StopPolicy.HOLD
        case "moved":
            moved(found, 12, 14)
        case "denied":
            found.events.append(denied(9, 11))
    decision = found.look(clock(10) + SECOND)
    assert not actions_of(decision, Post)
    assert actions_of(decision, Lookup) == [Lookup(ID)]
    found.runs[ID] = Absent(clock(10) + SECOND)
    found.look(clock(10) + SECOND)
    assert found.line().intent_time is None


@pytest.mark.parametrize("trouble", ["absent once", "calendar gone"])
def test_an_intent_whose_event_cannot_be_seen_is_taken_back_and_never_idles(trouble):
    """An intent without an action would be looked at again and again at once."""
    found = scene()
    found.settle(10)
    if trouble == "absent once":
        found.recent = frozenset({"e1"})
        found.events = []
    else:
        found.calendar_refused = Trouble(Reason.CALENDAR_NOT_FOUND, {"ref": "research/team"})
    decision = found.look(clock(10) + SECOND)
    assert decision.actions == (Lookup(ID),)
    found.runs[ID] = Absent(clock(10) + SECOND)
    found.look(clock(10) + 2 * SECOND)
    assert found.line().state is State.WAITING
    assert found.line().promise == 0


# --- queued


def test_a_queued_run_stays_while_its_window_is_open():
    found = queued()
    assert not withdraws(found, 13.9)


def test_a_queued_run_is_taken_back_when_its_window_has_ended():
    found = queued()
    assert withdraws(found, 14)
    assert found.line().reason is Reason.WINDOW_ENDED
    found.runs[ID] = Absent(clock(14.001))
    found.look(14.001)
    assert found.line().state is State.MISSED
    assert found.line().reason is Reason.WINDOW_ENDED


def test_a_queued_run_whose_event_moved_starts_again_under_the_same_id():
    found = queued()
    moved(found, 16, 20)
    assert withdraws(found, 10.5)
    assert found.line().reason is Reason.EVENT_MOVED
    found.runs[ID] = Absent(clock(10.51))
    found.look(10.51)
    assert (found.line().state, found.line().reason) == (State.PLANNED, Reason.AHEAD)
    assert found.line().intent_time is None
    found.start(16)
    assert found.line().dag_run_id == ID
    assert found.posts == [ID, ID]


def test_a_queued_run_whose_piece_ended_starts_again_in_a_later_piece():
    found = scene(trigger(), deny())
    found.events.append(denied(11, 12))
    found.start(10)
    assert withdraws(found, 11)
    found.runs[ID] = Absent(clock(11.1))
    found.look(11.1)
    assert found.line().state is State.PLANNED
    found.start(12)
    assert found.posts == [ID, ID]


def test_a_queued_run_is_taken_back_when_a_deny_is_laid_over_it():
    found = queued(trigger(), deny())
    found.events.append(denied(9, 13))
    assert withdraws(found, 10.5)
    assert found.line().reason is Reason.DENY_STARTED


def test_suspend_takes_back_what_is_queued_and_lets_run_what_runs():
    waiting, going = queued(), running()
    for found in (waiting, going):
        found.spec = replace(found.spec, suspend=True)
    assert withdraws(waiting, 11)
    assert going.look(11).actions == ()


@pytest.mark.parametrize("policy", [StopPolicy.HOLD, StopPolicy.HOLD_AND_DRAIN])
def test_hold_takes_back_what_is_queued(policy):
    found = queued()
    found.airflow_stop = policy
    assert withdraws(found, 11)
    assert found.line().reason is Reason.HELD


def test_a_queued_run_stays_after_one_absence_and_goes_after_two():
    found = queued()
    found.events, found.recent = [], frozenset({"e1"})
    assert not withdraws(found, 11)
    found.recent = None
    assert withdraws(found, 11.1)
    assert found.line().reason is Reason.EVENT_CANCELLED


def test_a_queued_run_that_may_go_on_after_all_is_left_alone():
    found = queued()
    found.spec = replace(found.spec, suspend=True)
    assert withdraws(found, 10.02)
    found.spec = replace(found.spec, suspend=False)
    assert not withdraws(found, 10.03)
    assert (found.line().reason, found.line().cancel_time) == (Reason.TRIGGERED, None)


def test_a_queued_run_that_began_while_it_was_taken_back_is_followed():
    found = queued()
    assert withdraws(found, 14)
    assert found.hear(14.01, state=RunState.RUNNING).state is State.RUNNING
    assert found.look(14.1).actions == ()


def test_a_run_that_nothing_takes_up_is_told_after_five_minutes_and_stays():
    found = queued()
    assert found.decision.wake_at == clock(10) + 5 * MINUTE
    found.look(clock(10) + 5 * MINUTE - SECOND)
    assert found.line().reason is Reason.TRIGGERED
    assert found.look(clock(10) + 5 * MINUTE).actions == ()
    assert found.line().reason is Reason.STILL_QUEUED
    assert found.status.message == (
        f"The run of DAG {found.spec.dag.dag_id} is queued in Airflow since 10:00 "
        "and nothing takes it up."
    )
    assert found.hear(10.2).reason is Reason.STILL_QUEUED
    assert found.hear(10.3, state=RunState.RUNNING).reason is Reason.RUNNING


def test_a_run_that_never_leaves_the_queue_is_taken_back_when_its_window_ends():
    found = queued()
    assert not withdraws(found, 13.9)
    assert withdraws(found, 14)
    assert found.line().reason is Reason.WINDOW_ENDED


def test_after_a_post_that_failed_the_next_one_waits_five_seconds():
    found = scene()
    found.settle(10)
    found.runs[ID] = Absent(clock(10) + SECOND, Reason.UNAVAILABLE)
    decision = found.look(clock(10) + 2 * SECOND)
    assert not actions_of(decision, Post)
    assert decision.wake_at == clock(10) + 6 * SECOND
    assert actions_of(found.look(clock(10) + 6 * SECOND), Post)


def test_posts_that_fail_until_the_intent_is_over_are_told_and_left_alone_for_a_minute():
    found = scene()
    found.settle(10)
    found.runs[ID] = Absent(clock(10) + 29 * SECOND, Reason.UNAVAILABLE)
    found.look(clock(10) + 30 * SECOND)
    assert (found.line().state, found.line().reason) == (State.WAITING, Reason.UNAVAILABLE)
    assert found.line().promise == 0
    assert found.status.message == "Airflow research/default answers with a server error."
    assert found.decision.wake_at == clock(10) + 89 * SECOND
    found.settle(clock(10) + 89 * SECOND)
    assert found.line().state is State.INTENDED


@pytest.mark.parametrize("problem", [Reason.DAG_NOT_FOUND, Reason.DAG_STALE])
def test_a_run_that_should_end_and_whose_dag_is_lost_is_told_so(problem):
    found = running(**CANCEL)
    found.facts = DagFacts(problem=problem, checked_at=clock(13))
    found.look(13)
    assert "is running" in found.status.message
    assert cancels(found, 14)
    assert found.status.message == (
        f"The run should have ended, but Airflow has lost DAG {found.spec.dag.dag_id} "
        "and does not change its runs."
    )
    assert found.hear(14.1, state=RunState.FAILED).state is State.CANCELLED


# --- running: the window's end


def test_a_run_may_finish_after_its_window():
    found = running()
    assert not cancels(found, 30)
    assert found.line().cancel_time is None


def test_with_cancel_a_run_ends_the_overrun_after_its_window():
    found = running(**CANCEL, overrun=10 * MINUTE)
    assert found.line().cancel_time == clock(14) + 10 * MINUTE
    assert found.decision.wake_at <= found.line().cancel_time
    assert not cancels(found, clock(14) + 9 * MINUTE)
    assert found.decision.wake_at == clock(14) + 10 * MINUTE
    assert cancels(found, clock(14) + 10 * MINUTE)
    assert found.line().reason is Reason.WINDOW_ENDED
    ended = found.hear(14.2, state=RunState.FAILED)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.WINDOW_ENDED)


def test_a_lengthened_event_lengthens_the_run():
    found = running(**CANCEL)
    moved(found, 10, 18)
    assert not cancels(found, 14.5)
    assert found.line().cancel_time == clock(18)
    assert cancels(found, 18)


def test_a_lengthened_event_calls_off_an_end_that_was_under_way():
    found = running(**CANCEL)
    assert cancels(found, 14)
    moved(found, 10, 18)
    assert not cancels(found, 14.1)
    assert (found.line().reason, found.line().cancel_time) == (Reason.RUNNING, clock(18))


def test_a_shortened_event_ends_the_run_no_sooner_than_the_overrun_after_notice():
    found = running(**CANCEL, overrun=30 * MINUTE)
    moved(found, 10, 11)
    assert not cancels(found, 12)
    assert found.line().cancel_time == clock(12.5)
    assert not cancels(found, 12.4)
    assert found.line().cancel_time == clock(12.5)
    assert cancels(found, 12.5)


def test_a_shortened_event_whose_end_is_ahead_ends_the_run_at_its_end():
    found = running(**CANCEL, overrun=30 * MINUTE)
    moved(found, 10, 13)
    found.look(12)
    assert found.line().cancel_time == clock(13.5)


def test_a_moved_event_takes_the_end_of_its_run_along():
    found = running(**CANCEL)
    moved(found, 12, 16)
    assert not cancels(found, 15)
    assert cancels(found, 16)


def test_the_window_ends_with_its_allow_and_not_at_a_deny_that_lets_finish():
    allow = InlineEntry(name="ok", effect=Effect.ALLOW, fixed=hours(8, 13))
    found = scene(trigger(), deny(), allow, **CANCEL)
    found.events.append(denied(11, 12))
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    assert found.line().cancel_time == clock(13)
    assert not cancels(found, 11.5)


def test_a_run_without_its_calendar_keeps_the_end_it_had():
    """A calendar that was taken away says nothing about how long the run may go on."""
    found = running(trigger(), deny(), **CANCEL)
    found.events.append(denied(11, 14))
    found.look(10.2)
    assert found.line().cancel_time == clock(14)
    found.calendar_refused = Trouble(Reason.CALENDAR_NOT_GRANTED, {"ref": "research/team"})
    assert not cancels(found, 13)
    assert found.line().cancel_time == clock(14)
    assert cancels(found, 14)


def test_a_run_whose_event_vanished_ends_at_the_end_that_was_known():
    found = running(**CANCEL)
    found.events = []
    assert not cancels(found, 13)
    assert cancels(found, 14)
    assert found.line().reason is Reason.WINDOW_ENDED


# --- running: Deny


def test_a_deny_that_lets_finish_does_nothing_to_a_run():
    found = running(trigger(), deny())
    found.events.append(denied(11, 12))
    assert not cancels(found, 11.5)


def test_a_deny_that_cancels_ends_the_run_at_its_edge():
    found = running(trigger(), deny(when_running=Ending.CANCEL))
    found.events.append(denied(11, 12))
    found.look(10.5)
    assert found.line().cancel_time == clock(11)
    assert found.decision.wake_at <= clock(11)
    assert cancels(found, 11)
    assert found.line().reason is Reason.DENY_STARTED
    assert "reserved" in found.status.message


def test_a_deny_that_is_laid_over_a_run_ends_it_at_once():
    found = running(trigger(), deny(when_running=Ending.CANCEL))
    found.events.append(denied(9, 12))
    assert cancels(found, 10.5)


def test_a_deny_that_is_over_ends_nothing():
    found = running(trigger(), deny(when_running=Ending.CANCEL))
    found.events.append(denied(11, 12))
    assert not cancels(found, 12.5)


def test_a_deny_leaves_the_notice_of_a_shortened_window_as_it_is():
    found = running(trigger(), deny(when_running=Ending.CANCEL), **CANCEL, overrun=20 * MINUTE)
    found.events = [event("e1", 10, 10.5), denied(10.8, 12)]
    assert cancels(found, 11)
    assert found.line().reason is Reason.DENY_STARTED
    found.events = [event("e1", 10, 10.5)]
    assert not cancels(found, 11.1)
    assert found.line().cancel_time == clock(11.1) + 20 * MINUTE


def test_a_run_started_past_the_calendar_by_request_is_not_ended_by_the_deny_it_passed():
    found = Scene(spec=spec(trigger(), deny(when_running=Ending.CANCEL)), allow_override=True)
    found.events = [denied(9, 12), denied(13, 14)]
    found.override = Override(trigger=clock(10))
    key = manual(clock(10))
    found.start(10, key)
    found.hear(10.1, key, state=RunState.RUNNING)
    assert not cancels(found, 10.5)
    assert cancels(found, 13)


# --- running: the event, drain


def test_a_cancelled_event_lets_its_run_finish_by_default():
    found = running()
    found.events = []
    assert not cancels(found, 12)


def test_with_cancel_a_run_ends_when_its_event_was_missing_twice():
    found = running(on_event_cancelled=Ending.CANCEL)
    found.events, found.recent = [], frozenset({"e1"})
    assert not cancels(found, 11)
    found.recent = None
    assert cancels(found, 12)
    assert (found.line().reason, found.line().cancel_time) == (Reason.EVENT_CANCELLED, clock(12))
    assert cancels(found, 12.1)
    assert found.line().cancel_time == clock(12)
    ended = found.hear(12.2, state=RunState.FAILED)
    assert (ended.state, ended.reason) == (State.CANCELLED, Reason.EVENT_CANCELLED)


def test_an_event_that_no_longer_matches_is_a_cancelled_one():
    found = running(on_event_cancelled=Ending.CANCEL)
    moved(found, 10, 14, summary="something else")
    assert cancels(found, 11)


def test_a_long_run_whose_event_has_left_the_horizon_goes_on():
    found = running(on_event_cancelled=Ending.CANCEL)
    for hour in range(12, 24 * 8, 5):
        assert not cancels(found, hour), hour
    assert found.line().state is State.RUNNING


@pytest.mark.parametrize("offset", [-6, 6, 30])
def test_so_it_does_whatever_its_offsets_are(offset):
    entry = trigger(start_offset=timedelta(hours=-6), end_offset=timedelta(hours=offset))
    found = Scene(spec=spec(entry, on_event_cancelled=Ending.CANCEL))
    found.events = [event("e1", 10, 20)]
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    for hour in range(12, 24 * 8, 3):
        assert not cancels(found, hour), hour


def test_hold_lets_run_what_runs_and_drain_cancels_it():
    found = running()
    found.airflow_stop = StopPolicy.HOLD
    assert not cancels(found, 11)
    found.airflow_stop = StopPolicy.HOLD_AND_DRAIN
    assert cancels(found, 11.1)
    assert found.line().reason is Reason.DRAINED
    assert "AirflowInstance research/default" in found.status.message
    found.airflow_stop = StopPolicy.NONE
    assert not cancels(found, 11.2)
    assert found.line().reason is Reason.RUNNING


def test_a_drained_pool_cancels_its_runs_and_says_which_pool():
    from tests.core.builders import gpu

    found = running(gpu=gpu(8))
    found.rules = rules(stop_policy=StopPolicy.HOLD_AND_DRAIN)
    assert cancels(found, 11)
    assert found.status.message == "GPUPool research/h100 is being drained."


def test_a_run_that_somebody_deleted_is_not_cancelled_once_more():
    found = running(**CANCEL)
    found.runs[ID] = Absent(clock(11))
    assert found.look(14).actions == ()
    assert found.line().reason is Reason.RUN_DELETED


# --- requests


def test_a_run_by_request_lives_on_when_the_request_is_taken_off():
    found = Scene(spec=spec(inline("nights", 40, 41), **CANCEL), allow_override=True)
    found.override = Override(trigger=clock(10))
    key = manual(clock(10))
    found.start(10, key)
    found.hear(10.1, key, state=RunState.RUNNING)
    assert found.line(key).cancel_time == clock(34)
    found.override = Override()
    assert not cancels(found, 12)
    assert found.line(key).cancel_time == clock(34)
    assert cancels(found, 34)


def test_a_run_by_request_inside_a_window_ends_with_that_window():
    found = Scene(spec=spec(inline("nights", 8, 14), **CANCEL))
    (night,) = (o.key for o in found.layout(clock(8)).occurrences)
    found.start(8, night)
    found.hear(8.1, night, state=RunState.RUNNING)
    found.hear(9, night, state=RunState.SUCCESS)
    found.override = Override(trigger=clock(10))
    key = manual(clock(10))
    found.start(10, key)
    found.hear(10.1, key, state=RunState.RUNNING)
    assert found.line(key).cancel_time == clock(14)
    found.override = Override()
    assert not cancels(found, 13)
    assert cancels(found, 14)


def test_a_run_by_request_that_was_found_again_has_its_day():
    found = Scene(spec=spec(inline("nights", 40, 41), **CANCEL))
    key = manual(clock(10))
    found.with_lines(
        started(
            key,
            entry=OVERRIDE_ENTRY,
            window=hours(10, 10 + 1 / 6),
            original_start=clock(10).isoformat(),
        )
    )
    assert not cancels(found, 12)
    assert found.line(key).cancel_time == clock(34)


def test_a_request_that_is_replaced_by_another_takes_back_what_is_not_queued_yet():
    found = Scene(spec=spec(inline("nights", 40, 41)), allow_override=True)
    found.override = Override(trigger=clock(10))
    found.settle(10)
    found.override = Override(trigger=clock(10.01))
    first = manual(clock(10))
    decision = found.look(10.01)
    assert actions_of(decision, Lookup) == [Lookup(run_id(IDENTITY, first))]
    assert not actions_of(decision, Post)


def test_a_refusal_is_final_for_a_minute_and_then_tried_again():
    found = scene()
    found.settle(10)
    found.runs[ID] = Denied(clock(10) + SECOND, Reason.REJECTED, "no")
    found.look(clock(10) + SECOND)
    assert (found.line().state, found.line().reason) == (State.WAITING, Reason.REJECTED)
    assert found.decision.wake_at == clock(10) + 61 * SECOND
    found.settle(clock(10) + 60 * SECOND)
    assert found.line().state is State.WAITING
    found.settle(clock(10) + 61 * SECOND)
    assert found.line().state is State.INTENDED
    assert actions_of(found.look(clock(10) + 62 * SECOND), Post)
    assert found.line().intent_time == clock(10) + 61 * SECOND
