"""Windows at the hours that daylight saving skips or repeats, and when R1 wants them to open.

The reckoning is by `zoneinfo` alone and knows nothing of our own schedules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True)
class Season:
    """A weekly window at a wall-clock time on Sundays, when zones change."""

    zone: str
    hour: int
    minute: int
    lasts: timedelta = timedelta(minutes=90)

    @property
    def entry(self) -> dict[str, Any]:
        """As a TrainingWindow has it in `spec.windows`."""
        return {
            "name": "season",
            "effect": "Trigger",
            "schedule": f"{self.minute} {self.hour} * * 0",
            "durationSeconds": int(self.lasts.total_seconds()),
        }

    def opens(self, day: datetime) -> datetime:
        """When it opens on a local day: at the first of two such times, or right after a gap."""
        local = datetime.combine(day.date(), time(self.hour, self.minute))
        found = local.replace(tzinfo=ZoneInfo(self.zone), fold=0).astimezone(UTC)
        if self._local(found).replace(tzinfo=None) == local:
            return found
        while self._local(found - MINUTE).utcoffset() == self._local(found).utcoffset():
            found -= MINUTE
        return found

    def open_on(self, now: datetime) -> datetime | None:
        """The local Sunday whose window is open now, if one is."""
        today = self._local(now)
        for day in (today - DAY, today, today + DAY):
            opens = self.opens(day)
            if day.weekday() == 6 and opens <= now < opens + self.lasts:
                return day
        return None

    def changes(self, day: datetime) -> bool:
        """Whether the zone's clocks change on a local day."""
        noon = datetime.combine(day.date(), time(12), ZoneInfo(self.zone))
        return noon.utcoffset() != (noon - DAY).utcoffset()

    def sundays(self, begins: datetime, ends: datetime) -> list[datetime]:
        """The local Sundays whose window opens and closes within a time."""
        days = (self._local(begins) + n * DAY for n in range((ends - begins).days + 2))
        return [
            day
            for day in days
            if day.weekday() == 6
            and begins <= self.opens(day)
            and self.opens(day) + self.lasts <= ends
        ]

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.zone))


SEASONS = (
    Season("Europe/Berlin", 2, 30),  # skipped in March, repeated in October
    Season("America/New_York", 2, 30),  # skipped in March
    Season("America/New_York", 1, 30),  # repeated in November
    Season("Australia/Lord_Howe", 2, 15),  # half an hour is skipped in October
    Season("Australia/Lord_Howe", 1, 45),  # and repeated in April
    Season("America/Santiago", 0, 15),  # midnight is skipped in September
    Season("Asia/Kathmandu", 0, 15),  # never changes
)


def weeks_with_a_change(year_begins: datetime) -> list[datetime]:
    """The Mondays of the weeks of a year in which some zone of the seasons changes its clocks."""
    mondays = (year_begins + 7 * n * DAY for n in range(52))
    return [
        monday
        for monday in mondays
        if any(
            season.changes(day)
            for season in SEASONS
            for day in season.sundays(monday, monday + 8 * DAY)
        )
    ]
