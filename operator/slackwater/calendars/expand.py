"""iCalendar text as events, read in a child process that may be killed.

Recurrence rules can cost hours, a feed can be made to exhaust memory, and the libraries that read
them keep time zones in caches of the whole process (see `ical_zones`). So a child does it, under
limits on processor time and memory, and this side on elapsed time. What kills the child is left
out the next time, and the rest of the calendar stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from slackwater.calendars.expand_request import Request
from slackwater.core.event import Busy, Event, Warned
from slackwater.core.identity import event_key, series_key
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError

_MAX_POISONS: Final = 1_000
_START: Final = timedelta(seconds=60)
_DAY: Final = timedelta(days=1)  # more than any zone is from UTC
_MAX_REQUESTS: Final = 500  # of one child, against what libraries keep


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpanderLimits:
    """What the child may use.

    Attributes:
        cpu: processor time of one request.
        series_cpu: processor time of one series; beyond it the series is skipped.
        wall: elapsed time of one request, from when a child is free for it.
        memory: address space, bytes.
        children: how many work side by side.
        deaths: how many children one request may cost; beyond it the calendar is refused.
    """

    cpu: timedelta = timedelta(seconds=5)
    series_cpu: timedelta = timedelta(seconds=1)
    wall: timedelta = timedelta(seconds=30)
    memory: int = 768 * 1024 * 1024
    children: int = 2
    deaths: int = 3


@dataclass(frozen=True, slots=True)
class Expansion:
    """The events inside a horizon, ordered by start and key, and what had to be left out."""

    events: tuple[Event, ...]
    warnings: tuple[Warned, ...] = ()


def unread(
    horizon: Span,
    days: tuple[date | None, date | None] = (None, None),
    *,
    busy: Busy = Busy.BUSY,
    own: bool = False,
    summary: str | None = None,
    categories: tuple[str, ...] | None = None,
    organizer: str | None = None,
) -> Event | None:
    """An event whose times cannot be read, over all the time that it may take.

    What cannot be read must not look free, so it stands for its Deny entries to judge by what else
    is known of it.

    Args:
        horizon: of the snapshot.
        days: the days that it begins and ends on, in whatever zone; None where even that is
            unknown, or where it may go on for ever.
        busy: how it blocks; what is not known to be free is busy.
        own: see `Event`.
        summary: see `Event`; like the others None where it is not known.
        categories: see `Event`.
        organizer: see `Event`.

    Returns:
        None where it lies outside the horizon.
    """
    first, last = days
    if first is not None and last is not None and last < first:
        first, last = last, first
    start, end = horizon.start, horizon.end
    if first is not None:
        start = max(start, _midnight(first) - _DAY)
    if last is not None:
        end = min(end, _midnight(last) + 2 * _DAY)
    if start >= end:
        return None
    return Event(
        key="",
        series="",
        original_start="",
        span=Span(start, end),
        busy=busy,
        own=own,
        summary=summary,
        categories=categories,
        organizer=organizer,
        unread=True,
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whose events they are, and how they are to be read.

    Attributes:
        calendar_id: the provider-side id, for the events' identities.
        uids: where UIDs are unique; of real calendars everywhere (RFC 5545 §3.8.4.7), so that an
            event is known again in another calendar.
        privacy: what may be read.
        zone: `spec.timeZone`, for floating and all-day events; goes before the documents' own.
        fallback_zone: of the provider, where neither says one.
        owners: lower-case addresses of the calendar's owner; None for a feed, whose events are
            all its own.
        tolerant: leave a malformed document out, rather than fail.
    """

    calendar_id: str
    privacy: Privacy
    uids: str = "icalendar"
    zone: str | None = None
    fallback_zone: str | None = None
    owners: frozenset[str] | None = field(default=None, repr=False)
    tolerant: bool = False


class _DiedError(Exception):
    """The child ended before it answered.

    Attributes:
        at: what it was at, if it had begun.
    """

    def __init__(self, at: str | None) -> None:
        super().__init__("child died")
        self.at = at


