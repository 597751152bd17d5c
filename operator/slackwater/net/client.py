"""A guarded HTTP client on aiohttp, and the check for clients that are not aiohttp."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl as tls
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from slackwater.core.words import Reason
from slackwater.errors import DependencyError
from slackwater.net.policy import Address, NetPolicy


class NetError(DependencyError):
    """A request that got no usable reply; adapters turn it into their own branch of errors."""

    def __init__(self, reason: Reason, retry_after: timedelta | None = None) -> None:
        super().__init__(reason, retry_after=retry_after, what="The server")


class _BlockedAddressError(OSError):
    """Raised inside aiohttp's connector, which takes only OSError from us."""

    def __init__(self) -> None:
        super().__init__("address not allowed")


class _GuardedResolver(AbstractResolver):
    """Gives only the allowed ones of the addresses that a name has."""

    def __init__(self, policy: NetPolicy, inner: AbstractResolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if self._policy.allows(result["host"])]
        if found and not allowed:
            raise _BlockedAddressError
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def open_session(
    policy: NetPolicy,
    *,
    ssl: tls.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
) -> aiohttp.ClientSession:
    """A session whose every connection obeys `policy`; close it when done.

    No proxy, netrc or CA from the environment, no cookies, no body decoded unasked: use `fetch`.

    Args:
        policy: where it may connect.
        ssl: trust for https; the system's when left out.
        resolver: answers for host names; the system's when left out.
    """

    def guarded_socket(info: tuple[Any, Any, Any, Any, tuple[Any, ...]]) -> socket.socket:
        # The last place before a connection: also literal addresses in a URL come through here.
        family, kind, proto, _, address = info
        if not policy.allows(address[0]):
            raise _BlockedAddressError
        return socket.socket(family=family, type=kind, proto=proto)

    connector = aiohttp.TCPConnector(
        resolver=_GuardedResolver(policy, resolver or aiohttp.ThreadedResolver()),
        ssl=True if ssl is None else ssl,
        socket_factory=guarded_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "slackwater", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. Headers are looked up without regard to case; the body is decoded.

    The body of an answer that is no success (2xx) is cut at 64 KiB: it is only ever looked at
    for an error code.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)

    @property
    def ok(self) -> bool:
        """A success, 2xx."""
        return 200 <= self.status < 300


_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ERROR_BODY: Final = 64 * 1024
# What may follow a redirect to another origin; all else could be a credential.
_HARMLESS: Final = frozenset(
    {"accept", "accept-language", "content-type", "if-modified-since", "if-none-match"}
)


async def fetch(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    total: timedelta,
    limit_bytes: int,
    redirects: int = 0,
) -> Reply:
    """One request with its redirects, read to the end.

    Args:
        session: from `open_session`.
        method: HTTP method.
        url: http or https; user and password in it become an Authorization header.
        headers: sent along; to another origin only those that can hold no credential.
        body: sent along.
        total: deadline for everything, so that a server which drips bytes cannot hold us.
        limit_bytes: most bytes of a decoded body.
        redirects: how many hops are followed.

    Returns:
        The answer, whatever its status.

    Raises:
        NetError: UNREACHABLE, TIMEOUT, TOO_LARGE, REDIRECTED, BLOCKED_TARGET, BAD_REQUEST (no
            URL of ours) or MALFORMED (the body cannot be decompressed).
    """
    try:
        async with asyncio.timeout(total.total_seconds()):
            return await _follow(
                session,
                method,
                url,
                sent=headers or {},
                body=body,
                limit=limit_bytes,
                hops=redirects,
            )
    except NetError:
        raise
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
        reason = _reason(error)
    # Raised out here, so that no traceback carries aiohttp's errors, which name the host.
    raise NetError(reason)


def _reason(error: BaseException) -> Reason:
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT
    if isinstance(error, zlib.error):
        return Reason.MALFORMED
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _BlockedAddressError):
            return Reason.BLOCKED_TARGET
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Reason.UNREACHABLE  # an untrusted certificate is a ValueError, too
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return Reason.BAD_REQUEST
    return Reason.UNREACHABLE


