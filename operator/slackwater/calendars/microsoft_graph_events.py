"""What Microsoft Graph says of events and busy times, as events of ours: pure.

The shapes are those of Graph v1.0: `event` as calendarView gives it, `scheduleInformation` as
getSchedule does. Instances come expanded, by Exchange itself. An item that cannot be read is counted
and left out, the others stand; a document that cannot be read is a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from slackwater.calendars.expand import Expansion, unread
from slackwater.calendars.windows_zones import is_utc, zone_named
from slackwater.core.event import Busy, Event, Warned
from slackwater.core.identity import event_key, series_key
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import instant, zone
from slackwater_windows.prose import plain

MAX_EVENTS: Final = 20_000
MAX_SUMMARY: Final = 4_096
MAX_DESCRIPTION: Final = 65_536
MAX_CATEGORIES: Final = 64
WIDEST_OFFSET: Final = timedelta(hours=14)

_TIMES: Final = (
    "type",
    "start",
    "end",
    "isAllDay",
    "isCancelled",
    "showAs",
    "responseStatus",
    "originalStartTimeZone",
)
_BASIC: Final = (
    *_TIMES,
    "seriesMasterId",
    "originalStart",
    "sensitivity",
    "isOrganizer",
    "organizer",
    "subject",
    "categories",
)
SELECTED: Final[Mapping[Privacy, tuple[str, ...]]] = {
    Privacy.FREE_BUSY: _TIMES,
    Privacy.BASIC: _BASIC,
    Privacy.DETAILS: (*_BASIC, "body"),
}
"""What is asked of each event, by privacy (R13); Graph adds its `id` always."""

# What is unknown is busy: nothing is free because it could not be read.
_BUSY: Final = {
    "free": Busy.FREE,
    "tentative": Busy.TENTATIVE,
    "oof": Busy.OUT_OF_OFFICE,
    "workingelsewhere": Busy.WORKING_ELSEWHERE,
}
_OPEN_TO_ALL: Final = frozenset({"", "normal", "personal"})
# One character of an `availabilityView` each; 0 is free.
_VIEW: Final = {
    "1": Busy.TENTATIVE,
    "2": Busy.BUSY,
    "3": Busy.OUT_OF_OFFICE,
    "4": Busy.WORKING_ELSEWHERE,
}


class UnknownEventZone(ValueError):
    """A time in a zone whose rules nobody knows."""


class ScheduleFailed(Exception):
    """Exchange could not tell when a mailbox is busy: which is not the same as free.

    Attributes:
        code: its `responseCode`.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__("no free/busy information")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Whose events they are, and how they are to be read.

    Attributes:
        calendar_id: for the events' identities.
        mailbox: its address, lower case.
        privacy: what may be kept.
        zone: `spec.timeZone`, for all-day events; it goes before the events' own.
        horizon: what does not touch it is left out.
    """

    calendar_id: str
    mailbox: str
    privacy: Privacy
    zone: str | None
    horizon: Span


# --- calendarView -------------------------------------------------------------------------------


def events_of(pages: Sequence[bytes], how: Reading) -> Expansion:
    """The events of all pages of one calendarView.

    An event that stands on two pages, because the calendar changed in between, counts once.

    Raises:
        ValueError: a page is no page of events.
        OverflowError: there are more than `MAX_EVENTS`.
    """
    found: dict[str, Event] = {}
    skipped = unknown = 0
    for number, item in enumerate(item for page in pages for item in _items(page)):
        if number >= MAX_EVENTS:
            raise OverflowError
        try:
            event = _event(item, how)
        except UnknownEventZone:
            unknown += 1
            event = _unread(item, how)
        except _UNREADABLE:
            skipped += 1
            event = _unread(item, how)
        if event is not None:
            found[event.key or str(number)] = event
    return _expansion(found.values(), skipped, unknown)


def _expansion(events: Any, skipped: int, unknown: int) -> Expansion:
    warnings = (
        Warned(Reason.SERIES_SKIPPED, skipped),
        Warned(Reason.UNKNOWN_EVENT_ZONE, unknown),
    )
    return Expansion(
        tuple(sorted(events, key=lambda event: (event.span, event.key))),
        tuple(warned for warned in warnings if warned.count),
    )


def _items(page: bytes) -> list[Any]:
    document = json.loads(page)
    items = document.get("value") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ValueError("no page of events")  # noqa: TRY004 - the document's fault, not ours
    return items


def _event(item: Mapping[str, Any], how: Reading) -> Event | None:
    """One instance; None where it is none, was cancelled or declined, or lies elsewhere in time."""
    response = _word(item.get("responseStatus") or {}, "response")
    if "@removed" in item or _word(item, "type") == "seriesmaster":
        return None
    if item.get("isCancelled") is True or response == "declined":
        return None
    all_day = item.get("isAllDay") is True
    span, wall = _days(item, how.zone) if all_day else (_timed(item), None)
    reach = WIDEST_OFFSET if wall is not None else timedelta()
    if not Span(span.start - reach, span.end + reach).overlaps(how.horizon):
        return None
    busy = _BUSY.get(_word(item, "showAs"), Busy.BUSY)
    if how.privacy is Privacy.FREE_BUSY:
        return Event(
            key="", series="", original_start="", span=span, wall=wall, all_day=all_day, busy=busy
        )
    master, original = _identity(item, span)
    organizer = _address(item.get("organizer"))
    hidden = _word(item, "sensitivity") not in _OPEN_TO_ALL
    return Event(
        key=event_key(how.calendar_id, master, original),
        series=series_key(how.calendar_id, master),
        original_start=original or _utc_text(span.start),
        span=span,
        wall=wall,
        all_day=all_day,
        busy=busy,
        own=(
            item.get("isOrganizer") is True
            or organizer is None
            or organizer == how.mailbox
            or response in {"organizer", "accepted"}
        ),
        summary=None if hidden else str(item.get("subject") or "")[:MAX_SUMMARY],
        description=None if hidden else _description(item, how.privacy),
        categories=None if hidden else _categories(item),
        organizer=None if hidden else organizer,
    )


_UNREADABLE: Final = (ValueError, TypeError, AttributeError, KeyError, OverflowError)


def _unread(item: Any, how: Reading) -> Event | None:
    """An item whose times cannot be read, as far as the rest of it can."""
    try:
        days = _day(item, "start"), _day(item, "end")
        busy = _BUSY.get(_word(item, "showAs"), Busy.BUSY)
        if how.privacy is Privacy.FREE_BUSY:
            return unread(how.horizon, days, busy=busy)
        organizer = _address(item.get("organizer"))
        hidden = _word(item, "sensitivity") not in _OPEN_TO_ALL
        return unread(
            how.horizon,
            days,
            busy=busy,
            own=item.get("isOrganizer") is True or organizer in {None, how.mailbox},
            summary=None if hidden else str(item.get("subject") or "")[:MAX_SUMMARY],
            categories=None if hidden else _categories(item),
            organizer=None if hidden else organizer,
        )
    except _UNREADABLE:
        return unread(how.horizon)


def _day(item: Mapping[str, Any], name: str) -> date | None:
    try:
        return date.fromisoformat(str(item[name]["dateTime"])[:10])
    except _UNREADABLE:
        return None


def _identity(item: Mapping[str, Any], span: Span) -> tuple[str, str]:
    """The id of the series, or of the single event, and the instance's original start (R2).

    `originalStart` stays when an instance is moved; a single event has none, and its id is
    immutable, as we ask for.
    """
    own = _text(item, "id")
    master = item.get("seriesMasterId")
    if not master:
        return own, ""
    written = item.get("originalStart")
    if written:
        moment = datetime.fromisoformat(str(written))
        return str(master), _utc_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    # Left out by the server: an instance that is no exception begins where it was meant to.
    return str(master), (own if _word(item, "type") == "exception" else _utc_text(span.start))


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _timed(item: Mapping[str, Any]) -> Span:
    start, end = _instant(item["start"]), _instant(item["end"])
    # Exchange keeps events that last no time at all; they have a start all the same.
    return Span(start, max(end, start + timedelta(seconds=1)) if end >= start else end)


def _days(
    item: Mapping[str, Any], preferred: str | None
) -> tuple[Span, tuple[datetime, datetime] | None]:
    """An all-day event: whole days of the calendar's zone.

    Graph writes midnight to midnight whatever zone was asked for (microsoft-graph-docs#1802,
    #16798): these are dates. UTC is what it names where the event has no zone of its own (#2804);
    then only the TrainingWindow knows whose days they are.
    """
    first, last = _naive(item["start"]), _naive(item["end"])
    if first.time() != time() or last.time() != time():
        return _timed(item), None
    last = max(last, first + timedelta(days=1))
    name = str(item.get("originalStartTimeZone") or "UTC")
    where = zone(preferred) if preferred else None if is_utc(name) else zone_named(name)
    if where is None:
        return Span(first.replace(tzinfo=UTC), last.replace(tzinfo=UTC)), (first, last)
    return Span(instant(first, where), instant(last, where)), None


def _naive(moment: Mapping[str, Any]) -> datetime:
    # Seven digits of a second: the last one is cut off.
    return datetime.fromisoformat(moment["dateTime"]).replace(tzinfo=None)


def _instant(moment: Mapping[str, Any]) -> datetime:
    """A `dateTimeTimeZone`; UTC was asked for, but what is written counts."""
    name = str(moment.get("timeZone") or "UTC")
    where = zone_named(name)
    if where is None:
        raise UnknownEventZone
    return _naive(moment).replace(tzinfo=UTC) if is_utc(name) else instant(_naive(moment), where)


def _description(item: Mapping[str, Any], privacy: Privacy) -> str | None:
    body = item.get("body")
    if privacy is not Privacy.DETAILS or not isinstance(body, dict):
        return None
    text = str(body.get("content") or "")
    if _word(body, "contentType") != "text":
        text = plain(text)
    # Parameters are read from it: half a description could mean something else.
    return text if len(text) <= MAX_DESCRIPTION else None


def _categories(item: Mapping[str, Any]) -> tuple[str, ...]:
    found = (str(one).strip() for one in item.get("categories") or ())
    return tuple(dict.fromkeys(one[:256] for one in found if one))[:MAX_CATEGORIES]


def _address(recipient: Any) -> str | None:
    """`user@host` of a recipient; None for one that has no address of the Internet."""
    mail = recipient.get("emailAddress") if isinstance(recipient, dict) else None
    address = str((mail or {}).get("address") or "").strip().lower()
    return address or None


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item[name]
    if not isinstance(value, str) or not value:
        raise ValueError(name)
    return value


def _word(item: Mapping[str, Any], name: str) -> str:
    return str(item.get(name) or "").casefold()


# --- getSchedule --------------------------------------------------------------------------------


def busy_times(answers: Sequence[tuple[bytes, Span]], step: timedelta, how: Reading) -> Expansion:
    """The busy times of one mailbox, of answers of getSchedule and the time that each is about.

    Args:
        answers: in order of time.
        step: what one character of `availabilityView` stands for.
        how: whose they are.

    Raises:
        ScheduleFailed: Exchange says that it could not look.
        ValueError: the answer is not about this mailbox, or cannot be read.
    """
    found: dict[tuple[Span, Busy], Event] = {}
    for body, asked in answers:
        for span, busy in _blocks(_schedule(body, how.mailbox), asked, step):
            if span.overlaps(how.horizon):
                found[span, busy] = Event(
                    key="", series="", original_start="", span=span, busy=busy
                )
    return _expansion(found.values(), 0, 0)


def _schedule(body: bytes, mailbox: str) -> Mapping[str, Any]:
    for schedule in _items(body):
        if _word(schedule, "scheduleId") == mailbox.casefold():
            error = schedule.get("error")
            if error is not None:
                raise ScheduleFailed(str(error.get("responseCode") or ""))
            return dict(schedule)
    raise ValueError("nothing about this mailbox")


def _blocks(
    schedule: Mapping[str, Any], asked: Span, step: timedelta
) -> Iterator[tuple[Span, Busy]]:
    items, view = schedule.get("scheduleItems"), schedule.get("availabilityView")
    if items:
        for item in items:
            start, end = _instant(item["start"]), _instant(item["end"])
            if start < end:
                yield Span(start, end), _BUSY.get(_word(item, "status"), Busy.BUSY)
        return
    # Who may see no items is shown the merged view alone.
    if not isinstance(view, str) or (not view and items is None):
        raise ValueError("neither items nor a view")
    for number, character in enumerate(view):
        if character != "0":
            start = asked.start + number * step
            yield Span(start, start + step), _VIEW.get(character, Busy.BUSY)
