from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from slackwater.core.run import RunState
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import PREFIX, Open, calls
from tests.fakes.airflow import FakeAirflow


async def test_a_run_is_found_by_id(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1", {"trainingWindow": {"version": 1}})
    fake.start("r1")
    run = await airflow.run("train", "r1")
    assert run is not None
    assert run.state is RunState.RUNNING
    assert (run.queued_at, run.start_date) == (fake.runs[0].queued_at, fake.runs[0].start_date)
    assert run.end_date is None
    assert run.origin == {"version": 1}


@pytest.mark.parametrize(
    "written", ["2026-11-23T22:30:00Z", "2026-11-23T23:30:00.000+01:00", "2026-11-23T22:30:00"]
)
async def test_times_are_read_as_utc(airflow: Airflow, fake: FakeAirflow, written: str) -> None:
    body = {"dag_id": "train", "dag_run_id": "r1", "state": "running", "start_date": written}
    fake.faults.answer(200, "GET", "/dagRuns", body=body)
    run = await airflow.run("train", "r1")
    assert run is not None
    assert run.start_date == datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    assert run.start_date.tzinfo is UTC


async def test_a_run_that_is_not_there_is_none(airflow: Airflow) -> None:
    assert await airflow.run("train", "r1") is None
    assert await airflow.run("nowhere", "r1") is None


@pytest.mark.parametrize(
    "body", ["<html>no such site</html>", {"error": "API route not found"}, {"detail": "Not Found"}]
)
async def test_a_404_from_elsewhere_does_not_make_a_run_absent(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.add_run("train", "r1")
    fake.faults.answer(404, "GET", "/dagRuns", body=body)
    with pytest.raises(AirflowError) as error:
        await airflow.run("train", "r1")
    assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    "body",
    ["<html>welcome</html>", [], {}, {"dag_run_id": "r1"}, {"dag_id": "train", "dag_run_id": "r2"}],
)
async def test_a_reply_that_is_no_run_is_malformed(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "GET", "/dagRuns", body=body)
    with pytest.raises(AirflowError) as error:
        await airflow.run("train", "r1")
    assert error.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("state", "read"),
    [
        ("queued", RunState.QUEUED),
        ("success", RunState.SUCCESS),
        ("failed", RunState.FAILED),
        ("deferred", RunState.RUNNING),
        (None, RunState.RUNNING),
        (["failed"], RunState.RUNNING),
    ],
)
async def test_a_state_of_a_newer_airflow_counts_as_running(
    airflow: Airflow, fake: FakeAirflow, state: Any, read: RunState
) -> None:
    fake.add_run("train", "r1", state=state)
    run = await airflow.run("train", "r1")
    assert run is not None
    assert run.state is read


async def test_fields_of_another_version_do_not_matter(airflow: Airflow, fake: FakeAirflow) -> None:
    body = {"dag_id": "train", "dag_run_id": "r1", "run_type": "cosmic", "start_date": "soon"}
    fake.faults.answer(200, "GET", "/dagRuns", body=body)
    run = await airflow.run("train", "r1")
    assert run is not None
    assert (run.start_date, run.origin) == (None, {})


@pytest.mark.parametrize("conf", [None, {}, {"trainingWindow": "x"}, {"trainingWindow": None}])
async def test_a_run_of_others_has_no_origin(
    airflow: Airflow, fake: FakeAirflow, conf: Any
) -> None:
    fake.add_run("train", "r1").conf = conf
    run = await airflow.run("train", "r1")
    assert run is not None
    assert run.origin == {}


async def test_ids_are_quoted_in_the_path(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "manual__2026-01-01T00:00:00+00:00")
    assert await airflow.run("train", "manual__2026-01-01T00:00:00+00:00") is not None
    assert await airflow.run("train", "../../../pools") is None


