"""A calendar published as one iCalendar feed, or kept in a file beside the manifest."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final, Self

import aiohttp
from pydantic import Field, model_validator

from slackwater.calendars.expand import Source
from slackwater.calendars.provider import (
    ICALENDAR_FIELDS,
    CalendarUrl,
    Opening,
    Provider,
    fetched,
    usable,
)
from slackwater.calendars.turns import Limits
from slackwater.core.event import Event, Warned
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, ConfigError
from slackwater.net import NetError, NetPolicy, Reply, fetch, open_session
from slackwater.net.bucket import Rate
from slackwater.ports import Fetched, FetchState
from slackwater.wire import SecretKeyRef, WireModel

MAX_BYTES: Final = 10 * 1024 * 1024  # after decompression
MAX_TIME: Final = timedelta(seconds=30)
MAX_REDIRECTS: Final = 5
# How many times of events must have gone over to new UIDs, of those that did not move.
UNSTABLE_AT_LEAST: Final = 3
UNSTABLE_SHARE: Final = 0.8

_EXACTLY_ONE: Final = "set exactly one of url and urlSecretRef: a feed has one address"


class IcalConfig(WireModel):
    """An iCalendar feed, such as the secret address of a Google or Outlook calendar."""

    # In a cluster there is no `file`, and a rule may not name a field that does not exist.
    rules = (("has(self.url) != has(self.urlSecretRef)", _EXACTLY_ONE),)

    url: Annotated[
        CalendarUrl | None,
        Field(description="Address of the feed, if it is no secret; https.", repr=False),
    ] = None
    url_secret_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Key of a Secret with the feed's address. Who knows the address of a "
            "private feed can read it, so it belongs into a Secret."
        ),
    ] = None
    file: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1024,
            repr=False,
            description="Path of an .ics file, relative to the manifest; only in a directory of "
            "manifests.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        given = (self.url, self.url_secret_ref, self.file)
        if sum(value is not None for value in given) != 1:
            raise ValueError(_EXACTLY_ONE)
        return self


class Feed:
    """Reads one feed or file.

    An unchanged feed is noticed by its ETag, else by Last-Modified, else by the hash of its body:
    Radicale sends the first two and still answers 200 in full.
    """

    def __init__(self, opening: Opening) -> None:
        assert isinstance(opening.config, IcalConfig)
        self._opening, self._config = opening, opening.config
        self._file: _File | None = None
        if self._config.file is not None:
            self._file = _File(opening, self._config.file)
        if self._config.url is not None:
            opening.policy_for(self._config.url)
        self._sessions: dict[NetPolicy, aiohttp.ClientSession] = {}
        self._closed = False
        self._before: Mapping[Span, frozenset[str]] = {}

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """See `CalendarSource.fetch`."""
        address = await self._address()
        config_hash = self._opening.digest(address)
        cursor = usable(state, config_hash, horizon)
        if self._file is not None:
            body, validators = await self._file.read(), {}
        else:
            reply = await self._get(address, cursor, config_hash)
            if reply.status == 304 and cursor and state is not None:
                return Fetched(None, state)
            if not reply.ok:
                raise self._opening.refused(reply, now)
            body, validators = reply.body, _validators(reply)
        validators["sha256"] = hashlib.sha256(body).hexdigest()
        if cursor.get("sha256") == validators["sha256"]:
            kept = {**validators, "horizon": cursor["horizon"]}
            return Fetched(None, FetchState(config_hash, kept))
        if not _is_whole(body):
            raise self._opening.failed(Reason.MALFORMED)
        source = Source(
            calendar_id=f"ical:{hashlib.sha256(address.encode()).hexdigest()}",
            privacy=self._opening.privacy,
            zone=self._opening.zone,
        )
        expansion = await self._opening.expand([body], horizon, source)
        times = _by_time(expansion.events)
        unstable, self._before = _renamed(self._before, times), times
        warnings = [Warned(Reason.UNSTABLE_UIDS, unstable)] if unstable else []
        return fetched(config_hash, horizon, validators, expansion, now, *warnings)

    async def aclose(self) -> None:
        """Let connections go; a fetch that is under way fails."""
        self._closed = True
        while self._sessions:
            await self._sessions.popitem()[1].close()

    async def _address(self) -> str:
        config = self._config
        if config.url_secret_ref is None:
            return config.url if config.url is not None else f"file:{config.file}"
        address = (await self._opening.secret(config.url_secret_ref)).strip()
        # Calendar programs write it so that a click opens them; it stands for https.
        return f"https://{address[9:]}" if address[:9].lower() == "webcal://" else address

    async def _get(self, address: str, cursor: Mapping[str, str], config_hash: str) -> Reply:
        headers = {"Accept": "text/calendar, text/plain;q=0.5, */*;q=0.1"}
        if "etag" in cursor:
            headers["If-None-Match"] = cursor["etag"]
        if "lastModified" in cursor:
            headers["If-Modified-Since"] = cursor["lastModified"]
        try:
            session = self._session(address)
            # By configuration: one that was just corrected need not wait for what the wrong one
            # used up.
            async with self._opening.turn(PROVIDER, config_hash):
                return await fetch(
                    session,
                    "GET",
                    address,
                    headers=headers,
                    total=MAX_TIME,
                    limit_bytes=MAX_BYTES,
                    redirects=MAX_REDIRECTS,
                )
        except NetError as error:
            failed = self._opening.net_failed(error)
        except ConfigError as error:
            failed = CalendarError(error.reason, detail=error.gaps.get("detail"))
        raise failed

    def _session(self, address: str) -> aiohttp.ClientSession:
        policy = self._opening.policy_for(address)
        if self._closed:  # while the secret was read
            raise self._opening.failed(Reason.UNREACHABLE)
        if policy not in self._sessions:
            self._sessions[policy] = open_session(policy)
        return self._sessions[policy]


def _validators(reply: Reply) -> dict[str, str]:
    names = {"etag": "ETag", "lastModified": "Last-Modified"}
    return {name: reply.headers[key] for name, key in names.items() if key in reply.headers}


def _is_whole(body: bytes) -> bool:
    """Whether this is a whole calendar: no login page, and not cut off."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    first, last = text[:15].upper(), text[-13:].upper()
    return first == b"BEGIN:VCALENDAR" and last == b"END:VCALENDAR"


