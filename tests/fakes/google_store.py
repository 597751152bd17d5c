"""What the fake Google Calendar holds: calendars, events, their instances, and every edit of them.

Edits do what Google's do: an instance that is moved keeps its original start, "this and following"
makes a new series with `_R` in its id, a new start of a series gives every instance a new original
start and forgets their exceptions, what is deleted stays for a while with status cancelled.

Series are expanded by dateutil on the wall clock of their own time zone, and not by our code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.rrule import rruleset, rrulestr

Json = dict[str, Any]

MANY = 730  # instances of a series that never ends, as far as a sync goes
ROLES = ("none", "freeBusyReader", "reader", "writerWithoutPrivateAccess", "writer", "owner")
OUTLINE = {"kind", "etag", "id", "status", "start", "end", "visibility", "iCalUID", "updated"}
OUTLINE |= {"recurringEventId", "originalStartTime", "sequence", "eventType", "transparency"}
OUTLINE |= {"organizer", "creator", "created", "htmlLink"}


class Missing(LookupError):
    """No such calendar or event, as far as the one who asks may know."""


@dataclass
class Calendar:
    """One calendar.

    Attributes:
        zone: its time zone.
        roles: what each account may see; see `ROLES`.
        masters: single events and series, by id, deleted ones with status cancelled.
        exceptions: changed and cancelled instances, by instance id.
        log: version at which each event last changed, by id of the single event or series.
    """

    id: str
    zone: str
    roles: dict[str, str]
    masters: dict[str, Json] = field(default_factory=dict)
    exceptions: dict[str, Json] = field(default_factory=dict)
    log: dict[str, int] = field(default_factory=dict)
    version: int = 1


def moment(when: Json, zone: str) -> datetime:
    """The instant that a start or end means."""
    if "date" in when:
        day = datetime.combine(date.fromisoformat(when["date"]), time())
        return day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = datetime.fromisoformat(when["dateTime"])
    if found.tzinfo is None:
        found = found.replace(tzinfo=ZoneInfo(when.get("timeZone", zone)))
    return found.astimezone(UTC)


def stamp(when: Json, zone: str) -> str:
    """A start as Google writes it into the id of an instance."""
    if "date" in when:
        return f"{date.fromisoformat(when['date']):%Y%m%d}"
    return f"{moment(when, zone):%Y%m%dT%H%M%SZ}"


def with_offsets(body: Json, zone: str) -> Json:
    """A copy in which every time names its offset, as all do that Google gives."""
    found = copy.deepcopy(body)
    for name in found.keys() & {"start", "end"}:
        if "dateTime" in found[name]:
            where = ZoneInfo(found[name].get("timeZone", zone))
            found[name]["dateTime"] = moment(found[name], zone).astimezone(where).isoformat()
    return found


class Store:
    """Calendars and their edits. `now` stamps what changes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.calendars: dict[str, Calendar] = {}
        self._numbers = 0

    def add_calendar(self, identifier: str, zone: str = "UTC", **roles: str) -> Calendar:
        """A calendar; roles by account, the owner's by its own id."""
        self.calendars[identifier] = Calendar(identifier, zone, {identifier: "owner", **roles})
        return self.calendars[identifier]

    def share(self, identifier: str, account: str, role: str) -> None:
        assert role in ROLES
        self.calendars[identifier].roles[account] = role

    # --- edits, as a person makes them

    def insert(self, calendar: str, **body: Any) -> str:
        """A new event; gives its id."""
        self._numbers += 1
        kept = self.calendars[calendar]
        identifier = body.pop("id", None) or f"ev{self._numbers:05d}"
        stamped = f"{self.now():%Y-%m-%dT%H:%M:%S.000Z}"
        event = {
            "kind": "calendar#event",
            "id": identifier,
            "status": "confirmed",
            "htmlLink": f"https://www.google.com/calendar/event?eid={identifier}",
            "created": stamped,
            "iCalUID": f"{identifier}@google.com",
            "sequence": 0,
            "creator": {"email": calendar, "self": True},
            "organizer": {"email": calendar, "self": True},
            "reminders": {"useDefault": True},
            "eventType": "default",
            **with_offsets(body, kept.zone),
        }
        if "recurrence" in event and "dateTime" in event["start"]:
            event["start"].setdefault("timeZone", kept.zone)
            event["end"].setdefault("timeZone", kept.zone)
        kept.masters[identifier] = event
        self._touch(kept, identifier)
        return identifier

    def patch(self, calendar: str, identifier: str, **changes: Any) -> None:
        """Change an event, a whole series, or, by the id of an instance, that one alone."""
        kept = self.calendars[calendar]
        if identifier in kept.masters:
            event = kept.masters[identifier]
            if "recurrence" in event and changes.keys() & {"start", "recurrence"}:
                self._forget_exceptions(kept, identifier, changes)
            event |= with_offsets(changes, kept.zone)
            event["sequence"] += 1
        else:
            instance = copy.deepcopy(self.instance(calendar, identifier))
            kept.exceptions[identifier] = instance | with_offsets(changes, kept.zone)
        self._touch(kept, identifier)

    def delete(self, calendar: str, identifier: str) -> None:
        """Delete an event, a series, or one instance."""
        self.patch(calendar, identifier, status="cancelled")

    def undelete(self, calendar: str, identifier: str) -> None:
        """Take it back out of the bin."""
        self.patch(calendar, identifier, status="confirmed")

    def split(self, calendar: str, instance: str, **changes: Any) -> str:
        """Change "this and following events"; gives the new series' id."""
        kept = self.calendars[calendar]
        first = self.instance(calendar, instance)
        master = kept.masters[first["recurringEventId"]]
        at = moment(first["originalStartTime"], kept.zone)
        rules = [line for line in master["recurrence"] if line.startswith("RRULE")]
        until = f"{at - timedelta(seconds=1):%Y%m%dT%H%M%SZ}"
        if "date" in first["originalStartTime"]:
            until = f"{at.astimezone(ZoneInfo(kept.zone)) - timedelta(hours=1):%Y%m%d}"
        body = copy.deepcopy(master)
        for name in ("created", "htmlLink", "iCalUID", "sequence", "etag", "updated"):
            body.pop(name, None)
        body["id"] = f"{master['id']}_R{stamp(first['originalStartTime'], kept.zone).rstrip('Z')}"
        body["start"], body["end"] = first["start"], first["end"]
        for name in ("start", "end"):
            if "dateTime" in body[name]:
                body[name] = {**body[name], "timeZone": master[name]["timeZone"]}
        body["recurrence"] = [_without_until(rule) for rule in rules]
        master["recurrence"] = [f"{_without_until(rule)};UNTIL={until}" for rule in rules]
        for identifier, exception in list(kept.exceptions.items()):
            later = moment(exception["originalStartTime"], kept.zone) >= at
            if exception["recurringEventId"] == master["id"] and later:
                del kept.exceptions[identifier]
        self._touch(kept, master["id"])
        return self.insert(calendar, **(body | changes))

    def copy(self, calendar: str, identifier: str, to: str | None = None) -> str:
        """Duplicate an event, into another calendar where one is given."""
        body = copy.deepcopy(self.calendars[calendar].masters[identifier])
        for name in ("id", "created", "htmlLink", "iCalUID", "etag", "updated", "sequence"):
            body.pop(name, None)
        if to is not None:
            body |= {"organizer": {"email": to, "self": True}, "creator": {"email": to}}
        return self.insert(to or calendar, **body)

    def move(self, calendar: str, identifier: str, to: str) -> None:
        """Move an event to another calendar: it keeps its id there, and leaves a cancelled one."""
        kept = self.calendars[calendar]
        body = copy.deepcopy(kept.masters[identifier])
        body["organizer"] = {"email": to, "self": True}
        kept.masters[identifier] = {
            **body,
            "status": "cancelled",
            "organizer": {"email": to},
        }
        self._touch(kept, identifier)
        self.insert(to, **body)

    # --- what is there

    def instance(self, calendar: str, identifier: str) -> Json:
        """One instance, changed or not."""
        kept = self.calendars[calendar]
        master, _, _ = identifier.rpartition("_")
        for event in self.instances(kept, kept.masters[master], MANY):
            if event["id"] == identifier:
                return event
        raise Missing(identifier)

    def instances(
        self, kept: Calendar, master: Json, most: int, until: datetime | None = None
    ) -> Iterator[Json]:
        """A single event itself, or the instances of a series, changed ones as they are now."""
        if "recurrence" not in master:
            yield master
            return
        length = moment(master["end"], kept.zone) - moment(master["start"], kept.zone)
        for number, start in enumerate(_starts(master, kept.zone)):
            if number >= most:
                return
            original = start["start"]
            if until is not None and moment(original, kept.zone) >= until + timedelta(days=400):
                return
            identifier = f"{master['id']}_{stamp(original, kept.zone)}"
            exception = kept.exceptions.get(identifier)
            plain = {key: value for key, value in master.items() if key != "recurrence"}
            plain |= {
                "id": identifier,
                "recurringEventId": master["id"],
                "originalStartTime": original,
                "start": original,
                "end": _end(original, master, length),
            }
            if exception is not None:
                plain |= exception
                if master["status"] == "cancelled":
                    plain["status"] = "cancelled"
            yield plain

    def _touch(self, kept: Calendar, identifier: str) -> None:
        kept.version += 1
        owner = identifier
        if owner not in kept.masters:
            owner = identifier.rpartition("_")[0]
        kept.log[owner] = kept.version
        event = kept.masters[owner]
        event["updated"] = f"{self.now():%Y-%m-%dT%H:%M:%S.000Z}"
        event["etag"] = f'"{kept.version}"'

    def _forget_exceptions(self, kept: Calendar, master: str, changes: Json) -> None:
        if "start" not in changes:
            return  # a new rule alone leaves the exceptions that still have an instance
        for identifier in [
            key for key, e in kept.exceptions.items() if e["recurringEventId"] == master
        ]:
            del kept.exceptions[identifier]


