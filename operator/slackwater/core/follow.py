"""What Airflow's word makes of a ledger line (R9, R10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from slackwater.core.ledger import Line, State
from slackwater.core.run import Absent, Denied, Known, Run, RunState, Seen
from slackwater.core.spec import Identity
from slackwater.core.words import Reason

INTENT_VALID: Final = timedelta(seconds=30)
RETRY_DENIED: Final = timedelta(seconds=60)
RETRY_LOST: Final = timedelta(seconds=5)  # after a POST that failed and made no run

# While a line carries one of these, the end of its run is our doing.
ENDINGS: Final = frozenset(
    {
        Reason.WINDOW_ENDED,
        Reason.DENY_STARTED,
        Reason.EVENT_CANCELLED,
        Reason.EVENT_MOVED,
        Reason.DRAINED,
        Reason.SUSPENDED,
        Reason.HELD,
    }
)
_STATES: Final = {
    RunState.QUEUED: (State.TRIGGERED, Reason.TRIGGERED),
    RunState.RUNNING: (State.RUNNING, Reason.RUNNING),
    RunState.SUCCESS: (State.SUCCEEDED, Reason.SUCCEEDED),
    RunState.FAILED: (State.FAILED, Reason.FAILED),
}


def is_ours(run: Run, identity: Identity) -> bool:
    """Whether a run carries the mark of this installation and TrainingWindow."""
    origin = run.origin
    return (
        origin.get("installation") == identity.installation
        and origin.get("namespace") == identity.ref.namespace
        and origin.get("name") == identity.ref.name
    )


def follow(line: Line, known: Known | None, identity: Identity, gpus: int) -> Line:
    """The line after hearing what is known of its run.

    Args:
        line: as recorded.
        known: the newest word about its run id, None where nothing was heard.
        identity: whose runs are ours.
        gpus: what a run of it is promised, for one that was found rather than started.
    """
    match known:
        case Seen(run=run, at=at):
            if not is_ours(run, identity):
                return _conflict(line, at)
            return _heard(line, run, at, gpus)
        case Absent(at=at):
            return _absent(line, at)
        case Denied(at=at, reason=reason):
            if line.state is State.INTENDED and _after_intent(line, at):
                return cleared(line, reason, at)
            return line
        case _:
            return line


def _after_intent(line: Line, at: datetime) -> bool:
    return line.intent_time is not None and at >= line.intent_time


def _conflict(line: Line, at: datetime) -> Line:
    if line.state.is_final:
        return line
    conflict = cleared(line, Reason.RUN_ID_CONFLICT, at)
    return replace(conflict, state=State.MISSED, condition="", end_time=at)


def _heard(line: Line, run: Run, at: datetime, gpus: int) -> Line:
    state, reason = _STATES[run.state]
    ended_by_us = line.reason in ENDINGS and line.cancel_time is not None
    # Taking a queued run back never fails it: then it began, and failed by itself.
    if state is State.FAILED and ended_by_us and line.state is not State.TRIGGERED:
        state, reason = State.CANCELLED, line.reason
    elif state is State.TRIGGERED and ended_by_us:
        reason = line.reason  # still to be deleted
    elif state is State.RUNNING and line.state is State.RUNNING and ended_by_us:
        reason = line.reason  # still to be cancelled
    elif state is State.TRIGGERED and line.reason in {Reason.ADOPTED, Reason.STILL_QUEUED}:
        reason = line.reason
    if line.state is state and line.start_time == run.start_date and line.reason is reason:
        return line
    if line.state is State.CANCELLED and state is State.CANCELLED:
        return line
    found = line.state is not State.INTENDED and not line.state.has_started
    if found and not run.state.is_over:
        reason = Reason.ADOPTED if state is State.TRIGGERED else reason
    holds = state.is_active
    revived = line.state.is_final and holds
    withdrawn_too_late = state is State.RUNNING and line.state is State.TRIGGERED
    return replace(
        line,
        state=state,
        reason=reason,
        condition="",
        since=line.since if line.reason is reason else at,
        dag_run_id=run.run_id,
        intent_time=line.intent_time or run.queued_at or at,
        # By our clock: word of absence is judged by it, and Airflow's may run ahead.
        trigger_time=line.trigger_time or min(run.queued_at or at, at),
        start_time=run.start_date or line.start_time,
        end_time=None if holds else (run.end_date or at),
        cancel_time=None if revived or withdrawn_too_late else line.cancel_time,
        # A cancelled run's promise stands until its pods are gone (R6).
        promise=_promise(line, state, gpus, fresh=found or revived),
    )


def _promise(line: Line, state: State, gpus: int, *, fresh: bool) -> int:
    if state in {State.SUCCEEDED, State.FAILED}:
        return 0
    return gpus if fresh else line.promise


def _absent(line: Line, at: datetime) -> Line:
    if line.state is State.INTENDED:
        return line  # `decide` posts again or clears, by the intent's age
    if line.state not in {State.TRIGGERED, State.RUNNING}:
        return line
    if line.trigger_time is not None and at < line.trigger_time:
        return line
    if line.state is State.TRIGGERED and line.reason in ENDINGS:
        if line.reason is Reason.EVENT_CANCELLED:
            gone = cleared(line, line.reason, at)
            return replace(gone, state=State.CANCELLED, condition="", end_time=at)
        return cleared(line, line.reason, at)
    return replace(
        line,
        state=State.CANCELLED,
        reason=line.reason if line.reason in ENDINGS else Reason.RUN_DELETED,
        since=at,
        end_time=at,
    )


def cleared(line: Line, reason: Reason, at: datetime) -> Line:
    """The line as if it had never been started: it may start later under the same id (R10)."""
    return replace(
        line,
        state=State.WAITING,
        reason=reason,
        condition="DagReady",
        since=at,
        intent_time=None,
        dag_run_id=None,
        trigger_time=None,
        start_time=None,
        end_time=None,
        cancel_time=None,
        promise=0,
    )
