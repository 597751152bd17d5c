"""What the windows file says of one TrainingWindow and of one GPUPool.

Times, states and GPUs; parameters only from a calendar of privacy `Details`, and only near their
window (R13). The rows are functions of what stands in status, layout and sample, and do not change
by the mere passing of time within an hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slackwater.core.conf import MAX_PARAMETERS
from slackwater.core.event import Event
from slackwater.core.ledger import Line, State
from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Ending, Privacy, Ref, TrainingWindow
from slackwater.core.status import Status, Truth
from slackwater.core.words import Reason
from slackwater_windows import document
from slackwater_windows.parameters import BadParameters, parameters

BEHIND: Final = timedelta(hours=48)
SHOWN: Final = timedelta(days=8)
"""Seven days from any hour of a day in any zone."""
PARAMETERS_AHEAD: Final = timedelta(hours=36)
_QUARTER: Final = timedelta(minutes=15)
_DAY: Final = timedelta(days=1)


def window_row(
    ref: Ref,
    spec: TrainingWindow,
    status: Status,
    layout: Layout | None,
    privacies: Mapping[Ref, Privacy],
    now: datetime,
) -> document.Window:
    """One TrainingWindow as the windows file has it.

    Args:
        ref: which one.
        spec: the last good one.
        status: with the ledger.
        layout: None while the calendars are not read.
        privacies: of the calendars that `spec` names, as far as they are known.
        now: decides what is near enough, by the hour.

    Returns:
        The occurrences of the ledger, and those of the layout from 48 hours ago until eight days
        ahead; where there is none ahead, the next one.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    lines = {line.id: line for line in status.lines}
    rows = [
        _occurrence_row(found, lines.pop(found.key, None), spec, layout, privacies, hour)
        for found in _near(layout, lines.keys(), hour)
    ]
    rows += [_line_row(line) for line in lines.values() if line.window or line.trigger_time]
    ready = status.condition("Ready")
    gpu = spec.gpu
    return document.Window(
        namespace=ref.namespace,
        name=ref.name,
        dag_id=spec.dag.dag_id,
        airflow=str(spec.dag.airflow),
        time_zone=spec.time_zone,
        suspended=spec.suspend,
        ready=ready is None or ready.status is not Truth.FALSE,
        message=status.message,
        pool=None if gpu is None else str(gpu.pool),
        gpus=0 if gpu is None else gpu.count,
        per_pod=1 if gpu is None else gpu.per_pod,
        occurrences=tuple(sorted(rows, key=lambda row: (row.start, row.id))),
    )


def _near(layout: Layout | None, lines: Iterable[str], hour: datetime) -> list[Occurrence]:
    """What the file shows of a layout: the near future and past, the ledger's, else the next."""
    if layout is None:
        return []
    known = set(lines)
    shown = Span(hour - BEHIND, hour + SHOWN)
    near = [o for o in layout.occurrences if o.key in known or o.interval.overlaps(shown)]
    if not any(o.interval.start > hour for o in near):
        near += [o for o in layout.occurrences if o.interval.start >= shown.end][:1]
    return near


def _occurrence_row(
    occurrence: Occurrence,
    line: Line | None,
    spec: TrainingWindow,
    layout: Layout | None,
    privacies: Mapping[Ref, Privacy],
    hour: datetime,
) -> document.Occurrence:
    pieces = occurrence.pieces
    start = pieces[0].start if pieces else occurrence.interval.start
    end = pieces[-1].end if pieces else start
    run_end = _run_end(occurrence, line)
    told, error = _parameters(occurrence, spec, privacies, line, hour)
    return document.Occurrence(
        id=occurrence.key,
        entry=occurrence.entry,
        state=State.PLANNED if line is None else line.state,
        reason=_reason(occurrence, line),
        start=start,
        end=end,
        pieces=tuple((p.start, p.end) for p in pieces) if len(pieces) > 1 else (),
        run_end=None if run_end == end else run_end,
        cancel_time=_cancel_time(occurrence, line, spec, layout, run_end),
        cuts=tuple(
            document.Cut(cut.span.start, cut.span.end, cut.entry) for cut in occurrence.cuts
        ),
        parameters=told,
        parameters_error=error,
        **_run(line),
    )


def _line_row(line: Line) -> document.Occurrence:
    """An occurrence whose event is gone or not read: as the ledger has it."""
    start = line.window.start if line.window else line.trigger_time
    assert start is not None
    return document.Occurrence(
        id=line.id,
        entry=line.entry,
        state=line.state,
        reason=line.reason,
        start=start,
        end=line.window.end if line.window else start,
        cancel_time=line.cancel_time,
        **_run(line),
    )


def _run(line: Line | None) -> dict[str, Any]:
    if line is None:
        return {}
    return {
        "planned_start": line.planned_start,
        "dag_run_id": line.dag_run_id,
        "trigger_time": line.trigger_time,
        "start_time": line.start_time,
        "end_time": line.end_time,
        "waited": tuple(document.Waited(w.reason, w.seconds) for w in line.waited),
    }


