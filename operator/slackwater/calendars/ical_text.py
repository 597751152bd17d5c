"""iCalendar text (RFC 5545) as blocks of lines, before any of it is understood.

Reading one component with `icalendar` costs about a millisecond, and one broken alarm makes the
whole calendar unreadable. So the text is cut into components first, in one linear pass: what
cannot touch the horizon is dropped, each event keeps only the properties that are looked at, and
each series can later fail alone.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

MAX_COMPONENTS: Final = 20_000
MAX_DATES: Final = 5_000  # of RDATE and EXDATE together, in one series

_TIMES: Final = frozenset(
    {"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"}
)
# Empty ones mean none: publishers of public holidays write `RRULE:` into each event.
_REPEATS: Final = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE"})
_MARKS: Final = frozenset(
    {"UID", "SEQUENCE", "STATUS", "TRANSP", "CLASS", "X-MICROSOFT-CDO-BUSYSTATUS", "ORGANIZER"}
)
_ONE_DAY: Final = timedelta(days=1)
_UNTIL: Final = re.compile(r"UNTIL=(\d{8})", re.IGNORECASE)
# RFC 5545 section 3.3.6: weeks, or days and a time in hours, minutes and seconds.
_PERIODS: Final = re.compile(r"(\d+)([WDHMS])")
_DAYS: Final = {"W": 7, "D": 1, "H": 1 / 24, "M": 1 / 1440, "S": 1 / 86_400}


class MalformedError(ValueError):
    """The text is not a whole iCalendar object: a web page, or cut off."""


class LimitError(ValueError):
    """The text holds more than the documented limits."""


@dataclass(frozen=True, slots=True)
class Days:
    """Calendar days from `first` to `last`, both included, wide enough for every time zone."""

    first: date
    last: date

    def touch(self, start: date, end: date, margin: timedelta = timedelta()) -> bool:
        """Whether the days from `start` to `end` have one in common with these."""
        return start <= self.last and end >= self.first - margin


@dataclass(slots=True)
class Block:
    """One VEVENT.

    Attributes:
        lines: its content lines, unfolded.
        values: the bare values of those that identify it or name times; the last of each name.
        dates: how many dates RDATE and EXDATE list.
        onward: it changes this instance and all that follow (RANGE=THISANDFUTURE).
    """

    lines: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    dates: int = 0
    onward: bool = False

    @property
    def changes(self) -> bool:
        """Whether it is a changed instance of a series, not an event or series itself."""
        return "RECURRENCE-ID" in self.values

    def day(self, name: str) -> date | None:
        """The day that a property begins with, None where there is none to be read."""
        text = self.values.get(name, "")[:8]
        try:
            return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """The component as `icalendar` reads it."""
        return "\r\n".join(("BEGIN:VEVENT", *self.lines, "END:VEVENT", ""))

    @property
    def timeless(self) -> str:
        """The component without what its times are made of."""
        lines = (line for line in self.lines if _split(line)[0] not in _TIMES)
        return "\r\n".join(("BEGIN:VEVENT", *lines, "END:VEVENT", ""))

    @property
    def extent(self) -> tuple[date, date] | None:
        """First and last day of this one instance, generously; None where unreadable."""
        start = self.day("DTSTART")
        if start is None:
            return None
        end = self.day("DTEND")
        if end is None:
            end = start + _ONE_DAY
            for number, unit in _PERIODS.findall(self.values.get("DURATION", "")):
                # A thousand years is longer than any event, and within what a date can hold.
                end += timedelta(days=min(math.ceil(int(number[:9]) * _DAYS[unit]), 365_000))
        return start, max(start, end)


@dataclass(slots=True)
class Series:
    """All components of one UID: a single event, or a series with its changed instances."""

    uid: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Names this exact content."""
        text = "\0".join(block.text for block in self.blocks)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()

    @property
    def dates(self) -> int:
        """How many dates RDATE and EXDATE list."""
        return sum(block.dates for block in self.blocks)

    def near(self, days: Days) -> Series | None:
        """What of the series can touch these days; None where nothing can."""
        masters = [block for block in self.blocks if not block.changes]
        length = max((_length(block) for block in masters), default=timedelta())
        kept = [block for block in self.blocks if not block.changes or _moves(block, days, length)]
        if any(block.onward or _repeats(block, days) or _happens(block, days) for block in kept):
            return Series(self.uid, kept)
        return None


def _happens(block: Block, days: Days) -> bool:
    extent = block.extent
    return extent is None or days.touch(*extent)


def _repeats(block: Block, days: Days) -> bool:
    values = block.values
    if "RDATE" in values:
        return True
    if "RRULE" not in values:
        return False
    extent = block.extent
    if extent is None:
        return True
    if extent[0] > days.last:
        return False
    until = _UNTIL.search(values["RRULE"])
    if until is None:
        return True
    text = until[1]
    try:
        last = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return True
    return last >= days.first - _length(block)


def _moves(block: Block, days: Days, length: timedelta) -> bool:
    """Whether a changed instance moves into, out of or within the days."""
    if block.onward or _happens(block, days):
        return True
    was = block.day("RECURRENCE-ID")
    return was is None or days.touch(was, was, length)


