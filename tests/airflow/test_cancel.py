from __future__ import annotations

from typing import Any

import pytest

from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous, Refused
from slackwater.ports import Airflow
from tests.airflow.conftest import calls
from tests.fakes.airflow import FakeAirflow


async def test_a_cancelled_run_has_failed(airflow: Airflow, fake: FakeAirflow) -> None:
    for run_id, state in (("r1", "running"), ("r2", "queued")):
        fake.add_run("train", run_id, state=state)
        await airflow.cancel("train", run_id)
    assert [run.state for run in fake.runs] == ["failed", "failed"]


async def test_a_run_that_succeeded_stays_so(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1", state="success")
    await airflow.cancel("train", "r1")
    assert fake.runs[0].state == "success"
    assert calls(fake, "PATCH") == []


async def test_cancelling_twice_is_cancelling_once(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1", state="running")
    await airflow.cancel("train", "r1")
    await airflow.cancel("train", "r1")
    assert calls(fake, "PATCH") == [200]


async def test_a_run_that_is_gone_cannot_be_cancelled(airflow: Airflow, fake: FakeAirflow) -> None:
    with pytest.raises(Refused) as refused:
        await airflow.cancel("train", "r1")
    assert refused.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (
            {"detail": "The DagRun with dag_id: `train` and run_id: `r1` was not found"},
            Refused,
            Reason.NOT_FOUND,
        ),
        ({"detail": "The Dag with ID: `train` was not found"}, Refused, Reason.DAG_NOT_FOUND),
        ("<html>no such site</html>", AirflowError, Reason.NOT_FOUND),
    ],
)
async def test_a_404_to_the_change_itself_is_told_apart(
    airflow: Airflow, fake: FakeAirflow, body: Any, kind: type, reason: Reason
) -> None:
    fake.add_run("train", "r1", state="running")
    fake.faults.answer(404, "PATCH", body=body)
    with pytest.raises(AirflowError) as error:
        await airflow.cancel("train", "r1")
    assert (type(error.value), error.value.reason) == (kind, reason)


async def test_a_lost_reply_to_a_cancellation_is_ambiguous(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_run("train", "r1", state="running")
    fake.faults.drop("PATCH", done=True)
    with pytest.raises(Ambiguous):
        await airflow.cancel("train", "r1")
    assert fake.runs[0].state == "failed"
    await airflow.cancel("train", "r1")


@pytest.mark.parametrize("body", ["<html>welcome</html>", {}])
async def test_a_success_that_cannot_be_read_is_ambiguous(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.add_run("train", "r1", state="running")
    fake.faults.answer(200, "PATCH", body=body)
    with pytest.raises(Ambiguous) as error:
        await airflow.cancel("train", "r1")
    assert error.value.reason is Reason.MALFORMED


async def test_another_refusal_of_a_cancellation_is_told(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_run("train", "r1", state="running")
    fake.faults.answer(422, "PATCH", body={"detail": []})
    with pytest.raises(Refused) as error:
        await airflow.cancel("train", "r1")
    assert error.value.reason is Reason.REJECTED


async def test_when_the_look_fails_nothing_was_changed(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1", state="queued")
    for act in (airflow.cancel, airflow.delete_queued):
        fake.faults.answer(500, "GET", "/dagRuns")
        with pytest.raises(AirflowError) as error:
            await act("train", "r1")
        assert type(error.value) is AirflowError
    assert fake.runs[0].state == "queued"


async def test_a_queued_run_is_deleted(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1")
    assert await airflow.delete_queued("train", "r1") is True
    assert fake.runs == []


async def test_a_run_that_is_gone_counts_as_deleted(airflow: Airflow, fake: FakeAirflow) -> None:
    assert await airflow.delete_queued("train", "r1") is True
    fake.add_run("train", "r1")
    detail = "The DagRun with dag_id: `train` and run_id: `r1` was not found"
    fake.faults.answer(404, "DELETE", body={"detail": detail})
    assert await airflow.delete_queued("train", "r1") is True


@pytest.mark.parametrize("state", ["running", "success", "failed"])
async def test_a_run_that_has_begun_is_not_deleted(
    airflow: Airflow, fake: FakeAirflow, state: str
) -> None:
    fake.add_run("train", "r1", state=state)
    assert await airflow.delete_queued("train", "r1") is False
    assert len(fake.runs) == 1


async def test_a_run_that_begins_just_before_its_deletion_is_kept(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.add_run("train", "r1")

    def begins(method: str, path: str) -> None:
        if method == "GET":
            fake.start("r1")

    fake.between = begins
    assert await airflow.delete_queued("train", "r1") is False
    assert calls(fake, "DELETE") == [409]
    assert fake.runs[0].state == "running"


async def test_a_lost_reply_to_a_deletion_is_ambiguous(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.add_run("train", "r1")
    fake.faults.drop("DELETE", done=True)
    with pytest.raises(Ambiguous):
        await airflow.delete_queued("train", "r1")
    assert await airflow.delete_queued("train", "r1") is True


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [(404, AirflowError, Reason.NOT_FOUND), (405, Refused, Reason.REJECTED)],
)
async def test_a_deletion_refused_elsewhere_is_no_deletion(
    airflow: Airflow, fake: FakeAirflow, status: int, kind: type, reason: Reason
) -> None:
    fake.add_run("train", "r1")
    fake.faults.answer(status, "DELETE", body="<html>no</html>")
    with pytest.raises(AirflowError) as error:
        await airflow.delete_queued("train", "r1")
    assert (type(error.value), error.value.reason) == (kind, reason)
