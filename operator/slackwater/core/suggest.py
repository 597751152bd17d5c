"""Better times for a DAG: where calendars allow a start and the pool is expected to have room.

A time is suggested only where no Deny covers it, an Allow does (if there are any), the run is
expected to finish in time (R8), and room is likelier than not, reservations kept (R5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from slackwater.core.fit import Finish, latest_finish
from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.room import Odds, Rooms
from slackwater.core.span import Span, intersect, subtract
from slackwater.core.spec import TrainingWindow
from slackwater.core.window import cut
from slackwater.core.words import Reason

LIKELY: Final = 0.5
"""A chance of room below this is no suggestion."""
GRID: Final = timedelta(minutes=30)
LEAST_CUSHION: Final = timedelta(minutes=30)
MOST_CUSHION: Final = timedelta(hours=4)
APART: Final = timedelta(hours=2)
"""Suggestions are at least this far from each other, and as far as a run is long."""
MOST: Final = 5
"""How many are given."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CERTAIN: Final = Odds(chance=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A time that suits.

    Attributes:
        window: from the start on, as long as the run and some patience.
        odds: of a start at its beginning.
    """

    window: Span
    odds: Odds

    @property
    def start(self) -> datetime:
        """When the run is to start."""
        return self.window.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What times are sought for.

    Attributes:
        spec: of the TrainingWindow.
        layout: what the calendars say.
        within: where the start may lie; from the present on.
        length: of a run.
        known: False where the length is a guess; then no end in time can be asked for.
        rooms: of the pool; None where no GPUs are asked for.
    """

    spec: TrainingWindow
    layout: Layout
    within: Span
    length: timedelta
    known: bool
    rooms: Rooms | None


def suggest(wanted: Wanted) -> tuple[Suggestion, ...]:
    """The best times, the best first; the same input gives the same answer."""
    chosen: list[Suggestion] = []
    apart = max(APART, wanted.length)
    for one in sorted(suitable(wanted), key=rank):
        if all(abs(one.start - other.start) >= apart for other in chosen):
            chosen.append(one)
        if len(chosen) == MOST:
            break
    return tuple(chosen)


def rank(one: Suggestion) -> tuple[float, int, int, timedelta, datetime]:
    """Likely room first; then who delays nobody, takes least at the peak, waits least, is soonest."""
    odds = one.odds
    return (
        -round(odds.chance * 20),
        odds.delayed,
        round(odds.busy_gpu_hours),
        odds.wait,
        one.start,
    )


def suitable(wanted: Wanted) -> Iterator[Suggestion]:
    """Every half-hour, and every beginning of allowed time, that could be suggested."""
    for start in _starts(wanted):
        odds = wanted.rooms.at(start) if wanted.rooms is not None else _CERTAIN
        if odds.chance < LIKELY:
            continue
        window = Span(start, start + wanted.length + cushion(odds.wait))
        if in_time(wanted, window) is None:
            yield Suggestion(window=window, odds=odds)


def cushion(wait: timedelta) -> timedelta:
    """How much longer than the run a window should be: twice the expected wait, in half-hours."""
    return min(MOST_CUSHION, max(LEAST_CUSHION, -(-2 * wait // GRID) * GRID))


def in_time(wanted: Wanted, window: Span) -> Finish | None:
    """What a run that starts with this window would not finish before; None where all is well."""
    occurrence = imagined(wanted.layout, window)
    if not occurrence.pieces or occurrence.pieces[0].start != window.start:
        return Finish(window.start, Reason.EMPTY_WINDOW)
    piece = occurrence.pieces[0]
    finish = latest_finish(wanted.spec, wanted.layout, occurrence, piece, window.start)
    late = finish is not None and window.start + wanted.length > finish.at
    return finish if late and wanted.known else None


def imagined(layout: Layout, window: Span) -> Occurrence:
    """The occurrence that an event at this time would be."""
    denies = [(e.span, e.entry) for e in layout.denies if e.span.overlaps(window)]
    pieces, cuts = cut(window, layout.allows, denies)
    reach = (window,) if layout.allows is None else intersect((window,), layout.allows)
    return Occurrence(
        key="",
        entry="",
        series="",
        original_start="",
        interval=window,
        pieces=pieces,
        cuts=cuts,
        event=None,
        end=next((s.end for s in reach if pieces and pieces[0].start in s), window.end),
        reach=reach,
    )


def allowed(layout: Layout, within: Span) -> tuple[Span, ...]:
    """Where calendars allow a start."""
    spans: Iterable[Span] = (within,)
    if layout.allows is not None:
        spans = intersect(spans, layout.allows)
    return subtract(spans, [edge.span for edge in layout.denies])


def _starts(wanted: Wanted) -> Sequence[datetime]:
    found: set[datetime] = set()
    for span in allowed(wanted.layout, wanted.within):
        if span.start != wanted.within.start:
            found.add(span.start)
        at = span.start - (span.start - _EPOCH) % GRID
        while at < span.end:
            if at >= span.start:
                found.add(at)
            at += GRID
    return sorted(found)
