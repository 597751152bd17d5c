"""How a pool gets at its Prometheus: credentials from secrets, trust, one session.

Secrets are read before each request and compared by value, so a renewed token or certificate is
used at once and nothing is built anew without need. No value is kept in an object that prints.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from slackwater.core.words import Reason
from slackwater.errors import PoolError, SecretError
from slackwater.gpus.config import Basic, Bearer, ClientCertificate, PrometheusConfig, SecretKey
from slackwater.net import NetPolicy, open_session
from slackwater.ports import SecretReader

_UNFIT: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header value may hold (RFC 9110 §5.5)."""


def trust(ca_bundle: str | None) -> ssl.SSLContext:
    """A context that trusts the bundle and nothing else; without one the system's authorities.

    Raises:
        ssl.SSLError: the bundle holds no certificate that can be read.
        ValueError: it is not PEM at all.
    """
    return ssl.create_default_context(cadata=ca_bundle)


def present(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Make a context show a client certificate.

    Python's ssl takes files only: they lie in a directory of our own, for as long as it reads.

    Raises:
        ssl.SSLError: they are not PEM, encrypted, or do not belong together.
    """
    with tempfile.TemporaryDirectory(prefix="slackwater-") as directory:
        chain, private = Path(directory, "chain.pem"), Path(directory, "key.pem")
        chain.write_text(certificate)
        private.touch(0o600)
        private.write_text(key)
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(chain, private, password="")


@dataclass(slots=True)
class _Opened:
    """A session and the client certificate that it was opened with."""

    session: aiohttp.ClientSession
    shown: tuple[str, str] | None = field(repr=False)


class Access:
    """Sessions and headers for one Prometheus.

    Args:
        config: where and how.
        namespace: whose secrets are read: the pool's.
        what: gap of that name in error sentences.
        secrets: reads them.
        policy: which addresses may be reached.
    """

    def __init__(
        self,
        config: PrometheusConfig,
        namespace: str,
        what: str,
        *,
        secrets: SecretReader,
        policy: NetPolicy,
    ) -> None:
        self._config = config
        self._namespace = namespace
        self._what = what
        self._secrets = secrets
        self._policy = policy
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """Headers of a request, with the present values of the secrets.

        Raises:
            PoolError: a secret is missing, or is nothing that a header can hold.
        """
        found = {name: await self._fit(secret) for name, secret in self._config.headers}
        match self._config.auth:
            case Bearer(token):
                found["Authorization"] = f"Bearer {await self._fit(token)}"
            case Basic(username, password):
                pair = f"{await self._read(username)}:{await self._read(password)}"
                found["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            case _:
                pass
        return found

    async def session(self) -> aiohttp.ClientSession:
        """The session for requests; another one after the client certificate was renewed.

        Raises:
            PoolError: a secret is missing, or holds no certificate with its key.
        """
        shown: tuple[str, str] | None = None
        if isinstance(auth := self._config.auth, ClientCertificate):
            shown = (await self._read(auth.certificate), await self._read(auth.key))
        async with self._opening:
            if self._opened is None or self._opened.shown != shown:
                context = await self._context(shown)
                await self.aclose()
                session = open_session(self._policy, ssl=context)
                self._opened = _Opened(session, shown)
            return self._opened.session

    async def aclose(self) -> None:
        """Let the connections go."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.session.close()

    async def _context(self, shown: tuple[str, str] | None) -> ssl.SSLContext | None:
        if shown is None and self._config.ca_bundle is None:
            return None

        def build() -> ssl.SSLContext:
            context = trust(self._config.ca_bundle)
            if shown is not None:
                present(context, *shown)
            return context

        try:
            return await asyncio.to_thread(build)
        except (ssl.SSLError, ValueError):
            # Said as what it is to the user: credentials that do not work.
            raise PoolError(Reason.UNAUTHORIZED, what=self._what) from None

    async def _fit(self, secret: SecretKey) -> str:
        value = (await self._read(secret)).strip()
        if _UNFIT.search(value) or not value.isascii():
            raise PoolError(Reason.UNAUTHORIZED, what=self._what)
        return value

    async def _read(self, secret: SecretKey) -> str:
        """Without the line end that a file or an editor left behind it."""
        try:
            value = await self._secrets.read(self._namespace, secret.name, secret.key)
        except SecretError as error:
            raise PoolError(error.reason, retry_after=error.retry_after, **error.gaps) from None
        return value.rstrip("\r\n")
