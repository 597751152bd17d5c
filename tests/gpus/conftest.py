"""A clock, secrets and an in-process fake Prometheus that can answer anything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.gpus.client import PrometheusClient
from slackwater.gpus.config import PoolConfig, PrometheusConfig
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.net import NetPolicy

REF = Ref("research", "h100")
LOOPBACK = NetPolicy(loopback=True)
SERVER_NOW = 1_900_000_000.0
"""The fake server's present: years away from the test clock's, as clocks of servers may be."""


class FakeClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
        self.elapsed = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.elapsed

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.elapsed += seconds


class FakeSecrets:
    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], str] = {}

    async def read(self, namespace: str, name: str, key: str) -> str:
        try:
            return self.values[namespace, name, key]
        except KeyError:
            raise SecretError(
                Reason.SECRET_NOT_FOUND, ref=f"{namespace}/{name}", key=key
            ) from None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    url_parameters: dict[str, str]
    form: dict[str, str]

    @property
    def query(self) -> str:
        return self.form.get("query") or self.url_parameters.get("query", "")


@dataclass
class FakePrometheus:
    """Answers by `reply`, a function of the request; keeps what was asked."""

    reply: Callable[[Asked], Any] = lambda asked: vector()
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.path,
            dict(request.headers),
            dict(request.query),
            {k: str(v) for k, v in (await request.post()).items()},
        )
        self.asked.append(asked)
        answer = self.reply(asked)
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer)


def row(value: float | str, *, at: float = SERVER_NOW, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [at, str(value)]}


def vector(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return success("vector", list(rows), **more)


def success(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def failure(status: int, kind: str, text: str, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps({"status": "error", "errorType": kind, "error": text}),
        content_type="application/json",
        headers=headers,
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def secrets() -> FakeSecrets:
    return FakeSecrets()


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    found = FakePrometheus()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def connect(
    fake: FakePrometheus, clock: FakeClock, secrets: FakeSecrets
) -> AsyncIterator[Callable[..., PrometheusClient]]:
    """A client of the fake, by options of PrometheusConfig."""
    async with AsyncExitStack() as stack:

        def build(*, policy: NetPolicy = LOOPBACK, **options: Any) -> PrometheusClient:
            config = PrometheusConfig(**{"server_address": fake.url, **options})
            client = PrometheusClient(config, REF, clock=clock, secrets=secrets, policy=policy)
            stack.push_async_callback(client.aclose)
            return client

        yield build


@pytest.fixture
async def pool(
    fake: FakePrometheus, clock: FakeClock, secrets: FakeSecrets
) -> AsyncIterator[Callable[..., PrometheusPool]]:
    """A pool on the fake; options of PoolConfig and of PrometheusConfig."""
    async with AsyncExitStack() as stack:

        def build(**options: Any) -> PrometheusPool:
            of_pool = {"nodes", "select_nodes", "tolerations", "resource"} & options.keys()
            config = PoolConfig(ref=REF, **{name: options.pop(name) for name in of_pool})
            found = PrometheusPool(
                config,
                PrometheusConfig(**{"server_address": fake.url, **options}),
                clock=clock,
                secrets=secrets,
                policy=LOOPBACK,
            )
            stack.push_async_callback(found.aclose)
            return found

        yield build


@pytest.fixture
def answers() -> Any:
    """Builders of answers, for tests that cannot import this file."""
    return Answers


class Answers:
    row = staticmethod(row)
    vector = staticmethod(vector)
    success = staticmethod(success)
    failure = staticmethod(failure)
    now = SERVER_NOW
    ref = REF
