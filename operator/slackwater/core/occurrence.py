"""The layout of a TrainingWindow: its occurrences, and what allows, denies and ends them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import accumulate
from typing import Final

from slackwater.core.event import Event
from slackwater.core.identity import inline_key, series_key
from slackwater.core.match import Answer, counts, for_effect, matches, near, trusted
from slackwater.core.schedule import instances
from slackwater.core.span import Span, intersect, union
from slackwater.core.spec import (
    CalendarEntry,
    Effect,
    Ending,
    InlineEntry,
    Ref,
    TrainingWindow,
)
from slackwater.core.window import Cut, cut
from slackwater.core.zone import instant
from slackwater.core.zone import zone as zone_of

NO_TIME_LEFT: Final = "(offsets)"
"""`Cut.entry` of an interval whose offsets leave nothing; no entry can have this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One event, or inline instance, of a Trigger entry: at most one DAG run.

    Attributes:
        key: identity (R2).
        entry: name of the first Trigger entry that means it.
        series: hash shared by the instances of one series.
        original_start: as written by the provider, or the nominal start of an inline schedule.
        interval: the event's or instance's time with the entry's offsets.
        pieces: when a run may start, sorted and disjoint; empty where nothing is left.
        cuts: what took the rest of the interval.
        event: the event, at its real time; None for an inline instance.
        end: window end (R8) of the first piece; the interval's end where there is no piece.
        reach: the interval inside Allow with Deny ignored, one span per Allow interval.
    """

    key: str
    entry: str
    series: str
    original_start: str
    interval: Span
    pieces: tuple[Span, ...]
    cuts: tuple[Cut, ...]
    event: Event | None
    end: datetime
    reach: tuple[Span, ...] = ()

    def piece_at(self, instant: datetime) -> Span | None:
        """The piece that holds this instant, None outside all of them."""
        for piece in self.pieces:  # a plain loop: every decision asks this of every line
            if piece.start <= instant < piece.end:
                return piece
        return None

    def window_end(self, piece: Span) -> datetime:
        """Window end (R8) of a run that starts in `piece`: Deny does not shorten it."""
        return next((span.end for span in self.reach if piece.start in span), self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Time of a Deny or Deadline entry, and what its beginning does to a run in flight.

    `span.start` is when it acts. For a Deadline that is the deadline: of an all-day event, its
    end, so the span then lies after the event.
    """

    span: Span
    entry: str
    when_running: Ending


