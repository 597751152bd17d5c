"""apache-airflow-client behind a guarded connection: all that blocks, run in threads only.

The package's `*_without_preload_content` methods build and send the request and hand back the raw
reply; its models are not used for replies, because their closed enums refuse servers older and
newer than themselves. Importing any of its modules imports all 218 (about 2 s and 57 MiB: its
`__init__` is eager), so that happens here, when the first server is opened.

Nothing is raised for what the network does: a call ends as an `Answer` or a `NoAnswer`, so that no
traceback can carry a body, a token or an address.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from slackwater.net import NetPolicy
from slackwater.ports import Clock

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
# A server under load may need longer to create a run, and a lost reply costs more than waiting.
WRITE_SECONDS: Final = 15.0
# A page of 100 runs with generous confs; nothing else comes near.
_LIMIT_BYTES: Final = 32 * 1024 * 1024
_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `data` is its JSON, None where it is none."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: Any = field(repr=False)

    @property
    def ok(self) -> bool:
        """A success, 2xx."""
        return 200 <= self.status < 300

    @property
    def detail(self) -> str:
        """FastAPI's `detail` where it is a text, else empty."""
        found = self.data.get("detail") if isinstance(self.data, dict) else None
        return found if isinstance(found, str) else ""

    def names(self, thing: str) -> bool:
        """Whether the detail is about this id.

        Tells Airflow's "no such run" from the 404 of a wrong path or of a proxy in front, which
        says nothing about the run.
        """
        quoted = (f"'{thing}'", f"`{thing}`", f"id {thing} ")
        return any(form in self.detail for form in quoted)


class NoAnswer(Enum):
    """Why there is no reply."""

    NOT_SENT = auto()  # certainly: the connection was never there
    LOST = auto()
    TIMED_OUT = auto()
    TOO_LARGE = auto()
    BLOCKED = auto()  # certainly not sent: the connection led to an address that is not allowed


@dataclass(frozen=True, slots=True)
class Apis:
    """The parts of the package that are used, all on one connection pool."""

    dags: Any
    runs: Any
    tasks: Any
    instances: Any
    pools: Any
    monitor: Any
    version: Any
    raw: Any
    host: str


# Sends one request through the package: gets the APIs and the package's own keyword arguments
# (timeout, headers), gives urllib3's response.
Call = Callable[[Apis, Mapping[str, Any]], Any]


class _BlockedPeerError(Exception):
    """Not an OSError: urllib3 would wrap it."""


