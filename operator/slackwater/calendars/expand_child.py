"""The expander's child: reads iCalendar text that nobody trusts, under limits of its own.

`python -m slackwater.calendars.expand_child` says `{"ready": true}` and then answers requests on
stdin until it is closed. A request is one line of JSON (see `Request`) and then the documents'
bytes. The answer is a line `{"at": digest}` before each piece that could be poisonous, so that the
parent knows which one killed us, and a line `{"bytes": n}` with n bytes of JSON (see `_answer`).

A series that takes longer than its share is interrupted here and skipped; what cannot be
interrupted runs into RLIMIT_CPU, RLIMIT_AS or the parent's own clock.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from types import FrameType
from typing import Any, BinaryIO

from slackwater.calendars import ical_zones
from slackwater.calendars.expand_request import Request
from slackwater.calendars.ical_fields import Fields, fields, told, unknown
from slackwater.calendars.ical_series import Horizon, Instance, SkippedError, UnknownZoneError
from slackwater.calendars.ical_series import expand as expand_series
from slackwater.calendars.ical_text import (
    MAX_COMPONENTS,
    Block,
    Days,
    Document,
    LimitError,
    MalformedError,
    Reader,
    Series,
)
from slackwater.core.spec import Privacy

MAX_EVENTS = 20_000
MAX_ANSWER = 32 * 1024 * 1024
_DAY = timedelta(days=2)  # zones are at most 14 h from UTC; one day more costs nothing


class _TooSlowError(BaseException):
    """A series has used its share of processor time; no library is to swallow it."""


@dataclass(slots=True)
class _Found:
    """What one request has found so far; texts are kept once, however many instances share them."""

    events: list[dict[str, Any]] = field(default_factory=list)
    unread: list[dict[str, Any]] = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    skipped: int = 0
    unknown_zones: int = 0
    size: int = 0

    def text(self, value: str | None) -> int | None:
        """The number of a text."""
        if value is None:
            return None
        if value not in self.texts:
            self.size += len(value)
            self.texts[value] = len(self.texts)
        return self.texts[value]

    def add(self, uid: str, instance: Instance, said: Fields) -> None:
        """Put one event into the answer. Raises LimitError."""
        self.size += 200
        if len(self.events) >= MAX_EVENTS or self.size > MAX_ANSWER:
            raise LimitError
        self.events.append(
            {
                "uid": self.text(uid),
                "recurrence": instance.recurrence,
                "original": instance.original,
                "start": instance.start.isoformat(),
                "end": instance.end.isoformat(),
                "wall": [at.isoformat() for at in instance.wall] if instance.wall else None,
                "allDay": instance.all_day,
                "description": self.text(said.description),
                **self._said(said),
            }
        )

    def leave_out(self, series: Series, privacy: Privacy, owners: frozenset[str] | None) -> None:
        """Put what is known of a series that cannot be expanded into the answer."""
        for block in series.blocks:
            said = told(block, privacy, owners)
            if said is not None:
                self.unread.append({"days": _days(block), **self._said(said)})

    def leave_out_document(self, owners: frozenset[str] | None) -> None:
        """The same of a document of which nothing can be read."""
        self.skipped += 1
        self.unread.append({"days": (None, None), **self._said(unknown(owners))})

    def _said(self, said: Fields) -> dict[str, Any]:
        return {
            "busy": said.busy,
            "own": said.own,
            "summary": self.text(said.summary),
            "categories": (
                None
                if said.categories is None
                else [self.text(category) for category in said.categories]
            ),
            "organizer": self.text(said.organizer),
        }


def _days(block: Block) -> tuple[str | None, str | None]:
    """The days on which it may begin and end; None where it may do so at any time."""
    extent = block.extent
    if extent is None or "RDATE" in block.values or block.onward:
        return None, None
    first = min(extent[0], block.day("DTEND") or extent[0])
    return first.isoformat(), None if "RRULE" in block.values else extent[1].isoformat()


class Child:
    """Answers requests.

    Args:
        source: where requests come from.
        sink: where answers go.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink

    def serve(self) -> None:
        """Answer until the other end closes."""
        self._say({"ready": True})
        while line := self._source.readline():
            request = Request(**json.loads(line))
            documents = [self._source.read(size) for size in request.sizes]
            _limit_cpu(request.cpu)
            body = json.dumps(self._answer(request, documents)).encode()
            self._say({"bytes": len(body)})
            self._sink.write(body)
            self._sink.flush()

    def _say(self, message: dict[str, Any]) -> None:
        self._sink.write(json.dumps(message).encode() + b"\n")
        self._sink.flush()

    def _answer(self, request: Request, documents: list[bytes]) -> dict[str, Any]:
        found = _Found()
        try:
            self._expand(request, documents, found)
        except MalformedError:
            return {"error": "Malformed"}
        except (LimitError, MemoryError):
            return {"error": "LimitExceeded"}
        return {
            "texts": list(found.texts),
            "events": found.events,
            "unread": found.unread,
            "skipped": found.skipped,
            "slow": found.slow,
            "unknownZones": found.unknown_zones,
        }

    def _expand(self, request: Request, documents: list[bytes], found: _Found) -> None:
        start, end = datetime.fromisoformat(request.start), datetime.fromisoformat(request.end)
        days = Days((start - _DAY).date(), (end + _DAY).date())
        privacy = Privacy(request.privacy)
        owners = None if request.owners is None else frozenset(request.owners)
        reader = Reader(
            texts=privacy is not Privacy.FREE_BUSY,
            description=privacy is Privacy.DETAILS,
            owners=owners or frozenset(),
        )
        components = 0
        for raw in documents:
            try:
                document = reader.read(raw)
            except MalformedError:
                if not request.tolerant:
                    raise
                found.leave_out_document(owners)
                continue
            components += document.components
            if components > MAX_COMPONENTS:
                raise LimitError
            near = [part for one in document.series.values() if (part := one.near(days))]
            if not near:
                continue
            skip = frozenset(request.skip)
            self._use_zones(document, skip)
            zone, known = _zone(request, document)
            found.unknown_zones += not known
            horizon = Horizon(start, end, zone)
            for series in near:
                digest = series.digest
                if digest in skip:
                    found.skipped += 1
                    found.leave_out(series, privacy, owners)
                    continue
                self._say({"at": digest})
                before = len(found.events)
                try:
                    with _at_most(request.series_cpu):
                        _add(found, series, horizon, privacy, owners)
                except _TooSlowError:
                    del found.events[before:]  # all of a series or nothing
                    found.skipped += 1
                    found.slow.append(digest)
                    found.leave_out(series, privacy, owners)

    def _use_zones(self, document: Document, skip: frozenset[str]) -> None:
        digest = document.zones_digest
        if digest in skip:
            document.timezones.clear()
        elif document.timezones:
            self._say({"at": digest})
        ical_zones.use(document)


