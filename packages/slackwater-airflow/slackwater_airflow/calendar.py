"""Calendars in any task, for teams without an operator: an iCalendar feed or file, expanded.

Needs `slackwater-airflow[calendar]`. Descriptions are read by the operator's own parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from slackwater_airflow.event import parse_event

MAX_BYTES: Final = 10 * 1024 * 1024
MAX_EVENTS: Final = 5_000
TIMEOUT: Final = 30.0
# Rules by the second or minute name more instants than anyone can run.
_TOO_OFTEN: Final = frozenset({"SECONDLY", "MINUTELY"})


class CalendarUnreadable(ValueError):
    """A calendar that cannot be read; the message names no address and no content of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEvent:
    """One instance of one entry of a calendar.

    What people wrote does not show in `repr`, so a log line does not hold it.

    Attributes:
        uid: of the entry; all instances of a series share it.
        start: in UTC.
        end: in UTC.
        all_day: a date was written, not a time.
        summary: the title.
        description: free text.
        categories: labels.
    """

    uid: str = field(repr=False)
    start: datetime
    end: datetime
    all_day: bool = False
    summary: str = field(default="", repr=False)
    description: str = field(default="", repr=False)
    categories: tuple[str, ...] = field(default=(), repr=False)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the description. Raises BadParameters."""
        return parse_event(self.description)

    def is_open(self, now: datetime) -> bool:
        """Whether it is happening at this instant."""
        return self.start <= now < self.end


def read_calendar(
    source: str | Path | None = None,
    *,
    connection: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    time_zone: str = "UTC",
    headers: Mapping[str, str] | None = None,
) -> list[CalendarEvent]:
    """The events of a calendar that happen between two instants, series expanded, sorted by start.

    Args:
        source: an `https://` address of an iCalendar feed, or a file.
        connection: an Airflow connection instead, whose host is the address and whose password, if
            there is one, is sent with its login: feed addresses are secrets, and belong there.
        start: from when on; now where it is not given.
        end: until when; seven days after `start` where it is not given.
        time_zone: IANA name, for floating times and days.
        headers: sent with the request.

    Raises:
        CalendarUnreadable: it cannot be fetched or read, or holds too much.
        ValueError: an argument is wrong.
    """
    begin = start or datetime.now(UTC)
    until = end or begin + timedelta(days=7)
    if begin.tzinfo is None or until.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if (source is None) is (connection is None):
        raise ValueError("read_calendar() needs either a source or a connection")
    sent = dict(headers or {})
    if connection is not None:
        source, login = _connected(connection)
        sent |= login
    raw = _fetched(source, sent) if _is_address(source) else _from_file(Path(str(source)))
    events = list(_expanded(raw, begin, until, ZoneInfo(time_zone)))
    return sorted(events, key=lambda event: (event.start, event.end, event.uid))


def _connected(name: str) -> tuple[str, dict[str, str]]:
    from base64 import b64encode

    from airflow.sdk import Connection

    found = Connection.get(name)
    address = str(found.host or "")
    if "://" not in address:
        address = f"{found.schema or 'https'}://{address}"
    if not found.login:
        return address, {}
    secret = b64encode(f"{found.login}:{found.password or ''}".encode()).decode()
    return address, {"Authorization": f"Basic {secret}"}


def _is_address(source: object) -> bool:
    return isinstance(source, str) and "://" in source


def _fetched(address: Any, headers: Mapping[str, str]) -> bytes:
    """The body of a feed. Only HTTPS; a redirect may not lead away from it or take a login along."""
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Careful(HTTPRedirectHandler):
        def redirect_request(self, req: Any, *args: Any) -> Any:
            fresh = super().redirect_request(req, *args)
            if fresh is not None:
                if not fresh.full_url.startswith("https://"):
                    raise CalendarUnreadable("the calendar redirects to an address without HTTPS")
                if fresh.host != req.host:
                    for name in list(fresh.headers):
                        fresh.remove_header(name)
            return fresh

    if not address.startswith("https://"):
        raise CalendarUnreadable("the address of a calendar must begin with https://")
    request = Request(address, headers={"Accept": "text/calendar", **headers})  # noqa: S310 - HTTPS
    try:
        with build_opener(Careful).open(request, timeout=TIMEOUT) as answer:
            body: bytes = answer.read(MAX_BYTES + 1)
    except CalendarUnreadable:
        raise  # it is a ValueError, too
    except HTTPError as error:
        raise CalendarUnreadable(f"the calendar answers {error.code}") from None
    except (URLError, OSError, ValueError) as error:
        raise CalendarUnreadable(
            f"the calendar cannot be reached ({type(error).__name__})"
        ) from None
    return _bounded(body)


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise CalendarUnreadable(f"the file cannot be read ({type(error).__name__})") from None


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        raise CalendarUnreadable(f"the calendar has more than {MAX_BYTES // 2**20} MiB")
    return body


def _expanded(
    raw: bytes, start: datetime, end: datetime, zone: ZoneInfo
) -> Iterator[CalendarEvent]:
    try:
        import recurring_ical_events
        from icalendar import Calendar
    except ImportError:
        raise CalendarUnreadable(
            "read_calendar() needs more packages: pip install 'slackwater-airflow[calendar]'"
        ) from None
    try:
        calendar = Calendar.from_ical(raw)
        rules = _rules(calendar)
        # A floating day may begin up to 14 hours before it does in UTC.
        margin = timedelta(days=1)
        found = (
            recurring_ical_events.of(calendar).between(start - margin, end + margin)
            if _TOO_OFTEN.isdisjoint(rules)
            else []
        )
        events = [_event(component, zone) for component in found[: MAX_EVENTS + 1]]
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as e:
        # The library's own words may quote the calendar.
        raise CalendarUnreadable(f"this is no iCalendar ({type(e).__name__})") from None
    if not _TOO_OFTEN.isdisjoint(rules):
        raise CalendarUnreadable("a series repeats by the second or the minute")
    if len(events) > MAX_EVENTS:
        raise CalendarUnreadable(f"more than {MAX_EVENTS} events: read fewer days at a time")
    for event in events:
        if event is not None and event.start < end and event.end > start:
            yield event


def _rules(calendar: Any) -> set[str]:
    """How often series repeat: the FREQ of every rule."""
    found: set[str] = set()
    for component in calendar.walk("VEVENT"):
        rule = component.get("RRULE") or {}
        for one in rule if isinstance(rule, list) else [rule]:
            found.update(str(often).upper() for often in one.get("FREQ", ()))
    return found


def _event(component: Any, zone: ZoneInfo) -> CalendarEvent | None:
    if str(component.get("STATUS", "")).upper() == "CANCELLED":
        return None
    first = component["DTSTART"].dt
    all_day = not isinstance(first, datetime)
    length = timedelta(days=1) if all_day else timedelta()
    last = component["DTEND"].dt if "DTEND" in component else first + length
    categories = getattr(component.get("CATEGORIES"), "cats", ())
    return CalendarEvent(
        uid=str(component.get("UID", "")),
        start=_instant(first, zone),
        end=_instant(last, zone),
        all_day=all_day,
        summary=str(component.get("SUMMARY", "")),
        description=str(component.get("DESCRIPTION", "")),
        categories=tuple(map(str, categories)),
    )


def _instant(at: date, zone: ZoneInfo) -> datetime:
    if not isinstance(at, datetime):
        at = datetime.combine(at, time())
    return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
