"""The team that puts its plans into the calendar, over CalDAV as any calendar app does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from testbed.caldav import Collection


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


class Team:
    """Writes events into one calendar."""

    def __init__(self, calendar: Collection) -> None:
        self._calendar = calendar

    def plan(self, entry: Entry) -> Entry:
        """Put an event into the calendar."""
        lines = [f"SEQUENCE:{entry.sequence}"]
        if entry.description:
            lines.append(f"DESCRIPTION:{_escaped(entry.description)}")
        self._calendar.add(entry.uid, entry.title, entry.start, entry.end, *lines)
        return entry

    def drag(self, entry: Entry, start: datetime) -> Entry:
        """Move an event to another time; it keeps its length."""
        moved = replace(
            entry,
            start=start,
            end=start + (entry.end - entry.start),
            sequence=entry.sequence + 1,
        )
        return self.plan(moved)


def _escaped(text: str) -> str:
    for character, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(character, written)
    return text
