"""Windows that calendars spoil: what stands in their way, and which event to move where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from slackwater.core.fit import latest_finish, latest_start
from slackwater.core.occurrence import NO_TIME_LEFT, Occurrence
from slackwater.core.room import Odds
from slackwater.core.span import Span
from slackwater.core.suggest import LIKELY, Suggestion, Wanted, cushion, in_time, rank
from slackwater.core.window import OUTSIDE_ALLOW
from slackwater.core.words import Reason

GOOD: Final = 0.8
"""With this chance of room the nearest time is better than the best."""


class Hindrance(StrEnum):
    """What spoils a window."""

    COVERED = "Covered"
    OUTSIDE_ALLOW = "OutsideAllow"
    TOO_SHORT = "TooShort"
    CROSSES_DENY = "CrossesDeny"
    MISSES_DEADLINE = "MissesDeadline"
    CROWDED = "Crowded"
    NO_ROOM = "NoRoom"


_OF_FINISH: Final = {
    Reason.WONT_FINISH: Hindrance.TOO_SHORT,
    Reason.CROSSES_DENY: Hindrance.CROSSES_DENY,
    Reason.MISSES_DEADLINE: Hindrance.MISSES_DEADLINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An event, by its entry and time, and where it should be.

    Attributes:
        entry: name of the entry that reads the event.
        span: where it is.
        to: where it should be.
        odds: of the window there; None where another's event is moved.
    """

    entry: str
    span: Span
    to: Span
    odds: Odds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """A window that is itself in the way.

    Attributes:
        hindrance: what is wrong with it.
        occurrence: the first of those alike.
        entries: names of the entries in its way.
        others: asks of other TrainingWindows that start in the same half-hour.
        gpus: what they ask for together.
        odds: of its start; None where it has none.
        alike: how many of its series and entry have the same trouble, itself included.
        move: what to move where; None where nothing was found.
    """

    hindrance: Hindrance
    occurrence: Occurrence
    entries: tuple[str, ...] = ()
    others: int = 0
    gpus: int = 0
    odds: Odds | None = None
    alike: int = 1
    move: Move | None = None


def bottlenecks(
    wanted: Wanted, occurrences: Iterable[Occurrence], times: Sequence[Suggestion]
) -> tuple[Bottleneck, ...]:
    """What spoils windows, one for each of those alike, in the order of their starts.

    Args:
        wanted: what was sought for.
        occurrences: those that have not started.
        times: all that are suitable, see `suggest.suitable`.
    """
    now, everyone = wanted.within.start, tuple(occurrences)
    found: dict[tuple[object, ...], Bottleneck] = {}
    for occurrence in everyone:
        if occurrence.interval.end <= now:
            continue
        one = _judge(wanted, occurrence, now)
        if one is None:
            continue
        alike = (one.hindrance, occurrence.entry, occurrence.series, one.entries)
        if alike in found:
            found[alike] = replace(found[alike], alike=found[alike].alike + 1)
            continue
        rivals = [other.interval for other in everyone if other.key != occurrence.key]
        free = [t for t in times if not any(t.window.overlaps(span) for span in rivals)]
        found[alike] = replace(one, move=_move(wanted, one, free))
    return tuple(found.values())


def start_of(occurrence: Occurrence, now: datetime) -> datetime | None:
    """The first instant at which it may start; None where there is none any more."""
    return next((max(now, piece.start) for piece in occurrence.pieces if piece.end > now), None)


def _judge(wanted: Wanted, occurrence: Occurrence, now: datetime) -> Bottleneck | None:
    if not occurrence.pieces:
        return _empty(occurrence)
    late: Bottleneck | None = None
    for piece in occurrence.pieces:
        began = max(now, piece.start)
        if piece.end <= began:
            continue
        finish = latest_finish(wanted.spec, wanted.layout, occurrence, piece, began)
        length = wanted.length if wanted.known else None
        if latest_start(wanted.spec, occurrence, piece, finish, length) >= began:
            return _crowd(wanted, occurrence, began)
        if finish is not None and late is None:
            late = Bottleneck(
                hindrance=_OF_FINISH[finish.reason],
                occurrence=occurrence,
                entries=(finish.entry,) if finish.entry else (),
            )
    return late


