"""The fake Airflow's own scheduler, which the contract test cannot compare."""

from __future__ import annotations

from datetime import timedelta

from slackwater.core.run import RunState
from slackwater.ports import Airflow
from tests.airflow.conftest import Clock
from tests.fakes.airflow import FakeAirflow


async def state(airflow: Airflow) -> RunState | None:
    run = await airflow.run("quick", "r1")
    return None if run is None else run.state


async def test_a_dag_that_says_how_quick_it_is_runs_by_the_clock(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.add_dag("quick", starts_after=timedelta(seconds=5), runs_for=timedelta(hours=1))
    await airflow.trigger("quick", "r1", {}, "")
    assert await state(airflow) is RunState.QUEUED
    clock.advance(seconds=5)
    assert await state(airflow) is RunState.RUNNING
    clock.advance(minutes=59)
    assert await state(airflow) is RunState.RUNNING
    clock.advance(hours=9)
    run = await airflow.run("quick", "r1")
    assert run is not None
    assert run.queued_at is not None
    assert run.state is RunState.SUCCESS
    assert run.start_date == run.queued_at + timedelta(seconds=5)
    assert run.end_date == run.start_date + timedelta(hours=1)


async def test_a_paused_dag_starts_nothing(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    dag = fake.add_dag("quick", starts_after=timedelta(), paused=True, outcome="failed")
    await airflow.trigger("quick", "r1", {}, "")
    clock.advance(hours=9)
    assert await state(airflow) is RunState.QUEUED
    dag.paused = False
    assert await state(airflow) is RunState.RUNNING


async def test_runs_are_moved_by_hand(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_dag("quick")
    await airflow.trigger("quick", "r1", {}, "")
    fake.start("r1")
    assert await state(airflow) is RunState.RUNNING
    fake.finish("r1", "failed")
    assert await state(airflow) is RunState.FAILED
