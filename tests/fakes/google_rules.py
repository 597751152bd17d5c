"""What Google Calendar lets through: to whom, in which form, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.fakes.google_store import MANY, OUTLINE, Calendar, Store, moment

Json = dict[str, Any]
NOT_WITH_TOKEN = {"iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty"}
NOT_WITH_TOKEN |= {"timeMin", "timeMax", "updatedMin"}


class Refusal(Exception):
    """An error of the API."""

    def __init__(self, status: int, reason: str, message: str = "refused") -> None:
        super().__init__(reason)
        self.status, self.reason, self.message = status, reason, message

    @property
    def body(self) -> Json:
        detail = {"domain": "global", "reason": self.reason, "message": self.message}
        return {"error": {"errors": [detail], "code": self.status, "message": self.message}}


def shape(told: Mapping[str, str]) -> str:
    """What must be equal in a listing and in the requests that follow it by its sync token."""
    free = NOT_WITH_TOKEN | {"syncToken", "pageToken", "fields", "alt", "prettyPrint", "quotaUser"}
    return json.dumps(sorted((key, value) for key, value in told.items() if key not in free))


def bound(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, "badRequest", f"Bad {name}") from None
    if found.tzinfo is None:
        raise Refusal(400, "badRequest", f"{name} needs an offset")
    return found.astimezone(UTC)


def zulu(at: datetime, zone: str = "UTC") -> str:
    if zone == "UTC":
        return f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return at.astimezone(ZoneInfo(zone)).isoformat()


def shown(event: Json, kept: Calendar, role: str, told: Mapping[str, str]) -> Json | None:
    """An event as somebody with this role sees it."""
    if event["status"] == "cancelled":
        bare = {"kind", "etag", "id", "status", "recurringEventId", "originalStartTime"}
        return {key: value for key, value in event.items() if key in bare}
    private = event.get("visibility") in {"private", "confidential"}
    if role == "freeBusyReader":
        if private:
            return None
        return {key: value for key, value in event.items() if key in OUTLINE - {"organizer"}}
    if private and role in {"reader", "writerWithoutPrivateAccess"}:
        return {key: value for key, value in event.items() if key in OUTLINE}
    attendees = event.get("attendees", [])
    if attendees and len(attendees) > int(told.get("maxAttendees", len(attendees))):
        me = [one for one in attendees if one.get("self")]
        event = {**event, "attendees": me, "attendeesOmitted": True}
    return event


def busy_periods(
    store: Store, kept: Calendar, low: datetime, high: datetime, zone: str
) -> list[Json]:
    spans = []
    for master in kept.masters.values():
        for event in store.instances(kept, master, MANY, high):
            start, end = (moment(event[name], kept.zone) for name in ("start", "end"))
            me = [a for a in event.get("attendees", ()) if a.get("self")]
            if (
                event["status"] != "cancelled"
                and event.get("transparency") != "transparent"
                and event["eventType"] not in {"workingLocation", "birthday"}
                and not any(a["responseStatus"] == "declined" for a in me)
                and end > low
                and start < high
            ):
                spans.append((start, end))
    merged: list[list[datetime]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return [{"start": zulu(start, zone), "end": zulu(end, zone)} for start, end in merged]
