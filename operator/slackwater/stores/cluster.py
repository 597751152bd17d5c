"""One connection to a Kubernetes API server: credentials, requests with time-outs, our errors.

The client is `kubernetes.aio` with its credentials, TLS and proxies; bodies stay plain JSON, as
building the client's models costs more than all else about a request.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import client, config

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Conflict, Gone, StoreError
from slackwater.ports import Clock

API: Final = "the Kubernetes API"
JSON: Final = "application/json"
# What loading or refreshing credentials can fail with: files, exec plugins, identity providers.
_LOGIN_FAILURES: Final = (
    config.ConfigException,
    OSError,
    ValueError,
    KeyError,
    TimeoutError,
    aiohttp.ClientError,
)
_RELOAD_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API server, whatever its status."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server, for a client that is not ours (kopf's)."""

    server: str
    authorization: str | None = field(repr=False)
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    verify: bool
    proxy: str | None = field(repr=False)


class Cluster:
    """Requests to one API server. Close it with `aclose`.

    Args:
        configuration: server, TLS and credentials, as `kubernetes.aio` has them.
        timeout: how long one request may take in all.
    """

    def __init__(
        self, configuration: client.Configuration, *, timeout: timedelta = timedelta(seconds=30)
    ) -> None:
        self._configuration = configuration
        self._client = client.ApiClient(configuration)
        self._client.user_agent = "slackwater"
        self._timeout = timeout

    @classmethod
    async def connect(
        cls,
        clock: Clock,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
    ) -> Self:
        """As the pod's service account, or by a kubeconfig.

        Args:
            clock: says when credentials are to be loaded anew.
            kubeconfig: the file; without one, the service account inside a cluster, else what
                KUBECONFIG names, else ~/.kube/config.
            context: the context of the kubeconfig; its current one when left out.
            timeout: how long one request may take in all.

        Raises:
            ConfigError: there is no usable configuration.
        """
        configuration = client.Configuration()
        try:
            if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                await _keep_loaded(configuration, clock, _in_cluster(configuration))
            else:
                files = _files(kubeconfig)
                await _keep_loaded(configuration, clock, _kubeconfig(configuration, files, context))
        except _LOGIN_FAILURES as error:
            raise ConfigError(Reason.INVALID_SPEC, detail=f"kubeconfig: {error}") from error
        return cls(configuration, timeout=timeout)

    async def aclose(self) -> None:
        """Let connections go."""
        await self._client.close()

    async def access(self) -> Access:
        """Where the server is and what it accepts now; tokens are read again when they age.

        Raises:
            StoreError: the credentials cannot be read (UNAUTHORIZED).
        """
        held = self._configuration
        try:
            authorization = await held.get_api_key_with_prefix("BearerToken")
        except _LOGIN_FAILURES as error:
            raise StoreError(Reason.UNAUTHORIZED, what=API) from error
        return Access(
            server=held.host,
            authorization=authorization,
            ca_file=held.ssl_ca_cert,
            cert_file=held.cert_file,
            key_file=held.key_file,
            verify=held.verify_ssl,
            proxy=held.proxy,
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: timedelta | None = None,
    ) -> Mapping[str, Any]:
        """The body of a request that succeeds.

        Raises:
            Conflict: 409, another version or an object of this name exists.
            Gone: 404.
            StoreError: anything else but success; the reason says what.
        """
        reply = await self.request(
            method,
            path,
            query=query,
            body=body,
            content_type=content_type,
            accept=accept,
            timeout=timeout,
        )
        if reply.status >= 300:
            raise refusal(reply)
        return reply.body

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: timedelta | None = None,
    ) -> Reply:
        """One request, once; any status is an answer.

        Raises:
            StoreError: no answer (UNREACHABLE, TIMEOUT), none that can be read (MALFORMED), or
                no credentials to ask with (UNAUTHORIZED).
        """
        limit = (timeout or self._timeout).total_seconds()
        try:
            async with asyncio.timeout(limit):
                prepared = await self._prepared(method, path, list(query), body)
                prepared[2].update({"Accept": accept, "Content-Type": content_type})
                response = await self._client.call_api(
                    *prepared, _request_timeout=aiohttp.ClientTimeout(total=limit)
                )
                raw = await response.read()
        except TimeoutError as error:
            raise StoreError(Reason.TIMEOUT, what=API) from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise StoreError(Reason.UNREACHABLE, what=API) from error
        return Reply(response.status, _parsed(raw, response.status))

    async def _prepared(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        body: Mapping[str, Any] | None,
    ) -> tuple[str, str, dict[str, str], Any, Any]:
        try:
            prepared: tuple[
                str, str, dict[str, str], Any, Any
            ] = await self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=query,
                header_params={},
                body=body,
                auth_settings=["BearerToken"],
            )
        except TimeoutError:
            raise
        except _LOGIN_FAILURES as error:
            raise StoreError(Reason.UNAUTHORIZED, what=API) from error
        return prepared


