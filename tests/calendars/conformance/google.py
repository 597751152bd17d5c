"""The conformance suite's Google calendar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from slackwater.core.words import Reason
from tests.calendars.conformance.service import SECRET, Fault, Planned
from tests.calendars.support import CANARY, NOW
from tests.fakes.google import ROOT, FakeGoogle

TEAM = f"{CANARY}-team@example.com"
READER = "slackwater@project.iam.gserviceaccount.com"
ALWAYS = 1_000


class GoogleService:
    """A calendar that is shared with a service account; its id is a canary."""

    readable = ("title", "description", "location", "attendee", "organizer")

    def __init__(self) -> None:
        self.google = FakeGoogle(lambda: NOW)
        self.google.store.add_calendar(TEAM, "Europe/Berlin")
        self._key = self.google.add_reader(TEAM)
        self._ids: dict[str, str] = {}

    @property
    def asked(self) -> int:
        return sum(path != "/token" for _, path, _ in self.google.asked)

    def config(self, origin: str) -> dict[str, Any]:
        return {"calendarId": TEAM, "credentialsSecretRef": {"name": SECRET, "key": "key.json"}}

    def secrets(self, origin: str) -> Mapping[str, str]:
        return {"key.json": self._key}

    def put(self, event: Planned) -> None:
        body = {
            "summary": event.title,
            "description": event.description,
            "location": event.location,
            "start": {"dateTime": event.start.isoformat()},
            "end": {"dateTime": event.end.isoformat()},
            "organizer": {"email": event.organizer, "displayName": CANARY, "self": True},
            "attendees": [
                {"email": event.attendee, "displayName": CANARY, "responseStatus": "accepted"},
                {"email": TEAM, "self": True, "responseStatus": "accepted"},
            ],
        }
        if event.uid in self._ids:
            self.google.store.patch(TEAM, self._ids[event.uid], status="confirmed", **body)
        else:
            self._ids[event.uid] = self.google.store.insert(TEAM, **body)

    def remove(self, uid: str) -> None:
        self.google.store.delete(TEAM, self._ids[uid])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self.google.handle(request)

    def faults(self) -> Mapping[str, Fault]:
        def refused(reason: Reason, status: int, said: str, **headers: str) -> Fault:
            refuse = partial(
                self.google.refuse, status, said, headers=headers, times=ALWAYS, message=CANARY
            )
            return Fault(reason, refuse)

        def spoilt(body: Any) -> Callable[[], object]:
            return partial(self.google.faults.answer, 200, "", ROOT, body=body, times=ALWAYS)

        cut = f'{{"kind": "calendar#events", "items": [{{"summary": "{CANARY}'
        foreign = {"kind": "calendar#calendar", "summary": CANARY}
        wait = {"Retry-After": "120"}
        return {
            "throttled": refused(Reason.THROTTLED, 403, "rateLimitExceeded", **wait),
            "transient": refused(Reason.UNAVAILABLE, 503, "backendError"),
            "credentials": Fault(Reason.UNAUTHORIZED, self._delete_key),
            "forbidden": refused(Reason.FORBIDDEN, 403, "insufficientPermissions"),
            "gone": Fault(Reason.NOT_SHARED, partial(self._share, "none")),
            "free/busy alone": Fault(Reason.NOT_SHARED, partial(self._share, "freeBusyReader")),
            "api disabled": refused(Reason.API_DISABLED, 403, "accessNotConfigured"),
            "bad request": refused(Reason.BAD_REQUEST, 400, "badRequest"),
            "web page": Fault(Reason.MALFORMED, spoilt(f"<html>{CANARY}</html>")),
            "cut off": Fault(Reason.MALFORMED, spoilt(cut)),
            "another answer": Fault(Reason.MALFORMED, spoilt(foreign)),
        }

    def _delete_key(self) -> None:
        self.google.tokens.accounts.clear()
        self.google.tokens.revoke()

    def _share(self, role: str) -> None:
        self.google.store.share(TEAM, READER, role)

    def heal(self) -> None:
        self.google.faults.clear()
        self._share("reader")
        self.google.tokens.accounts.add(READER)
