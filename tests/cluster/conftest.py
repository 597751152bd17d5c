from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from slackwater.core.words import WORDS, Reason
from testbed.kubernetes import ControlPlane
from tests.cluster.installed import DAG, Installed, Operator, Team
from tests.fakes.airflow import FakeAirflow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with ControlPlane() as plane:
        yield Installed(plane, tmp_path_factory.mktemp("operator"))


@pytest.fixture
async def airflow() -> AsyncIterator[FakeAirflow]:
    """Runs stay queued until a test starts or finishes them."""
    async with FakeAirflow() as server:
        server.add_dag(DAG)
        yield server


@pytest.fixture
async def team(installed: Installed, airflow: FakeAirflow) -> AsyncIterator[Team]:
    """A namespace of its own; its objects go with it."""
    installed.namespaces += 1
    name = f"team-{installed.namespaces}"
    await asyncio.to_thread(installed.plane.create_namespace, name)
    team = Team(installed, name, airflow)
    await team.settle_in()
    yield team
    await team.kubectl("delete", "tw,tcal,gpool,afi", "--all", "--wait=false")


@pytest.fixture
async def operators(installed: Installed, team: Team) -> AsyncIterator[tuple[Operator, Operator]]:
    """Two replicas, not started; no right was missing in what they did."""
    replicas = (
        installed.operator(team.namespace, "tide-0"),
        installed.operator(team.namespace, "tide-1"),
    )
    try:
        yield replicas
    finally:
        for replica in replicas:
            await asyncio.to_thread(replica.close)
    denied = WORDS[Reason.FORBIDDEN].sentence.removeprefix("{what} ")
    for replica in replicas:
        if replica.log_path.exists():
            log = replica.log()
            assert denied not in log
            assert "forbidden" not in log.lower()
            assert "Traceback" not in log


@pytest.fixture
def operator(operators: tuple[Operator, Operator]) -> Operator:
    return operators[0]
