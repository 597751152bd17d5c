"""Times as people read them, in one zone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_DAY: Final = timedelta(days=1)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_CLOCK: Final = tuple(f"{minute // 60:02}:{minute % 60:02}" for minute in range(1440))
# What ZoneInfo raises for names that are none, are folders or lead elsewhere.
_NO_ZONE: Final = (KeyError, ValueError, OSError)


class Face:
    """A clock face: the instants of one zone.

    Args:
        name: IANA name; one that is unknown reads as UTC.
        now: the present.
    """

    def __init__(self, name: str, now: datetime) -> None:
        self.name, self.zone = _zone(name)
        self.now = now
        # A page shows most instants several times.
        self._read: dict[datetime, tuple[str, str, str]] = {}
        self._days: dict[int, str] = {}
        self._spans: dict[tuple[datetime, datetime], str] = {}

    def local(self, at: datetime) -> datetime:
        """The wall clock at an instant."""
        return at.astimezone(self.zone)

    def day(self, at: datetime) -> str:
        """Such as "Mon 23 Nov"."""
        return self._both(at)[0]

    def time(self, at: datetime) -> str:
        """Such as "22:00"."""
        return self._both(at)[1]

    def both(self, at: datetime) -> str:
        """Such as "Mon 23 Nov 22:00"."""
        return self._both(at)[2]

    def _both(self, at: datetime) -> tuple[str, str, str]:
        known = self._read.get(at)
        if known is None:
            wall = at.astimezone(self.zone)
            number = wall.toordinal()
            day = self._days.get(number)
            if day is None:
                day = f"{_DAYS[wall.weekday()]} {wall.day} {_MONTHS[wall.month - 1]}"
                self._days[number] = day
            clock = _CLOCK[wall.hour * 60 + wall.minute]
            known = self._read[at] = day, clock, f"{day} {clock}"
        return known

    def span(self, start: datetime, end: datetime) -> str:
        """Such as "Mon 23 Nov 22:00 - 06:00"; the end's day where it is not the next morning."""
        known = self._spans.get((start, end))
        if known is None:
            close = end - start < _DAY
            known = f"{self._both(start)[2]} - {self._both(end)[1 if close else 2]}"
            self._spans[start, end] = known
        return known

    def midnights(self, days: int) -> list[datetime]:
        """The first instants of today and of the days after it, and of the one after the last."""
        wall = self.local(self.now)
        found = []
        for number in range(days + 1):
            date = wall.date() + timedelta(days=number)
            midnight = datetime(date.year, date.month, date.day, tzinfo=self.zone)
            found.append(midnight.astimezone(UTC))
        return found


def lasting(length: timedelta) -> str:
    """A length of time, such as "3 h 20 min".

    >>> lasting(timedelta(minutes=200)), lasting(timedelta(days=2, hours=3)), lasting(timedelta())
    ('3 h 20 min', '2 d 3 h', '0 min')
    """
    minutes = max(0, round(length.total_seconds() / 60))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (0 if days else rest, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 min"


def usual_zone(names: Iterable[str]) -> str:
    """The zone that most windows are written in; UTC where there is none."""
    counts = Counter(names)
    return min(counts, key=lambda name: (-counts[name], name), default="UTC")


def _zone(name: str) -> tuple[str, tzinfo]:
    if name != "UTC" and len(name) < 64:
        try:
            return name, ZoneInfo(name)
        except _NO_ZONE:
            pass
    return "UTC", UTC
