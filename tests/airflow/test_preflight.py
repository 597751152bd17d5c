from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slackwater.core.conf import check_params
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from slackwater_windows.schedule import shown, started_by
from tests.airflow.conftest import Clock, Open, calls
from tests.fakes.airflow import FakeAirflow, Param


async def test_a_dag_that_can_be_triggered_has_no_problem(airflow: Airflow, clock: Clock) -> None:
    facts = await airflow.preflight("train")
    assert facts.problem is None
    assert facts.own_schedule is False
    assert facts.checked_at == clock.now()


@pytest.mark.parametrize(
    ("traits", "problem"),
    [
        ({"paused": True}, Reason.DAG_PAUSED),
        ({"stale": True}, Reason.DAG_STALE),
        ({"import_errors": True}, Reason.DAG_HAS_IMPORT_ERRORS),
        ({"import_errors": True, "stale": True, "paused": True}, Reason.DAG_HAS_IMPORT_ERRORS),
        ({"stale": True, "paused": True}, Reason.DAG_STALE),
        ({"allowed_run_types": ["scheduled"]}, Reason.REJECTED),
        ({"allowed_run_types": ["manual", "scheduled"]}, None),
    ],
)
async def test_what_stands_against_a_dag_is_told(
    airflow: Airflow, fake: FakeAirflow, traits: dict[str, Any], problem: Reason | None
) -> None:
    fake.add_dag("d", **traits)
    assert (await airflow.preflight("d")).problem is problem


async def test_a_dag_that_is_not_there_is_told(airflow: Airflow) -> None:
    assert (await airflow.preflight("nowhere")).problem is Reason.DAG_NOT_FOUND


async def test_a_404_from_elsewhere_is_an_error_and_no_missing_dag(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.faults.answer(404, "GET", "/dags", body="<html>no such site</html>")
    with pytest.raises(AirflowError) as error:
        await airflow.preflight("train")
    assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("schedule", "own"),
    [
        (None, False),
        ("0 0 * * *", True),
        ("Asset", True),
        ("@daily", True),
        (shown("research/nightly"), False),
        (started_by("research/nightly"), True),
    ],
)
async def test_a_schedule_of_its_own_is_told(
    airflow: Airflow, fake: FakeAirflow, schedule: str | None, own: bool
) -> None:
    fake.add_dag("d", schedule=schedule)
    facts = await airflow.preflight("d")
    assert (facts.own_schedule, facts.problem) == (own, None)


async def test_params_come_as_the_check_of_conf_reads_them(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_dag(
        "d",
        params={
            "epochs": Param(3, {"type": "integer"}),
            "name": Param(None, {"type": "string"}),
            "until": Param(None, {"type": ["null", "string"]}),
            "free": Param(7),
        },
    )
    params = (await airflow.preflight("d")).params_schema
    assert params["epochs"] == {"value": 3, "schema": {"type": "integer"}}
    assert check_params({"name": "a"}, params) is None
    assert check_params({}, params) == "name needs a value"
    assert check_params({"name": "a", "epochs": "3"}, params) == "epochs must be of type integer"


async def test_details_that_break_leave_the_plain_facts(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_dag("d", paused=True, broken_details=True, params={"a": Param(1)})
    facts = await airflow.preflight("d")
    assert (facts.problem, facts.params_schema) == (Reason.DAG_PAUSED, {})


async def test_details_that_get_no_reply_are_an_error(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.faults.drop("GET", "/details", times=2)
    with pytest.raises(AirflowError) as error:
        await airflow.preflight("train")
    assert error.value.reason is Reason.UNREACHABLE


@pytest.mark.parametrize("body", ["<html>welcome</html>", [], {}, {"is_paused": False}])
async def test_facts_that_cannot_be_read_are_an_error(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "GET", "/details", body=body)
    with pytest.raises(AirflowError) as error:
        await airflow.preflight("train")
    assert error.value.reason is Reason.MALFORMED


async def test_an_unhealthy_scheduler_stands_against_every_dag(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.scheduler = "unhealthy"
    assert (await airflow.preflight("train")).problem is Reason.SCHEDULER_UNHEALTHY
    fake.dags["params"].paused = True
    assert (await airflow.preflight("params")).problem is Reason.DAG_PAUSED
    fake.scheduler = "healthy"
    clock.advance(seconds=11)
    assert (await airflow.preflight("train")).problem is None


async def test_a_hundred_dags_cost_one_look_at_the_health(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    for number in range(100):
        fake.add_dag(f"d{number}")
    facts = await asyncio.gather(*(airflow.preflight(f"d{number}") for number in range(100)))
    assert {fact.problem for fact in facts} == {None}
    assert calls(fake, "GET", "/health") == [200]
    clock.advance(seconds=11)
    await airflow.preflight("train")
    assert calls(fake, "GET", "/health") == [200, 200]


async def test_a_health_that_cannot_be_asked_is_asked_once_for_all(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.faults.answer(503, "GET", "/health", times=99)
    for _ in range(3):
        with pytest.raises(AirflowError) as error:
            await airflow.preflight("train")
        assert error.value.reason is Reason.UNAVAILABLE
    assert calls(fake, "GET", "/health") == [503]
    fake.faults.clear()
    clock.advance(seconds=11)
    assert (await airflow.preflight("train")).problem is None


@pytest.mark.parametrize("body", ["<html>hm</html>", {}, {"scheduler": None}, {"scheduler": {}}])
async def test_a_health_that_says_nothing_stands_against_nothing(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "GET", "/health", body=body)
    assert (await airflow.preflight("train")).problem is None


@pytest.mark.parametrize("version", ["3.3.2", "3.1.0", "3.10.1", "4.0.0rc1", "3.3.2+astro.1"])
async def test_the_version_is_read(opened: Open, fake: FakeAirflow, version: str) -> None:
    fake.faults.answer(200, "GET", "/version", body={"version": version})
    assert await (await opened()).version() == version
    assert calls(fake, "POST") == []


@pytest.mark.parametrize("version", ["2.11.2", "3.0.6"])
async def test_an_older_airflow_is_not_supported(
    opened: Open, fake: FakeAirflow, version: str
) -> None:
    fake.version = version
    with pytest.raises(AirflowError) as error:
        await (await opened()).version()
    assert error.value.reason is Reason.AIRFLOW_UNSUPPORTED


async def test_a_wrong_path_is_not_taken_for_airflow_2(opened: Open, fake: FakeAirflow) -> None:
    fake.faults.answer(404, "GET", body="<html>no such site</html>", times=2)
    with pytest.raises(AirflowError) as error:
        await (await opened()).version()
    assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("body", ["<html>welcome</html>", {}, {"version": 3}, {"version": "new"}])
async def test_a_version_that_is_none_is_malformed(
    opened: Open, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "GET", "/version", body=body)
    with pytest.raises(AirflowError) as error:
        await (await opened()).version()
    assert error.value.reason is Reason.MALFORMED


async def test_a_path_under_another_site_gets_a_web_page(opened: Open, fake: FakeAirflow) -> None:
    with pytest.raises(AirflowError) as error:
        await (await opened(f"{fake.url}/wrong")).version()
    assert error.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("status", [401, 403, 302])
async def test_a_gateway_that_wants_a_token_even_for_the_version_gets_it(
    opened: Open, fake: FakeAirflow, status: int
) -> None:
    fake.faults.answer(status, "GET", "/version", headers={"Location": "/login"})
    assert await (await opened()).version() == "3.3.2"
    assert calls(fake, "POST", "/auth/token") == [201]
