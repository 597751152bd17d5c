"""What a team puts into its calendar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the team's calendar.

    Attributes:
        uid: the same before and after it is dragged.
        title: what matches a TrainingWindow.
        start: with zone.
        end: with zone; itself no longer part of it.
        description: parameters, a line each.
        sequence: how often it was changed.
    """

    uid: str
    title: str
    start: datetime
    end: datetime
    description: str = ""
    sequence: int = 0


def dragged(entry: Entry, start: datetime) -> Entry:
    """The event at another time; it keeps its length."""
    end = start + (entry.end - entry.start)
    return replace(entry, start=start, end=end, sequence=entry.sequence + 1)