def _by_time(events: Iterable[Event]) -> dict[Span, frozenset[str]]:
    found: defaultdict[Span, set[str]] = defaultdict(set)
    for event in events:
        found[event.span].add(event.series)
    return {span: frozenset(series) for span, series in found.items()}


def _renamed(before: Mapping[Span, frozenset[str]], after: Mapping[Span, frozenset[str]]) -> int:
    """How many times went over to new UIDs all at once; 0 where that is no more than a few."""
    shared = before.keys() & after.keys()
    renamed = sum(before[span].isdisjoint(after[span]) for span in shared)
    enough = renamed >= max(UNSTABLE_AT_LEAST, UNSTABLE_SHARE * len(shared))
    return renamed if enough else 0


class _File:
    """An .ics file below the directory of the manifests."""

    def __init__(self, opening: Opening, name: str) -> None:
        if opening.directory is None:
            raise _bad_file("is read only by `slackwater run` and `slackwater plan`")
        self._opening = opening
        self._directory = opening.directory
        self._path = opening.directory / name
        if not self._is_inside():
            raise _bad_file("must lie in the directory of the manifest")

    async def read(self) -> bytes:
        """Its content. Raises CalendarError."""
        try:
            return await asyncio.to_thread(self._read)
        except FileNotFoundError:
            reason = Reason.NOT_FOUND
        except PermissionError:
            reason = Reason.FORBIDDEN
        except OSError:
            reason = Reason.UNREACHABLE
        except OverflowError:
            reason = Reason.TOO_LARGE
        raise self._opening.failed(reason)

    def _is_inside(self) -> bool:
        return self._path.resolve().is_relative_to(self._directory.resolve())

    def _read(self) -> bytes:
        if not self._is_inside():  # a link may have been put there since
            raise PermissionError
        if not self._path.is_file():  # reading a pipe would wait for ever
            raise FileNotFoundError
        with self._path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise OverflowError
        return body


def _bad_file(detail: str) -> ConfigError:
    return ConfigError(Reason.INVALID_SPEC, detail=f"spec.provider.ical.file: {detail}")


PROVIDER: Final = Provider(
    name="ical",
    config=IcalConfig,
    fields=ICALENDAR_FIELDS,
    default_refresh=timedelta(minutes=15),
    limits=Limits(rate=Rate(requests=1, per=timedelta(minutes=5))),
    open=Feed,
    file_only_fields=("file",),
    least_refresh=timedelta(minutes=5),
)
