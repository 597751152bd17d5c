"""Which occurrence is another one under a new name (R2): nothing that has run runs again.

A key does not survive everything that people do to an event: a series is edited whole or split, an
event is moved to another calendar, a feed gives new UIDs. What then appears is told from an event of
its own by its series, by its time, and by when it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

from slackwater.core.ledger import Line, State
from slackwater.core.occurrence import Occurrence
from slackwater.core.spec import TrainingWindow
from slackwater.core.zone import zone

SUCCESSION: Final = timedelta(minutes=30)
"""How long before its original vanishes a successor may be seen.

A move is a copy and a deletion, and two calendars are not read at one time: a feed every 15 minutes.
"""

_MAY_RUN: Final = (State.INTENDED, State.TRIGGERED)


class Lineage:
    """The lines of one TrainingWindow that others may be edited forms of.

    Args:
        spec: of the TrainingWindow.
        lines: its ledger, after hearing of its runs.
    """

    def __init__(self, spec: TrainingWindow, lines: Iterable[Line]) -> None:
        self._zone = zone(spec.time_zone)
        self._inline = {entry.name for entry in spec.windows}
        self._ran: list[Line] = []
        self._may_run: list[Line] = []
        for line in lines:
            if line.window is None:
                continue
            if line.state in _MAY_RUN:
                self._may_run.append(line)
            elif line.trigger_time is not None:
                self._ran.append(line)

    def has_run(self, line: Line, occurrence: Occurrence) -> bool:
        """Whether what it means has run, or runs, under another key."""
        return any(self._is(line, occurrence, old) for old in self._ran)

    def may_run(self, line: Line, occurrence: Occurrence) -> bool:
        """Whether what it means may yet run under another key: until that is known it waits."""
        return any(self._is(line, occurrence, old) for old in self._may_run)

    def _is(self, line: Line, occurrence: Occurrence, old: Line) -> bool:
        assert old.window is not None
        if old.id == line.id:
            return False
        related = bool(occurrence.series) and occurrence.series == old.series
        # One event that several calendars hold is one event (R3), whatever became of the other.
        if related and old.original_start and occurrence.original_start == old.original_start:
            return True
        if old.vanished is None or not _came_instead(line, old.vanished):
            return False
        if occurrence.interval.overlaps(old.window):
            return related or old.entry == occurrence.entry or self._calendars(occurrence, old)
        return related and self._day(occurrence.interval.start) == self._day(old.window.start)

    def _calendars(self, occurrence: Occurrence, old: Line) -> bool:
        return not {occurrence.entry, old.entry} & self._inline

    def _day(self, instant: datetime) -> date:
        return instant.astimezone(self._zone).date()


def _came_instead(line: Line, vanished: datetime) -> bool:
    return line.appeared is not None and line.appeared >= vanished - SUCCESSION
