"""The calendar part of Microsoft Graph v1.0, with Entra beside it on the same origin.

It demands what the real one demands: a token of Entra's, a permission, a mailbox in its scope, no
more than four requests at a time of one application. It honours `$select`, `$top`, `$orderby` and
the `Prefer` header of each request on its own, and pages through opaque links.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from tests.fakes.graph_entra import FakeEntra
from tests.fakes.graph_json import (
    Prefer,
    calendar_id,
    event,
    instant,
    item_id,
    master,
    schedule,
)
from tests.fakes.graph_shapes import TYPES, violations
from tests.fakes.graph_store import Mailbox

READ = frozenset({"Calendars.ReadBasic.All", "Calendars.Read", "Calendars.ReadWrite"})
_FULL = frozenset({"Calendars.Read", "Calendars.ReadWrite"})
_VIEW_OPTIONS = frozenset({"startDateTime", "endDateTime", "$select", "$top", "$orderby"})
_AT_A_TIME = 4


class GraphError(Exception):
    """An answer that is no success."""

    def __init__(
        self, status: int, code: str, message: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.status, self.code, self.headers = status, code, headers or {}
        self.message = message or f"{code}."
        super().__init__(code)


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str] = field(repr=False)
    prefer: str
    authorization: str = field(repr=False)


@dataclass
class FakeGraph:
    """Graph and Entra.

    Attributes:
        mailboxes: by address.
        fail: raised for the next Graph requests, one each; None lets one through.
        always: raised for every Graph request.
        fail_schedules: what getSchedule says of a mailbox, by address.
        views_only: mailboxes of which getSchedule shows the merged view alone.
        next_origin: where links to next pages lead; here by default.
        same_link: a next page leads to itself.
        hold: requests wait for it.
        body: sent in place of every good answer.
        refusal_body: sent in place of every error.
    """

    entra: FakeEntra = field(default_factory=FakeEntra)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    fail: list[GraphError | None] = field(default_factory=list)
    always: GraphError | None = None
    fail_schedules: dict[str, tuple[str, str]] = field(default_factory=dict)
    silent_schedules: bool = False
    views_only: set[str] = field(default_factory=set)
    next_origin: str | None = None
    same_link: bool = False
    hold: asyncio.Event | None = None
    body: bytes | None = None
    refusal_body: bytes | None = None
    asked: list[Asked] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _flying: Counter[str] = field(default_factory=Counter)
    _links: dict[str, tuple[dict[str, str], int]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    def mailbox(self, address: str) -> Mailbox:
        """A new mailbox."""
        self.mailboxes[address] = Mailbox(address)
        return self.mailboxes[address]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request to the origin."""
        if not request.path.startswith("/v1.0/"):
            return await self.entra.answer(request)
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        self.asked.append(
            Asked(
                request.method,
                request.path,
                query,
                ", ".join(request.headers.getall("Prefer", [])),
                request.headers.get("Authorization", ""),
            )
        )
        client = ""
        try:
            client = self._client(request)
            self._flying[client] += 1
            await self._stumble(client)
            document = await self._route(request, query, client)
        except GraphError as error:
            if self.refusal_body is not None:
                return web.Response(status=error.status, body=self.refusal_body)
            return web.json_response(
                {"error": {"code": error.code, "message": error.message}},
                status=error.status,
                headers=error.headers,
            )
        finally:
            self._flying[client] -= 1
        if self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        if document is None:
            return web.Response(status=204)
        return web.json_response(
            document,
            status=201 if request.method == "POST" and (request.path.endswith("/events")) else 200,
        )

    async def _stumble(self, client: str) -> None:
        """Everything that can go wrong before a request is even looked at."""
        self.most_at_once = max(self.most_at_once, self._flying[client])
        if self._flying[client] > _AT_A_TIME:
            raise GraphError(429, "ApplicationThrottled", headers={"Retry-After": "3"})
        if self.hold is not None:
            await self.hold.wait()
        if self.always is not None:
            raise self.always
        if self.fail and (fault := self.fail.pop(0)) is not None:
            raise fault

    # --- who asks

    def _client(self, request: web.Request) -> str:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        client = self.entra.tokens.get(token)
        if client is None:
            text = "Access token has expired or is not yet valid."
            raise GraphError(401, "InvalidAuthenticationToken", text)
        return client

    def _allowed(self, client: str, address: str, *, write: bool = False) -> Mailbox:
        app = self.entra.apps[client]
        if not app.roles & READ:
            text = "The token contains no permissions, or permissions can not be understood."
            raise GraphError(401, "NoPermissionsInAccessToken", text)
        if write and "Calendars.ReadWrite" not in app.roles:
            raise GraphError(403, "ErrorAccessDenied", "Access is denied.")
        mailbox = self.mailboxes.get(address.lower())
        if mailbox is None:
            raise GraphError(404, "ErrorInvalidUser", f"The requested user '{address}' is invalid.")
        if app.mailboxes is not None and mailbox.address not in app.mailboxes:
            raise GraphError(403, "ErrorAccessDenied", "Access is denied.")
        return mailbox

    # --- what is asked

    async def _route(
        self, request: web.Request, query: dict[str, str], client: str
    ) -> dict[str, Any] | None:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if len(parts) < 4 or parts[1] != "users":
            raise GraphError(404, "ResourceNotFound")
        rest = [part.removeprefix("microsoft.graph.") for part in parts[3:]]
        write = request.method in {"PATCH", "DELETE"} or (
            request.method == "POST" and rest[-1] == "events"
        )
        mailbox = self._allowed(client, parts[2], write=write)
        prefer = Prefer.of(", ".join(request.headers.getall("Prefer", [])))
        roles = self.entra.apps[client].roles
        match request.method, *rest:
            case "GET", "calendars":
                return self._calendars(mailbox)
            case "GET", "calendarView":
                return self._view(request, mailbox, "default", query, prefer, roles)
            case "GET", "calendar", "calendarView":
                return self._view(request, mailbox, "default", query, prefer, roles)
            case "GET", "calendars", wanted, "calendarView":
                key = _calendar(mailbox, wanted)
                return self._view(request, mailbox, key, query, prefer, roles)
            case "POST", "calendar", "getSchedule":
                return self._schedules(json.loads(await request.read()), prefer, client)
            case "GET", "events", wanted:
                item = mailbox.items[_number(mailbox, wanted, prefer)]
                return master(item, mailbox, prefer, body=bool(roles & _FULL))
            case ("POST", "calendar", "events") | ("POST", "events"):
                number = mailbox.create(**_values(json.loads(await request.read())))
                return master(mailbox.items[number], mailbox, prefer, body=True)
            case "PATCH", "events", wanted:
                number = _number(mailbox, wanted, prefer)
                values = _values(json.loads(await request.read()))
                for name in ("start", "end"):
                    if name in values:
                        values[name] = datetime.fromisoformat(values[name])
                mailbox.update(number, **values)
                return master(mailbox.items[number], mailbox, prefer, body=True)
            case "DELETE", "events", wanted:
                mailbox.delete(_number(mailbox, wanted, prefer))
                return None
        raise GraphError(404, "ResourceNotFound")

    def _calendars(self, mailbox: Mailbox) -> dict[str, Any]:
        found = [
            {
                "id": calendar_id(mailbox, key),
                "name": name,
                "canEdit": True,
                "isDefaultCalendar": key == "default",
                "owner": {"name": "Owner", "address": mailbox.address},
            }
            for key, name in mailbox.calendars.items()
        ]
        return self._checked(found, "calendar")

    def _view(
        self,
        request: web.Request,
        mailbox: Mailbox,
        calendar: str,
        query: dict[str, str],
        prefer: Prefer,
        roles: set[str],
    ) -> dict[str, Any]:
        skip = 0
        if "$skiptoken" in query:
            if query["$skiptoken"] not in self._links:
                raise GraphError(410, "SyncStateNotFound", "The page token is no longer valid.")
            query, skip = self._links[query["$skiptoken"]]
        if unknown := query.keys() - _VIEW_OPTIONS:
            raise GraphError(400, "ErrorInvalidParameter", f"No such option: {min(unknown)}.")
        selected = [name for name in query.get("$select", "").split(",") if name]
        if wrong := [name for name in selected if name not in TYPES["event"]]:
            text = f"Could not find a property named '{wrong[0]}' on type 'microsoft.graph.event'."
            raise GraphError(400, "RequestBroker--ParseUri", text)
        try:
            start, end = instant(query["startDateTime"]), instant(query["endDateTime"])
        except (KeyError, ValueError):
            text = "This request requires a time window."
            raise GraphError(400, "ErrorInvalidParameter", text) from None
        asked = int(query["$top"]) if "$top" in query else None
        size = min(n for n in (asked, prefer.page, 1000) if n) if asked or prefer.page else 10
        found = mailbox.view(calendar, start, end)
        items = [
            event(one, mailbox, prefer, body=bool(roles & _FULL))
            for one in found[skip : skip + size]
        ]
        if selected:
            kept = {"@odata.etag", "id", *selected}
            items = [{k: v for k, v in one.items() if k in kept} for one in items]
        page = self._checked(items, "event")
        if len(found) > skip + size:
            token = "again" if self.same_link else f"R0usmcCM996atia_s{next(self._numbers)}"
            self._links[token] = (query, skip if self.same_link else skip + size)
            origin = self.next_origin or str(request.url.origin())
            page["@odata.nextLink"] = f"{origin}{request.rel_url.raw_path}?%24skiptoken={token}"
        return page

    def forget_pages(self) -> None:
        """Links to next pages that were given are worth nothing any more."""
        self._links.clear()

    def _schedules(self, document: dict[str, Any], prefer: Prefer, client: str) -> dict[str, Any]:
        given = {key.lower(): value for key, value in document.items()}
        wanted = given.get("schedules") or []
        if not 1 <= len(wanted) <= 20:
            raise GraphError(400, "ErrorInvalidParameter", "Between 1 and 20 schedules.")
        start, end = (
            instant(given[name]["dateTime"], given[name]["timeZone"])
            for name in ("starttime", "endtime")
        )
        minutes = given.get("availabilityviewinterval") or 30
        if not 5 <= minutes <= 1440:
            raise GraphError(400, "ErrorInvalidParameter", "An interval of 5 to 1440 minutes.")
        allowed = self.entra.apps[client].mailboxes
        answers = []
        for address in [] if self.silent_schedules else wanted:
            mailbox = self.mailboxes.get(address.lower())
            error = self.fail_schedules.get(address.lower())
            if end - start > timedelta(days=62):
                error = ("ErrorTimeIntervalTooBig", "The requested time duration is too long.")
            elif mailbox is None:
                error = ("ErrorMailRecipientNotFound", "The recipient was not found.")
            elif allowed is not None and mailbox.address not in allowed:
                error = ("ErrorNoFreeBusyAccess", "No free/busy access.")
            if error is not None or mailbox is None:
                code, text = error or ("", "")
                answers.append(
                    {"scheduleId": address, "error": {"responseCode": code, "message": text}}
                )
                continue
            items = mailbox.address not in self.views_only
            step = timedelta(minutes=minutes)
            answers.append(schedule(mailbox, start, end, step, prefer, items=items))
        return self._checked(answers, "scheduleInformation")

    def _checked(self, items: list[dict[str, Any]], kind: str) -> dict[str, Any]:
        for item in items:
            self.violations.extend(violations(item, f"graph.{kind}"))
        return {"@odata.context": "https://graph.example/v1.0/$metadata", "value": items}


def _calendar(mailbox: Mailbox, wanted: str) -> str:
    for key in mailbox.calendars:
        if calendar_id(mailbox, key) == wanted:
            return key
    raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def _number(mailbox: Mailbox, wanted: str, prefer: Prefer) -> int:
    for number, item in mailbox.items.items():
        if item_id(item, mailbox, prefer) == wanted:
            return number
    raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def _values(document: dict[str, Any]) -> dict[str, Any]:
    """What a written `event` sets."""
    found: dict[str, Any] = {}
    for name in ("start", "end"):
        if name in document:
            found[name] = document[name]["dateTime"][:19]
            found["zone"] = found["windows_zone"] = document[name]["timeZone"]
    for wire, name in (
        ("subject", "subject"),
        ("isAllDay", "all_day"),
        ("showAs", "show_as"),
        ("sensitivity", "sensitivity"),
        ("recurrence", "recurrence"),
    ):
        if wire in document:
            found[name] = document[wire]
    if "body" in document:
        found["body"] = document["body"]["content"]
    if "categories" in document:
        found["categories"] = tuple(document["categories"])
    return found
