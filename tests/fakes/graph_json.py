"""Events and schedules of a fake mailbox as Graph writes them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from tests.fakes.graph_store import Instance, Item, Mailbox

_RANK = {"free": 0, "tentative": 1, "busy": 2, "oof": 3, "workingElsewhere": 4, "unknown": 2}


@dataclass(frozen=True)
class Prefer:
    """What the `Prefer` header asks for."""

    zone: str = "UTC"
    immutable: bool = False
    text: bool = False
    page: int | None = None

    @classmethod
    def of(cls, header: str) -> Prefer:
        zone = re.search(r'outlook\.timezone\s*=\s*"([^"]+)"', header)
        page = re.search(r"odata\.maxpagesize\s*=\s*(\d+)", header)
        return cls(
            zone[1] if zone else "UTC",
            'IdType="ImmutableId"' in header,
            'outlook.body-content-type="text"' in header,
            int(page[1]) if page else None,
        )

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(WINDOWS_TO_OLSON.get(self.zone, self.zone))


def _moment(at: datetime, prefer: Prefer) -> dict[str, str]:
    """A `dateTimeTimeZone`: seven digits of a second and no offset."""
    return {
        "dateTime": f"{at.astimezone(prefer.tz):%Y-%m-%dT%H:%M:%S}.0000000",
        "timeZone": prefer.zone,
    }


def _day(wall: datetime, prefer: Prefer) -> dict[str, str]:
    """Of an all-day event: midnight, in whatever zone was asked for."""
    return {"dateTime": f"{wall:%Y-%m-%d}T00:00:00.0000000", "timeZone": prefer.zone}


def item_id(item: Item, mailbox: Mailbox, prefer: Prefer) -> str:
    """An immutable id lasts while the event stays in its mailbox, the other while in its folder."""
    where = mailbox.address if prefer.immutable else f"{mailbox.address}/{item.calendar}"
    kind = "I" if prefer.immutable else "M"
    return f"AA{kind}{hashlib.sha256(where.encode()).hexdigest()[:12]}_{item.number:06d}="


def calendar_id(mailbox: Mailbox, key: str) -> str:
    return f"AAC{hashlib.sha256(mailbox.address.encode()).hexdigest()[:12]}_{key}="


def event(one: Instance, mailbox: Mailbox, prefer: Prefer, *, body: bool) -> dict[str, Any]:
    """An `event`, with `body` where the permission reaches so far."""
    item, value = one.item, one.value
    own = item_id(item, mailbox, prefer)
    organizer = value("organizer")
    change = hashlib.sha256(f"{item.number}:{item.version}".encode()).hexdigest()[:16]
    kind = "singleInstance"
    if one.original is not None:
        kind = "exception" if one.changed else "occurrence"
    content, form = value("body"), "html"
    if prefer.text:
        content, form = re.sub(r"<[^>]*>", "\n", content).strip(), "text"
    moment = (
        (lambda wall: _day(wall, prefer))
        if value("all_day")
        else (lambda wall: _moment(item.utc(wall), prefer))
    )
    zone_name = "UTC" if value("all_day") and not item.windows_zone else item.windows_zone
    found = {
        "@odata.etag": f'W/"{change}"',
        "id": own if one.original is None else f"{own}.{one.original:%Y%m%dT%H%M}",
        "changeKey": change,
        "type": kind,
        "seriesMasterId": None if one.original is None else own,
        "iCalUId": f"040000008200E0{item.number:04d}",
        "subject": value("subject"),
        "bodyPreview": re.sub(r"<[^>]*>", " ", value("body"))[:255].strip(),
        "body": {"contentType": form, "content": content},
        "importance": "normal",
        "sensitivity": value("sensitivity"),
        "showAs": value("show_as"),
        "isAllDay": value("all_day"),
        "isCancelled": value("cancelled"),
        "isDraft": False,
        "isOnlineMeeting": value("online"),
        "onlineMeetingProvider": "teamsForBusiness" if value("online") else "unknown",
        "isOrganizer": organizer is None or organizer[1] == mailbox.address,
        "organizer": None
        if organizer is None
        else {"emailAddress": {"name": organizer[0], "address": organizer[1]}},
        "attendees": [
            {
                "type": "required",
                "status": {"response": "none", "time": "0001-01-01T00:00:00Z"},
                "emailAddress": {"name": name, "address": address},
            }
            for name, address in value("attendees")
        ],
        "responseStatus": {"response": value("response"), "time": "0001-01-01T00:00:00Z"},
        "categories": list(value("categories")),
        "location": {"displayName": value("location")},
        "originalStartTimeZone": zone_name,
        "originalEndTimeZone": zone_name,
        "start": moment(one.start),
        "end": moment(one.end),
        "webLink": "https://outlook.example/owa/",
        "recurrence": None,
    }
    if one.original is not None:
        found["originalStart"] = f"{item.utc(one.original):%Y-%m-%dT%H:%M:%S}Z"
    if not body:
        # Calendars.ReadBasic: everything but body, attachments and extensions.
        del found["body"], found["bodyPreview"]
    return found


def master(item: Item, mailbox: Mailbox, prefer: Prefer, *, body: bool) -> dict[str, Any]:
    """The master of a series, as `GET /events/{id}` gives it."""
    found = event(Instance(item, item.start, item.end), mailbox, prefer, body=body)
    if item.recurrence is not None:
        zone = {"recurrenceTimeZone": item.windows_zone}
        whole = {**item.recurrence, "range": {**item.recurrence["range"], **zone}}
        found |= {"type": "seriesMaster", "recurrence": whole}
    return found


def schedule(
    mailbox: Mailbox,
    start: datetime,
    end: datetime,
    step: timedelta,
    prefer: Prefer,
    *,
    items: bool,
) -> dict[str, Any]:
    """A `scheduleInformation`."""
    found = [one for one in mailbox.view(None, start, end) if not one.value("cancelled")]
    spans = [
        (one.item.utc(one.start), one.item.utc(one.end), one.value("show_as")) for one in found
    ]
    view = ""
    at = start
    while at < end:
        here = [_RANK[how] for first, last, how in spans if first < at + step and last > at]
        view += str(max(here, default=0))
        at += step
    answer: dict[str, Any] = {"scheduleId": mailbox.address, "availabilityView": view}
    if items:
        answer["scheduleItems"] = [
            {
                "isPrivate": one.value("sensitivity") == "private",
                "status": one.value("show_as"),
                "subject": one.value("subject"),
                "location": one.value("location"),
                "start": _moment(one.item.utc(one.start), prefer),
                "end": _moment(one.item.utc(one.end), prefer),
            }
            for one in found
        ]
    return answer


def instant(text: str, zone: str = "UTC") -> datetime:
    """A time of a query or a `dateTimeTimeZone`; without an offset it is in `zone`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=Prefer(zone).tz)
    return moment.astimezone(UTC)
