"""What the runs of a DAG took: the time at which its tasks were at work, not what they waited."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import Clock, calls
from tests.fakes.airflow import FakeAirflow

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def ran(fake: FakeAirflow, clock: Clock, number: int, **more: object) -> datetime:
    """A run that ended `number` hours ago and took one hour; gives its start."""
    end = clock.now() - number * HOUR
    more = {"state": "success", "start_date": end - HOUR, "end_date": end} | more
    fake.add_run("train", f"r{number}", **more)
    return end - HOUR


async def asked(airflow: Airflow, clock: Clock) -> tuple[timedelta, ...]:
    return await airflow.task_times("train", clock.now() - timedelta(days=30))


async def test_a_run_takes_as_long_as_a_task_of_it_is_at_work(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.dags["train"].tasks = {"load": ("default_pool", 1), "fit": ("gpu", 1), "log": ("gpu", 1)}
    for number in range(6):
        start = clock.now() - (number + 1) * HOUR
        worked = {  # ten minutes, then twenty of waiting, then two side by side for thirty
            "load": (start, start + 10 * MINUTE),
            "fit": (start + 30 * MINUTE, start + 60 * MINUTE),
            "log": (start + 35 * MINUTE, start + 60 * MINUTE),
        }
        ran(fake, clock, number, worked=worked)
    assert await asked(airflow, clock) == (40 * MINUTE,) * 6


async def test_a_dag_of_a_few_tasks_costs_two_requests(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    for number in range(40):
        ran(fake, clock, number)
    assert len(await asked(airflow, clock)) == 25
    assert calls(fake, "GET", "/dagRuns") == [200]
    assert calls(fake, "POST", "/taskInstances/list") == [200]


async def test_only_what_succeeded_within_the_time_counts(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    for number in range(5):
        ran(fake, clock, number)
    ran(fake, clock, 5, state="failed")
    ran(fake, clock, 6, state="running", end_date=None)
    ran(fake, clock, 7, worked={"nothing": (None, None)})  # all of it was skipped
    ran(fake, clock, 31 * 24)
    assert await asked(airflow, clock) == (*(HOUR,) * 5, timedelta())


async def test_with_few_runs_no_task_is_asked_about(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    for number in range(4):
        ran(fake, clock, number)
    assert await asked(airflow, clock) == ()
    assert calls(fake, "POST", "/taskInstances/list") == []


async def test_task_instances_beyond_the_first_page_are_read(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.dags["train"].tasks = {f"t{n}": ("default_pool", 1) for n in range(20)}
    for number in range(20):
        start = clock.now() - (number + 1) * HOUR
        worked = {f"t{n}": (start + n * MINUTE, start + (n + 1) * MINUTE) for n in range(20)}
        ran(fake, clock, number, worked=worked)
    assert await asked(airflow, clock) == (20 * MINUTE,) * 20
    assert calls(fake, "POST", "/taskInstances/list") == [200] * 4


async def test_of_a_large_dag_the_newest_runs_count(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.dags["train"].tasks = {f"t{n}": ("default_pool", 1) for n in range(60)}
    for number in range(25):
        ran(fake, clock, number)
    assert await asked(airflow, clock) == (HOUR,) * 5


async def test_of_a_huge_dag_the_runs_own_durations_count(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.dags["train"].tasks = {f"t{n}": ("default_pool", 1) for n in range(150)}
    for number in range(8):
        ran(fake, clock, number)
    assert await asked(airflow, clock) == (HOUR,) * 8
    assert len(calls(fake, "POST", "/taskInstances/list")) == 2


@pytest.mark.parametrize("part", ["/dagRuns", "/taskInstances"])
async def test_what_the_account_may_not_see_is_said(
    airflow: Airflow, fake: FakeAirflow, clock: Clock, part: str
) -> None:
    for number in range(5):
        ran(fake, clock, number)
    method = "GET" if part == "/dagRuns" else "POST"
    fake.faults.answer(403, method, part, body={"detail": "Forbidden"})
    with pytest.raises(AirflowError) as error:
        await asked(airflow, clock)
    assert error.value.reason is Reason.FORBIDDEN


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"task_instances": 1, "total_entries": 1},
        {"task_instances": [], "total_entries": ""},
    ],
    ids=["list", "nothing", "number", "total"],
)
async def test_an_answer_that_cannot_be_read_is_an_error(
    airflow: Airflow, fake: FakeAirflow, clock: Clock, body: object
) -> None:
    for number in range(5):
        ran(fake, clock, number)
    fake.faults.answer(200, "POST", "/taskInstances", body=body)
    with pytest.raises(AirflowError):
        await asked(airflow, clock)


async def test_rows_that_are_no_task_instances_count_for_nothing(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    for number in range(5):
        ran(fake, clock, number)
    rows = [1, {}, {"dag_run_id": "r0"}, {"dag_run_id": "r0", "start_date": "x", "end_date": "y"}]
    body = {"task_instances": rows, "total_entries": 4}
    fake.faults.answer(200, "POST", "/taskInstances", body=body)
    assert await asked(airflow, clock) == (timedelta(),) * 5
