"""What Google Calendar answers, as events: pure, and careful with what a reader may see.

Field names are those of the `Event` resource of Calendar v3.
https://developers.google.com/workspace/calendar/api/v3/reference/events
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from slackwater.calendars.expand import Expansion, unread
from slackwater.core.event import Busy, Event, Warned
from slackwater.core.identity import event_key, series_key
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import UnknownZone, instant
from slackwater.core.zone import zone as zone_of

MAX_SUMMARY: Final = 4_096
MAX_DESCRIPTION: Final = 65_536

_SHORTEST: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
# They say where somebody works and when somebody was born: no time is taken by them.
_NOT_BUSY: Final = frozenset({"workingLocation", "birthday"})
_HIDDEN: Final = frozenset({"private", "confidential"})
# "This and following" makes a new series, which carries the old one's id and where it begins.
_SPLIT: Final = re.compile(r"_R\d{8}(T\d{6}Z?)?$")


@dataclass(frozen=True, slots=True)
class Reader:
    """How the items of one calendar are to be read.

    Attributes:
        calendar_id: for the identities of events.
        privacy: what may be read.
        zone: of all-day events: the Calendar's own, else the provider's; None where neither says.
        horizon: what was asked for.
    """

    calendar_id: str
    privacy: Privacy
    zone: ZoneInfo | None
    horizon: Span


def events_of(items: Iterable[Mapping[str, Any]], reader: Reader) -> Expansion:
    """The events that take part, ordered by start and key, and how many could not be read.

    Args:
        items: instances and single events as `events.list` gives them with `singleEvents=true`;
            of several with one id, which pages may repeat, the last counts.
        reader: how to read them.
    """
    latest = {str(item.get("id")): item for item in items}
    found: list[Event] = []
    skipped = unknown = 0
    for item in latest.values():
        try:
            event = _event(item, reader)
        except UnknownZone:
            unknown += 1
            event = _unread(item, reader)
        except _UNREADABLE:
            skipped += 1
            event = _unread(item, reader)
        found += [] if event is None else [event]
    warnings = []
    if skipped:
        warnings.append(Warned(Reason.SERIES_SKIPPED, skipped))
    if unknown:
        warnings.append(Warned(Reason.UNKNOWN_EVENT_ZONE, unknown))
    found.sort(key=lambda event: (event.span, event.key))
    return Expansion(tuple(found), tuple(warnings))


def busy_times(periods: Iterable[Mapping[str, Any]]) -> Expansion:
    """Busy times of `freebusy.query`: they have no identity (R2) and nothing to read.

    Raises:
        KeyError, TypeError, ValueError: a period cannot be read. None of them may be left out,
            since what is left out would be free.
    """
    spans = []
    for period in periods:
        start, end = _aware(period["start"]), _aware(period["end"])
        spans.append(Span(start, max(end, start + _SHORTEST)))
    return Expansion(
        tuple(Event(key="", series="", original_start="", span=span) for span in sorted(spans))
    )


def _event(item: Mapping[str, Any], reader: Reader) -> Event | None:
    """One item; None for what is cancelled, declined, or takes no time."""
    me: Mapping[str, Any] = next((a for a in item.get("attendees", ()) if a.get("self")), {})
    if (
        item.get("status") == "cancelled"
        or me.get("responseStatus") == "declined"
        or item.get("eventType") in _NOT_BUSY
    ):
        return None
    identifier = str(item["id"])
    series = item.get("recurringEventId")
    all_day = "date" in item["start"]
    original = item.get("originalStartTime") if series is not None else item["start"]
    written = _written(item["start"] if original is None else original)
    organizer: Mapping[str, Any] = item.get("organizer", {})
    # RFC 5545 §3.8.1.3, and Google's own readers: neither is for all who see the calendar.
    hidden = item.get("visibility") in _HIDDEN
    return Event(
        # The start of a single event may change; the original start of an instance never does.
        key=event_key(
            reader.calendar_id, str(series or identifier), "" if series is None else written
        ),
        # Moved to another calendar, an event keeps its id.
        series=series_key("google", _SPLIT.sub("", str(series or identifier))),
        original_start=written,
        span=_days(item, reader) if all_day else _times(item),
        wall=_wall(item) if all_day and reader.zone is None else None,
        all_day=all_day,
        busy=_busy(item),
        own=not organizer
        or organizer.get("self") is True
        or me.get("responseStatus") == "accepted",
        summary=None if hidden else str(item.get("summary", ""))[:MAX_SUMMARY],
        description=_description(item, reader) if not hidden else None,
        organizer=None if hidden else _address(organizer),
    )


_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def _unread(item: Mapping[str, Any], reader: Reader) -> Event | None:
    """An item whose times cannot be read, as far as the rest of it can."""
    try:
        organizer: Mapping[str, Any] = item.get("organizer", {})
        hidden = item.get("visibility") in _HIDDEN
        return unread(
            reader.horizon,
            (_day(item, "start"), _day(item, "end")),
            busy=_busy(item),
            own=not organizer or organizer.get("self") is True,
            summary=None if hidden else str(item.get("summary", ""))[:MAX_SUMMARY],
            organizer=None if hidden else _address(organizer),
        )
    except _UNREADABLE:
        return unread(reader.horizon)


def _day(item: Mapping[str, Any], name: str) -> date | None:
    try:
        when = item[name]
        return date.fromisoformat(str(when.get("date") or when.get("dateTime"))[:10])
    except _UNREADABLE:
        return None


def _busy(item: Mapping[str, Any]) -> Busy:
    if item.get("eventType") == "outOfOffice":
        return Busy.OUT_OF_OFFICE
    if item.get("transparency") == "transparent":
        return Busy.FREE
    return Busy.TENTATIVE if item.get("status") == "tentative" else Busy.BUSY


def _description(item: Mapping[str, Any], reader: Reader) -> str | None:
    if reader.privacy is not Privacy.DETAILS:
        return None
    # Parameters are read from it: half a description could mean something else.
    text = str(item.get("description", ""))
    return text if len(text) <= MAX_DESCRIPTION else None


def _address(organizer: Mapping[str, Any]) -> str | None:
    address = organizer.get("email")
    return address.lower() if isinstance(address, str) else None


def _times(item: Mapping[str, Any]) -> Span:
    start, end = _moment(item["start"]), _moment(item["end"])
    if end < start:
        raise ValueError("ends before it starts")
    return Span(start, max(end, start + _SHORTEST))


def _days(item: Mapping[str, Any], reader: Reader) -> Span:
    first, last = _wall(item)
    if reader.zone is None:
        return Span(first.replace(tzinfo=UTC), last.replace(tzinfo=UTC))
    return Span(instant(first, reader.zone), instant(last, reader.zone))


def _wall(item: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """From the first instant of the first day to the first of the day after the last, zoneless."""
    first, last = (date.fromisoformat(item[name]["date"]) for name in ("start", "end"))
    if last < first:
        raise ValueError("ends before it starts")
    return datetime.combine(first, time()), datetime.combine(max(last, first + _DAY), time())


def _written(when: Mapping[str, Any]) -> str:
    """A start as it stays, however the calendar's zone is shown: a date, or an instant in UTC."""
    if "date" in when:
        return date.fromisoformat(when["date"]).isoformat()
    return _moment(when).isoformat()


def _moment(when: Mapping[str, Any]) -> datetime:
    found = datetime.fromisoformat(when["dateTime"])
    if found.tzinfo is None:
        return instant(found, zone_of(when["timeZone"]))
    return found.astimezone(UTC)


def _aware(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without an offset")
    return found.astimezone(UTC)
