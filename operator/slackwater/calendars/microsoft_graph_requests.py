"""Requests to Microsoft Graph for one calendar."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from slackwater.calendars.microsoft_graph_token import Tokens
from slackwater.calendars.provider import Opening
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.net import NetError, Reply, fetch, retry_after

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_TIME: Final = timedelta(seconds=30)
MAX_PAGES: Final = 400
PREFER: Final = (
    'outlook.timezone="UTC", IdType="ImmutableId", outlook.body-content-type="text", '
    "odata.maxpagesize={size}"
)

# A quote inside of a text has a backslash before it, so this is the property and nothing else.
_NEXT_NAME: Final = b'"@odata.nextLink"'
_NEXT: Final = re.compile(rb'"@odata\.nextLink"\s*:\s*("(?:[^"\\]|\\.)*")')

# Error codes, in lower case; their case differs between answers and documentation.
_CODES: Final[Mapping[str, Reason]] = {
    "applicationthrottled": Reason.THROTTLED,
    "toomanyrequests": Reason.THROTTLED,
    "erroritemnotfound": Reason.NOT_FOUND,
    "errorinvalididmalformed": Reason.NOT_FOUND,
    "erroridmalformed": Reason.NOT_FOUND,
    "errorinvaliduser": Reason.NOT_FOUND,
    "errornonexistentmailbox": Reason.NOT_FOUND,
    "mailboxnotenabledforrestapi": Reason.NOT_FOUND,
    "resourcenotfound": Reason.NOT_FOUND,
    "request_resourcenotfound": Reason.NOT_FOUND,
    "erroraccessdenied": Reason.FORBIDDEN,
    "nopermissionsinaccesstoken": Reason.CONSENT_REQUIRED,
    # What getSchedule says of one mailbox.
    "errormailrecipientnotfound": Reason.NOT_FOUND,
    "errornofreebusyaccess": Reason.FORBIDDEN,
    "errortimeintervaltoobig": Reason.LIMIT_EXCEEDED,
    "errorserverbusy": Reason.THROTTLED,
}
_PAGE_LOST: Final = frozenset({"syncstatenotfound", "resyncrequired", "errorinvalidpagetoken"})


class PageLost(Exception):
    """Graph has forgotten the list that a next page belongs to: begin anew."""


class Graph:
    """Sends the requests of one calendar, each in its turn. All methods raise CalendarError.

    Args:
        opening: whose calendar it is.
        endpoint: `https://host`, with no slash.
        client_id: by which Graph counts requests.
        tokens: for the endpoint.
        turn: in which each request is made.
    """

    def __init__(self, opening: Opening, endpoint: str, tokens: Tokens, turn: Any) -> None:
        self._opening, self._endpoint, self._tokens, self._turn = opening, endpoint, tokens, turn

    async def pages(
        self, session: aiohttp.ClientSession, path: str, size: int, now: datetime
    ) -> list[bytes]:
        """Every page of a list, the link to the next one cut out.

        Where a page is lost half way, all of them are read once more.
        """
        for _ in range(2):
            try:
                return await self._list(session, path, size, now)
            except PageLost:
                continue
        raise self._opening.failed(Reason.UNAVAILABLE)

    async def _list(
        self, session: aiohttp.ClientSession, path: str, size: int, now: datetime
    ) -> list[bytes]:
        url: str | None = f"{self._endpoint}{path}"
        seen: set[str] = set()
        pages: list[bytes] = []
        total = 0
        prefer = PREFER.format(size=size)
        while url is not None:
            if len(pages) >= MAX_PAGES or total > MAX_BYTES:
                raise self._opening.failed(Reason.LIMIT_EXCEEDED)
            if url in seen:
                raise self._opening.failed(Reason.MALFORMED)  # it would never end
            seen.add(url)
            reply = await self._send(session, "GET", url, prefer, None, now)
            if not reply.ok:
                lost = pages and (reply.status == 410 or _code(reply) in _PAGE_LOST)
                if lost:
                    raise PageLost
                raise self._refused(reply, now)
            total += len(reply.body)
            found = _next_link(reply.body)
            if found is None:
                url = None
                pages.append(reply.body)
            else:
                url = self._followed(found[1])
                pages.append(reply.body[: found.start(1)] + b'""' + reply.body[found.end(1) :])
        return pages

    def _followed(self, link: bytes) -> str:
        """A link to the next page: only to where our token belongs."""
        try:
            url = str(json.loads(link))
            same = urlsplit(url)[:2] == urlsplit(self._endpoint)[:2]
        except (ValueError, RecursionError):
            raise self._opening.failed(Reason.MALFORMED) from None
        if not same:
            raise self._opening.failed(Reason.BLOCKED_TARGET)
        return url

    async def post(
        self, session: aiohttp.ClientSession, path: str, document: object, now: datetime
    ) -> bytes:
        """Send JSON, give the body of the answer."""
        body = json.dumps(document).encode()
        url = f"{self._endpoint}{path}"
        reply = await self._send(session, "POST", url, 'outlook.timezone="UTC"', body, now)
        if not reply.ok:
            raise self._refused(reply, now)
        return reply.body

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        prefer: str,
        body: bytes | None,
        now: datetime,
    ) -> Reply:
        for last in (False, True):
            token = await self._tokens.current(session, now)
            headers = {
                "Authorization": f"Bearer {token}",
                "Accept": "application/json",
                "Prefer": prefer,
            }
            if body is not None:
                headers["Content-Type"] = "application/json"
            if session.closed:  # while the token was got
                raise self._opening.failed(Reason.UNREACHABLE)
            reply = await self._fetched(session, method, url, headers, body)
            if reply.status != 401 or _code(reply) == "nopermissionsinaccesstoken":
                return reply
            # Revoked before its time, or its permissions changed: another one may do.
            self._tokens.refused()
            if last:
                return reply
        raise AssertionError  # the second turn returns

    async def _fetched(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Reply:
        try:
            async with self._turn():
                return await fetch(
                    session,
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

    def _refused(self, reply: Reply, now: datetime) -> CalendarError:
        known = _CODES.get(_code(reply))
        if known is None:
            return self._opening.refused(reply, now)
        return self._opening.failed(known, retry_after(reply.headers, now))

    def not_told(self, code: str) -> CalendarError:
        """Exchange could not look up the free/busy times of a mailbox."""
        return self._opening.failed(_CODES.get(code.casefold(), Reason.UNAVAILABLE))


def _next_link(page: bytes) -> re.Match[bytes] | None:
    """Where a page names the next one; found without parsing the page, which may be unchanged."""
    at = page.find(_NEXT_NAME)
    while at >= 0:
        if found := _NEXT.match(page, at):
            return found
        at = page.find(_NEXT_NAME, at + 1)
    return None


def _code(reply: Reply) -> str:
    """The code of an error (graph: `{"error": {"code", "message"}}`), in lower case."""
    try:
        return str(json.loads(reply.body)["error"]["code"]).casefold()
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
