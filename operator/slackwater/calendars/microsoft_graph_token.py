"""Access tokens of Microsoft Entra for one application, by msal.

msal speaks the protocol, builds and signs assertions; it is blocking, so it runs in a small pool of
threads. Its requests go through our own guarded HTTP: they obey the address policy and the deadline,
and leave the authority's origin for no discovery document. It keeps nothing between two tokens, so
that a changed secret counts at once.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp

from slackwater.calendars.provider import Opening
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.net import NetError, Reply, fetch, retry_after

MAX_TIME: Final = timedelta(seconds=20)
MAX_BYTES: Final = 512 * 1024
_RENEW_AT: Final = 0.8
_AGAIN: Final = timedelta(seconds=60)  # to a renewal that failed while the old token still holds
_POOL: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="msal")

Credential = str | dict[str, Any]
"""What msal calls `client_credential`: a secret, a certificate, or who gives assertions."""

# Codes of Microsoft Entra (learn.microsoft.com/entra/identity-platform/reference-error-codes).
_CODES: Final[Mapping[int, Reason]] = {
    7000222: Reason.CREDENTIALS_EXPIRED,
    7000215: Reason.UNAUTHORIZED,  # the secret is wrong, often its id instead of its value
    700027: Reason.UNAUTHORIZED,  # the certificate is not the application's
    90002: Reason.TENANT_NOT_FOUND,
    90072: Reason.TENANT_NOT_FOUND,
    900023: Reason.TENANT_NOT_FOUND,
    900382: Reason.TENANT_NOT_FOUND,  # of another cloud
    900439: Reason.TENANT_NOT_FOUND,  # of another cloud
    700016: Reason.APPLICATION_NOT_FOUND,
    700038: Reason.APPLICATION_NOT_FOUND,
    7000229: Reason.APPLICATION_NOT_FOUND,  # registered elsewhere, no service principal here
    65001: Reason.CONSENT_REQUIRED,
    70021: Reason.IDENTITY_REFUSED,
    700024: Reason.IDENTITY_REFUSED,  # the assertion is too old or too young
    700211: Reason.IDENTITY_REFUSED,
    700212: Reason.IDENTITY_REFUSED,
    700213: Reason.IDENTITY_REFUSED,
    700222: Reason.IDENTITY_REFUSED,
    7000112: Reason.FORBIDDEN,  # the application is disabled
    53003: Reason.FORBIDDEN,  # conditional access
    90033: Reason.UNAVAILABLE,
    90036: Reason.UNAVAILABLE,
}
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float  # of the monotonic clock
    ends_at: float


class Tokens:
    """The token of one application for one resource.

    Args:
        opening: whose calendar it is for.
        authority: `https://host/tenant`.
        client_id: of the application.
        scope: `<resource>/.default`: all that it was granted there.
        credential: reads the credential; asked for each token anew. Raises CalendarError.
    """

    def __init__(
        self,
        opening: Opening,
        *,
        authority: str,
        client_id: str,
        scope: str,
        credential: Callable[[], Awaitable[Credential]],
    ) -> None:
        self._opening, self._authority = opening, authority
        self._client_id, self._scope, self._credential = client_id, scope, credential
        self._token: _Token | None = None

    async def current(self, session: aiohttp.ClientSession, now: datetime) -> str:
        """The token to send. Raises CalendarError."""
        at = self._opening.clock.monotonic()
        old = self._token
        if old is not None and at < old.renew_at:
            return old.value
        try:
            self._token = await self._acquired(session, now, at)
        except CalendarError:
            if old is None or at >= old.ends_at:
                raise
            self._token = _Token(old.value, at + _AGAIN.total_seconds(), old.ends_at)
        return self._token.value

    def refused(self) -> None:
        """Graph does not take the token: the next one is new."""
        self._token = None

    async def _acquired(self, session: aiohttp.ClientSession, now: datetime, at: float) -> _Token:
        credential = await self._credential()
        wire = _Wire(self._opening, session, self._authority, now)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(_POOL, self._ask, wire, credential)
        if wire.failure is not None:
            raise self._opening.net_failed(wire.failure)
        value, life = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(value, str) or not value or not isinstance(life, int | float):
            raise self._opening.failed(_reason(answer), wire.wait)
        # Close to its end a token may expire on the way.
        return _Token(value, at + life * _RENEW_AT, at + max(life - 60.0, 0.0))

    def _ask(self, wire: _Wire, credential: Credential) -> dict[str, Any]:
        """One token request, on a thread; the answer, or what went wrong as OAuth says it."""
        import msal

        try:
            application = msal.ConfidentialClientApplication(
                self._client_id,
                client_credential=credential,
                authority=self._authority,
                # That would ask Microsoft's public cloud about every authority; which ones may
                # be named is for us to say.
                instance_discovery=False,
                http_client=wire,
            )
            return dict(application.acquire_token_for_client(scopes=[self._scope]))
        except NetError:
            return {}
        except Exception:  # noqa: BLE001 - what msal, its JSON and its cryptography may raise
            # Not told: it may quote the answer or the key. The answer has the reason in it.
            return wire.refusal or {}


def _reason(answer: Mapping[str, Any]) -> Reason:
    text = str(answer.get("error_description") or "")
    # The first words of the description are the code (`error_codes` repeats it as a number).
    found = [int(code) for code in re.findall(r"AADSTS(\d{5,8})", text)]
    if 700027 in found and "expired" in text.lower():
        return Reason.CREDENTIALS_EXPIRED
    for code in found:
        if code in _CODES:
            return _CODES[code]
    match answer.get("error"):
        case None | "":
            return Reason.MALFORMED
        case "temporarily_unavailable" | "server_error":
            return Reason.UNAVAILABLE
        case "invalid_tenant":
            return Reason.TENANT_NOT_FOUND
        case "unauthorized_client":
            return Reason.FORBIDDEN
        case "invalid_scope" | "invalid_resource" | "invalid_request":
            return Reason.BAD_REQUEST
        case _:
            return Reason.UNAUTHORIZED


def certificate(opening: Opening, pem: str) -> Credential:
    """A certificate and its private key, of one PEM text with both.

    Raises:
        CalendarError: CERTIFICATE_UNREADABLE for anything else, CREDENTIALS_EXPIRED for one that has.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    blocks: dict[str, list[str]] = {"key": [], "certificate": []}
    for found in _PEM.finditer(pem):
        kind = "key" if found[1].endswith("PRIVATE KEY") else "certificate"
        blocks[kind].append(found[0])
    try:
        private = load_pem_private_key("\n".join(blocks["key"]).encode(), password=None)
        leaf = x509.load_pem_x509_certificate("\n".join(blocks["certificate"]).encode())
        # Entra takes RSA keys only.
        usable = isinstance(private, RSAPrivateKey) and private.public_key() == leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        usable = False
    if not usable:
        raise opening.failed(Reason.CERTIFICATE_UNREADABLE)
    if leaf.not_valid_after_utc <= opening.clock.now():
        raise opening.failed(Reason.CREDENTIALS_EXPIRED)
    return {
        "private_key": blocks["key"][0],
        "public_certificate": "\n".join(blocks["certificate"]),
    }


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reply in the form that msal reads (`msal.oauth2cli.http.Response`)."""

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise NetError(Reason.UNAVAILABLE)


class _Wire:
    """The HTTP client of msal (`msal.oauth2cli.http.HttpClient`): called on a thread, sends here.

    Attributes:
        failure: why a request got no usable reply.
        refusal: the last answer that is no success, as OAuth says it.
        wait: what that answer asks us to wait.
    """

    def __init__(
        self, opening: Opening, session: aiohttp.ClientSession, authority: str, now: datetime
    ) -> None:
        self._opening, self._session, self._now = opening, session, now
        self._origin = urlsplit(authority)[:2]
        self._loop = asyncio.get_running_loop()
        self.failure: NetError | None = None
        self.refusal: dict[str, Any] | None = None
        self.wait: timedelta | None = None

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Answer:
        """See msal."""
        query = f"?{urlencode(params)}" if params else ""
        return self._send("GET", url + query, headers, None)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Answer:
        """See msal."""
        query = f"?{urlencode(params)}" if params else ""
        body = data if isinstance(data, str) else urlencode(data or {})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", url + query, {**(headers or {}), **form}, body.encode())

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: bytes | None
    ) -> _Answer:
        try:
            self._check(url)
            sent = asyncio.run_coroutine_threadsafe(
                fetch(
                    self._session,
                    method,
                    url,
                    headers=headers,
                    body=body,
                    total=MAX_TIME,
                    limit_bytes=MAX_BYTES,
                ),
                self._loop,
            )
            return self._read(sent.result(MAX_TIME.total_seconds() + 5))
        except NetError as error:
            self.failure = error
            raise
        except TimeoutError:
            self.failure = NetError(Reason.TIMEOUT)
        except RuntimeError:  # the session was closed meanwhile
            self.failure = NetError(Reason.UNREACHABLE)
        raise self.failure

    def _check(self, url: str) -> None:
        if urlsplit(url)[:2] != self._origin:
            raise NetError(Reason.BLOCKED_TARGET)  # a credential is for the authority alone

    def _read(self, reply: Reply) -> _Answer:
        wait = retry_after(reply.headers, self._now)
        if reply.status == 429:
            raise NetError(Reason.THROTTLED, wait)
        if reply.status >= 500:
            raise NetError(Reason.TIMEOUT if reply.status == 504 else Reason.UNAVAILABLE, wait)
        if 300 <= reply.status < 400:
            raise NetError(Reason.REDIRECTED)
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            # msal would log what it cannot read.
            raise NetError(Reason.NOT_FOUND if reply.status == 404 else Reason.MALFORMED)
        if not reply.ok:
            self.refusal, self.wait = {"error": "", **document}, wait
        return _Answer(reply.status, reply.body.decode(errors="replace"), dict(reply.headers))
