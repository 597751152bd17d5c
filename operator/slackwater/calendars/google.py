"""A Google calendar, read by a service account.

A snapshot is always complete: Google expands series and gives everything inside the horizon. The
sync token of a listing only tells whether a new one is needed; a lost one costs a listing and can
lose nothing. At privacy FreeBusy only `freebusy.query` is asked, with a scope that gives no more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Self

import aiohttp
from pydantic import Field, model_validator

from slackwater.calendars.google_client import (
    Account,
    Addresses,
    GoogleClient,
    read_account,
    workers,
)
from slackwater.calendars.google_look import Look
from slackwater.calendars.provider import (
    IDENTITY,
    TIMES,
    Opening,
    Provider,
    usable,
)
from slackwater.calendars.turns import Limits
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.net import NetError, Reply, fetch, open_session
from slackwater.net.bucket import Rate
from slackwater.ports import Fetched, FetchState
from slackwater.wire import SecretKeyRef, WireModel

MAX_TIME: Final = timedelta(seconds=30)  # of one request
MAX_BYTES: Final = 64 * 1024 * 1024  # of one page, after decompression
_PATIENCE: Final = MAX_TIME + timedelta(seconds=30)
_GRACE: Final = timedelta(seconds=5)

SCOPES: Final[Mapping[Privacy, str]] = {
    Privacy.FREE_BUSY: "https://www.googleapis.com/auth/calendar.freebusy",
    Privacy.BASIC: "https://www.googleapis.com/auth/calendar.events.readonly",
    Privacy.DETAILS: "https://www.googleapis.com/auth/calendar.events.readonly",
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
            look = Look(
                self._opening,
                client,
                self._calendar_id,
                horizon,
                now,
                delegated=self._config.subject is not None,
            )
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
                credentials="a service account key in JSON",
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