def _length(block: Block) -> timedelta:
    extent = block.extent
    return timedelta() if extent is None else extent[1] - extent[0] + _ONE_DAY


@dataclass(slots=True)
class Document:
    """One VCALENDAR.

    Attributes:
        zone: its X-WR-TIMEZONE.
        timezones: the text of each VTIMEZONE, by TZID.
        series: events by UID.
        components: how many events were read.
    """

    zone: str | None = None
    timezones: dict[str, str] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    components: int = 0

    @property
    def zones_digest(self) -> str:
        """Names exactly these definitions of time zones."""
        text = "\0".join(self.timezones.values())
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Reader:
    """Cuts documents into blocks.

    Args:
        texts: whether titles, categories are kept.
        description: whether descriptions are kept.
        owners: addresses, lower case, whose ATTENDEE lines are kept.
    """

    def __init__(self, *, texts: bool, description: bool, owners: frozenset[str]) -> None:
        names = set(_TIMES | _MARKS)
        if texts:
            names |= {"SUMMARY", "CATEGORIES"}
        if description:
            names.add("DESCRIPTION")
        self._names = frozenset(names)
        self._owners = owners

    def read(self, raw: bytes) -> Document:
        """The blocks of one document. Raises MalformedError, LimitError."""
        document = Document()
        stack: list[str] = []
        block = Block()
        zone: list[str] = []
        for line in _unfolded(raw):
            name, value = _split(line)
            if name == "BEGIN":
                stack.append(value.upper())
                if stack[-1] == "VEVENT":
                    block = Block()
                    document.components += 1
                    if document.components > MAX_COMPONENTS:
                        raise LimitError
                elif stack[-1] == "VTIMEZONE":
                    zone = []
            if "VTIMEZONE" in stack:
                zone.append(line)
            elif stack and stack[-1] == "VEVENT":
                self._keep(block, name, value, line)
            elif stack == ["VCALENDAR"] and name == "X-WR-TIMEZONE":
                document.zone = value or None
            if name == "END":
                if not stack or stack.pop() != value.upper():
                    raise MalformedError
                if value.upper() == "VEVENT":
                    _put(document, block)
                elif value.upper() == "VTIMEZONE":
                    _put_zone(document, zone)
        if stack:
            raise MalformedError
        return document

    def _keep(self, block: Block, name: str, value: str, line: str) -> None:
        if name == "ATTENDEE":
            if self._owners and any(owner in line.lower() for owner in self._owners):
                block.lines.append(line)
            return
        if name not in self._names or (name in _REPEATS and not value):
            return
        block.lines.append(line)
        if name in _TIMES or name in {"UID", "SEQUENCE"}:
            block.values[name] = value
        if name in {"RDATE", "EXDATE"}:
            block.dates += 1 + value.count(",")
        elif name == "RECURRENCE-ID":
            block.onward = "RANGE=THISANDFUTURE" in line.upper()


def _unfolded(raw: bytes) -> Iterator[str]:
    """Content lines (RFC 5545 §3.1); unfolded as bytes, since a fold may split a character."""
    text = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = text.replace(b"\n ", b"").replace(b"\n\t", b"")
    for line in text.split(b"\n"):
        if line and not line.isspace():
            yield line.decode("utf-8", errors="replace")


def _split(line: str) -> tuple[str, str]:
    """Name, in upper case, and value of a content line.

    The value is what follows the last colon: right for times and components, and only their
    values are used.
    """
    end = len(line)
    for mark in ":;":
        at = line.find(mark)
        if at != -1:
            end = min(end, at)
    name = line[:end].strip().upper()
    if name in {"UID", "X-WR-TIMEZONE"}:
        return name, _after_colon(line)
    return name, line[line.rfind(":") + 1 :].strip()


def _put(document: Document, block: Block) -> None:
    """File an event under its UID.

    A UID must be unique (RFC 5545 §3.8.4.7), but feeds exist that leave it out, or give the same
    to events that have nothing in common; the latter are told apart by their starts.
    """
    uid = block.values.get("UID", "")
    if not uid:
        uid = f"\0{hashlib.sha256(block.text.encode(errors='surrogatepass')).hexdigest()}"
    elif not block.changes and (first := document.series.get(uid)) is not None:
        others = [other for other in first.blocks if not other.changes]
        if others and all(_unrelated(block, other) for other in others):
            uid = f"{uid}\0{block.values.get('DTSTART', '')}"
    document.series.setdefault(uid, Series(uid)).blocks.append(block)


def _unrelated(one: Block, other: Block) -> bool:
    """Whether two events of one UID are no versions of each other."""
    return (
        one.values.get("DTSTART") != other.values.get("DTSTART")
        and one.values.get("SEQUENCE", "0") == other.values.get("SEQUENCE", "0")
        and not {"RRULE", "RDATE"} & (one.values.keys() | other.values.keys())
    )


def _put_zone(document: Document, lines: list[str]) -> None:
    tzid = next((_after_colon(line) for line in lines if _split(line)[0] == "TZID"), "")
    if tzid:
        document.timezones.setdefault(tzid, "\r\n".join((*lines, "")))


def _after_colon(line: str) -> str:
    return line[line.find(":") + 1 :].strip()
