"""Whether a run that starts now would end in time (R8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.span import Span
from slackwater.core.spec import Ending, TrainingWindow
from slackwater.core.words import Reason


@dataclass(frozen=True, slots=True)
class Finish:
    """An instant by which a run must have ended, and why."""

    at: datetime
    reason: Reason
    entry: str = ""


def latest_finish(
    spec: TrainingWindow, layout: Layout, occurrence: Occurrence, piece: Span, now: datetime
) -> Finish | None:
    """The earliest instant that cancels a run started now or that it must not miss.

    The window's end counts only if it cancels, a Deny only if it cancels, a Deadline always.
    """
    limits: list[Finish] = []
    if spec.on_window_end is Ending.CANCEL:
        limits.append(Finish(occurrence.window_end(piece) + spec.overrun, Reason.WONT_FINISH))
    limits.extend(
        Finish(edge.span.start, Reason.CROSSES_DENY, edge.entry)
        for edge in layout.denies
        if edge.when_running is Ending.CANCEL and edge.span.start > now
    )
    limits.extend(
        Finish(edge.span.start, Reason.MISSES_DEADLINE, edge.entry)
        for edge in layout.deadlines
        if edge.span.start > now
    )
    return min(limits, key=lambda finish: finish.at, default=None)


def start_deadline(spec: TrainingWindow, occurrence: Occurrence) -> datetime | None:
    """The instant from which the occurrence may not start any more; None without any piece."""
    if not occurrence.pieces:
        return None
    end = occurrence.pieces[-1].end
    if spec.starting_deadline is None:
        return end
    return min(end, occurrence.pieces[0].start + spec.starting_deadline)


def latest_start(
    spec: TrainingWindow,
    occurrence: Occurrence,
    piece: Span,
    finish: Finish | None,
    duration: timedelta | None,
) -> datetime:
    """The last instant at which a start inside this piece makes sense (R7)."""
    latest = piece.end
    deadline = start_deadline(spec, occurrence)
    if deadline is not None:
        latest = min(latest, deadline)
    if finish is not None and duration is not None:
        latest = min(latest, finish.at - duration)
    return latest


def lasting(duration: timedelta) -> str:
    """A duration for people: "3 h 20 min".

    >>> lasting(timedelta(seconds=12_000))
    '3 h 20 min'
    """
    minutes = max(1, round(duration.total_seconds() / 60))
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest} min"
    return f"{hours} h {rest} min" if rest else f"{hours} h"
