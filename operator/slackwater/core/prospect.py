"""Which window is open, which comes next, and whether one is there of which nothing is left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from slackwater.core.ledger import Line
from slackwater.core.occurrence import Layout
from slackwater.core.span import Span


class Prospect(NamedTuple):
    """What the calendars hold for a TrainingWindow.

    Attributes:
        following: the piece that is open or comes next and in which a run may still start.
        present: the piece that is open: it may still start, or its run goes on.
        emptied: an occurrence now or ahead has no piece, since all of it is denied or not allowed.
        emptied_now: one of those would be open now.
    """

    following: Span | None = None
    present: Span | None = None
    emptied: bool = False
    emptied_now: bool = False


def prospect(layout: Layout | None, lines: Iterable[Line], now: datetime) -> Prospect:
    """Look at the occurrences from now to the next window."""
    if layout is None:
        return Prospect()
    states = {line.id: line.state for line in lines}
    following: Span | None = None
    present: Span | None = None
    emptied = emptied_now = False
    for occurrence in layout.occurrences:  # sorted by start
        interval = occurrence.interval
        if interval.end <= now:
            continue
        if following is not None and interval.start >= following.start and interval.start > now:
            break  # nothing earlier follows
        state = states.get(occurrence.key)
        if state is not None and state.is_final:
            continue
        if not occurrence.pieces:
            emptied = True
            emptied_now = emptied_now or now in interval
        for piece in occurrence.pieces:
            if piece.end <= now:
                continue
            if piece.start <= now and (present is None or piece < present):
                present = piece
            if (state is None or state.is_unstarted) and (following is None or piece < following):
                following = piece
    return Prospect(following, present, emptied, emptied_now)