async def test_active_runs_are_the_queued_and_running_ones_of_the_prefix(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_run("train", f"{PREFIX}a")
    fake.add_run("params", f"{PREFIX}b", state="running")
    fake.add_run("train", f"{PREFIX}c", state="failed")
    fake.add_run("train", f"{PREFIX}d", state="success")
    fake.add_run("train", "slackwater.testing.e")  # the filter drops the prefix's last dot
    fake.add_run("train", "by hand")
    found = await airflow.active_runs(PREFIX)
    assert [(run.dag_id, run.run_id) for run in found] == [
        ("train", f"{PREFIX}a"),
        ("params", f"{PREFIX}b"),
    ]
    assert "slackwater.testing.e" in str(fake.runs)


async def test_one_request_asks_for_all_windows(airflow: Airflow, fake: FakeAirflow) -> None:
    for number in range(60):
        fake.add_run("train", f"{PREFIX}{number}")
    assert len(await airflow.active_runs(PREFIX)) == 60
    assert calls(fake, "GET", "/dagRuns") == [200]


async def test_one_id_in_two_dags_is_two_runs(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", f"{PREFIX}a")
    fake.add_run("params", f"{PREFIX}a")
    assert len(await airflow.active_runs(PREFIX)) == 2


@pytest.mark.parametrize("version", ["3.3.2", "3.1.0"])
@pytest.mark.parametrize("limit", [100, 7])
async def test_pages_are_read_to_the_end(
    opened: Open, fake: FakeAirflow, version: str, limit: int
) -> None:
    fake.version, fake.page_limit = version, limit
    for number in range(230):
        fake.add_run("train", f"{PREFIX}{number}", state="running" if number % 3 else "queued")
        fake.add_run("train", f"other{number}")
    found = await (await opened()).active_runs(PREFIX)
    assert [run.run_id for run in found] == [f"{PREFIX}{number}" for number in range(230)]


@pytest.mark.parametrize("version", ["3.3.2", "3.1.0"])
async def test_runs_that_end_between_two_pages_hide_no_other(
    opened: Open, fake: FakeAirflow, version: str
) -> None:
    fake.version, fake.page_limit = version, 10
    for number in range(30):
        fake.add_run("train", f"{PREFIX}{number}")
    airflow = await opened()
    await airflow.version()

    def three_end(_method: str, path: str) -> None:
        for run in fake.runs[:3] if "dagRuns" in path else []:
            run.state = "success"

    fake.between = three_end
    found = {run.run_id for run in await airflow.active_runs(PREFIX)}
    assert found >= {f"{PREFIX}{number}" for number in range(3, 30)}
    assert all(run.state == "success" for run in fake.runs[:3])


async def test_a_list_that_never_holds_still_is_an_error_and_not_a_part(
    opened: Open, fake: FakeAirflow
) -> None:
    fake.version, fake.page_limit = "3.1.0", 10
    for number in range(100):
        fake.add_run("train", f"{PREFIX}{number}")

    def one_ends(_method: str, _path: str) -> None:
        next(run for run in fake.runs if run.state == "queued").state = "success"

    fake.between = one_ends
    with pytest.raises(AirflowError) as error:
        await (await opened()).active_runs(PREFIX)
    assert error.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_server_that_gives_no_pages_is_an_error(
    opened: Open, fake: FakeAirflow, limit: int
) -> None:
    fake.version, fake.page_limit = "3.1.0", limit
    for number in range(3):
        fake.add_run("train", f"{PREFIX}{number}")
    with pytest.raises(AirflowError) as error:
        await (await opened()).active_runs(PREFIX)
    assert error.value.reason is Reason.UNAVAILABLE


async def test_a_page_that_fails_fails_all(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.page_limit = 10
    for number in range(30):
        fake.add_run("train", f"{PREFIX}{number}")
    fake.faults.answer(500, "GET", "/dagRuns", done=True)
    with pytest.raises(AirflowError) as error:
        await airflow.active_runs(PREFIX)
    assert error.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    "body",
    [
        "<html>welcome</html>",
        {"dag_runs": None, "total_entries": 0, "next_cursor": None},
        {"dag_runs": [{"dag_id": "train"}], "total_entries": 1, "next_cursor": None},
        {"dag_runs": []},
    ],
)
async def test_a_list_that_cannot_be_read_is_an_error(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "GET", "/dagRuns", body=body)
    with pytest.raises(AirflowError) as error:
        await airflow.active_runs(PREFIX)
    assert error.value.reason is Reason.MALFORMED


async def test_a_cursor_that_leads_nowhere_ends_in_an_error(
    airflow: Airflow, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slackwater.airflow.follow._PAGES", 3)
    body = {"dag_runs": [], "total_entries": 9, "next_cursor": "again"}
    fake.faults.answer(200, "GET", "/dagRuns", body=body, times=99)
    with pytest.raises(AirflowError) as error:
        await airflow.active_runs(PREFIX)
    assert error.value.reason is Reason.TOO_LARGE