async def _keep_loaded(
    configuration: client.Configuration, clock: Clock, load: Callable[[], Awaitable[None]]
) -> None:
    """Load credentials now, and again before a request when they are older than a minute."""
    loaded_at = clock.monotonic()

    async def refresh(_: object) -> None:
        nonlocal loaded_at
        if clock.monotonic() - loaded_at >= _RELOAD_EVERY.total_seconds():
            loaded_at = clock.monotonic()
            await load()

    await load()
    configuration.refresh_api_key_hook = refresh


def _in_cluster(configuration: client.Configuration) -> Callable[[], Awaitable[None]]:
    """Load the pod's service account; the kubelet replaces its token file about every hour."""

    async def load() -> None:
        config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)

    return load


def _kubeconfig(
    configuration: client.Configuration, files: list[Path], context: str | None
) -> Callable[[], Awaitable[None]]:
    """Load a kubeconfig; later, its files again if they changed, else only expired tokens."""
    loader: Any = None
    loaded: list[int] = []

    async def load() -> None:
        nonlocal loader, loaded
        changed = [_modified(file) for file in files]
        if loader is None or changed != loaded:
            names = os.pathsep.join(map(str, files))
            loader = await config.load_kube_config(
                config_file=names, context=context, client_configuration=configuration
            )
            loaded = changed
        else:
            # The same loader knows when the token of an exec plugin expires.
            await loader.load_and_set(configuration)

    return load


def _files(kubeconfig: Path | None) -> list[Path]:
    """The kubeconfig files to merge, as kubectl finds them."""
    if kubeconfig is not None:
        return [kubeconfig]
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [Path(name).expanduser() for name in named.split(os.pathsep) if name]


def _modified(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def refusal(reply: Reply) -> StoreError:
    """The error that an unsuccessful answer means.

    The server's own message may quote what was sent, so only names of fields are taken from it.
    """
    match reply.status:
        case 404:
            return Gone()
        case 409:
            return Conflict()
        case 401:
            return StoreError(Reason.UNAUTHORIZED, what=API)
        case 403:
            return StoreError(Reason.FORBIDDEN, what=API)
        case 413:
            return StoreError(Reason.TOO_LARGE, what=API)
        case 429:
            return StoreError(Reason.THROTTLED, what=API)
        case status if status >= 500:
            return StoreError(Reason.UNAVAILABLE, what=API)
        case status if status >= 400:
            causes = (reply.body.get("details") or {}).get("causes") or ()
            fields = ", ".join(sorted({str(cause.get("field")) for cause in causes}))
            return StoreError(Reason.BAD_REQUEST, what=f"{API} (at {fields})" if fields else API)
        case _:
            return StoreError(Reason.REDIRECTED, what=API)


def _parsed(raw: bytes, status: int) -> Mapping[str, Any]:
    try:
        body = json.loads(raw) if raw else {}
    except ValueError as error:
        if status >= 300:  # a proxy's own page: the status says enough
            return {}
        raise StoreError(Reason.MALFORMED, what=API) from error
    if not isinstance(body, dict):
        raise StoreError(Reason.MALFORMED, what=API)
    return body
