"""Mailboxes as Exchange keeps them: calendars, events, series, and what people do to them.

Expansion is dateutil's, so that it has nothing in common with the code that is tested by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count, islice
from typing import Any
from zoneinfo import ZoneInfo

from dateutil import rrule

_DAYS = {
    "monday": rrule.MO,
    "tuesday": rrule.TU,
    "wednesday": rrule.WE,
    "thursday": rrule.TH,
    "friday": rrule.FR,
    "saturday": rrule.SA,
    "sunday": rrule.SU,
}
_WEEK = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
_FREQ = {
    "daily": rrule.DAILY,
    "weekly": rrule.WEEKLY,
    "absoluteMonthly": rrule.MONTHLY,
    "relativeMonthly": rrule.MONTHLY,
    "absoluteYearly": rrule.YEARLY,
    "relativeYearly": rrule.YEARLY,
}


def weekly(start: str, *days: str, until: str | None = None) -> dict[str, Any]:
    """A `patternedRecurrence`: every week on these days."""
    span = {"type": "endDate", "endDate": until} if until else {"type": "noEnd"}
    return {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": list(days)},
        "range": {**span, "startDate": start},
    }


def daily(start: str, *, times: int | None = None) -> dict[str, Any]:
    """A `patternedRecurrence`: every day."""
    span = {"type": "numbered", "numberOfOccurrences": times} if times else {"type": "noEnd"}
    return {"pattern": {"type": "daily", "interval": 1}, "range": {**span, "startDate": start}}


@dataclass
class Item:
    """An event, or the master of a series. `start` and `end` are wall-clock times in `zone`."""

    number: int
    calendar: str
    start: datetime
    end: datetime
    zone: str = "Europe/Berlin"
    windows_zone: str = "W. Europe Standard Time"
    subject: str = ""
    body: str = ""
    all_day: bool = False
    show_as: str = "busy"
    sensitivity: str = "normal"
    categories: tuple[str, ...] = ()
    location: str = ""
    organizer: tuple[str, str] | None = None
    response: str = "organizer"
    attendees: tuple[tuple[str, str], ...] = ()
    cancelled: bool = False
    online: bool = False
    recurrence: dict[str, Any] | None = None
    exceptions: dict[datetime, dict[str, Any]] = field(default_factory=dict)
    removed: set[datetime] = field(default_factory=set)
    version: int = 1

    def utc(self, wall: datetime) -> datetime:
        return wall.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)


@dataclass(frozen=True)
class Instance:
    """One instance of an item; `original` is None for a single event."""

    item: Item
    start: datetime
    end: datetime
    original: datetime | None = None
    changed: bool = False

    def value(self, name: str) -> Any:
        over = self.item.exceptions.get(self.original, {}) if self.original else {}
        return over.get(name, getattr(self.item, name))


class Mailbox:
    """One mailbox. Its default calendar is `Calendar`.

    Args:
        address: its SMTP address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.calendars = {"default": "Calendar"}
        self.items: dict[int, Item] = {}
        self.bin: dict[int, Item] = {}
        self._numbers = count(1)

    # --- what people do

    def create(self, start: str, end: str, calendar: str = "default", **values: Any) -> int:
        """A new event; its number."""
        number = next(self._numbers)
        self.items[number] = Item(
            number,
            calendar,
            datetime.fromisoformat(start),
            datetime.fromisoformat(end),
            **{"organizer": ("Owner", self.address), **values},
        )
        return number

    def add_calendar(self, key: str, name: str) -> None:
        self.calendars[key] = name

    def update(self, number: int, **values: Any) -> None:
        """Change an event, or a whole series: then its exceptions are lost, as in Outlook."""
        item = self.items[number]
        for name, value in values.items():
            setattr(item, name, value)
        if {"start", "end", "recurrence"} & set(values) and item.recurrence:
            item.exceptions.clear()
            item.removed.clear()
        item.version += 1

    def move(self, number: int, by: timedelta) -> None:
        """Move an event, or a whole series."""
        item = self.items[number]
        self.update(number, start=item.start + by, end=item.end + by)

    def move_instance(self, number: int, original: str, by: timedelta) -> None:
        """Move one instance of a series."""
        self.change_instance(number, original, shift=by)

    def change_instance(self, number: int, original: str, **values: Any) -> None:
        item = self.items[number]
        item.exceptions.setdefault(datetime.fromisoformat(original), {}).update(values)
        item.version += 1

    def delete_instance(self, number: int, original: str) -> None:
        item = self.items[number]
        item.removed.add(datetime.fromisoformat(original))
        item.version += 1

    def split(self, number: int, at: str, **values: Any) -> int:
        """'This and all following': the series ends before, a new one begins."""
        item = self.items[number]
        assert item.recurrence is not None
        begin = datetime.fromisoformat(at)
        length = item.end - item.start
        last = (begin - timedelta(days=1)).date().isoformat()
        rest = {**item.recurrence["range"], "startDate": begin.date().isoformat()}
        new = next(self._numbers)
        self.items[new] = replace(
            item,
            number=new,
            start=begin,
            end=begin + length,
            recurrence={**item.recurrence, "range": rest},
            exceptions={},
            removed=set(),
            version=1,
        )
        for name, value in values.items():
            setattr(self.items[new], name, value)
        ended = {"type": "endDate", "startDate": item.recurrence["range"]["startDate"]}
        item.recurrence = {**item.recurrence, "range": {**ended, "endDate": last}}
        item.version += 1
        return new

    def delete(self, number: int) -> None:
        self.bin[number] = self.items.pop(number)

    def undelete(self, number: int) -> None:
        self.items[number] = self.bin.pop(number)

    def copy(self, number: int, **values: Any) -> int:
        new = next(self._numbers)
        self.items[new] = replace(self.items[number], number=new, version=1, **values)
        return new

    def move_to(self, number: int, calendar: str) -> None:
        self.items[number].calendar = calendar
        self.items[number].version += 1

    # --- what a calendarView shows

    def view(self, calendar: str | None, start: datetime, end: datetime) -> list[Instance]:
        """Every instance that touches the time, ordered by its start."""
        found = [
            instance
            for item in self.items.values()
            if calendar in {None, item.calendar}
            for instance in instances(item, end)
            if item.utc(instance.start) < end and item.utc(instance.end) > start
        ]
        return sorted(found, key=lambda one: (one.item.utc(one.start), one.item.number))


