"""Calendars read once each, and what TrainingWindows make of them: for commands that only look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from slackwater.cli.opened import LIMIT, Opened, trouble_of
from slackwater.core.event import Event, Snapshot, Warned
from slackwater.core.match import Answer, for_effect, matches, trusted
from slackwater.core.occurrence import Layout, Occurrence, anchored, lay_out
from slackwater.core.planned import Planned
from slackwater.core.schedule import BadSchedule
from slackwater.core.seen import Trouble
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Effect, Ref, TrainingWindow
from slackwater.core.words import Reason, say
from slackwater.core.zone import instant, zone
from slackwater.errors import SlackwaterError
from slackwater.ports import Kind
from slackwater.runtime.records import WindowRecord

_Found = TypeVar("_Found")

# What begins before a range or ends after it may be cut by what lies outside: this much is read
# besides the range.
_BEFORE: Final = timedelta(days=2)
_AFTER: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """One TrainingWindow and what the calendars say about it.

    Attributes:
        ref: which one.
        spec: what its user wants; None where that cannot be read.
        within: the range that was asked for.
        layout: all of it, also outside the range; None where there is trouble. Its counts and
            near misses are those of the range.
        troubles: why nothing can be said, by what it is about.
        warnings: what calendars had to leave out, by Calendar.
        planned: when off-peak occurrences would start, by their keys.
        twice: events that several Trigger entries mean: names of the entries, and how many.
    """

    ref: Ref
    spec: TrainingWindow | None
    within: Span
    layout: Layout | None = None
    troubles: tuple[Trouble, ...] = ()
    warnings: tuple[tuple[Ref, Warned], ...] = ()
    planned: Mapping[str, Planned] = field(default_factory=dict)
    twice: tuple[tuple[tuple[str, ...], int], ...] = ()

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        """Those that touch the range."""
        if self.layout is None:
            return ()
        return tuple(o for o in self.layout.occurrences if o.interval.overlaps(self.within))


async def ask(call: Callable[[], Awaitable[_Found]], what: str) -> _Found | Trouble:
    """The answer of something outside, or why there is none, within `LIMIT`."""
    try:
        async with asyncio.timeout(LIMIT.total_seconds()):
            return await call()
    except TimeoutError:
        return Trouble(Reason.TIMEOUT, {"what": what})
    except SlackwaterError as error:
        return trouble_of(error, what)


async def read_calendar(found: Opened, ref: Ref, horizon: Span) -> Snapshot | Trouble:
    """A Calendar's events, read now; it exists and its spec is good."""
    follower = found.world.calendar(ref)
    what = f"{Kind.CALENDAR} {ref}"
    if follower is None or follower.source is None:
        return Trouble(Reason.CALENDAR_NOT_FOUND, {"ref": ref})
    source = follower.source
    fetched = await ask(lambda: source.fetch(horizon, None, found.clock.now()), what)
    if isinstance(fetched, Trouble):
        return fetched
    if fetched.snapshot is None:  # it was told nothing of an earlier look
        return Trouble(Reason.MALFORMED, {"what": what})
    return fetched.snapshot


async def laid_out(
    found: Opened, records: Sequence[WindowRecord], ranges: Mapping[Ref, Span]
) -> tuple[Laid, ...]:
    """What the calendars say about TrainingWindows, each Calendar read once and all at once.

    Args:
        found: the objects.
        records: the TrainingWindows.
        ranges: the time of interest of each.
    """
    troubles: dict[Ref, tuple[Trouble, ...]] = {}
    wanted: set[Ref] = set()
    for record in records:
        ref = record.stored.key.ref
        troubles[ref] = await _refusals(found, record)
        if record.spec is not None and not troubles[ref]:
            wanted |= {entry.calendar for entry in record.spec.calendars}
    if not records:
        return ()
    horizon = _horizon([record.spec for record in records], list(ranges.values()))
    refs = sorted(wanted)
    read = dict(
        zip(
            refs,
            await asyncio.gather(*(read_calendar(found, ref, horizon) for ref in refs)),
            strict=True,
        )
    )
    return tuple(
        _laid(record, ranges[record.stored.key.ref], troubles[record.stored.key.ref], read, horizon)
        for record in records
    )


async def _refusals(found: Opened, record: WindowRecord) -> tuple[Trouble, ...]:
    """Why a TrainingWindow may not read its calendars, whatever they hold."""
    if record.config is not None:
        return (record.config,)
    seen = await found.seen(record)
    if seen is None:
        return ()
    refused = [view.refused for view in seen.calendars.values()] + [seen.config]
    return tuple(trouble for trouble in refused if trouble is not None)


def _horizon(specs: Iterable[TrainingWindow | None], ranges: Sequence[Span]) -> Span:
    """What to read: the ranges, a margin, and what offsets move in."""
    offsets = [
        abs(offset)
        for spec in specs
        if spec is not None
        for entry in spec.calendars
        for offset in (entry.start_offset, entry.end_offset)
    ]
    most = max(offsets, default=timedelta())
    return Span(
        min(span.start for span in ranges) - _BEFORE - most,
        max(span.end for span in ranges) + _AFTER + most,
    )