def _reason(occurrence: Occurrence, line: Line | None) -> Reason:
    if line is not None:
        return line.reason
    return Reason.AHEAD if occurrence.pieces else Reason.EMPTY_WINDOW


def _began(line: Line | None) -> datetime | None:
    if line is None or not (line.state.is_active or line.state.has_started):
        return None
    return line.intent_time or line.trigger_time or line.start_time


def _run_end(occurrence: Occurrence, line: Line | None) -> datetime:
    """End of the window (R8) of the occurrence's run, or of one that starts in its last piece."""
    if not occurrence.pieces:
        return occurrence.end
    began = _began(line)
    piece = next((p for p in occurrence.pieces if began and began in p), occurrence.pieces[-1])
    return occurrence.window_end(piece)


def _cancel_time(
    occurrence: Occurrence,
    line: Line | None,
    spec: TrainingWindow,
    layout: Layout | None,
    run_end: datetime,
) -> datetime | None:
    """When the run is, or would be, cancelled: by the window's end or by a Deny that cancels (R8)."""
    if line is not None and (line.cancel_time is not None or line.state.is_final):
        return line.cancel_time
    if not occurrence.pieces:
        return None
    ends = [run_end + spec.overrun] if spec.on_window_end is Ending.CANCEL else []
    began = _began(line) or occurrence.pieces[0].start
    ends += [
        edge.span.start
        for edge in (layout.denies if layout is not None else ())
        if edge.when_running is Ending.CANCEL and edge.span.start > began
    ]
    # A Deny long after the window says nothing about this run.
    near = [end for end in ends if end <= run_end + max(spec.overrun, _DAY)]
    return min(near, default=None)


def _parameters(
    occurrence: Occurrence,
    spec: TrainingWindow,
    privacies: Mapping[Ref, Privacy],
    line: Line | None,
    hour: datetime,
) -> tuple[Mapping[str, Any] | None, str | None]:
    """The event's parameters, or why they cannot be read; neither where they may not be told."""
    event = occurrence.event
    active = line is not None and line.state.is_active
    near = hour - _DAY <= occurrence.interval.start < hour + PARAMETERS_AHEAD
    if (
        event is None
        or not (near or active)
        or not _tells(event, occurrence.entry, spec, privacies)
    ):
        return None, None
    try:
        found = parameters(event.description or "")
    except BadParameters as error:
        return None, error.detail
    if len(json.dumps(found)) > MAX_PARAMETERS:
        return None, f"the parameters have more than {MAX_PARAMETERS // 1024} KiB"
    return found, None


def _tells(
    event: Event, entry: str, spec: TrainingWindow, privacies: Mapping[Ref, Privacy]
) -> bool:
    if event.description is None and event.summary is None:
        return False  # private
    return any(
        isinstance(found, CalendarEntry)
        and found.name == entry
        and privacies.get(found.calendar) is Privacy.DETAILS
        for found in spec.calendars
    )


def pool_row(
    ref: Ref,
    sample: Sample | None,
    promised: int,
    history: Iterable[tuple[datetime, float]],
    message: str,
    now: datetime,
) -> document.Pool:
    """One GPUPool as the windows file has it.

    Args:
        ref: which one.
        sample: the last one.
        promised: GPUs set aside that do not show yet.
        history: (time, utilisation from 0 to 1), oldest first.
        message: why the numbers cannot be used; empty where they can.
        now: the load of the day before it is told, as means of quarters of an hour.
    """
    sums: dict[datetime, tuple[float, int]] = {}
    for at, share in history:
        if at > now - _DAY:
            end = _quarter_end(at)
            total, count = sums.get(end, (0.0, 0))
            sums[end] = (total + share * 100, count + 1)
    utilization = None if sample is None else sample.utilization
    return document.Pool(
        name=str(ref),
        capacity=None if sample is None else sample.capacity,
        free=None if sample is None else sample.fit(1),
        promised=promised,
        utilization_percent=None if utilization is None else utilization * 100,
        sample_time=None if sample is None else sample.time,
        message=message,
        load=tuple((end, total / count) for end, (total, count) in sorted(sums.items())),
    )


def _quarter_end(at: datetime) -> datetime:
    midnight = datetime(at.year, at.month, at.day, tzinfo=UTC)
    return midnight + ((at - midnight) // _QUARTER + 1) * _QUARTER


def still_window(row: document.Window) -> document.Window:
    """What of a TrainingWindow is worth writing at once: not the wording, nor a new plan (R16)."""
    return replace(
        row,
        message="",
        occurrences=tuple(
            replace(found, planned_start=None) if found.planned_start else found
            for found in row.occurrences
        ),
    )


def still_pool(row: document.Pool) -> document.Pool:
    """What of a GPUPool is worth writing at once: not its numbers."""
    return document.Pool(name=row.name, message=row.message)
