"""What Airflow's word makes of a line (R9, R10)."""

from dataclasses import replace

import pytest

from slackwater.core.follow import ENDINGS, follow, is_ours
from slackwater.core.ledger import State
from slackwater.core.run import Absent, Denied, InDoubt, RunState, Seen
from slackwater.core.words import Reason
from tests.core.builders import IDENTITY, MINUTE, OWNER, clock, line, run_of, started

GPUS = 8


def after(before, known):
    return follow(before, known, IDENTITY, GPUS)


def seen(state=RunState.QUEUED, at=11.0, **changes):
    return Seen(run_of("e1", state, **changes), clock(at))


RUNNING = seen(RunState.RUNNING, start_date=clock(10.1), queued_at=clock(10))
INTENDED = started(state=State.INTENDED)
TRIGGERED = started(state=State.TRIGGERED)


# --- a run of ours


@pytest.mark.parametrize(
    ("run", "state", "reason"),
    [
        (RunState.QUEUED, State.TRIGGERED, Reason.TRIGGERED),
        (RunState.RUNNING, State.RUNNING, Reason.RUNNING),
        (RunState.SUCCESS, State.SUCCEEDED, Reason.SUCCEEDED),
        (RunState.FAILED, State.FAILED, Reason.FAILED),
    ],
)
def test_an_intended_line_takes_the_state_of_its_run(run, state, reason):
    heard = after(INTENDED, seen(run, queued_at=clock(10.2), start_date=clock(10.3)))
    assert (heard.state, heard.reason) == (state, reason)
    assert heard.intent_time == clock(10)
    assert heard.trigger_time == clock(10.2)
    assert heard.promise == (0 if state.is_final else 8)


def test_the_times_of_a_run_are_airflows():
    over = after(TRIGGERED, seen(RunState.SUCCESS, start_date=clock(10.1), end_date=clock(10.9)))
    assert (over.start_time, over.end_time) == (clock(10.1), clock(10.9))


def test_a_server_clock_that_runs_ahead_does_not_put_the_trigger_into_our_future():
    heard = after(INTENDED, seen(at=10.01, queued_at=clock(10.5)))
    assert heard.trigger_time == clock(10.01)
    gone = after(heard, Absent(clock(10.02)))
    assert gone.reason is Reason.RUN_DELETED


def test_hearing_the_same_again_changes_nothing():
    for known in (seen(queued_at=clock(10)), RUNNING, seen(RunState.FAILED, end_date=clock(11))):
        once = after(INTENDED, known)
        assert after(once, known) == once


# --- a run that is found


@pytest.mark.parametrize(
    "before", [line(), line(state=State.WAITING), line(state=State.MISSED, end_time=clock(14))]
)
def test_a_queued_run_of_ours_that_nobody_recorded_is_adopted_with_its_promise(before):
    found = after(before, seen(queued_at=clock(10)))
    assert (found.state, found.reason) == (State.TRIGGERED, Reason.ADOPTED)
    assert found.promise == GPUS
    assert found.dag_run_id == seen().run.run_id
    assert found.end_time is None


def test_an_adopted_run_stays_adopted_while_it_is_queued():
    known = seen(queued_at=clock(10))
    found = after(line(), known)
    assert after(found, known) == found
    assert after(found, replace(known, at=clock(12))) == found
    assert after(found, RUNNING).reason is Reason.RUNNING


def test_a_found_run_that_runs_keeps_its_gpus_promised():
    found = after(line(), RUNNING)
    assert (found.state, found.reason, found.promise) == (State.RUNNING, Reason.RUNNING, GPUS)


def test_a_found_run_that_is_over_holds_nothing():
    found = after(line(), seen(RunState.SUCCESS, start_date=clock(9), end_date=clock(9.5)))
    assert (found.state, found.promise, found.end_time) == (State.SUCCEEDED, 0, clock(9.5))


def test_a_run_cleared_in_airflow_is_followed_again_with_its_promise():
    over = started(state=State.SUCCEEDED, reason=Reason.SUCCEEDED, end_time=clock(12), promise=0)
    again = after(over, seen(RunState.RUNNING, at=13, start_date=clock(13)))
    assert (again.state, again.promise, again.end_time) == (State.RUNNING, GPUS, None)


# --- another's run


@pytest.mark.parametrize("field", ["installation", "namespace", "name"])
def test_a_run_of_this_id_that_is_not_ours_is_a_conflict_and_ends_the_line(field):
    run = run_of("e1")
    foreign = replace(run, origin={**run.origin, field: "other"})
    assert not is_ours(foreign, IDENTITY)
    ended = after(INTENDED, Seen(foreign, clock(10.1)))
    assert (ended.state, ended.reason) == (State.MISSED, Reason.RUN_ID_CONFLICT)
    assert (ended.promise, ended.dag_run_id, ended.end_time) == (0, None, clock(10.1))


def test_a_run_without_our_mark_is_not_ours():
    assert not is_ours(run_of("e1", origin={}), IDENTITY)
    assert is_ours(run_of("e1"), IDENTITY)
    assert OWNER.name == run_of("e1").origin["name"]