def instances(item: Item, until: datetime) -> list[Instance]:
    """Instances that begin before an instant."""
    length = item.end - item.start
    if item.recurrence is None:
        return [Instance(item, item.start, item.end)]
    found = []
    last = until.replace(tzinfo=None) + timedelta(days=2)
    for original in _originals(item, last):
        if original in item.removed:
            continue
        over = item.exceptions.get(original)
        start = original + (over or {}).get("shift", timedelta())
        found.append(Instance(item, start, start + length, original, over is not None))
    return found


def _originals(item: Item, last: datetime) -> list[datetime]:
    assert item.recurrence is not None
    pattern, span = item.recurrence["pattern"], item.recurrence["range"]
    kind = pattern["type"]
    given: dict[str, Any] = {}
    days = [_DAYS[day] for day in pattern.get("daysOfWeek", ())]
    if kind.startswith("relative"):
        given["byweekday"] = [day(_WEEK[pattern.get("index", "first")]) for day in days]
    elif days:
        given["byweekday"] = days
    if kind.startswith("absolute"):
        given["bymonthday"] = pattern["dayOfMonth"]
    if kind.endswith("Yearly"):
        given["bymonth"] = pattern["month"]
    if span["type"] == "numbered":
        given["count"] = span["numberOfOccurrences"]
    if span["type"] == "endDate":
        last = min(last, datetime.fromisoformat(span["endDate"]) + timedelta(days=1))
    first = date.fromisoformat(span["startDate"])
    begin = datetime.combine(first, item.start.time())
    rule = rrule.rrule(_FREQ[kind], dtstart=begin, interval=pattern["interval"], **given)
    return [one for one in islice(rule, 5_000) if one < last]
