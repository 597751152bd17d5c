"""A Google calendar, read by a service account.

A snapshot is always complete: Google expands series and gives everything inside the horizon. The
sync token of a listing only tells whether a new one is needed; a lost one costs a listing and can
lose nothing. At privacy FreeBusy only `freebusy.query` is asked, with a scope that gives no more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo

import aiohttp
from pydantic import Field, model_validator

from slackwater.calendars.google_client import (
    Account,
    Addresses,
    GoogleClient,
    Refused,
    read_account,
    workers,
)
from slackwater.calendars.google_events import Reader, busy_times, events_of
from slackwater.calendars.provider import (
    IDENTITY,
    TIMES,
    Opening,
    Provider,
    fetched,
    horizon_text,
    usable,
)
from slackwater.calendars.turns import Limits
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import UnknownZone
from slackwater.core.zone import zone as zone_of
from slackwater.errors import CalendarError
from slackwater.net import NetError, Reply, fetch, open_session
from slackwater.net.bucket import Rate
from slackwater.ports import Fetched, FetchState
from slackwater.wire import SecretKeyRef, WireModel

MAX_TIME: Final = timedelta(seconds=30)  # of one request
MAX_BYTES: Final = 64 * 1024 * 1024  # of one page, after decompression
PAGE: Final = 2_500  # the most that Google gives
MAX_EVENTS: Final = 20_000
MAX_PAGES: Final = 100
_PATIENCE: Final = MAX_TIME + timedelta(seconds=30)
_GRACE: Final = timedelta(seconds=5)

SCOPES: Final[Mapping[Privacy, str]] = {
    Privacy.FREE_BUSY: "https://www.googleapis.com/auth/calendar.freebusy",
    Privacy.BASIC: "https://www.googleapis.com/auth/calendar.events.readonly",
    Privacy.DETAILS: "https://www.googleapis.com/auth/calendar.events.readonly",
}
# Never asked for: descriptions below Details, and at all levels places, attendees other than the
# calendar itself, conference links and attachments.
_ITEM: Final = (
    "id,status,recurringEventId,originalStartTime,start,end,transparency,visibility,eventType,"
    "summary,organizer(email,self),attendees(self,responseStatus)"
)
_ITEMS: Final[Mapping[Privacy, str]] = {
    Privacy.BASIC: _ITEM,
    Privacy.DETAILS: f"{_ITEM},description",
}
_TEXTS: Final = frozenset({"summary", "organizer"})  # events of Google have no categories

_OWN_PRIMARY: Final = (
    "calendarId primary would be the service account's own, empty calendar: write the calendar's "
    "id, or set subject too"
)


class GoogleConfig(WireModel):
    """A Google calendar, read by a service account that it is shared with."""

    rules = (("self.calendarId != 'primary' || has(self.subject)", _OWN_PRIMARY),)

    calendar_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=254,
            pattern=r"^\S+$",
            repr=False,
            description="Id of the calendar, under 'Integrate calendar' in its settings: an "
            "address such as team@example.com or c_1a2b@group.calendar.google.com.",
        ),
    ]
    credentials_secret_ref: Annotated[
        SecretKeyRef,
        Field(description="Key of a Secret with the key of a service account, as JSON."),
    ]
    subject: Annotated[
        str | None,
        Field(
            min_length=3,
            max_length=254,
            pattern=r"^[^@\s]+@[^@\s]+$",
            repr=False,
            description="Address of the user in whose name the calendar is read, by domain-wide "
            "delegation. Left out: the service account reads what is shared with it, which is "
            "the lesser permission.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_somebodys(self) -> Self:
        if self.calendar_id == "primary" and self.subject is None:
            raise ValueError(_OWN_PRIMARY)
        return self


class GoogleSource:
    """Reads one calendar; an unchanged one costs one small request a look."""

    def __init__(self, opening: Opening) -> None:
        assert isinstance(opening.config, GoogleConfig)
        self._opening, self._config = opening, opening.config
        self._addresses = Addresses.at(opening.endpoints.get(PROVIDER.name))
        self._policy = opening.policy_for(self._addresses.api)
        # A primary calendar has its owner's address for its id.
        self._calendar_id = self._config.calendar_id
        if self._calendar_id == "primary" and self._config.subject is not None:
            self._calendar_id = self._config.subject
        self._identity = f"google:{self._calendar_id.lower()}"
        self._config_hash = opening.digest(self._addresses.api)
        self._asks_as = ""
        self._turn = asyncio.Lock()
        self._client: GoogleClient | None = None
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: set[asyncio.Future[Fetched]] = set()
        self._closed = False

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """See `CalendarSource.fetch`."""
        async with self._turn:
            client = await self._opened()
            look = _Look(self._opening, client, self._calendar_id, self._identity, horizon, now)
            cursor = usable(state, self._config_hash, horizon)
            work = asyncio.get_running_loop().run_in_executor(
                workers(), look.fetch, cursor, self._config_hash
            )
            self._working.add(work)
            work.add_done_callback(self._working.discard)
            return await work

    async def aclose(self) -> None:
        """Let connections go; what a thread still asks for fails."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        if self._working:
            await asyncio.wait(self._working, timeout=_GRACE.total_seconds())

    async def _opened(self) -> GoogleClient:
        if self._closed:
            raise self._opening.failed(Reason.UNREACHABLE)
        self._loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = open_session(self._policy)
        if self._client is None:
            account = await self._account()
            # Google counts by the user in whose name it is asked, not by the calendar's owner.
            self._asks_as = self._config.subject or account.email
            self._client = GoogleClient(account, self._addresses, self._send)
        return self._client

    async def _account(self) -> Account:
        key = await self._opening.secret(self._config.credentials_secret_ref)
        account = await asyncio.get_running_loop().run_in_executor(
            workers(),
            read_account,
            key,
            SCOPES[self._opening.privacy],
            self._config.subject,
            self._addresses.token,
        )
        if account is None:
            raise CalendarError(
                Reason.CREDENTIALS_UNREADABLE,
                what=self._opening.what,
                credentials="service account key in JSON",
            )
        return account

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """One request from a worker thread, made by the event loop."""
        loop = self._loop
        if self._closed or loop is None or loop.is_closed():
            raise self._opening.failed(Reason.UNREACHABLE)
        reply = asyncio.run_coroutine_threadsafe(self._request(method, url, headers, body), loop)
        try:
            return reply.result(_PATIENCE.total_seconds())
        except (TimeoutError, concurrent.futures.CancelledError):
            reply.cancel()
            failed = self._opening.failed(Reason.TIMEOUT)
        except NetError as error:
            failed = self._opening.net_failed(error)
        raise failed

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        if self._closed or self._session is None:
            raise self._opening.failed(Reason.UNREACHABLE)
        sent = partial(
            fetch,
            self._session,
            method,
            url,
            headers=headers,
            body=body,
            total=MAX_TIME,
            limit_bytes=MAX_BYTES,
        )
        if url == self._addresses.token:
            return await sent()
        async with self._opening.turn(PROVIDER, self._asks_as):
            return await sent()


