"""Where the bearer token comes from, and when a new one is due.

Airflow 3 has no refresh endpoint: one asks again (`POST /auth/token`, api_fastapi/auth/managers).
A token lives 24 hours by default; it is renewed at 80 % of its life, and at once when Airflow
refuses it, as it does after its signing secret was changed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from slackwater.airflow.answers import REFUSED_FOR, unexpected
from slackwater.airflow.client import Answer
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, SecretError
from slackwater.net import OperatorIdentity
from slackwater.ports import Clock, SecretReader
from slackwater.wire import SecretKeyRef

_RENEW_AT: Final = 0.8
# A token from a secret can only be read again, which is not worth doing more often than this.
_REREAD: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password, exchanged for a token at `/auth/token`."""

    username_ref: SecretKeyRef
    password_ref: SecretKeyRef


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client id and its secret, exchanged at `/auth/token` as Keycloak's auth manager takes them.

    The body is that of OAuth's grant (RFC 6749 §4.4), in JSON and not as a form
    (apache-airflow-providers-keycloak, `POST /auth/token`; apache/airflow#59286).
    """

    client_id: str
    secret_ref: SecretKeyRef


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A bearer token that somebody else keeps fresh in a Secret."""

    ref: SecretKeyRef


@dataclass(frozen=True, slots=True)
class LentToken:
    """A bearer token that somebody else keeps fresh in a file of the operator's own."""

    identity: OperatorIdentity


Auth = Login | ClientCredentials | StaticToken | LentToken


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float  # of the monotonic clock; infinity where the token does not tell


# Sends credentials as the body of a login, gives Airflow's answer (a 4xx too); raises AirflowError
# else.
Exchange = Callable[[Mapping[str, str]], Awaitable[Answer]]


class Tokens:
    """The one token of a session: several callers that need a new one get it by one login.

    Args:
        auth: where the token comes from.
        namespace: of the Secrets.
        secrets: reads them.
        clock: tells when a renewal is due.
        exchange: a login.
        check: judges the server's address once more, before credentials go there.
        what: the server's name in sentences.
    """

    def __init__(
        self,
        auth: Auth,
        namespace: str,
        *,
        secrets: SecretReader,
        clock: Clock,
        exchange: Exchange,
        check: Callable[[], Awaitable[None]],
        what: str,
    ) -> None:
        self._auth = auth
        self._namespace = namespace
        self._secrets = secrets
        self._clock = clock
        self._exchange = exchange
        self._check = check
        self._what = what
        self._token: _Token | None = None
        self._lock = asyncio.Lock()
        # What was refused (a digest: no password stays in memory), and until when that stands.
        self._refused = ("", -math.inf)

    async def current(self) -> str:
        """The token to send.

        Raises:
            AirflowError: UNAUTHORIZED when the credentials are refused; what the login met else.
        """
        async with self._lock:
            if self._token is None:
                self._token = await self._obtain("")
            elif self._clock.monotonic() >= self._token.renew_at:
                self._token = await self._renewed(self._token)
            return self._token.value

    async def instead_of(self, refused: str) -> str:
        """Another token than this one, which the server has refused. Raises as `current`."""
        async with self._lock:
            if self._token is None or self._token.value == refused:
                self._token = None
                self._token = await self._obtain(refused)
            return self._token.value

    async def _renewed(self, old: _Token) -> _Token:
        try:
            return await self._obtain("")
        except AirflowError as error:
            if error.reason is Reason.UNAUTHORIZED:
                raise
            # A fifth of its life is left to try again in.
            later = self._clock.monotonic() + _REREAD.total_seconds()
            return replace(old, renew_at=later)

    async def _obtain(self, refused: str) -> _Token:
        await self._check()
        if isinstance(self._auth, StaticToken | LentToken):
            value = (await self._kept(self._auth)).strip()
            if value == refused:
                raise self._refusal(value)
            self._still_refused(value)
            life = _life(value, self._clock, fresh=False)
            return self._dated(value, None if life is None else max(life * _RENEW_AT, _REREAD))
        value = await self._login(self._auth)
        life = _life(value, self._clock, fresh=True)
        return self._dated(value, None if life is None else life * _RENEW_AT)

    async def _login(self, auth: Login | ClientCredentials) -> str:
        tried = ""
        for _ in range(2):
            # Read anew each time: a changed password is in the Secret before anybody tells us.
            body = await self._credentials(auth)
            pair = json.dumps(body)
            if pair == tried:
                break
            self._still_refused(pair)
            answer = await self._exchange(body)
            if answer.ok:
                token = answer.data.get("access_token") if isinstance(answer.data, dict) else None
                if not isinstance(token, str) or not token:
                    raise AirflowError(Reason.MALFORMED, what=self._what)
                return token
            if answer.status not in {400, 401, 403, 422}:
                raise unexpected(answer, what=self._what)
            tried = pair
        raise self._refusal(tried)

    async def _credentials(self, auth: Login | ClientCredentials) -> dict[str, str]:
        """The body of the login."""
        if isinstance(auth, Login):
            return {
                "username": (await self._read(auth.username_ref)).strip(),
                "password": (await self._read(auth.password_ref)).rstrip("\r\n"),
            }
        return {
            "grant_type": "client_credentials",
            "client_id": auth.client_id,
            "client_secret": (await self._read(auth.secret_ref)).rstrip("\r\n"),
        }

    async def _kept(self, auth: StaticToken | LentToken) -> str:
        """The token that somebody else keeps."""
        if isinstance(auth, StaticToken):
            return await self._read(auth.ref)
        identity = auth.identity
        try:
            return await asyncio.to_thread(identity.token_file.read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            # Of another's file nothing is told but whose it is.
            raise AirflowError(Reason.IDENTITY_UNREADABLE, identity=identity.name) from None

    async def _read(self, ref: SecretKeyRef) -> str:
        try:
            return await self._secrets.read(self._namespace, ref.name, ref.key)
        except SecretError as error:
            # Our callers know one branch of errors; reason and sentence stay the secret's.
            raise AirflowError(error.reason, retry_after=error.retry_after, **error.gaps) from None

    def _refusal(self, secret: str) -> AirflowError:
        """The error for a secret that was refused just now."""
        until = self._clock.monotonic() + REFUSED_FOR.total_seconds()
        self._refused = (_digest(secret), until)
        return AirflowError(Reason.UNAUTHORIZED, retry_after=REFUSED_FOR, what=self._what)

    def _still_refused(self, secret: str) -> None:
        """Spare an account that locks after so many wrong passwords."""
        digest, until = self._refused
        left = until - self._clock.monotonic()
        if left > 0 and digest == _digest(secret):
            wait = timedelta(seconds=left)
            raise AirflowError(Reason.UNAUTHORIZED, retry_after=wait, what=self._what)

    def _dated(self, value: str, wait: timedelta | None) -> _Token:
        if wait is None:
            return _Token(value, math.inf)
        return _Token(value, self._clock.monotonic() + wait.total_seconds())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _life(token: str, clock: Clock, *, fresh: bool) -> timedelta | None:
    """How long a JWT (RFC 7519) has from now; None for what is none or does not tell.

    A fresh one was issued just now, so our clock and the server's need not agree. A token of
    Keycloak's auth manager carries Keycloak's own, which ends sooner and by which each request is
    decided (apache-airflow-providers-keycloak, `generate_api_jwt`); the shorter life counts.
    """
    claims = _claims(token)
    inner = _claims(claims.get("access_token"))
    lives = [_left(found, clock, fresh=fresh) for found in (claims, inner)]
    return min((life for life in lives if life is not None), default=None)


def _claims(token: object) -> Mapping[str, object]:
    """What a JWT says; nothing where it is none."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _left(claims: Mapping[str, object], clock: Clock, *, fresh: bool) -> timedelta | None:
    now = clock.now().timestamp()
    end, begin = claims.get("exp"), claims.get("iat", now) if fresh else now
    if not isinstance(end, int | float) or not isinstance(begin, int | float):
        return None
    try:
        life = timedelta(seconds=end - begin)
    except (ValueError, OverflowError):
        return None
    return life if life > timedelta() or not fresh else None