def test_a_conflict_changes_no_line_that_is_over():
    over = line(state=State.SKIPPED, end_time=clock(9))
    assert after(over, Seen(run_of("e1", origin={}), clock(10))) == over


# --- no run


def test_an_intent_whose_run_is_absent_is_left_to_the_decision():
    assert after(INTENDED, Absent(clock(10.1))) == INTENDED


@pytest.mark.parametrize("state", [State.TRIGGERED, State.RUNNING])
def test_a_run_that_somebody_deleted_ends_cancelled_and_stays_counted_for_a_minute(state):
    gone = after(started(state=state), Absent(clock(11)))
    assert (gone.state, gone.reason) == (State.CANCELLED, Reason.RUN_DELETED)
    assert gone.end_time == clock(11)
    assert gone.holds(clock(11)) == 8
    assert gone.holds(clock(11) + MINUTE) == 0


def test_word_of_absence_from_before_the_start_is_old_news():
    assert after(TRIGGERED, Absent(clock(9.9))) == TRIGGERED


@pytest.mark.parametrize(
    "reason",
    [Reason.WINDOW_ENDED, Reason.DENY_STARTED, Reason.EVENT_MOVED, Reason.SUSPENDED, Reason.HELD],
)
def test_a_queued_run_that_was_taken_back_never_started(reason):
    back = after(replace(TRIGGERED, reason=reason, cancel_time=clock(11)), Absent(clock(11.1)))
    assert (back.state, back.reason) == (State.WAITING, reason)
    assert (back.intent_time, back.trigger_time, back.dag_run_id, back.promise) == (
        None,
        None,
        None,
        0,
    )


def test_a_queued_run_whose_event_was_cancelled_ends_as_if_it_never_started():
    cancelled = replace(TRIGGERED, reason=Reason.EVENT_CANCELLED, cancel_time=clock(11))
    back = after(cancelled, Absent(clock(11.1)))
    assert (back.state, back.reason) == (State.CANCELLED, Reason.EVENT_CANCELLED)
    assert (back.trigger_time, back.promise) == (None, 0)


def test_a_run_that_began_before_it_could_be_taken_back_is_followed():
    withdrawn = replace(TRIGGERED, reason=Reason.WINDOW_ENDED, cancel_time=clock(11))
    assert after(withdrawn, seen(queued_at=clock(10))).reason is Reason.WINDOW_ENDED
    runs = after(withdrawn, RUNNING)
    assert (runs.state, runs.reason, runs.cancel_time) == (State.RUNNING, Reason.RUNNING, None)


def test_a_run_that_failed_by_itself_before_it_could_be_taken_back_has_failed():
    withdrawn = replace(TRIGGERED, reason=Reason.WINDOW_ENDED, cancel_time=clock(11))
    assert after(withdrawn, seen(RunState.FAILED, end_date=clock(11))).state is State.FAILED


# --- a run that we ended


@pytest.mark.parametrize("reason", sorted(ENDINGS))
def test_a_run_that_we_ended_is_cancelled_for_our_reason(reason):
    ending = started(reason=reason, cancel_time=clock(12))
    still = after(ending, RUNNING)
    assert (still.state, still.reason) == (State.RUNNING, reason)
    known = seen(RunState.FAILED, at=12.1, start_date=clock(10.1), end_date=clock(12))
    ended = after(ending, known)
    assert (ended.state, ended.reason, ended.end_time) == (State.CANCELLED, reason, clock(12))
    assert ended.holds(clock(12)) == 8
    assert after(ended, known) == ended


def test_a_run_that_succeeded_before_it_could_be_ended_has_succeeded():
    ending = started(reason=Reason.WINDOW_ENDED, cancel_time=clock(12))
    known = seen(RunState.SUCCESS, start_date=clock(10), end_date=clock(12))
    assert after(ending, known).state is State.SUCCEEDED


def test_a_run_that_fails_before_its_planned_end_has_failed():
    planned = started(cancel_time=clock(14))
    known = seen(RunState.FAILED, start_date=clock(10), end_date=clock(12))
    failed = after(planned, known)
    assert (failed.state, failed.reason, failed.promise) == (State.FAILED, Reason.FAILED, 0)


# --- refused, in doubt


def test_a_refused_start_clears_the_intent_and_waits_for_its_reason():
    known = Denied(clock(10.01), Reason.REJECTED, "detail")
    cleared = after(INTENDED, known)
    assert (cleared.state, cleared.reason, cleared.promise) == (State.WAITING, Reason.REJECTED, 0)
    assert cleared.dag_run_id is None


def test_a_refusal_from_before_the_intent_says_nothing_of_it():
    assert after(INTENDED, Denied(clock(9.9), Reason.REJECTED)) == INTENDED


@pytest.mark.parametrize("known", [None, InDoubt(clock(10.1))])
def test_doubt_and_silence_change_nothing(known):
    for before in (line(), INTENDED, TRIGGERED, started()):
        assert after(before, known) == before