def _empty(occurrence: Occurrence) -> Bottleneck:
    entries = tuple(dict.fromkeys(one.entry for one in occurrence.cuts))
    if NO_TIME_LEFT in entries:
        return Bottleneck(hindrance=Hindrance.TOO_SHORT, occurrence=occurrence)
    denies = tuple(name for name in entries if name != OUTSIDE_ALLOW)
    if not denies:
        return Bottleneck(hindrance=Hindrance.OUTSIDE_ALLOW, occurrence=occurrence)
    return Bottleneck(hindrance=Hindrance.COVERED, occurrence=occurrence, entries=denies)


def _crowd(wanted: Wanted, occurrence: Occurrence, began: datetime) -> Bottleneck | None:
    """A window that will hardly find room; None where it will."""
    if wanted.rooms is None:
        return None
    odds = wanted.rooms.at(began)
    last = occurrence.pieces[-1].end
    if odds.chance >= LIKELY or began + odds.wait < last - wanted.length:
        return None  # it is long enough to wait for room
    beside = wanted.rooms.beside(began)
    if beside and wanted.rooms.would_fit_without(beside, began):
        return Bottleneck(
            hindrance=Hindrance.CROWDED,
            occurrence=occurrence,
            others=len(beside),
            gpus=sum(other.count for other in beside),
            odds=odds,
        )
    return Bottleneck(hindrance=Hindrance.NO_ROOM, occurrence=occurrence, odds=odds)


def _move(wanted: Wanted, one: Bottleneck, times: Sequence[Suggestion]) -> Move | None:
    interval, entry = one.occurrence.interval, one.occurrence.entry
    if one.hindrance is Hindrance.TOO_SHORT and interval.start >= wanted.within.start:
        odds = wanted.rooms.at(interval.start) if wanted.rooms else Odds(chance=1.0)
        longer = Span(interval.start, interval.start + wanted.length + cushion(odds.wait))
        if odds.chance >= LIKELY and in_time(wanted, longer) is None:
            return Move(entry=entry, span=interval, to=longer, odds=odds)
    if times:
        best = _nearest(interval.start, times)
        return Move(entry=entry, span=interval, to=best.window, odds=best.odds)
    return _out_of_the_way(wanted, one)


def _nearest(start: datetime, times: Sequence[Suggestion]) -> Suggestion:
    """The nearest good time that delays nobody, else the best there is."""
    good = [one for one in times if one.odds.chance >= GOOD and not one.odds.delayed]
    if good:
        return min(good, key=lambda one: (abs(one.start - start), one.start))
    return min(times, key=rank)


def _out_of_the_way(wanted: Wanted, one: Bottleneck) -> Move | None:
    """The event that denies most of the window, moved just before it or behind the run."""
    if one.hindrance not in (Hindrance.COVERED, Hindrance.CROSSES_DENY):
        return None
    interval = one.occurrence.interval
    reach = max(interval.end, interval.start + wanted.length)
    window = Span(interval.start, reach)
    edges = [e for e in wanted.layout.denies if e.entry in one.entries and e.span.overlaps(window)]
    if not edges:
        return None
    edge = max(edges, key=lambda e: (_shared(e.span, window), e.span, e.entry))
    need = interval.start + wanted.length + cushion(timedelta())
    behind = Span(need, need + edge.span.length)
    before_end = interval.start
    before = Span(before_end - edge.span.length, before_end)
    later, earlier = behind.start - edge.span.start, edge.span.end - before_end
    backwards = earlier < later and before.start >= wanted.within.start
    return Move(entry=edge.entry, span=edge.span, to=before if backwards else behind)


def _shared(one: Span, other: Span) -> timedelta:
    return min(one.end, other.end) - max(one.start, other.start)
