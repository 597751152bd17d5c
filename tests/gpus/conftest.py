from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from slackwater.gpus.client import PrometheusClient
from slackwater.gpus.config import PoolConfig, PrometheusConfig
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.net import NetPolicy
from testbed.prometheus import NotAvailable, Prometheus
from tests.gpus.fake_prometheus import LOOPBACK, REF, FakeClock, FakePrometheus, FakeSecrets


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
    runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
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
            of_pool = {"nodes", "select_nodes", "tolerations", "resource", "namespaces"}
            config = PoolConfig(
                ref=REF, **{name: options.pop(name) for name in of_pool & options.keys()}
            )
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


@pytest.fixture(scope="module", params=["2", "3"])
def prometheus(request) -> Iterator[Prometheus]:
    try:
        server = Prometheus(version=request.param)
    except NotAvailable as missing:
        pytest.skip(str(missing))
    with server:
        yield server
