"""Google Calendar v3 in this process: its answers, its refusals, its quirks, and faults on demand.

    async with FakeGoogle() as google:
        google.store.add_calendar("team@example.com", "Europe/Berlin")
        key = google.add_reader("team@example.com")          # a service account's key file
        google.store.insert("team@example.com", summary="train", start=…, end=…)
        google.refuse(403, "rateLimitExceeded", headers={"Retry-After": "30"})
        …                                                    # the code under test, at google.url

Every answer is checked against the discovery document that google-api-python-client brings, and
every request too: unknown parameters and masks are refused. gcal_sync, which knows nothing of us,
is driven against it in tests/calendars/test_google_servers.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from tests.fakes.airflow_faults import Faults
from tests.fakes.google_fields import BadMask, complaints, discovery, method, parse_mask, select
from tests.fakes.google_rules import (
    NOT_WITH_TOKEN,
    Refusal,
    bound,
    busy_periods,
    shape,
    shown,
    zulu,
)
from tests.fakes.google_store import MANY, ROLES, Calendar, Missing, Store, moment
from tests.fakes.google_tokens import Tokens

Json = dict[str, Any]
ROOT = "/calendar/v3/"


class FakeGoogle:
    """The server. `page_limit` is the most it puts on a page, `empty_pages` how many come first."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = Store(now)
        self.tokens = Tokens()
        self.faults = Faults()
        self.page_limit = 2500
        self.empty_pages = 0
        self.check = True
        self.complaints: list[str] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []  # method, path, query
        self.headers: list[Mapping[str, str]] = []
        self.bytes_sent = 0
        self.freebusy_omits: set[str] = set()
        self.freebusy_errors: dict[str, str] = {}
        self._syncs: dict[str, tuple[str, int, str]] = {}
        self._expired: set[str] = set()
        self._pages: dict[str, tuple[list[Json], int, Json]] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    # --- life

    async def __aenter__(self) -> Self:
        await self.come_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.go_down()

    async def come_up(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def go_down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    # --- what tests do to it

    def add_reader(
        self,
        calendar: str,
        role: str = "reader",
        email: str = "slackwater@project.iam.gserviceaccount.com",
    ) -> str:
        """A service account that the calendar is shared with; gives its key file."""
        self.store.share(calendar, email, role)
        return self.tokens.add_account(email)

    def refuse(
        self,
        status: int,
        reason: str,
        path: str = ROOT,
        *,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        message: str = "refused",
    ) -> None:
        """The next answers are this error."""
        body = Refusal(status, reason, message).body
        self.faults.answer(status, "", path, body=body, headers=headers, times=times)

    def expire_sync_tokens(self) -> None:
        self._expired |= set(self._syncs)

    @property
    def lists(self) -> list[dict[str, str]]:
        """Queries of `events.list` since the last look at them."""
        found = [query for verb, path, query in self.asked if path.endswith("/events")]
        self.asked.clear()
        return found

    # --- HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        verb = request.headers.get("x-http-method-override", request.method)
        query = list(request.query.items())
        if verb != request.method:  # long URLs come like that
            query = parse_qsl(body.decode())
            body = b""
        path = request.raw_path.partition("?")[0]
        self.asked.append((verb, unquote(path), dict(query)))
        self.headers.append(request.headers)
        fault = self.faults.take(verb, path)
        if fault is not None:
            if fault.hold is not None:
                fault.hold.arrived.set()
                await fault.hold.released.wait()
            elif fault.reply is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            else:
                return fault.reply()
        # Expansion may take long, and the loop is also the client's.
        status, found = await asyncio.to_thread(self._answer, request, verb, path, query, body)
        text = b"" if found is None else json.dumps(found).encode()
        self.bytes_sent += len(text)
        return web.Response(status=status, body=text, content_type="application/json")

    def _answer(
        self,
        request: web.Request,
        verb: str,
        path: str,
        query: list[tuple[str, str]],
        body: bytes,
    ) -> tuple[int, Json | None]:
        if path == "/token":
            return self.tokens.answer(dict(parse_qsl(body.decode())))
        try:
            return self._api(request, verb, path, query, body)
        except Missing:
            refusal = Refusal(404, "notFound", "Not Found")
        except Refusal as error:
            refusal = error
        return refusal.status, refusal.body

    def _api(
        self,
        request: web.Request,
        verb: str,
        path: str,
        query: list[tuple[str, str]],
        body: bytes,
    ) -> tuple[int, Json | None]:
        parts = [unquote(part) for part in path.removeprefix(ROOT).split("/")]
        name, call = self._called(verb, parts)
        resource, _, short = name.partition(".")
        who = self._who(request, method(resource, short)["scopes"])
        told = dict(query)
        known = method(resource, short).get("parameters", {}).keys() | discovery()["parameters"]
        for key in told:
            if key not in known:
                raise Refusal(400, "invalidParameter", f"Unknown parameter {key}")
        given = json.loads(body) if body else {}
        if given:
            schema = method(resource, short)["request"]["$ref"]
            if complaints(schema, given):
                raise Refusal(400, "invalid", complaints(schema, given)[0])
        found = call(who, told, given)
        if found is None:
            return 204, None
        schema = method(resource, short)["response"]["$ref"]
        if self.check:
            self.complaints += complaints(schema, found)
        if "fields" in told:
            try:
                found = select(found, parse_mask(told["fields"], schema))
            except BadMask as error:
                raise Refusal(400, "invalidParameter", str(error)) from None
        return 200, found

    def _called(
        self, verb: str, parts: list[str]
    ) -> tuple[str, Callable[[str, dict[str, str], Json], Json | None]]:
        match (verb, *parts):
            case ("POST", "freeBusy"):
                return "freebusy.query", self._freebusy
            case ("GET", "users", "me", "calendarList"):
                return "calendarList.list", self._calendar_list
            case ("GET", "calendars", calendar):
                return "calendars.get", lambda who, _, __: self._calendar_body(who, calendar)
            case ("GET", "calendars", calendar, "events"):
                return "events.list", lambda who, told, _: self._list(who, calendar, told)
            case ("POST", "calendars", calendar, "events"):
                return "events.insert", lambda who, _, given: self._insert(who, calendar, given)
            case ("GET", "calendars", calendar, "events", event):
                return "events.get", lambda who, _, __: self._get(who, calendar, event)
            case ("PATCH", "calendars", calendar, "events", event):
                return (
                    "events.patch",
                    lambda who, _, given: self._patch(who, calendar, event, given),
                )
            case ("DELETE", "calendars", calendar, "events", event):
                return "events.delete", lambda who, _, __: self._delete(who, calendar, event)
        raise Refusal(404, "notFound", "Not Found")

    def _who(self, request: web.Request, scopes: list[str]) -> str:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens.issued:
            raise Refusal(401, "authError", "Invalid Credentials")
        who, granted = self.tokens.issued[token]
        if not granted & set(scopes):
            raise Refusal(403, "insufficientPermissions", "Insufficient Permission")
        return who

    # --- calendars

    def _seen(self, who: str, calendar: str, least: str = "freeBusyReader") -> tuple[Calendar, str]:
        identifier = who if calendar == "primary" else calendar
        kept = self.store.calendars.get(identifier)
        role = "none" if kept is None else kept.roles.get(who, "none")
        if kept is None or role == "none":
            raise Missing(calendar)
        if ROLES.index(role) < ROLES.index(least):
            raise Refusal(403, "requiredAccessLevel", f"You need to have {least} access.")
        return kept, role

    def _calendar_body(self, who: str, calendar: str) -> Json:
        kept, _ = self._seen(who, calendar)
        return {
            "kind": "calendar#calendar",
            "etag": f'"{kept.version}"',
            "id": kept.id,
            "summary": "c4n4ry calendar",
            "timeZone": kept.zone,
        }

    def _calendar_list(self, who: str, told: dict[str, str], _: Json) -> Json:
        items = []
        for kept in self.store.calendars.values():
            role = kept.roles.get(who, "none")
            if role != "none":
                body = self._calendar_body(who, kept.id)
                items.append(body | {"kind": "calendar#calendarListEntry", "accessRole": role})
        return {"kind": "calendar#calendarList", "etag": '"1"', "items": items}

    # --- events

    def _list(self, who: str, calendar: str, told: dict[str, str]) -> Json:
        kept, role = self._seen(who, calendar)
        if "pageToken" in told:
            items, position, head = self._pages[told["pageToken"]]
        else:
            items = self._wanted(kept, role, told)
            position, head = -self.empty_pages, self._head(kept, role, told)
        size = max(1, min(int(told.get("maxResults", 250)), self.page_limit, 2500))
        page = dict(head)
        last = max(position, 0) + size if position >= 0 else 0
        page["items"] = items[position:last] if position >= 0 else []
        following = last if position >= 0 else position + 1
        if position < 0 or last < len(items):
            token = f"page-{len(self._pages):06d}"
            self._pages[token] = (items, following, head)
            del page["nextSyncToken"]
            page["nextPageToken"] = token
        return page

    def _head(self, kept: Calendar, role: str, told: dict[str, str]) -> Json:
        token = f"sync-{len(self._syncs):06d}"
        self._syncs[token] = (kept.id, kept.version, shape(told))
        return {
            "kind": "calendar#events",
            "etag": f'"p{kept.version}"',
            "summary": "c4n4ry calendar",
            "description": "c4n4ry described",
            "updated": f"{self.store.now():%Y-%m-%dT%H:%M:%S.000Z}",
            "timeZone": kept.zone,
            "accessRole": role,
            "defaultReminders": [],
            "nextSyncToken": token,
        }

    def _wanted(self, kept: Calendar, role: str, told: dict[str, str]) -> list[Json]:
        since = 0
        deleted = told.get("showDeleted") == "true"
        low, high = (bound(told.get(name), name) for name in ("timeMin", "timeMax"))
        if low is not None and high is not None and low >= high:
            raise Refusal(400, "timeRangeEmpty", "The specified time range is empty.")
        if "syncToken" in told:
            if told.keys() & NOT_WITH_TOKEN or told.get("showDeleted") == "false":
                raise Refusal(400, "syncTokenWithRequestRestrictions", "not with a sync token")
            token = told["syncToken"]
            if token in self._expired:
                raise Refusal(410, "fullSyncRequired", "Sync token is no longer valid")
            if token not in self._syncs or self._syncs[token][0] != kept.id:
                raise Refusal(400, "invalid", "Invalid sync token value.")
            _, since, before = self._syncs[token]
            assert before == shape(told), "other parameters must be those of the first listing"
            deleted = True
        single = told.get("singleEvents") == "true"
        found: list[Json] = []
        for identifier, master in kept.masters.items():
            if kept.log[identifier] <= since:
                continue
            if single:
                events = list(self.store.instances(kept, master, MANY, high))
            else:
                events = [
                    master,
                    *(e for e in kept.exceptions.values() if e["recurringEventId"] == identifier),
                ]
            for event in events:
                if event["status"] == "cancelled" and not deleted:
                    continue
                if low is not None and moment(event["end"], kept.zone) <= low:
                    continue
                if high is not None and moment(event["start"], kept.zone) >= high:
                    continue
                found.append(event)
        visible = (shown(event, kept, role, told) for event in found)
        return [event for event in visible if event is not None]

    def _get(self, who: str, calendar: str, event: str) -> Json:
        kept, role = self._seen(who, calendar)
        found = kept.masters.get(event) or self.store.instance(kept.id, event)
        visible = shown(found, kept, role, {})
        if visible is None:
            raise Missing(event)
        return visible

    def _insert(self, who: str, calendar: str, given: Json) -> Json:
        kept, _ = self._seen(who, calendar, "writer")
        return self._get(who, calendar, self.store.insert(kept.id, **given))

    def _patch(self, who: str, calendar: str, event: str, given: Json) -> Json:
        kept, _ = self._seen(who, calendar, "writer")
        self.store.patch(kept.id, event, **given)
        return self._get(who, calendar, event)

    def _delete(self, who: str, calendar: str, event: str) -> None:
        kept, _ = self._seen(who, calendar, "writer")
        found = kept.masters.get(event) or self.store.instance(kept.id, event)
        if found["status"] == "cancelled":
            raise Refusal(410, "deleted", "Resource has been deleted")
        self.store.delete(kept.id, event)

    # --- free/busy

    def _freebusy(self, who: str, _: dict[str, str], given: Json) -> Json:
        low, high = (bound(given[name], name) for name in ("timeMin", "timeMax"))
        assert low is not None
        assert high is not None
        zone = given.get("timeZone", "UTC")
        found: Json = {}
        for item in given["items"][:50]:
            identifier = item["id"]
            if identifier in self.freebusy_omits:
                continue
            reason = self.freebusy_errors.get(identifier)
            try:
                kept, _ = self._seen(who, identifier)
            except (Missing, Refusal):
                reason = "notFound"
            if reason is not None:
                found[identifier] = {"errors": [{"domain": "global", "reason": reason}], "busy": []}
                continue
            found[identifier] = {"busy": busy_periods(self.store, kept, low, high, zone)}
        return {
            "kind": "calendar#freeBusy",
            "timeMin": zulu(low),
            "timeMax": zulu(high),
            "calendars": found,
        }
