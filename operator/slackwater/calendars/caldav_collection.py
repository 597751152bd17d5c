"""The requests that reading one CalDAV calendar takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp

from slackwater.calendars import dav
from slackwater.calendars.provider import Opening
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.net import NetError, Reply, fetch

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_OBJECTS: Final = 20_000
MAX_TIME: Final = timedelta(seconds=30)
CHUNK: Final = 200  # objects per multiget

_TOKEN_GONE: Final = b"valid-sync-token"  # RFC 6578 §3.2; Radicale 403, Xandikos 412
_NO_SUCH_REPORT: Final = b"supported-report"  # RFC 3253 §3.6; Zimbra
_TOO_MANY: Final = b"number-of-matches-within-limits"  # RFC 4791 §7.8
_NOT_FOR_US: Final = frozenset({400, 403, 404, 405, 409, 412, 415, 422, 501})
_TZID: Final = re.compile(r"^TZID:[ \t]*(\S[^\r\n]{0,100})", re.MULTILINE)


class Probe(StrEnum):
    """What became of a calendar since its sync token."""

    SAME = "Same"
    CHANGED = "Changed"
    LOST = "Lost"  # the token means nothing to the server any more
    UNSUPPORTED = "Unsupported"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a calendar says of itself.

    Attributes:
        token: its sync token (RFC 6578).
        ctag: changes when anything in it does.
        zone: of its floating and all-day events.
        owner: href of the principal it belongs to, else of the one that reads it.
    """

    token: str | None = field(default=None, repr=False)
    ctag: str | None = None
    zone: str | None = None
    owner: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """One calendar object."""

    etag: str | None
    data: bytes = field(repr=False)


