"""Microsoft Graph behind its line in the conformance suite: mailbox, secret and tokens are canaries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from slackwater.core.words import Reason
from tests.calendars.conformance.service import PARTS, SECRET, Fault, Planned
from tests.calendars.support import CANARY
from tests.fakes.graph import FakeGraph, GraphError
from tests.fakes.graph_entra import CLIENT, TENANT

MAILBOX = f"{CANARY}-mailbox@contoso.example"
VALUE = f"{CANARY}-secret"


class GraphService:
    """A mailbox in Exchange Online. Microsoft's library signs in over TLS only."""

    readable = PARTS
    tls = True

    def __init__(self) -> None:
        self._fake = FakeGraph()
        self._box = self._fake.mailbox(MAILBOX)
        self._numbers: dict[str, int] = {}
        self.heal()

    @property
    def asked(self) -> int:
        return len(self._fake.asked)

    def config(self, origin: str) -> dict[str, Any]:
        return {
            "tenantId": TENANT,
            "clientId": CLIENT,
            "mailbox": MAILBOX,
            "clientSecretRef": {"name": SECRET, "key": "value"},
            "authority": origin,
            "endpoint": origin,
        }

    def secrets(self, origin: str) -> Mapping[str, str]:
        return {"value": VALUE}

    def put(self, event: Planned) -> None:
        values = {
            "subject": event.title,
            "body": f"<html><body><p>{event.description}</p></body></html>",
            "categories": (event.category,),
            "location": event.location,
            "attendees": ((CANARY, event.attendee),),
            "organizer": (CANARY, event.organizer),
            "response": "accepted",
            "zone": "UTC",
            "windows_zone": "UTC",
        }
        start, end = event.start.replace(tzinfo=None), event.end.replace(tzinfo=None)
        number = self._numbers.get(event.uid)
        if number is None:
            made = self._box.create(start.isoformat(), end.isoformat(), **values)
            self._numbers[event.uid] = made
            return
        if number in self._box.bin:
            self._box.undelete(number)
        self._box.update(number, start=start, end=end, **values)

    def remove(self, uid: str) -> None:
        self._box.delete(self._numbers[uid])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await self._fake.answer(request)

    def faults(self) -> Mapping[str, Fault]:
        def answers(reason: Reason, status: int, code: str, **headers: str) -> Fault:
            return Fault(
                reason, partial(self._break, always=GraphError(status, code, CANARY, headers))
            )

        app = self._fake.entra.apps[CLIENT]
        return {
            "throttled": answers(
                Reason.THROTTLED, 429, "ApplicationThrottled", **{"Retry-After": "120"}
            ),
            "transient": answers(Reason.UNAVAILABLE, 503, "ServiceUnavailable"),
            "credentials": Fault(Reason.UNAUTHORIZED, partial(self._sign_in_fails, set(), set())),
            "expired secret": Fault(
                Reason.CREDENTIALS_EXPIRED, partial(self._sign_in_fails, set(), {VALUE})
            ),
            "no consent": Fault(Reason.CONSENT_REQUIRED, app.roles.clear),
            "forbidden": Fault(Reason.FORBIDDEN, partial(setattr, app, "mailboxes", set())),
            "gone": Fault(Reason.NOT_FOUND, self._fake.mailboxes.clear),
            "bad request": answers(Reason.BAD_REQUEST, 400, "BadRequest"),
            "web page": Fault(Reason.MALFORMED, partial(self._break, body=b"<html>c4n4ry")),
            "cut off": Fault(Reason.MALFORMED, partial(self._break, body=b'{"value": [{"id"')),
        }

    def _break(self, **state: Any) -> None:
        for name, value in state.items():
            setattr(self._fake, name, value)

    def _sign_in_fails(self, good: set[str], expired: set[str]) -> None:
        self._fake.entra.revoke()
        app = self._fake.entra.apps[CLIENT]
        app.secrets, app.expired = good, expired

    def heal(self) -> None:
        self._break(always=None, body=None)
        self._fake.mailboxes[MAILBOX] = self._box
        app = self._fake.entra.apps[CLIENT]
        app.secrets, app.expired, app.mailboxes = {VALUE}, set(), None
        app.roles.add("Calendars.Read")