async def _follow(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    sent: Mapping[str, str],
    body: bytes | None,
    limit: int,
    hops: int,
) -> Reply:
    sent = CIMultiDict({"Accept-Encoding": "gzip", **sent})
    here = _parsed(url)
    if here.user is not None:
        sent.setdefault("Authorization", _basic(here.user, here.password or ""))
        here = here.with_user(None)
    while True:
        async with session.request(
            method, here, headers=sent, data=body, allow_redirects=False
        ) as response:
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return Reply(
                    status=response.status,
                    headers=CIMultiDictProxy(CIMultiDict(response.headers)),
                    body=await _read(response, limit),
                    url=str(here),
                )
            status = response.status
        if hops <= 0:
            raise NetError(Reason.REDIRECTED)
        hops -= 1
        there = _checked(here.join(_url(target))).with_user(None)
        if here.scheme == "https" and there.scheme != "https":
            raise NetError(Reason.REDIRECTED)
        if status == 303 or (status in {301, 302} and method == "POST"):
            method, body = "GET", None
        if there.origin() != here.origin():
            if body is not None:  # a token request's body is a credential
                raise NetError(Reason.REDIRECTED)
            kept = {name: value for name, value in sent.items() if name.lower() in _HARMLESS}
            sent = CIMultiDict({"Accept-Encoding": "gzip", **kept})
        here = there


def _url(text: str) -> URL:
    # As it was written: to a server %40 and @ may be two names.
    return URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)


def _parsed(text: str) -> URL:
    return _checked(_url(text))


def _checked(url: URL) -> URL:
    if url.scheme not in {"http", "https"} or not url.host:
        raise NetError(Reason.BAD_REQUEST)
    return url


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    ok = 200 <= response.status < 300
    most = limit if ok else min(limit, _ERROR_BODY)
    parts: list[bytes] = []
    size = 0
    async for part in _decoded(response, most + 1):
        parts.append(part)
        size += len(part)
        if size > most:
            if ok:
                raise NetError(Reason.TOO_LARGE)
            break
    return b"".join(parts)[:most]


async def _decoded(response: aiohttp.ClientResponse, step: int) -> AsyncIterator[bytes]:
    """The body in pieces of at most `step` decoded bytes: a bomb swells no further than that."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        async for raw in response.content.iter_any():
            yield raw
        return
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise NetError(Reason.MALFORMED)
    # 32 + 15: zlib finds out by itself whether the header is gzip's or its own.
    inflater = zlib.decompressobj(wbits=47)
    async for raw in response.content.iter_any():
        rest = raw
        while rest:
            if inflater.eof:  # gzip files may be laid end to end (RFC 1952 §2.2)
                inflater = zlib.decompressobj(wbits=47)
            yield inflater.decompress(rest, step)
            rest = inflater.unconsumed_tail or inflater.unused_data
    if not inflater.eof:
        raise NetError(Reason.MALFORMED)


async def check_target(url: str, policy: NetPolicy) -> tuple[Address, ...]:
    """Judge a URL for a client that is not aiohttp, and give the addresses it leads to.

    A client that resolves the name again can be led elsewhere: it is to use these addresses, or
    to ask `policy.allows` at its own socket.

    Raises:
        NetError: BLOCKED_TARGET when any of its addresses is not allowed, UNREACHABLE when it has
            none, BAD_REQUEST when it is no http or https URL.
    """
    reason = Reason.UNREACHABLE
    try:
        parsed = _parsed(url)
        infos = await asyncio.get_running_loop().getaddrinfo(
            parsed.host, parsed.port, type=socket.SOCK_STREAM
        )
        found = tuple(dict.fromkeys(ip_address(info[4][0]) for info in infos))
    except NetError:
        raise
    except OSError:
        found = ()
    except ValueError:
        found, reason = (), Reason.BAD_REQUEST
    if not found:
        raise NetError(reason)
    if not all(policy.allows(address) for address in found):
        raise NetError(Reason.BLOCKED_TARGET)
    return found


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """What a `Retry-After` header asks for (RFC 9110 §10.2.3), never negative.

    Args:
        headers: of a reply; looked up as the mapping does.
        now: to count a date from.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        # Beyond a day it is no advice any more, and timedelta has a limit of its own.
        return timedelta(seconds=min(int(text[:9]), 86_400))
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(when - now, timedelta()), timedelta(days=1))