def _laid(
    record: WindowRecord,
    within: Span,
    troubles: tuple[Trouble, ...],
    read: Mapping[Ref, Snapshot | Trouble],
    horizon: Span,
) -> Laid:
    ref, spec = record.stored.key.ref, record.spec
    if spec is None or troubles:
        return Laid(ref=ref, spec=spec, within=within, troubles=troubles)
    refs = tuple(dict.fromkeys(entry.calendar for entry in spec.calendars))
    answers = [(calendar, read[calendar]) for calendar in refs]
    faults = tuple(answer for _, answer in answers if isinstance(answer, Trouble))
    if faults:
        return Laid(ref=ref, spec=spec, within=within, troubles=faults)
    snapshots = {calendar: held for calendar, held in answers if isinstance(held, Snapshot)}
    events = {calendar: snapshot.events for calendar, snapshot in snapshots.items()}
    try:
        layout = _layout(spec, events, within, horizon)
    except BadSchedule as error:
        trouble = Trouble(Reason.INVALID_SCHEDULE, {"field": error.field, "detail": error.detail})
        return Laid(ref=ref, spec=spec, within=within, troubles=(trouble,))
    return Laid(
        ref=ref,
        spec=spec,
        within=within,
        layout=layout,
        warnings=tuple((name, w) for name, held in snapshots.items() for w in held.warnings),
        twice=_twice(spec, events, {o.key for o in layout.occurrences}),
    )


def _layout(
    spec: TrainingWindow, events: Mapping[Ref, Sequence[Event]], within: Span, horizon: Span
) -> Layout:
    """The layout of the range, made wide enough for all that touches it."""
    inside = {
        ref: [e for e in held if anchored(e, spec.time_zone).span.overlaps(within)]
        for ref, held in events.items()
    }
    counts = lay_out(spec, inside, within)
    layout = lay_out(spec, events, within)
    start = min((o.interval.start for o in layout.occurrences), default=within.start)
    end = max((o.interval.end for o in layout.occurrences), default=within.end)
    whole = Span(
        max(min(start, within.start), horizon.start), min(max(end, within.end), horizon.end)
    )
    return replace(
        lay_out(spec, events, whole),
        unreadable=counts.unreadable,
        untrusted=counts.untrusted,
        near=counts.near,
    )


def _twice(
    spec: TrainingWindow, events: Mapping[Ref, Sequence[Event]], keys: set[str]
) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Events that several Trigger entries mean; the first of them counts (R3)."""
    triggers = [entry for entry in spec.calendars if entry.effect is Effect.TRIGGER]
    by_event: dict[str, list[str]] = {}
    for entry in triggers:
        for key in _meant(entry, events.get(entry.calendar, ()), spec.time_zone) & keys:
            by_event.setdefault(key, []).append(entry.name)
    counts: dict[tuple[str, ...], int] = {}
    for names in by_event.values():
        if len(names) > 1:
            counts[tuple(names)] = counts.get(tuple(names), 0) + 1
    return tuple(sorted(counts.items()))


def _meant(entry: CalendarEntry, events: Iterable[Event], time_zone: str) -> set[str]:
    match = for_effect(entry.match, entry.effect)
    return {
        event.key
        for event in events
        if event.key
        and trusted(event, entry.match)
        and matches(match, anchored(event, time_zone), time_zone) is Answer.YES
    }


def warning(ref: Ref, warned: Warned) -> str:
    """What a Calendar had to leave out or could not read, in a sentence."""
    gaps = {"ref": ref, "count": warned.count, "field": f"{Kind.CALENDAR} {ref}"}
    return say(warned.reason, **gaps, what=f"{Kind.CALENDAR} {ref}", zone="a name in it")


def original_start(occurrence: Occurrence, time_zone: str, calendar_zone: str | None) -> datetime:
    """The start as first written, as an instant.

    A start that was written without a zone is read in the Calendar's, or else in the
    TrainingWindow's, as the event itself was.

    Args:
        occurrence: whose start.
        time_zone: of the TrainingWindow.
        calendar_zone: `spec.timeZone` of the Calendar, where it has one.
    """
    try:
        written = datetime.fromisoformat(occurrence.original_start)
    except ValueError:
        return (occurrence.event.span if occurrence.event else occurrence.interval).start
    if written.tzinfo is not None:
        return written.astimezone(UTC)
    return instant(written, zone(calendar_zone or time_zone))


def calendar_zone(found: Opened, spec: TrainingWindow, entry: str) -> str | None:
    """`spec.timeZone` of the Calendar that an entry reads."""
    named = next((e for e in spec.calendars if e.name == entry), None)
    held = None if named is None else found.world.calendars.get(named.calendar)
    return None if held is None or held.spec is None else held.spec.time_zone
