"""When a run must end or its start be taken back (R8, R9, R10, R17)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from slackwater.core.action import Action, Cancel, Lookup, Withdraw
from slackwater.core.follow import ENDINGS, INTENT_VALID, RETRY_LOST, cleared
from slackwater.core.keep import OVERRIDE_ENTRY, OVERRIDE_LASTS
from slackwater.core.ledger import Line, State
from slackwater.core.occurrence import Occurrence
from slackwater.core.run import Absent, InDoubt
from slackwater.core.run import Seen as SeenRun
from slackwater.core.seen import Seen
from slackwater.core.spec import Ending, StopPolicy, TrainingWindow
from slackwater.core.start import trouble_with
from slackwater.core.words import Reason

# How long a run may be queued before we say that nothing takes it up.
QUEUE_PATIENCE: Final = timedelta(minutes=5)


class Steered(NamedTuple):
    """A line after steering; `post` means that its intent is valid and is to be carried out."""

    line: Line
    action: Action | None = None
    post: bool = False


def steer(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Steered:
    """What an intended, queued or running line needs now."""
    if line.state is State.INTENDED:
        return _intended(line, occurrence, spec, seen, now)
    if line.state is State.TRIGGERED:
        return _queued(line, occurrence, spec, seen, now)
    if line.state is State.RUNNING:
        return _running(line, occurrence, spec, seen, now)
    return Steered(line)


def _intended(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Steered:
    assert line.intent_time is not None
    assert line.dag_run_id is not None
    withdrawn = _why_not_post(line, occurrence, spec, seen, now)
    valid = now < line.intent_time + INTENT_VALID and withdrawn is None
    known = seen.airflow.runs.get(line.dag_run_id)
    if isinstance(known, Absent) and known.at >= line.intent_time:
        if valid:
            return Steered(line, post=known.met is None or now >= known.at + RETRY_LOST)
        return Steered(cleared(line, withdrawn or known.met or Reason.UNSETTLED, now))
    if isinstance(known, InDoubt | SeenRun) or not valid:
        return Steered(line, Lookup(line.dag_run_id))
    return Steered(line, post=True)


def _why_not_post(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Reason | None:
    """Why an intent must not be carried out, None when it may.

    A run that is queued already stays for what may pass; no new one is made meanwhile.
    """
    trouble = trouble_with(spec, seen)
    if trouble is not None:
        return trouble.reason
    if occurrence is None and line.absent < 2:
        return Reason.NOT_READ_YET if seen.layout is None else Reason.EVENT_VANISHED
    return _why_not_start(line, occurrence, spec, seen, now)


def _why_not_start(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Reason | None:
    """Why a run that has not begun to run must not begin, None when it may."""
    if spec.suspend:
        return Reason.SUSPENDED
    if seen.airflow.stop_policy is not StopPolicy.NONE or _pool_stop(seen) is not StopPolicy.NONE:
        return Reason.HELD
    if occurrence is None:
        return Reason.EVENT_CANCELLED if line.absent >= 2 else None
    if occurrence.piece_at(now) is not None:
        return None
    if line.intent_time is not None and occurrence.piece_at(line.intent_time) is not None:
        return Reason.WINDOW_ENDED
    if any(now in cut.span for cut in occurrence.cuts):
        return Reason.DENY_STARTED
    return Reason.EVENT_MOVED


def _pool_stop(seen: Seen) -> StopPolicy:
    if seen.pool is None or seen.pool.rules is None:
        return StopPolicy.NONE
    return seen.pool.rules.stop_policy


def _queued(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Steered:
    identifier = line.dag_run_id
    assert identifier is not None
    reason = _why_not_start(line, occurrence, spec, seen, now)
    if reason is not None:
        if line.reason is not reason:
            line = replace(line, reason=reason, since=now, cancel_time=now)
        return Steered(line, Withdraw(identifier))
    if line.reason in ENDINGS:
        line = replace(line, reason=Reason.TRIGGERED, since=now, cancel_time=None)
    stuck = line.trigger_time is not None and now >= line.trigger_time + QUEUE_PATIENCE
    if stuck and line.reason is not Reason.STILL_QUEUED:
        line = replace(line, reason=Reason.STILL_QUEUED, since=now)
    return Steered(line)


class _End(NamedTuple):
    at: datetime
    reason: Reason


def _running(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> Steered:
    identifier = line.dag_run_id
    assert identifier is not None
    ends = _ends(line, occurrence, spec, seen, now)
    # Of two ends at one time the one that was told stays.
    end = min(ends, key=lambda e: (e.at, e.reason is not line.reason), default=None)
    if end is None:
        if line.reason in ENDINGS or line.cancel_time is not None:
            line = replace(line, reason=Reason.RUNNING, since=now, cancel_time=None)
        return Steered(line)
    if end.at > now:
        if line.cancel_time != end.at or line.reason in ENDINGS:
            line = replace(line, reason=Reason.RUNNING, cancel_time=end.at)
        return Steered(line)
    if line.reason is not end.reason:
        line = replace(line, reason=end.reason, since=now, cancel_time=end.at)
    return Steered(line, Cancel(identifier))


def _ends(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> list[_End]:
    ends: list[_End] = []
    drained = StopPolicy.HOLD_AND_DRAIN
    if seen.airflow.stop_policy is drained or _pool_stop(seen) is drained:
        ends.append(_End(_already(line, Reason.DRAINED, now), Reason.DRAINED))
    vanished = occurrence is None and line.absent >= 2
    if vanished and spec.on_event_cancelled is Ending.CANCEL:
        ends.append(_End(_already(line, Reason.EVENT_CANCELLED, now), Reason.EVENT_CANCELLED))
    if spec.on_window_end is Ending.CANCEL:
        end = _window_end(line, occurrence, spec, seen, now)
        if end is not None:
            ends.append(_End(end, Reason.WINDOW_ENDED))
    if seen.layout is not None:
        began = line.start_time or line.trigger_time or now
        # A request that may go past the calendar went past the Deny of its time (R15).
        passed = line.entry == OVERRIDE_ENTRY and seen.airflow.allow_override
        ends.extend(
            _End(max(edge.span.start, began), Reason.DENY_STARTED)
            for edge in seen.layout.denies
            if edge.when_running is Ending.CANCEL
            and edge.span.end > began
            and (now in edge.span or edge.span.start > now)
            and not (passed and edge.span.start <= began)
        )
    return ends


def _already(line: Line, reason: Reason, now: datetime) -> datetime:
    """When an immediate end was noticed: it does not move with each look."""
    if line.reason is reason and line.cancel_time is not None:
        return line.cancel_time
    return now


def _window_end(
    line: Line, occurrence: Occurrence | None, spec: TrainingWindow, seen: Seen, now: datetime
) -> datetime | None:
    """When the live window's end cancels, never sooner than `overrun` after a change was noticed."""
    notice = now + spec.overrun
    if occurrence is None:
        if seen.layout is None and line.cancel_time is not None:
            return line.cancel_time  # nothing can be seen: what was planned stands
        return _recorded_end(line, spec, notice)
    began = line.trigger_time or line.start_time or now
    pieces = [p for p in occurrence.pieces if began in p] or list(occurrence.pieces[-1:])
    end = occurrence.window_end(pieces[0]) if pieces else occurrence.interval.end
    planned = end + spec.overrun
    of_another_end = line.reason in ENDINGS and line.reason is not Reason.WINDOW_ENDED
    if line.cancel_time is None or of_another_end:
        return max(planned, notice)
    return max(planned, min(line.cancel_time, notice))


def _recorded_end(line: Line, spec: TrainingWindow, notice: datetime) -> datetime | None:
    """The end of the window of a run whose occurrence is gone, as it was last known."""
    if line.window is None:
        return line.cancel_time
    if line.entry != OVERRIDE_ENTRY:
        return max(line.window.end + spec.overrun, line.cancel_time or notice)
    # The line of a request holds only when it might start, and its annotation may be gone.
    return line.cancel_time or max(line.window.start + OVERRIDE_LASTS + spec.overrun, notice)
