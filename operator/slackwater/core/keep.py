"""Keeping the ledger: which occurrences have a line, which have gone, which are forgotten (R2, R10 to R12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from slackwater.core.fit import start_deadline
from slackwater.core.follow import follow
from slackwater.core.identity import inline_key, run_id
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.lineage import Lineage
from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.run import Absent
from slackwater.core.run import Seen as SeenRun
from slackwater.core.seen import CalendarView, Override, Seen
from slackwater.core.span import Span, intersect
from slackwater.core.spec import CalendarEntry, Identity, Ref, TrainingWindow
from slackwater.core.words import Reason

AHEAD: Final = timedelta(hours=12)
BEHIND: Final = timedelta(hours=48)
OVERRIDE_VALID: Final = timedelta(minutes=10)
OVERRIDE_LASTS: Final = timedelta(hours=24)
OVERRIDE_ENTRY: Final = "manual"
LEDGER_LIMIT: Final = 4000  # lines; the schema of status takes 5,000


class Book(NamedTuple):
    """The lines after gathering, what they belong to, and what must be looked up.

    `occurrences` are those near now and those of a line; `following` is the start of the next one.
    """

    lines: tuple[Line, ...]
    occurrences: Mapping[str, Occurrence]
    following: datetime | None
    lookups: tuple[str, ...]


def gather(
    identity: Identity,
    spec: TrainingWindow,
    lines: tuple[Line, ...],
    seen: Seen,
    now: datetime,
) -> Book:
    """Join what is recorded with what the calendars say and what Airflow says.

    Lines of vanished events that never started are ended; new occurrences get a line from 12 h
    before their window on; one that is past and unrecorded is looked up before it is called
    missed, and left out if it was over before the object existed.
    """
    gpus = spec.gpu.count if spec.gpu else 0
    runs = seen.airflow.runs
    occurrences, following = _near(seen, {line.id for line in lines}, now)
    kept: dict[str, Line] = {}
    for line in lines:
        known = runs.get(line.dag_run_id or run_id(identity, line.id))
        heard = follow(line, known, identity, gpus)
        occurrence = occurrences.get(line.id)
        if occurrence is not None:
            heard = _placed(heard, occurrence, spec, now)
        elif seen.layout is not None:
            heard = _missing(heard, spec, seen.calendars, now)
        kept[heard.id] = heard
    lookups: list[str] = []
    lineage = Lineage(spec, kept.values())
    for line in lines:
        occurrence = occurrences.get(line.id)
        if occurrence is not None:
            kept[line.id] = _judged(kept[line.id], occurrence, lineage, now)
    for occurrence in occurrences.values():
        if occurrence.key in kept or occurrence.interval.start > now + AHEAD:
            continue
        identifier = run_id(identity, occurrence.key)
        known = runs.get(identifier)
        over = _is_over(spec, occurrence, now)
        if over and not isinstance(known, SeenRun):
            if not isinstance(known, Absent):
                lookups.append(identifier)
                continue
            reason = _why_unseen(identity, spec, occurrence, seen)
            if reason is not None:
                kept[occurrence.key] = replace(
                    _opened(occurrence),
                    state=State.MISSED,
                    reason=reason,
                    since=now,
                    end_time=occurrence.interval.end,
                )
            continue
        # A run may be there already: the status was lost, or the object was made anew (R2, R9).
        line = replace(_opened(occurrence), appeared=_appeared(occurrence, spec, seen, now))
        line = follow(line, known, identity, gpus)
        kept[line.id] = line if over else _judged(line, occurrence, lineage, now)
    return Book(tuple(kept.values()), occurrences, following, tuple(lookups))


def _near(
    seen: Seen, recorded: set[str], now: datetime
) -> tuple[dict[str, Occurrence], datetime | None]:
    """Occurrences that have or are due a line, and when the next one after them starts."""
    if seen.layout is None:
        return {}, None
    found: dict[str, Occurrence] = {}
    following: datetime | None = None
    missing = set(recorded)
    first, last = now - BEHIND, now + AHEAD
    for occurrence in seen.layout.occurrences:  # sorted by start
        interval = occurrence.interval
        if interval.start > last:
            following = following or interval.start
            if not missing:
                break
            if occurrence.key in missing:  # it was moved far ahead
                found[occurrence.key] = occurrence
        elif interval.end > first:
            found[occurrence.key] = occurrence
        missing.discard(occurrence.key)
    manual = overriding(seen.layout, seen.override, now, past_calendar=seen.airflow.allow_override)
    if manual is not None:
        found[manual.key] = manual
    return found, following


def overriding(
    layout: Layout, override: Override, now: datetime, *, past_calendar: bool
) -> Occurrence | None:
    """The occurrence that a person's trigger request stands for (R15), None when it is too old.

    It may start within ten minutes of the request. Unless the Airflow grant lets it go past the
    calendar, only inside a window that is open anyway.
    """
    at = override.trigger
    if at is None or not at - OVERRIDE_VALID <= now < at + OVERRIDE_LASTS:
        return None
    pieces: tuple[Span, ...] = (Span(at, at + OVERRIDE_VALID),)
    interval, end = Span(at, at + OVERRIDE_LASTS), at + OVERRIDE_LASTS
    if not past_calendar:
        around = [other for other in layout.occurrences if at in other.interval]
        pieces = intersect(pieces, (piece for other in around for piece in other.pieces))
        end = max((other.end for other in around), default=at + OVERRIDE_VALID)
        interval = Span(at, max(end, at + OVERRIDE_VALID))
    nominal = at.isoformat()
    return Occurrence(
        key=inline_key(OVERRIDE_ENTRY, nominal),
        entry=OVERRIDE_ENTRY,
        series="",
        original_start=nominal,
        interval=interval,
        pieces=pieces,
        cuts=(),
        event=None,
        end=end,
    )


def _opened(occurrence: Occurrence) -> Line:
    return Line(
        id=occurrence.key,
        entry=occurrence.entry,
        series=occurrence.series,
        original_start=occurrence.original_start,
        window=_window(occurrence),
    )


def _window(occurrence: Occurrence) -> Span:
    pieces = occurrence.pieces
    if len(pieces) == 1:
        return pieces[0]
    return Span(pieces[0].start, pieces[-1].end) if pieces else occurrence.interval


_COMES_BACK: Final = (State.MISSED, State.CANCELLED)


def _placed(line: Line, occurrence: Occurrence, spec: TrainingWindow, now: datetime) -> Line:
    """The line at the occurrence's present place; one that missed its time may get another."""
    window = _window(occurrence)
    if line.window != window or line.absent or not _describes(line, occurrence):
        line = replace(
            line,
            window=window,
            entry=occurrence.entry,
            series=occurrence.series,
            original_start=occurrence.original_start,
            absent=0,
            vanished=None,
        )
    if line.state not in _COMES_BACK or line.trigger_time is not None:
        return line
    deadline = start_deadline(spec, occurrence)
    if line.reason is Reason.RUN_ID_CONFLICT or deadline is None or now >= deadline:
        return line
    return replace(line, state=State.PLANNED, reason=Reason.AHEAD, since=now, end_time=None)