def _without_until(rule: str) -> str:
    name, _, parts = rule.partition(":")
    kept = [part for part in parts.split(";") if not part.startswith(("UNTIL=", "COUNT="))]
    return f"{name}:{';'.join(kept)}"


def _starts(master: Json, zone: str) -> Iterator[Json]:
    """The original starts of a series, from the first on."""
    if "date" in master["start"]:
        first = datetime.combine(date.fromisoformat(master["start"]["date"]), time())
        for start in _rules(master, first, None):
            yield {"start": {"date": start.date().isoformat()}}
        return
    where = ZoneInfo(master["start"].get("timeZone", zone))
    first = moment(master["start"], zone).astimezone(where).replace(tzinfo=None)
    for start in _rules(master, first, where):
        shown = start.replace(tzinfo=where).astimezone(UTC).astimezone(ZoneInfo(zone))
        yield {"start": {"dateTime": shown.isoformat(), "timeZone": where.key}}


def _rules(master: Json, first: datetime, where: ZoneInfo | None) -> Iterator[datetime]:
    found = rruleset()
    for line in master["recurrence"]:
        name, _, value = line.partition(":")
        if name == "RRULE":
            found.rrule(rrulestr(_local_until(value, where), dtstart=first))
        else:
            add = found.exdate if name.startswith("EXDATE") else found.rdate
            for one in value.split(","):
                add(_local(one, where))
    if not any(line.startswith("RRULE") for line in master["recurrence"]):
        found.rdate(first)
    return iter(found)


def _local_until(rule: str, where: ZoneInfo | None) -> str:
    parts = []
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        parts.append(f"UNTIL={_local(value, where):%Y%m%dT%H%M%S}" if name == "UNTIL" else part)
    return ";".join(parts)


def _local(text: str, where: ZoneInfo | None) -> datetime:
    if "T" not in text:
        return datetime.fromisoformat(text)
    if text.endswith("Z") and where is not None:
        return datetime.fromisoformat(text).astimezone(where).replace(tzinfo=None)
    return datetime.fromisoformat(text.rstrip("Z"))


def _end(start: Json, master: Json, length: timedelta) -> Json:
    if "date" in start:
        days = date.fromisoformat(master["end"]["date"]) - date.fromisoformat(
            master["start"]["date"]
        )
        return {"date": (date.fromisoformat(start["date"]) + days).isoformat()}
    end = datetime.fromisoformat(start["dateTime"]).astimezone(UTC) + length
    shown = end.astimezone(ZoneInfo(start["timeZone"]))
    return {"dateTime": shown.isoformat(), "timeZone": start["timeZone"]}