class Client:
    """One server, called from several threads."""

    def __init__(self, host: str, policy: NetPolicy, clock: Clock, connections: int) -> None:
        """Blocks for the import of the package, the first time."""
        from airflow_client.client.api.dag_api import DAGApi
        from airflow_client.client.api.dag_run_api import DagRunApi
        from airflow_client.client.api.monitor_api import MonitorApi
        from airflow_client.client.api.pool_api import PoolApi
        from airflow_client.client.api.task_api import TaskApi
        from airflow_client.client.api.task_instance_api import TaskInstanceApi
        from airflow_client.client.api.version_api import VersionApi
        from airflow_client.client.api_client import ApiClient
        from airflow_client.client.configuration import Configuration

        configuration = Configuration(host=host, retries=False)
        configuration.proxy = None  # it has read the environment's; setting it ends that
        raw = ApiClient(configuration)
        raw.user_agent = "slackwater"
        self._pool = _guarded_pool(policy, connections, tls=host.startswith("https:"))
        raw.rest_client.pool_manager = self._pool
        self._apis = Apis(
            dags=DAGApi(raw),
            runs=DagRunApi(raw),
            tasks=TaskApi(raw),
            instances=TaskInstanceApi(raw),
            pools=PoolApi(raw),
            monitor=MonitorApi(raw),
            version=VersionApi(raw),
            raw=raw,
            host=host,
        )
        self._clock = clock
        self._guard = threading.Lock()
        self._running = 0
        self._closing = False

    def call(self, call: Call, token: str | None, read_seconds: float) -> Answer | NoAnswer:
        """Send one request and read its reply to the end.

        Args:
            call: which request.
            token: bearer token; None sends none.
            read_seconds: how long the server may take, all in all.
        """
        with self._guard:
            self._running += 1
        try:
            return self._call(call, token, read_seconds)
        finally:
            with self._guard:
                self._running -= 1
                last = self._closing and self._running == 0
            if last:
                self._pool.clear()

    def _call(self, call: Call, token: str | None, read_seconds: float) -> Answer | NoAnswer:
        import urllib3.exceptions as they_raise

        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        deadline = self._clock.monotonic() + CONNECT_SECONDS + read_seconds
        sent = {"_request_timeout": (CONNECT_SECONDS, read_seconds), "_headers": headers}
        try:
            return self._read(call(self._apis, sent), deadline)
        except _BlockedPeerError:
            return NoAnswer.BLOCKED
        except (they_raise.NewConnectionError, they_raise.ConnectTimeoutError):
            return NoAnswer.NOT_SENT
        except (they_raise.TimeoutError, TimeoutError):
            return NoAnswer.TIMED_OUT
        except Exception:  # noqa: BLE001 - the package turns TLS errors into its own, others pass through; all of them may hold URLs, some bodies
            return NoAnswer.LOST

    def _read(self, response: Any, deadline: float) -> Answer | NoAnswer:
        # Piece by piece: the socket's time-out begins anew with each byte, and no length is
        # promised by a server that means harm.
        body = bytearray()
        while piece := response.read1(_CHUNK):
            body += piece
            if len(body) > _LIMIT_BYTES:
                response.close()
                return NoAnswer.TOO_LARGE
            if self._clock.monotonic() > deadline:
                response.close()
                return NoAnswer.TIMED_OUT
        return Answer(response.status, response.headers, _json(bytes(body)))

    def close(self) -> None:
        """Let connections go once no call uses them: a start in flight keeps its answer."""
        with self._guard:
            self._closing = True
            idle = self._running == 0
        if idle:
            self._pool.clear()


def login(credentials: Mapping[str, str]) -> Call:
    """`POST /auth/token`, which is beside the API that the package was generated from."""

    def send(apis: Apis, sent: Mapping[str, Any]) -> Any:
        reply = apis.raw.call_api(
            "POST",
            f"{apis.host}/auth/token",
            header_params={"Content-Type": "application/json", "Accept": "application/json"},
            body=dict(credentials),
            _request_timeout=sent["_request_timeout"],
        )
        return reply.response

    return send


def probe_airflow_2(apis: Apis, sent: Mapping[str, Any]) -> Any:
    """`GET /api/v1/version`, which Airflow 2 has and Airflow 3 has not."""
    reply = apis.raw.call_api(
        "GET",
        f"{apis.host}/api/v1/version",
        header_params={"Accept": "application/json"},
        _request_timeout=sent["_request_timeout"],
    )
    return reply.response


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _guarded_pool(policy: NetPolicy, connections: int, *, tls: bool) -> Any:
    """A urllib3 pool that follows nothing, repeats nothing and talks to allowed addresses only.

    The package builds its own pool; that one cannot judge the address it really connects to, and
    where urllib3-future stands in for urllib3 it would move to HTTP/2 and, led by `Alt-Svc`, to
    HTTP/3 at another port.
    """
    import urllib3
    from urllib3 import connection, connectionpool

    def judge(sock: Any) -> None:
        if not policy.allows(sock.getpeername()[0]):
            raise _BlockedPeerError

    class PlainConnection(connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            judge(self.sock)

    class SecureConnection(connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            judge(self.sock)

    class PlainPool(connectionpool.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class SecurePool(connectionpool.HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    versions = getattr(urllib3, "HttpVersion", None)  # urllib3-future has more than one
    more: dict[str, Any] = {}
    if versions is not None:
        more["disabled_svn"] = {versions.h2, versions.h3}
    if tls:  # the system's trust, or SSL_CERT_FILE's
        more["ssl_context"] = ssl.create_default_context()
    pool = urllib3.PoolManager(
        num_pools=1,
        maxsize=connections,
        retries=False,
        cert_reqs="CERT_REQUIRED",
        **more,
    )
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pool
