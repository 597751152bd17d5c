"""Faults of a real Airflow on PostgreSQL around a start: one run in the end, and a reason meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from slackwater.airflow import open_airflow
from slackwater.core.run import Absent, InDoubt, RunState, Seen
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import NetPolicy
from slackwater.runtime.clock import SystemClock
from testbed.airflow import WITHOUT_TRIGGERER, Airflow
from testbed.postgres import Postgres
from testbed.process import wait_until
from tests.airflow.conftest import LOGIN, PREFIX, Secrets
from tests.airflow.contract_targets import DAGS
from tests.airflow.ship import RUN, Ship

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

DATABASE = "airflow"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as found:
        yield found


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Airflow]:
    with Airflow(
        DAGS,
        database=postgres.create_database(DATABASE),
        components=WITHOUT_TRIGGERER,
        dags=["plain"],
        settings={"scheduler.scheduler_health_check_threshold": "4"},
    ) as found:
        yield found


@pytest.fixture
async def ship(server: Airflow) -> AsyncIterator[Ship]:
    airflow = await open_airflow(
        server.url,
        LOGIN,
        Ref("research", "default"),
        secrets=Secrets(),
        clock=SystemClock(),
        policy=NetPolicy(loopback=True),
    )
    try:
        yield Ship(airflow, SystemClock(), "plain")
    finally:
        await airflow.aclose()


def runs(server: Airflow, run_id: str) -> list[str]:
    return [run["state"] for run in server.runs() if run["dag_run_id"] == run_id]


async def test_a_database_that_takes_no_writes_is_told_and_starts_go_on_when_it_does(
    server: Airflow, postgres: Postgres, ship: Ship
) -> None:
    run_id = f"{PREFIX}research.readonly"
    leave = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
    postgres.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = on; {leave}")
    try:
        known = await ship.post(run_id=run_id)
        assert isinstance(known, Absent)
        assert known.met is Reason.UNAVAILABLE
    finally:
        postgres.execute(f"ALTER DATABASE {DATABASE} RESET default_transaction_read_only; {leave}")
    known = await ship.post(run_id=run_id)
    assert isinstance(known, Seen)
    assert len(runs(server, run_id)) == 1


async def test_a_server_that_dies_in_the_middle_of_a_post_starts_one_run_when_it_is_back(
    server: Airflow, postgres: Postgres, ship: Ship
) -> None:
    hold = "BEGIN; LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT"
    await ship.follower.look_up(RUN, "plain")  # it is logged in
    held = asyncio.create_task(asyncio.to_thread(postgres.execute, hold, DATABASE))
    await asyncio.sleep(0.5)
    post = asyncio.create_task(ship.post())
    await asyncio.sleep(0.7)
    assert not post.done()
    server.kill_component("api-server")
    with pytest.raises(AirflowError) as met:
        await post
    assert met.value.reason is Reason.UNREACHABLE
    assert isinstance(ship.follower.runs[RUN], InDoubt)

    await held
    server.kill()
    # It comes back with another signing secret, so that the login is refused as well.
    server.settings["api_auth.jwt_secret"] = "y" * 64
    await asyncio.to_thread(server.start)
    assert isinstance(await ship.follower.look_up(RUN, "plain"), Absent)
    assert isinstance(await ship.post(), Seen)
    assert isinstance(await ship.post(), Seen)  # 409, and it is ours
    assert len(runs(server, RUN)) == 1


async def test_a_scheduler_that_dies_keeps_starts_back_while_the_api_answers(
    server: Airflow, ship: Ship
) -> None:
    airflow = ship.follower.airflow
    assert airflow is not None
    with suppress(ProcessLookupError):
        server.kill_component("scheduler")

    def dead() -> bool:
        return bool(server.get("/monitor/health")["scheduler"]["status"] == "unhealthy")

    await asyncio.to_thread(wait_until, dead, "the scheduler counts as dead", 60, 0.3)
    facts = await airflow.preflight("plain")
    assert facts.problem is Reason.SCHEDULER_UNHEALTHY

    # What a person would start all the same stays in the queue, and can be taken back.
    run_id = f"{PREFIX}research.queued"
    known = await ship.post(run_id=run_id)
    assert isinstance(known, Seen)
    assert known.run.state is RunState.QUEUED
    assert await airflow.delete_queued("plain", run_id)