class Collection:
    """One calendar collection. All methods raise CalendarError.

    Args:
        opening: whose calendar it is.
        url: of the collection.
        session: guarded.
        authorization: value of the header.
        now: to count a Retry-After from.
        turn: in which each request is made.
    """

    def __init__(
        self,
        opening: Opening,
        url: str,
        session: aiohttp.ClientSession,
        authorization: str,
        now: datetime,
        *,
        turn: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._opening = opening
        self._url = url
        self._session = session
        self._authorization = authorization
        self._now = now
        self._turn = turn

    async def marks(self) -> Marks:
        """What the collection says of itself."""
        names = (
            dav.RESOURCE_TYPE,
            dav.SYNC_TOKEN,
            dav.GETCTAG,
            dav.CALENDAR_TIMEZONE,
            dav.OWNER,
            dav.CURRENT_USER,
        )
        reply = await self._send("PROPFIND", self._url, dav.propfind(*names), depth="0")
        found = await self._read(reply)
        item = found.items[0] if found.items else dav.Item()
        if dav.CALENDAR not in item.children.get(dav.RESOURCE_TYPE, {dav.CALENDAR}):
            # The address of a user or a server holds calendars, and no event.
            raise self._opening.failed(Reason.BAD_REQUEST)
        zone = _TZID.search(item.texts.get(dav.CALENDAR_TIMEZONE, ""))
        owners = item.hrefs.get(dav.OWNER) or item.hrefs.get(dav.CURRENT_USER) or []
        return Marks(
            token=item.texts.get(dav.SYNC_TOKEN, "").strip() or None,
            ctag=item.texts.get(dav.GETCTAG, "").strip() or None,
            zone=zone[1].strip() if zone else None,
            owner=next(iter(owners), None),
        )

    async def addresses(self, principal: str) -> frozenset[str]:
        """The mail addresses of a principal, lower case; empty where it does not tell."""
        url = urljoin(self._url, principal)
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            return frozenset()  # our password is for one server
        reply = await self._send("PROPFIND", url, dav.propfind(dav.USER_ADDRESSES), depth="0")
        if reply.status in _NOT_FOR_US:
            return frozenset()
        found = await self._read(reply)
        hrefs = [h.lower() for item in found.items for h in item.hrefs.get(dav.USER_ADDRESSES, [])]
        return frozenset(h.removeprefix("mailto:") for h in hrefs if h.startswith("mailto:"))

    async def changed_since(self, token: str) -> tuple[Probe, str | None]:
        """Whether anything changed since a sync token, and the token from now on."""
        body = dav.sync_collection(token)
        reply = await self._send("REPORT", self._url, body, depth="0")
        if not reply.ok:
            if _TOKEN_GONE in reply.body or reply.status == 410:
                return Probe.LOST, None
            unsupported = reply.status in _NOT_FOR_US - {403, 404}
            if unsupported or _NO_SUCH_REPORT in reply.body:
                return Probe.UNSUPPORTED, None
        found = await self._read(reply)
        if found.sync_token is None:
            return Probe.LOST, None
        # A 507 for the collection means that there is more (RFC 6578 §3.6): that is a change.
        changed = [item for item in found.items if not self._is_self(item) or item.status == 507]
        return (Probe.CHANGED if changed else Probe.SAME), found.sync_token

    async def etags(self, within: Span) -> dict[str, str | None]:
        """The ETag of each object with an event inside the span, by href."""
        reply = await self._send("REPORT", self._url, dav.calendar_query(within), depth="1")
        found = await self._read(reply)
        return {
            item.href: item.texts.get(dav.GETETAG)
            for item in self._objects(found)
            if item.status is None or item.status < 300
        }

    async def objects(self, within: Span, data: str) -> tuple[dict[str, Stored], int]:
        """Each object with an event inside the span, by href, and how many were withheld."""
        body = dav.calendar_query(within, data)
        reply = await self._send("REPORT", self._url, body, depth="1")
        return self._stored(await self._read(reply))

    async def named(self, hrefs: Sequence[str], data: str) -> dict[str, Stored] | None:
        """The objects of these hrefs that exist; None where the server cannot do that."""
        found: dict[str, Stored] = {}
        for part in _chunks(hrefs):
            body = dav.calendar_multiget(part, data)
            reply = await self._send("REPORT", self._url, body, depth=None)
            if reply.status in _NOT_FOR_US:
                return None
            stored, withheld = self._stored(await self._read(reply))
            if withheld:
                return None
            found |= stored
        # A server may write hrefs in another way here; better read everything than lose one.
        return found if found.keys() <= set(hrefs) else None

    # --- inside ---

    def _stored(self, found: dav.Multistatus) -> tuple[dict[str, Stored], int]:
        """The objects of a reply, and how many are named in it without their content."""
        stored: dict[str, Stored] = {}
        withheld = 0
        for item in self._objects(found):
            text = item.texts.get(dav.CALENDAR_DATA)
            if text is not None:
                stored[item.href] = Stored(item.texts.get(dav.GETETAG), text.encode())
            elif item.status is None or item.status < 300:  # not gone: that has a status
                withheld += 1
        return stored, withheld

    def _objects(self, found: dav.Multistatus) -> list[dav.Item]:
        if any(item.status == 507 for item in found.items) or len(found.items) > MAX_OBJECTS:
            # What is cut off would look deleted.
            raise self._opening.failed(Reason.LIMIT_EXCEEDED)
        return [item for item in found.items if not self._is_self(item)]

    def _is_self(self, item: dav.Item) -> bool:
        path = unquote(urlsplit(urljoin(self._url, item.href)).path)
        return path.rstrip("/") == unquote(urlsplit(self._url).path).rstrip("/")

    async def _read(self, reply: Reply) -> dav.Multistatus:
        if not reply.ok and _TOO_MANY in reply.body:
            raise self._opening.failed(Reason.LIMIT_EXCEEDED)
        if not reply.ok:
            raise self._opening.refused(reply, self._now)
        try:
            return await asyncio.to_thread(dav.read, reply.body)
        except dav.UnreadableError:
            failed = self._opening.failed(Reason.MALFORMED)
        raise failed

    async def _send(self, method: str, url: str, body: bytes, *, depth: str | None) -> Reply:
        headers = {
            "Authorization": self._authorization,
            "Content-Type": 'application/xml; charset="utf-8"',
            "Accept": "application/xml, text/xml",
        }
        if depth is not None:
            headers["Depth"] = depth
        try:
            async with self._turn():
                return await fetch(
                    self._session,
                    method,
                    url,
                    headers=headers,
                    body=body,
                    total=MAX_TIME,
                    limit_bytes=MAX_BYTES,
                )
        except NetError as error:
            failed = self._opening.net_failed(error)
        raise failed


def _chunks(hrefs: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(hrefs), CHUNK):
        yield hrefs[at : at + CHUNK]