class _Look:
    """One look at a calendar, in a worker thread."""

    def __init__(
        self,
        opening: Opening,
        client: GoogleClient,
        calendar_id: str,
        identity: str,
        horizon: Span,
        now: datetime,
    ) -> None:
        self._opening, self._client = opening, client
        self._calendar_id, self._identity = calendar_id, identity
        self._horizon, self._now = horizon, now

    def fetch(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        """A snapshot, or word that nothing changed. Raises CalendarError."""
        try:
            if self._opening.privacy is Privacy.FREE_BUSY:
                return self._fetch_busy(cursor, config_hash)
            return self._fetch_events(cursor, config_hash)
        except Refused as refused:
            error = self._error(refused)
        raise error

    def _fetch_busy(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        body = {
            "timeMin": self._horizon.start.isoformat(),
            "timeMax": self._horizon.end.isoformat(),
            "items": [{"id": self._calendar_id}],
        }
        answer = self._client.busy(body, "kind,calendars")
        calendars = answer.get("calendars")
        found = calendars.get(self._calendar_id) if isinstance(calendars, dict) else None
        # What the answer leaves out is unknown, which is not free.
        if not isinstance(found, dict):
            raise self._refused(Reason.MALFORMED)
        if found.get("errors"):
            raise self._refused(_busy_refusal(found["errors"]))
        try:
            periods = found["busy"]
            expansion = busy_times(periods)
        except (KeyError, TypeError, ValueError):
            raise self._refused(Reason.MALFORMED) from None
        new = {"digest": _digest(periods)}
        if cursor.get("digest") == new["digest"]:
            return self._same(cursor, config_hash)
        return fetched(config_hash, self._horizon, new, expansion, self._now)

    def _fetch_events(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        if "token" in cursor:
            token = self._unchanged_since(cursor["token"])
            if token is not None:
                return self._same({**cursor, "token": token}, config_hash)
        items, last = self._list()
        new = {"digest": _digest([items, last.get("timeZone")])}
        if isinstance(last.get("nextSyncToken"), str):
            new["token"] = last["nextSyncToken"]
        if cursor.get("digest") == new["digest"]:
            return self._same(new, config_hash)
        reader = Reader(self._identity, self._opening.privacy, self._zone(items, last))
        return fetched(config_hash, self._horizon, new, events_of(items, reader), self._now)

    def _unchanged_since(self, token: str) -> str | None:
        """The token to ask with the next time, if nothing changed; None where a listing is due.

        Only the first page is looked at, and of it only whether there is anything: a series that
        never ends comes in pages that do not end (stackoverflow.com/q/30599745).
        """
        try:
            page = self._page(syncToken=token, fields="kind,nextPageToken,nextSyncToken,items(id)")
        except Refused as refused:
            # 410: the token has expired. 400: it is none (any more). A listing needs neither.
            if refused.status in {400, 410}:
                return None
            raise
        if page.get("items") or "nextPageToken" in page:
            return None
        following = page.get("nextSyncToken")
        return following if isinstance(following, str) else token

    def _list(self) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
        """Every item inside the horizon, and the last page."""
        fields = f"kind,timeZone,accessRole,nextPageToken,nextSyncToken,items({_ITEMS[self._opening.privacy]})"
        items: list[Mapping[str, Any]] = []
        further: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = self._page(
                timeMin=self._horizon.start.isoformat(),
                timeMax=self._horizon.end.isoformat(),
                fields=fields,
                **further,
            )
            # Who sees only free/busy is not shown private events at all: that would read as free.
            if page.get("accessRole") in {"freeBusyReader", "none"}:
                raise self._refused(Reason.NOT_SHARED)
            items += page.get("items", [])
            if len(items) > MAX_EVENTS:
                raise self._refused(Reason.LIMIT_EXCEEDED)
            if "nextPageToken" not in page:
                return items, page
            further = {"pageToken": str(page["nextPageToken"])}
        raise self._refused(Reason.LIMIT_EXCEEDED)

    def _page(self, **parameters: Any) -> Mapping[str, Any]:
        """One page; what is not said here must be equal in a listing and in what follows it."""
        page = self._client.events(
            calendarId=self._calendar_id,
            singleEvents=True,
            maxResults=PAGE,
            maxAttendees=1,  # the calendar itself
            **parameters,
        )
        items = page.get("items", [])
        if (
            page.get("kind") != "calendar#events"
            or not isinstance(items, list)
            or not all(isinstance(item, dict) for item in items)
        ):
            raise self._refused(Reason.MALFORMED)
        return page

    def _zone(self, items: list[Mapping[str, Any]], last: Mapping[str, Any]) -> ZoneInfo | None:
        """The zone of all-day events; it is asked for only where there are any."""
        told = last.get("timeZone")
        name = self._opening.zone or (told if isinstance(told, str) else None)
        if name is None or not any("date" in (item.get("start") or {}) for item in items):
            return None
        try:
            return zone_of(name)
        except UnknownZone:
            pass
        raise CalendarError(Reason.UNKNOWN_TIME_ZONE, field=self._opening.what, zone=name)

    def _same(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        kept = {**cursor, "horizon": horizon_text(self._horizon)}
        return Fetched(None, FetchState(config_hash, kept))

    def _refused(self, reason: Reason) -> Refused:
        return Refused(reason, 200, {})

    def _error(self, refused: Refused) -> CalendarError:
        content = "busy times" if self._opening.privacy is Privacy.FREE_BUSY else "events"
        return refused.as_error(
            self._now,
            what=self._opening.what,
            account=self._config_subject or self._client.account.shown,
            content=content,
        )

    @property
    def _config_subject(self) -> str | None:
        config = self._opening.config
        assert isinstance(config, GoogleConfig)
        return None if config.subject is None else "the user that subject names"


def _busy_refusal(errors: object) -> Reason:
    """Why there are no busy times of a calendar (`Error` of Calendar v3)."""
    said = {
        str(error.get("reason"))
        for error in (errors if isinstance(errors, list) else ())
        if isinstance(error, dict)
    }
    if said & {"notFound", "forbidden"}:
        return Reason.NOT_SHARED
    if said & {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}:
        return Reason.THROTTLED
    return Reason.UNAVAILABLE if "internalError" in said else Reason.BAD_REQUEST


def _digest(content: object) -> str:
    """Names what a snapshot is made of; kept in the state, so that it counts only once it arrived."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


PROVIDER: Final = Provider(
    name="google",
    config=GoogleConfig,
    fields={
        Privacy.FREE_BUSY: TIMES,
        Privacy.BASIC: TIMES | IDENTITY | _TEXTS,
        Privacy.DETAILS: TIMES | IDENTITY | _TEXTS | {"description"},
    },
    default_refresh=timedelta(minutes=1),
    # Half of what Google allows a user (600 a minute): others may ask in the same name.
    limits=Limits(rate=Rate(requests=300, per=timedelta(minutes=1))),
    open=GoogleSource,
)