def _describes(line: Line, occurrence: Occurrence) -> bool:
    return (
        line.entry == occurrence.entry
        and line.series == occurrence.series
        and line.original_start == occurrence.original_start
    )


def _missing(
    line: Line, spec: TrainingWindow, views: Mapping[Ref, CalendarView], now: datetime
) -> Line:
    """A line whose occurrence the layout lacks: count its absence, end it when that is certain."""
    if line.state.is_final and not line.trigger_time:
        return line
    if line.entry == OVERRIDE_ENTRY:
        return line
    absent = _absence(line, spec, views, now)
    if absent == 0:
        return line  # nothing new is known of it
    if absent != line.absent or line.vanished is None:
        line = replace(line, absent=absent, vanished=line.vanished or now)
    if line.state.is_active or line.state.is_final:
        return line
    if absent >= 2:
        ended = noted(line, State.CANCELLED, Reason.EVENT_CANCELLED, "CalendarsSynced", now)
        return replace(ended, end_time=now)
    is_open = line.window is not None and now in line.window
    state = State.WAITING if is_open else State.PLANNED
    return noted(line, state, Reason.EVENT_VANISHED, "CalendarsSynced", now)


def _absence(
    line: Line, spec: TrainingWindow, views: Mapping[Ref, CalendarView], now: datetime
) -> int:
    """0: it may only have left the horizon; 1: missing once; 2: the provider's word for it."""
    entry = next((e for e in spec.entries if e.name == line.entry), None)
    # A provider gives events by their own end, which offsets may have left far behind.
    later = entry.end_offset if isinstance(entry, CalendarEntry) else timedelta()
    if line.window is not None and line.window.end - later < now - BEHIND + timedelta(hours=1):
        return 0
    if not isinstance(entry, CalendarEntry):
        return 2
    view = views.get(entry.calendar)
    if view is None or view.snapshot is None or view.recent is None:
        return min(1, max(line.absent, 1))
    if line.window is not None and not line.window.overlaps(view.snapshot.horizon):
        return 0
    present = any(event.key == line.id for event in view.snapshot.events)
    return 2 if present or line.id not in view.recent else max(1, line.absent)