class Expander:
    """Turns iCalendar documents into events. Shared by all calendars of a process.

    Args:
        limits: what the children may use.
    """

    def __init__(self, limits: ExpanderLimits | None = None) -> None:
        self.limits = limits or ExpanderLimits()
        self._slots = asyncio.Semaphore(self.limits.children)
        self._idle: list[_Child] = []
        # Insertion order is age. Content that was too much once is not tried again.
        self._poisons: OrderedDict[str, None] = OrderedDict()
        self._closed = False

    async def expand(self, documents: Sequence[bytes], horizon: Span, source: Source) -> Expansion:
        """The events of these documents that overlap the horizon.

        Raises:
            CalendarError: MALFORMED (no whole iCalendar object), LIMIT_EXCEEDED, or UNAVAILABLE
                (a child cannot be started).
        """
        for _ in range(self.limits.deaths + 1):
            try:
                async with self._child() as child:
                    answer = await child.ask(self._request(documents, horizon, source), documents)
            except _DiedError as died:
                at = died.at
            else:
                for digest in answer.get("slow", ()):
                    self._remember(digest)
                return _expansion(answer, horizon, source)
            if at is None or at in self._poisons:
                break
            self._remember(at)
        raise _failed(Reason.LIMIT_EXCEEDED)

    async def aclose(self) -> None:
        """End the children."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    def _request(self, documents: Sequence[bytes], horizon: Span, source: Source) -> Request:
        return Request(
            sizes=[len(document) for document in documents],
            start=horizon.start.isoformat(),
            end=horizon.end.isoformat(),
            zone=source.zone,
            fallback_zone=source.fallback_zone,
            privacy=source.privacy,
            owners=None if source.owners is None else sorted(source.owners),
            tolerant=source.tolerant,
            skip=list(self._poisons),
            cpu=self.limits.cpu.total_seconds(),
            series_cpu=self.limits.series_cpu.total_seconds(),
        )

    def _remember(self, poison: str) -> None:
        self._poisons[poison] = None
        while len(self._poisons) > _MAX_POISONS:
            self._poisons.popitem(last=False)

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        async with self._slots:
            child = self._idle.pop() if self._idle else await _Child.start(self.limits)
            healthy = False
            try:
                yield child
                healthy = True
            finally:
                if healthy and not self._closed and child.requests < _MAX_REQUESTS:
                    self._idle.append(child)
                else:
                    child.kill()
                    await asyncio.shield(child.end())


class _Child:
    """One child process; answers one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process, wall: timedelta) -> None:
        self._process = process
        self._wall = wall
        self.requests = 0

    @classmethod
    async def start(cls, limits: ExpanderLimits) -> _Child:
        """A child that is ready; loading the libraries takes it most of a second."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the working directory is not a place to import from
            "-m",
            "slackwater.calendars.expand_child",
            str(limits.memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # tracebacks could hold titles
            env=_environment(),
        )
        child = cls(process, limits.wall)
        try:
            async with asyncio.timeout(_START.total_seconds()):
                assert process.stdout is not None
                ready = await process.stdout.readline()
        except BaseException as error:
            child.kill()
            await asyncio.shield(child.end())
            if not isinstance(error, TimeoutError):
                raise
            ready = b""
        if not ready:
            raise _failed(Reason.UNAVAILABLE)
        return child

    async def ask(self, request: Request, documents: Sequence[bytes]) -> dict[str, Any]:
        """The child's answer. Raises _DiedError when there is none."""
        self.requests += 1
        at: str | None = None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._wall.total_seconds()):
                self._process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
                self._process.stdin.writelines(documents)
                await self._process.stdin.drain()
                while line := await self._process.stdout.readline():
                    message = json.loads(line)
                    if "bytes" in message:
                        body = await self._process.stdout.readexactly(message["bytes"])
                        answer: dict[str, Any] = json.loads(body)
                        return answer
                    at = message["at"]
        except (TimeoutError, OSError, EOFError, ValueError):
            raise _DiedError(at) from None
        raise _DiedError(at)

    def kill(self) -> None:
        """End it now, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """Let it end by itself, and wait for that."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


def _environment() -> dict[str, str]:
    """Nothing of ours but where modules and time zones are: the rest may hold secrets."""
    names = ("PYTHONTZPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    return {
        **{name: os.environ[name] for name in names if name in os.environ},
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUTF8": "1",
    }


def _failed(reason: Reason) -> CalendarError:
    return CalendarError(reason, what="The calendar")


def _expansion(answer: dict[str, Any], horizon: Span, source: Source) -> Expansion:
    if "error" in answer:
        raise _failed(Reason(answer["error"]))
    texts: list[str] = answer["texts"]
    dark = (_unread(found, texts, horizon) for found in answer["unread"])
    events = sorted(
        (
            *(_event(found, texts, source) for found in answer["events"]),
            *(event for event in dark if event is not None),
        ),
        key=lambda event: (event.span, event.key),
    )
    warnings = (
        Warned(Reason.SERIES_SKIPPED, answer["skipped"]),
        Warned(Reason.UNKNOWN_EVENT_ZONE, answer["unknownZones"]),
    )
    return Expansion(tuple(events), tuple(warned for warned in warnings if warned.count))


def _text(found: dict[str, Any], texts: list[str], name: str) -> str | None:
    number = found[name]
    return None if number is None else texts[number]


def _categories(found: dict[str, Any], texts: list[str]) -> tuple[str, ...] | None:
    numbers = found["categories"]
    return None if numbers is None else tuple(texts[number] for number in numbers)


def _unread(found: dict[str, Any], texts: list[str], horizon: Span) -> Event | None:
    first, last = (None if day is None else date.fromisoformat(day) for day in found["days"])
    return unread(
        horizon,
        (first, last),
        busy=Busy(found["busy"]),
        own=found["own"],
        summary=_text(found, texts, "summary"),
        categories=_categories(found, texts),
        organizer=_text(found, texts, "organizer"),
    )


def _event(found: dict[str, Any], texts: list[str], source: Source) -> Event:
    uid = texts[found["uid"]]
    wall = found["wall"]
    return Event(
        key=event_key(source.calendar_id, uid, found["recurrence"]),
        series=series_key(source.uids, uid),
        original_start=found["original"],
        span=Span(_utc(found["start"]), _utc(found["end"])),
        wall=None if wall is None else (_naive(wall[0]), _naive(wall[1])),
        all_day=found["allDay"],
        busy=Busy(found["busy"]),
        own=found["own"],
        summary=_text(found, texts, "summary"),
        description=_text(found, texts, "description"),
        categories=_categories(found, texts),
        organizer=_text(found, texts, "organizer"),
    )


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _naive(text: str) -> datetime:
    return datetime.fromisoformat(text)