def _add(
    found: _Found,
    series: Series,
    horizon: Horizon,
    privacy: Privacy,
    owners: frozenset[str] | None,
) -> None:
    """Put the events of one series into the answer, or count it where that cannot be."""
    try:
        instances = expand_series(series, horizon)
        components = {id(instance.component): instance.component for instance in instances}
        said = {key: fields(one, privacy, owners) for key, one in components.items()}
    except UnknownZoneError:
        found.unknown_zones += 1
        found.leave_out(series, privacy, owners)
    except (SkippedError, MemoryError):
        found.skipped += 1
        found.leave_out(series, privacy, owners)
    except Exception:  # noqa: BLE001 - whatever the libraries raise, the other series stand
        found.skipped += 1
        found.leave_out(series, privacy, owners)
    else:
        for instance in instances:
            read = said[id(instance.component)]
            if read is not None:
                found.add(series.uid, instance, read)


def _zone(request: Request, document: Document) -> tuple[tzinfo | None, bool]:
    """The zone of floating and all-day events, and whether the name it was given is known."""
    name = request.zone or document.zone
    if name:
        zone = ical_zones.named(name)
        return zone, zone is not None
    # A collection's zone may be a custom one, which is then as good as none.
    return ical_zones.named(request.fallback_zone) if request.fallback_zone else None, True


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


@contextmanager
def _at_most(cpu: float) -> Iterator[None]:
    """Raise _TooSlowError inside once this much processor time of ours is used."""
    # Again and again: what is raised inside a destructor is lost.
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _limit_cpu(seconds: float) -> None:
    """Let the kernel end us `seconds` of processor time from now: the limit counts all our life."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used + seconds) + 1
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def main() -> None:
    """Limit ourselves, then serve."""
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, _interrupt)
    # Ctrl-C in a terminal reaches the whole group: the parent ends us by closing stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Child(sys.stdin.buffer, sys.stdout.buffer).serve()


if __name__ == "__main__":
    main()