@dataclass(frozen=True, slots=True)
class Near:
    """An event whose title nearly matches a Trigger entry, for `plan`."""

    entry: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything that the calendars and schedules say about one TrainingWindow.

    Attributes:
        occurrences: sorted by interval start, then key.
        allows: union of the Allow spans; None where there are no Allow entries.
        denies: sorted Deny spans.
        deadlines: sorted Deadlines; `span.start` is the deadline.
        unreadable: events for which some entry's match could not be evaluated.
        untrusted: events that would trigger, were their organiser trusted (R14).
        near: near misses of Trigger entries.
    """

    occurrences: tuple[Occurrence, ...]
    allows: tuple[Span, ...] | None
    denies: tuple[Edge, ...]
    deadlines: tuple[Edge, ...]
    unreadable: int = 0
    untrusted: int = 0
    near: tuple[Near, ...] = ()


def lay_out(spec: TrainingWindow, events: Mapping[Ref, Sequence[Event]], horizon: Span) -> Layout:
    """Everything that `spec` makes of the events inside `horizon`; the order of events is nothing.

    Args:
        spec: accepted, so its zone and schedules are good.
        events: complete, by calendar; a calendar that is left out counts as empty.
        horizon: what does not touch it is left out.

    Raises:
        BadSchedule: an inline schedule begins too often, see `schedule.instances`.
    """
    sorter = _Sorter(spec, horizon)
    for entry in spec.calendars:
        sorter.take_events(entry, events.get(entry.calendar, ()))
    for window in spec.windows:
        sorter.take_instances(window)
    return sorter.layout()


def anchored(event: Event, zone: str) -> Event:
    """A floating event at its real time in the TrainingWindow's zone; any other as it is (R1).

    A floating day is the whole local day, from its first instant to the next day's.
    """
    if event.wall is None:
        return event
    where = zone_of(zone)
    first, last = event.wall
    if event.all_day:
        first, last = datetime.combine(first, time()), datetime.combine(last, time())
        last = max(last, first + timedelta(days=1))
    start, end = instant(first, where), instant(last, where)
    if end <= start:  # both in one gap
        end = start + max(last - first, event.span.length)
    return event.at(Span(start, end))


@dataclass(frozen=True, slots=True)
class _Start:
    """A Trigger interval before anything is cut from it."""

    key: str
    entry: str
    series: str
    original_start: str
    interval: Span
    event: Event | None
    emptied: bool = False


class _Sorter:
    """Sorts events and instances by what their entries make of them."""

    def __init__(self, spec: TrainingWindow, horizon: Span) -> None:
        self._spec = spec
        self._horizon = horizon
        self._starts: dict[str, _Start] = {}
        self._edges: dict[Effect, list[Edge]] = {effect: [] for effect in Effect}
        self._anchored: dict[Ref, tuple[Event, ...]] = {}
        self._unreadable: set[tuple[Ref, str, Span]] = set()
        self._untrusted: dict[str, None] = {}
        self._near: dict[tuple[str, str], Near] = {}

    def take_events(self, entry: CalendarEntry, events: Sequence[Event]) -> None:
        if entry.calendar not in self._anchored:
            self._anchored[entry.calendar] = _distinct(
                anchored(event, self._spec.time_zone) for event in events
            )
        match = for_effect(entry.match, entry.effect)
        for event in self._anchored[entry.calendar]:
            answer = matches(match, event, self._spec.time_zone)
            if answer is Answer.UNREADABLE or (event.unread and answer is not Answer.NO):
                self._unreadable.add((entry.calendar, event.key, event.span))
            if event.unread and entry.effect is not Effect.DENY:
                continue  # nobody knows when it would begin anything
            if entry.effect is Effect.TRIGGER:
                self._take_start(entry, event, answer)
            elif counts(entry.effect, answer):
                self._take_edge(entry, event)

    def _take_start(self, entry: CalendarEntry, event: Event, answer: Answer) -> None:
        if not event.key or event.key in self._starts:
            return  # free/busy times have no identity (R2); the first entry that matches counts
        if not counts(entry.effect, answer):
            if near(entry.match, event):
                self._near[entry.name, event.key] = Near(entry.name, event)
            return
        if not trusted(event, entry.match):
            self._untrusted[event.key] = None
            return
        moved = event.span.shifted(entry.start_offset, entry.end_offset)
        self._starts[event.key] = _Start(
            event.key,
            entry.name,
            event.series,
            event.original_start,
            moved or event.span,
            event,
            emptied=moved is None,
        )

    def _take_edge(self, entry: CalendarEntry, event: Event) -> None:
        span: Span | None
        if entry.effect is Effect.DEADLINE:
            at = (
                event.span.end + entry.end_offset
                if event.all_day
                else event.span.start + entry.start_offset
            )
            span = Span(at, at + event.span.length)
        else:
            span = event.span.shifted(entry.start_offset, entry.end_offset)
        if span is not None and span.overlaps(self._horizon):
            self._edges[entry.effect].append(
                Edge(span=span, entry=entry.name, when_running=entry.when_running)
            )

    def take_instances(self, entry: InlineEntry) -> None:
        """Every instance of an inline entry, by its nominal start."""
        for nominal, span in _instances(entry, self._spec.time_zone, self._horizon):
            if entry.effect is not Effect.TRIGGER:
                self._edges[entry.effect].append(
                    Edge(span=span, entry=entry.name, when_running=entry.when_running)
                )
                continue
            key = inline_key(entry.name, nominal)
            self._starts[key] = _Start(
                key, entry.name, series_key("inline", entry.name), nominal, span, None
            )

    def layout(self) -> Layout:
        """All that was taken, put together."""
        entries = self._spec.entries
        allows = (
            union(edge.span for edge in self._edges[Effect.ALLOW])
            if any(entry.effect is Effect.ALLOW for entry in entries)
            else None
        )
        denies = _sorted(self._edges[Effect.DENY])
        carve = _Carver(allows, denies)
        starts = [s for s in self._starts.values() if s.interval.overlaps(self._horizon)]
        starts.sort(key=lambda start: (start.interval.start, start.key))
        return Layout(
            occurrences=tuple(carve.occurrence(start) for start in starts),
            allows=allows,
            denies=denies,
            deadlines=_sorted(self._edges[Effect.DEADLINE]),
            unreadable=len(self._unreadable),
            untrusted=len(self._untrusted.keys() - self._starts.keys()),
            near=tuple(
                self._near[place] for place in sorted(self._near) if place[1] not in self._starts
            ),
        )


class _Carver:
    """Cuts intervals, looking only at the Allow and Deny spans that touch them."""

    def __init__(self, allows: tuple[Span, ...] | None, denies: tuple[Edge, ...]) -> None:
        self._allows = allows
        self._allow_starts = [span.start for span in allows or ()]
        self._allow_ends = [span.end for span in allows or ()]
        self._denies = denies
        self._deny_starts = [edge.span.start for edge in denies]
        # The latest end of this Deny and all before it: never falls, so it can be searched.
        self._deny_ends = list(accumulate((edge.span.end for edge in denies), max))

    def occurrence(self, start: _Start) -> Occurrence:
        """The occurrence with its pieces."""
        interval = start.interval
        allows: tuple[Span, ...] | None = None
        if self._allows is not None:
            first = bisect_right(self._allow_ends, interval.start)
            allows = self._allows[first : bisect_left(self._allow_starts, interval.end)]
        first = bisect_right(self._deny_ends, interval.start)
        denies = self._denies[first : bisect_left(self._deny_starts, interval.end)]
        pieces, cuts = cut(interval, allows, [(edge.span, edge.entry) for edge in denies])
        if start.emptied:
            pieces, cuts = (), (Cut(interval, NO_TIME_LEFT),)
        reach = (interval,) if allows is None else intersect((interval,), allows)
        return Occurrence(
            key=start.key,
            entry=start.entry,
            series=start.series,
            original_start=start.original_start,
            interval=interval,
            pieces=pieces,
            cuts=cuts,
            event=start.event,
            end=next((s.end for s in reach if pieces and pieces[0].start in s), interval.end),
            reach=reach,
        )


def _instances(entry: InlineEntry, zone: str, horizon: Span) -> Iterable[tuple[str, Span]]:
    if entry.fixed is not None:
        name = entry.fixed.start.replace(tzinfo=None).isoformat() + "Z"
        return [(name, entry.fixed)] if entry.fixed.overlaps(horizon) else []
    if entry.schedule is None or entry.duration is None:
        return []
    return instances(entry.schedule, entry.duration, zone, horizon)


def _distinct(events: Iterable[Event]) -> tuple[Event, ...]:
    """Events in one order, each key once; free/busy times have no key and all count."""
    by_key: dict[str, Event] = {}
    keyless: list[Event] = []
    for event in events:
        known = by_key.get(event.key)
        if not event.key:
            keyless.append(event)
        elif known is None or _order(event) < _order(known):
            by_key[event.key] = event
    return tuple(sorted((*by_key.values(), *keyless), key=lambda event: (event.span, event.key)))


def _order(event: Event) -> tuple[object, ...]:
    # Only ever compared between two events of one key, where any fixed choice will do.
    return (
        event.span,
        event.all_day,
        event.busy,
        event.own,
        event.original_start,
        event.series,
        event.summary or "",
        event.description or "",
        event.categories or (),
        event.organizer or "",
    )


def _sorted(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    return tuple(sorted(set(edges), key=lambda edge: (edge.span, edge.entry, edge.when_running)))
