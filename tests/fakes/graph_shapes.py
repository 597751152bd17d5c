"""The part of Microsoft Graph's published schema that the fake answers with.

Names and types are those of the v1.0 metadata document (CSDL). `violations` says where JSON differs
from it; a test holds this table against the schema itself, where that is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

ENUMS: dict[str, frozenset[str]] = {
    "eventType": frozenset({"singleInstance", "occurrence", "exception", "seriesMaster"}),
    "freeBusyStatus": frozenset(
        {"unknown", "free", "tentative", "busy", "oof", "workingElsewhere"}
    ),
    "responseType": frozenset(
        {"none", "organizer", "tentativelyAccepted", "accepted", "declined", "notResponded"}
    ),
    "sensitivity": frozenset({"normal", "personal", "private", "confidential"}),
    "importance": frozenset({"low", "normal", "high"}),
    "attendeeType": frozenset({"required", "optional", "resource"}),
    "dayOfWeek": frozenset(
        {"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
    ),
    "weekIndex": frozenset({"first", "second", "third", "fourth", "last"}),
    "recurrencePatternType": frozenset(
        {
            "daily",
            "weekly",
            "absoluteMonthly",
            "relativeMonthly",
            "absoluteYearly",
            "relativeYearly",
        }
    ),
    "recurrenceRangeType": frozenset({"endDate", "noEnd", "numbered"}),
    "onlineMeetingProviderType": frozenset(
        {"unknown", "skypeForBusiness", "skypeForConsumer", "teamsForBusiness"}
    ),
}
# Not in the calendar part of the schema; from the documentation of itemBody.
_OUTSIDE = {"bodyType": frozenset({"text", "html"})}

TYPES: dict[str, dict[str, str]] = {
    "dateTimeTimeZone": {"dateTime": "Edm.String", "timeZone": "Edm.String"},
    "emailAddress": {"address": "Edm.String", "name": "Edm.String"},
    "recipient": {"emailAddress": "graph.emailAddress"},
    "attendee": {
        "emailAddress": "graph.emailAddress",
        "type": "graph.attendeeType",
        "status": "graph.responseStatus",
    },
    "responseStatus": {"response": "graph.responseType", "time": "Edm.DateTimeOffset"},
    "itemBody": {"content": "Edm.String", "contentType": "graph.bodyType"},
    "location": {"displayName": "Edm.String"},
    "recurrencePattern": {
        "type": "graph.recurrencePatternType",
        "interval": "Edm.Int32",
        "month": "Edm.Int32",
        "dayOfMonth": "Edm.Int32",
        "daysOfWeek": "Collection(graph.dayOfWeek)",
        "firstDayOfWeek": "graph.dayOfWeek",
        "index": "graph.weekIndex",
    },
    "recurrenceRange": {
        "type": "graph.recurrenceRangeType",
        "startDate": "Edm.Date",
        "endDate": "Edm.Date",
        "recurrenceTimeZone": "Edm.String",
        "numberOfOccurrences": "Edm.Int32",
    },
    "patternedRecurrence": {
        "pattern": "graph.recurrencePattern",
        "range": "graph.recurrenceRange",
    },
    "event": {
        "id": "Edm.String",
        "categories": "Collection(Edm.String)",
        "changeKey": "Edm.String",
        "attendees": "Collection(graph.attendee)",
        "body": "graph.itemBody",
        "bodyPreview": "Edm.String",
        "end": "graph.dateTimeTimeZone",
        "iCalUId": "Edm.String",
        "importance": "graph.importance",
        "isAllDay": "Edm.Boolean",
        "isCancelled": "Edm.Boolean",
        "isDraft": "Edm.Boolean",
        "isOnlineMeeting": "Edm.Boolean",
        "isOrganizer": "Edm.Boolean",
        "location": "graph.location",
        "onlineMeetingProvider": "graph.onlineMeetingProviderType",
        "onlineMeetingUrl": "Edm.String",
        "organizer": "graph.recipient",
        "originalEndTimeZone": "Edm.String",
        "originalStart": "Edm.DateTimeOffset",
        "originalStartTimeZone": "Edm.String",
        "recurrence": "graph.patternedRecurrence",
        "responseStatus": "graph.responseStatus",
        "sensitivity": "graph.sensitivity",
        "seriesMasterId": "Edm.String",
        "showAs": "graph.freeBusyStatus",
        "start": "graph.dateTimeTimeZone",
        "subject": "Edm.String",
        "type": "graph.eventType",
        "webLink": "Edm.String",
    },
    "calendar": {
        "id": "Edm.String",
        "name": "Edm.String",
        "canEdit": "Edm.Boolean",
        "isDefaultCalendar": "Edm.Boolean",
        "owner": "graph.emailAddress",
    },
    "freeBusyError": {"message": "Edm.String", "responseCode": "Edm.String"},
    "scheduleItem": {
        "start": "graph.dateTimeTimeZone",
        "end": "graph.dateTimeTimeZone",
        "isPrivate": "Edm.Boolean",
        "location": "Edm.String",
        "status": "graph.freeBusyStatus",
        "subject": "Edm.String",
    },
    "scheduleInformation": {
        "availabilityView": "Edm.String",
        "error": "graph.freeBusyError",
        "scheduleId": "Edm.String",
        "scheduleItems": "Collection(graph.scheduleItem)",
    },
}


def violations(value: Any, kind: str, where: str = "$") -> Iterator[str]:
    """Where a JSON value is not what the schema's type allows; null is allowed for all of ours."""
    if value is None:
        return
    collection = re.fullmatch(r"Collection\((.+)\)", kind)
    if collection:
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for number, one in enumerate(value):
            yield from violations(one, collection[1], f"{where}[{number}]")
        return
    name = kind.removeprefix("graph.")
    if kind.startswith("Edm."):
        if not _edm(value, kind):
            yield f"{where}: {value!r} is no {kind}"
    elif name in ENUMS or name in _OUTSIDE:
        if value not in (ENUMS.get(name) or _OUTSIDE[name]):
            yield f"{where}: {value!r} is no {name}"
    else:
        for key, one in value.items():
            if key.startswith("@odata."):
                continue
            if key not in TYPES[name]:
                yield f"{where}.{key}: {name} has no such property"
            else:
                yield from violations(one, TYPES[name][key], f"{where}.{key}")


def _edm(value: Any, kind: str) -> bool:
    try:
        match kind:
            case "Edm.String":
                return isinstance(value, str)
            case "Edm.Boolean":
                return isinstance(value, bool)
            case "Edm.Int32":
                return isinstance(value, int) and not isinstance(value, bool)
            case "Edm.DateTimeOffset":
                return datetime.fromisoformat(value).tzinfo is not None
            case "Edm.Date":
                return bool(date.fromisoformat(value))
    except (TypeError, ValueError):
        return False
    return False