def _is_over(spec: TrainingWindow, occurrence: Occurrence, now: datetime) -> bool:
    deadline = start_deadline(spec, occurrence)
    return now >= (occurrence.interval.end if deadline is None else deadline)


def _why_unseen(
    identity: Identity, spec: TrainingWindow, occurrence: Occurrence, seen: Seen
) -> Reason | None:
    """Why an occurrence went by without a line; None where it need not have had one (R11)."""
    end = start_deadline(spec, occurrence) or occurrence.interval.end
    if end <= identity.created:
        return None
    if end <= seen.up_since:
        return Reason.CONTROLLER_DOWN
    entry = next((e for e in spec.entries if e.name == occurrence.entry), None)
    if isinstance(entry, CalendarEntry):
        view = seen.calendars.get(entry.calendar)
        if view is not None and any(end in blind for blind in view.blind):
            return Reason.STALE
    return None  # it was put into the calendar, or moved, after its time


def _judged(line: Line, occurrence: Occurrence, lineage: Lineage, now: datetime) -> Line:
    """The line, superseded where its run was had under another key (R2)."""
    if not line.state.is_unstarted or not lineage.has_run(line, occurrence):
        return line
    ended = noted(line, State.SUPERSEDED, Reason.REPLACED, "WindowOpen", now)
    return replace(ended, end_time=now)


def _appeared(
    occurrence: Occurrence, spec: TrainingWindow, seen: Seen, now: datetime
) -> datetime | None:
    """When an occurrence without a line came: now, where nobody can have seen it come."""
    entry = next((e for e in spec.entries if e.name == occurrence.entry), None)
    view = seen.calendars.get(entry.calendar) if isinstance(entry, CalendarEntry) else None
    if view is None or view.appeared is None:
        return now
    return view.appeared.get(occurrence.key)


def noted(line: Line, state: State, reason: Reason, condition: str, now: datetime) -> Line:
    """The line held back by `reason` of `condition`, with the time that what was before it took."""
    held_by = condition if state is State.WAITING else ""
    if line.state is state and line.reason is reason and line.condition == held_by:
        return line
    waited = line.waited
    if line.state is State.WAITING and line.since is not None:
        waited = added(waited, line.condition or condition, line.reason, now - line.since)
    return replace(line, state=state, reason=reason, condition=held_by, since=now, waited=waited)


def added(
    waited: Iterable[Waited], condition: str, reason: Reason, length: timedelta
) -> tuple[Waited, ...]:
    """The account of waiting with some more time on one reason."""
    seconds = round(length.total_seconds())
    account = {(w.condition, w.reason): w.seconds for w in waited}
    if seconds > 0:
        account[condition, reason] = account.get((condition, reason), 0) + seconds
    return tuple(Waited(c, r, s) for (c, r), s in account.items())


def forget(lines: Iterable[Line], history_limit: int, now: datetime) -> tuple[Line, ...]:
    """The lines worth keeping: all that is not over for 48 h, then the newest `history_limit`.

    Of more lines than a status can hold, those that have been over for longest go.
    """
    ordered = sorted(lines, key=lambda line: (_when(line, now), line.id))
    over = [line for line in ordered if line.state.is_final]
    if not over:
        return tuple(ordered)
    old = sum(1 for line in over if _when(line, now) <= now - BEHIND)
    many = max(0, old - history_limit, len(ordered) - LEDGER_LIMIT)
    dropped = {line.id for line in over[:many]}
    return tuple(line for line in ordered if line.id not in dropped)


def _when(line: Line, now: datetime) -> datetime:
    return line.end_time or (line.window.end if line.window else now)
