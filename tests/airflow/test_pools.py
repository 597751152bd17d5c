"""Airflow hangs without a word when a task's pool is missing or too small: we say so before."""

from __future__ import annotations

from typing import Any

import pytest

from slackwater.core.words import Reason, say
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import Clock, calls
from tests.fakes.airflow import FakeAirflow


async def test_a_pool_that_does_not_exist_is_told_by_name(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.dags["train"].tasks = {"load": ("default_pool", 1), "fit": ("gpu", 1)}
    facts = await airflow.preflight("train")
    assert (facts.problem, facts.detail) == (Reason.AIRFLOW_POOL_NOT_FOUND, "gpu")
    assert say(facts.problem, dag="train", detail=facts.detail) == (
        "A task of DAG train wants Airflow's pool gpu, which does not exist: it would hang."
    )


@pytest.mark.parametrize(
    ("slots", "wanted", "problem"),
    [
        (8, 8, None),
        (7, 8, Reason.AIRFLOW_POOL_TOO_SMALL),
        (0, 1, Reason.AIRFLOW_POOL_TOO_SMALL),
        (-1, 8, None),
    ],
)
async def test_a_pool_must_hold_the_largest_of_the_tasks(
    airflow: Airflow, fake: FakeAirflow, slots: int, wanted: int, problem: Reason | None
) -> None:
    fake.pools["gpu"] = slots
    fake.dags["train"].tasks = {"a": ("gpu", 1), "b": ("gpu", wanted), "c": ("gpu", 1)}
    assert (await airflow.preflight("train")).problem is problem


async def test_a_pool_that_is_made_is_seen_at_the_next_look(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.dags["train"].tasks = {"fit": ("gpu", 1)}
    assert (await airflow.preflight("train")).problem is Reason.AIRFLOW_POOL_NOT_FOUND
    fake.pools["gpu"] = 4
    clock.advance(seconds=11)
    assert (await airflow.preflight("train")).problem is None


async def test_pools_beyond_the_first_page_are_known(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.pools |= {f"p{number}": 1 for number in range(250)}
    fake.dags["train"].tasks = {"fit": ("p249", 1)}
    assert (await airflow.preflight("train")).problem is None
    assert calls(fake, "GET", "/pools") == [200, 200, 200]


async def test_many_dags_cost_one_look_at_the_pools(airflow: Airflow, fake: FakeAirflow) -> None:
    for dag_id in ("train", "params", "train"):
        await airflow.preflight(dag_id)
    assert calls(fake, "GET", "/pools") == [200]


@pytest.mark.parametrize("part", ["/tasks", "/pools"])
@pytest.mark.parametrize("status", [403, 404, 500])
async def test_what_the_account_may_not_see_stands_against_nothing(
    airflow: Airflow, fake: FakeAirflow, part: str, status: int
) -> None:
    fake.dags["train"].tasks = {"fit": ("gpu", 1)}
    fake.faults.answer(status, "GET", part, body={"detail": "Forbidden"})
    assert (await airflow.preflight("train")).problem is None


@pytest.mark.parametrize("part", ["/tasks", "/pools"])
@pytest.mark.parametrize("body", [[], {}, {"tasks": 1, "pools": 1}, {"tasks": [1], "pools": [1]}])
async def test_a_list_that_cannot_be_read_tells_of_no_wrong_pool(
    airflow: Airflow, fake: FakeAirflow, part: str, body: Any
) -> None:
    fake.faults.answer(200, "GET", part, body=body)
    if part == "/pools" and body == {"tasks": [1], "pools": [1]}:
        assert (await airflow.preflight("train")).problem is Reason.AIRFLOW_POOL_NOT_FOUND
    else:
        assert (await airflow.preflight("train")).problem is None


async def test_a_server_that_goes_away_meanwhile_is_an_error(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.faults.drop("GET", "/tasks", times=2)
    with pytest.raises(AirflowError) as error:
        await airflow.preflight("train")
    assert error.value.reason is Reason.UNREACHABLE


async def test_the_dags_own_faults_come_first(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.dags["train"].tasks = {"fit": ("gpu", 1)}
    fake.dags["train"].paused = True
    assert (await airflow.preflight("train")).problem is Reason.DAG_PAUSED
    assert calls(fake, "GET", "/tasks") == []
