"""The table of fakes: one line for each provider. A provider without a line fails the suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from slackwater.core.words import Reason
from tests.calendars.conformance.google import GoogleService
from tests.calendars.conformance.microsoft_graph import GraphService
from tests.calendars.conformance.service import PARTS, SECRET, Fault, Planned, Service
from tests.calendars.support import CANARY, calendar, vevent
from tests.fakes.caldav import HOME, FakeDav


def ref(key: str) -> dict[str, str]:
    return {"name": SECRET, "key": key}


def icalendar(event: Planned) -> str:
    """The event as iCalendar has it."""
    description = event.description.replace("\n", "\\n")  # RFC 5545 section 3.3.11
    return vevent(
        event.uid,
        f"DTSTART:{event.start:%Y%m%dT%H%M%SZ}",
        f"DTEND:{event.end:%Y%m%dT%H%M%SZ}",
        f"SUMMARY:{event.title}",
        f"DESCRIPTION:{description}",
        f"CATEGORIES:{event.category}",
        f"LOCATION:{event.location}",
        f"ATTENDEE;PARTSTAT=ACCEPTED;CN={CANARY}:mailto:{event.attendee}",
        f"ORGANIZER;CN={CANARY}:mailto:{event.organizer}",
    )


BOMB = b"BEGIN:VCALENDAR\r\n" + b"X" * (11 * 1024 * 1024) + b"\r\nEND:VCALENDAR\r\n"
CUT = calendar(vevent("cut", "DTSTART:20260401T100000Z", f"SUMMARY:{CANARY}"))[:-20]
PAGE = f"<html><title>{CANARY}</title>Log in</html>".encode()


class Feed:
    """An iCal feed whose secret address is a canary."""

    readable = PARTS

    def __init__(self) -> None:
        self.asked = 0
        self._edition = 1  # one address is asked every five minutes only
        self._events: dict[str, Planned] = {}
        self._broken: dict[str, Any] | None = None

    def config(self, origin: str) -> dict[str, Any]:
        return {"urlSecretRef": ref("url")}

    def secrets(self, origin: str) -> Mapping[str, str]:
        return {"url": f"{origin}/{CANARY}-url/basic.ics?edition={self._edition}"}

    def put(self, event: Planned) -> None:
        self._events[event.uid] = event

    def remove(self, uid: str) -> None:
        del self._events[uid]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self._broken is not None:
            return web.Response(**self._broken)
        return web.Response(body=calendar(*map(icalendar, self._events.values())))

    def faults(self) -> Mapping[str, Fault]:
        def broken(reason: Reason, **answer: Any) -> Fault:
            return Fault(reason, partial(self._break, **answer))

        return {
            "throttled": broken(Reason.THROTTLED, status=429, headers={"Retry-After": "120"}),
            "transient": broken(Reason.UNAVAILABLE, status=503, text=CANARY),
            "credentials": broken(Reason.UNAUTHORIZED, status=401, text=CANARY),
            "forbidden": broken(Reason.FORBIDDEN, status=403, text=CANARY),
            "gone": broken(Reason.NOT_FOUND, status=404, text=CANARY),
            "bad request": broken(Reason.BAD_REQUEST, status=400, text=CANARY),
            "web page": broken(Reason.MALFORMED, body=PAGE),
            "cut off": broken(Reason.MALFORMED, body=CUT),
            "too large": broken(Reason.TOO_LARGE, body=BOMB),
            "metadata service": broken(
                Reason.BLOCKED_TARGET,
                status=302,
                headers={"Location": "http://169.254.169.254/latest/meta-data/"},
            ),
        }

    def _break(self, **answer: Any) -> None:
        self._broken = answer
        self._edition += 1

    def heal(self) -> None:
        self._broken = None
        self._edition += 1


class Dav:
    """A CalDAV collection; user, password and path are canaries."""

    readable = PARTS

    def __init__(self) -> None:
        self._dav = FakeDav(user=f"{CANARY}-user", password=f"{CANARY}-password")

    @property
    def asked(self) -> int:
        return len(self._dav.asked)

    def config(self, origin: str) -> dict[str, Any]:
        return {
            "url": f"{origin}{HOME}",
            "usernameSecretRef": ref("user"),
            "passwordSecretRef": ref("password"),
        }

    def secrets(self, origin: str) -> Mapping[str, str]:
        return {"user": f"{CANARY}-user", "password": f"{CANARY}-password"}

    def put(self, event: Planned) -> None:
        self._dav.addresses = (f"mailto:{event.organizer}",)
        self._dav.put(f"{event.uid}.ics", calendar(icalendar(event)))

    def remove(self, uid: str) -> None:
        self._dav.delete(f"{uid}.ics")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self._dav.answer(request)

    def faults(self) -> Mapping[str, Fault]:
        def refused(reason: Reason, status: int, **headers: str) -> Fault:
            return Fault(reason, partial(self._break, refuse=status, headers=headers))

        html = partial(self._break, body=PAGE)
        cut = partial(self._break, body=b'<?xml version="1.0"?><multistatus xmlns="DAV:"><resp')
        return {
            "throttled": refused(Reason.THROTTLED, 429, **{"Retry-After": "120"}),
            "transient": refused(Reason.UNAVAILABLE, 503),
            "credentials": Fault(
                Reason.UNAUTHORIZED, partial(self._break, password="another password")
            ),
            "forbidden": refused(Reason.FORBIDDEN, 403),
            "gone": refused(Reason.NOT_FOUND, 404),
            "bad request": refused(Reason.BAD_REQUEST, 400),
            "web page": Fault(Reason.MALFORMED, html),
            "cut off": Fault(Reason.MALFORMED, cut),
            "too many": refused(Reason.LIMIT_EXCEEDED, 507),
            "login page": refused(Reason.REDIRECTED, 302, Location="https://login.example/"),
        }

    def _break(self, **state: Any) -> None:
        for name, value in state.items():
            setattr(self._dav, name, value)

    def heal(self) -> None:
        self._break(refuse=None, headers={}, body=None, password=f"{CANARY}-password")


class Written:
    """Events in the Calendar itself: to change one is to change the configuration."""

    readable = ("title", "description", "category")
    asked = 0

    def __init__(self) -> None:
        self._events: dict[str, Planned] = {}

    def config(self, origin: str) -> dict[str, Any]:
        return {
            "events": [
                {
                    "uid": one.uid,
                    "summary": one.title,
                    "description": one.description,
                    "categories": [one.category],
                    "start": f"{one.start:%Y-%m-%dT%H:%M:%SZ}",
                    "end": f"{one.end:%Y-%m-%dT%H:%M:%SZ}",
                }
                for one in self._events.values()
            ]
        }

    def secrets(self, origin: str) -> Mapping[str, str]:
        return {}

    def put(self, event: Planned) -> None:
        self._events[event.uid] = event

    def remove(self, uid: str) -> None:
        del self._events[uid]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raise AssertionError("it reaches nothing")

    def faults(self) -> Mapping[str, Fault]:
        return {}

    def heal(self) -> None:
        return


SERVICES: Mapping[str, Callable[[], Service]] = {
    "caldav": Dav,
    "google": GoogleService,
    "ical": Feed,
    "microsoftGraph": GraphService,
    "static": Written,
}
