from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest

from slackwater.airflow import Login, StaticToken, open_airflow
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.net import NetPolicy
from slackwater.ports import Airflow
from slackwater.wire import SecretKeyRef
from testbed import airflow as real_airflow
from tests.airflow.contract_targets import DAGS, Real
from tests.fakes.airflow import FakeAirflow, Param

PREFIX = "slackwater.test."
LOGIN = Login(
    SecretKeyRef(name="airflow", key="username"), SecretKeyRef(name="airflow", key="password")
)
STATIC = StaticToken(SecretKeyRef(name="airflow", key="token"))
Open = Callable[..., Awaitable[Airflow]]


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 22, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, **by: float) -> None:
        step = timedelta(**by)
        self.moment += step
        self.seconds += step.total_seconds()


class Secrets:
    """Secrets of namespace "research"; counts how often one is read."""

    def __init__(self) -> None:
        self.values = {"username": "admin", "password": "admin\n"}
        self.reads = 0

    async def read(self, namespace: str, name: str, key: str) -> str:
        assert (namespace, name) == ("research", "airflow")
        self.reads += 1
        if key not in self.values:
            raise SecretError(Reason.SECRET_KEY_NOT_FOUND, ref=f"{namespace}/{name}", key=key)
        return self.values[key]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture
async def fake(clock: Clock) -> AsyncIterator[FakeAirflow]:
    """A server with one ordinary DAG and one with params."""
    async with FakeAirflow(now=clock.now) as server:
        server.add_dag("train")
        server.add_dag(
            "params", params={"epochs": Param(3, {"type": "integer", "minimum": 1, "maximum": 10})}
        )
        yield server


@pytest.fixture
async def opened(fake: FakeAirflow, clock: Clock, secrets: Secrets) -> AsyncIterator[Open]:
    """Open the fake server, or another URL; closed at the end."""
    async with AsyncExitStack() as stack:

        async def start(
            url: str = "",
            auth: Login | StaticToken = LOGIN,
            policy: NetPolicy | None = None,
        ) -> Airflow:
            airflow = await open_airflow(
                url or fake.url,
                auth,
                Ref("research", "default"),
                secrets=secrets,
                clock=clock,
                policy=policy or NetPolicy(loopback=True),
            )
            stack.push_async_callback(airflow.aclose)
            return airflow

        yield start


@pytest.fixture
async def airflow(opened: Open) -> Airflow:
    """The fake server as the engine sees it."""
    return await opened()


async def eventually(holds: Callable[[], object]) -> None:
    """Let threads and the server go on until something holds."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


def calls(fake: FakeAirflow, method: str, part: str = "") -> list[int]:
    """Status of each request so far of this method, whose path has this part."""
    return [status for verb, path, status in fake.requests if verb == method and part in path]


@pytest.fixture(scope="session")
def real_server() -> Iterator[real_airflow.Airflow]:
    """A real Airflow without scheduler, with the DAGs of contract_dags."""
    with real_airflow.Airflow(
        DAGS, components=real_airflow.API_ONLY, dags=["plain", "params"]
    ) as server:
        yield server


@pytest.fixture
def real(real_server: real_airflow.Airflow) -> Real:
    """The real server as it was at first."""
    with sqlite3.connect(real_server.home / "airflow.db", timeout=10) as database:
        for table in ("dag_run_note", "task_instance", "dag_run"):
            database.execute(f"DELETE FROM {table}")
        database.execute("UPDATE dag SET is_stale = 0, has_import_errors = 0")
    return Real(real_server, real_server.url)
