from __future__ import annotations

import types
from typing import Any

import pytest

from slackwater.core.run import RunState
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous, Refused, RunExists
from slackwater.ports import Airflow
from tests.airflow.conftest import PREFIX, calls
from tests.fakes.airflow import FakeAirflow, Param

RUN = f"{PREFIX}ns.n.1"


async def test_a_run_is_created_with_no_date_and_its_conf_as_given(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    conf = {"epochs": 3, "none": None, "deep": {"n": None, "l": [1, 2.5, True]}, "ü": "ß"}
    conf["trainingWindow"] = {"version": 1, "installation": "test"}
    run = await airflow.trigger("train", RUN, conf, "window research/nightly")
    assert (run.dag_id, run.run_id, run.state) == ("train", RUN, RunState.QUEUED)
    assert run.origin == {"version": 1, "installation": "test"}
    assert run.queued_at == fake.runs[0].queued_at
    assert run.start_date is None
    made = fake.runs[0]
    assert made.conf == conf
    assert (made.note, made.logical_date) == ("window research/nightly", None)


async def test_a_second_run_of_one_id_exists(airflow: Airflow, fake: FakeAirflow) -> None:
    await airflow.trigger("train", RUN, {}, "")
    with pytest.raises(RunExists):
        await airflow.trigger("train", RUN, {}, "")
    assert len(fake.runs) == 1


async def test_two_runs_without_date_do_not_collide(airflow: Airflow, fake: FakeAirflow) -> None:
    await airflow.trigger("train", f"{RUN}a", {}, "")
    await airflow.trigger("train", f"{RUN}b", {}, "")
    assert len(fake.runs) == 2


async def test_a_conf_of_read_only_mappings_is_sent_as_objects(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    conf = types.MappingProxyType({"a": types.MappingProxyType({"b": (1, 2)})})
    await airflow.trigger("train", RUN, conf, "")
    assert fake.runs[0].conf == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"x"])
async def test_a_conf_that_is_no_json_is_refused_before_it_is_sent(
    airflow: Airflow, fake: FakeAirflow, value: Any
) -> None:
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", RUN, {"a": [value]}, "")
    assert refused.value.reason is Reason.INVALID_CONF
    assert fake.requests == []


async def test_a_long_note_is_cut_to_the_column(airflow: Airflow, fake: FakeAirflow) -> None:
    await airflow.trigger("train", RUN, {}, "n" * 3000)
    assert fake.runs[0].note == "n" * 1000


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"type": "integer", "maximum": 10}, 4711, "p must be at most 10"),
        ({"type": "integer", "minimum": 1}, -4711, "p must be at least 1"),
        ({"exclusiveMaximum": 1.5}, 4711, "p must be below 1.5"),
        ({"exclusiveMinimum": 0}, -4711, "p must be above 0"),
        ({"multipleOf": 8}, 4711, "p must be a multiple of 8"),
        ({"type": "integer"}, "4711", "p must be of type integer"),
        ({"type": ["string", "null"]}, 4711, "p must be of type string, null"),
        ({"enum": ["a", "b"]}, "4711", "p must be one of 'a', 'b'"),
        ({"pattern": "^[a-z]+$"}, "4711", "p must match '^[a-z]+$'"),
        ({"maxLength": 2}, "4711", "p is too long"),
        ({"minLength": 9}, "4711", "p is too short"),
        ({"uniqueItems": True}, [4711, 4711], "p must not hold one element twice"),
        ({"not": {"type": "integer"}}, 4711, "p does not fit its schema"),
        ({"const": 1}, 4711, "p does not fit its schema"),
    ],
)
async def test_a_refused_conf_names_the_param_and_its_bound_but_not_the_value(
    airflow: Airflow, fake: FakeAirflow, schema: dict[str, Any], value: Any, told: str
) -> None:
    fake.add_dag("strict", params={"p": Param(None, schema)})
    with pytest.raises(Refused) as refused:
        await airflow.trigger("strict", RUN, {"p": value}, "")
    assert refused.value.reason is Reason.INVALID_CONF
    assert refused.value.gaps["detail"] == told
    assert refused.value.sentence == f"The conf cannot be used: {told}."
    assert "4711" not in str(refused.value)


async def test_unknown_conf_keys_are_airflows_to_accept(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.trigger("params", RUN, {"unknown": 1}, "")
    assert fake.runs[0].conf == {"unknown": 1}


async def test_an_unknown_dag_is_refused(airflow: Airflow) -> None:
    with pytest.raises(Refused) as refused:
        await airflow.trigger("nowhere", RUN, {}, "")
    assert refused.value.reason is Reason.DAG_NOT_FOUND
    assert refused.value.sentence == "DAG nowhere does not exist in Airflow research/default."


async def test_a_stale_dag_is_refused_as_not_there(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.dags["train"].stale = True
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", RUN, {}, "")
    assert refused.value.reason is Reason.DAG_NOT_FOUND


async def test_a_broken_dag_is_refused(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.dags["train"].import_errors = True
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", RUN, {}, "")
    assert refused.value.reason is Reason.DAG_HAS_IMPORT_ERRORS


async def test_a_paused_dag_takes_runs_into_its_queue(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.dags["train"].paused = True
    assert (await airflow.trigger("train", RUN, {}, "")).state is RunState.QUEUED


@pytest.mark.parametrize(
    ("run_id", "told"),
    [
        ("with space", "it does not allow this form of run id"),
        ("scheduled__x", "it keeps ids of this form for its own runs"),
        ("a..b", "it does not allow a run id with two dots in a row"),
    ],
)
async def test_a_run_id_that_airflow_dislikes_is_rejected(
    airflow: Airflow, run_id: str, told: str
) -> None:
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", run_id, {}, "")
    assert refused.value.reason is Reason.REJECTED
    assert refused.value.gaps["detail"] == told


async def test_a_dag_without_manual_runs_is_rejected(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.dags["train"].allowed_run_types = ["scheduled"]
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", RUN, {}, "")
    assert refused.value.reason is Reason.REJECTED
    assert refused.value.gaps["detail"] == "the DAG does not allow manual runs"


@pytest.mark.parametrize(
    ("status", "body", "reason", "told"),
    [
        (
            422,
            {"detail": {"reason": "Value rejected by database", "statement": "hidden"}},
            Reason.INVALID_CONF,
            "its database does not take one of the values, such as text with a NUL in it",
        ),
        (
            422,
            {"detail": [{"type": "dict_type", "loc": ["body", "conf"], "msg": "x", "input": 4711}]},
            Reason.REJECTED,
            "conf: dict type",
        ),
        (422, {"detail": [4711]}, Reason.REJECTED, "the request is malformed"),
        (400, {"detail": "4711 is not nice"}, Reason.REJECTED, "it answers with status 400"),
        (413, "<html>4711</html>", Reason.REJECTED, "it answers with status 413"),
    ],
)
async def test_other_refusals_are_told_without_airflows_own_words(
    airflow: Airflow, fake: FakeAirflow, status: int, body: Any, reason: Reason, told: str
) -> None:
    fake.faults.answer(status, "POST", "/dagRuns", body=body)
    with pytest.raises(Refused) as refused:
        await airflow.trigger("train", RUN, {"title": "4711"}, "")
    assert refused.value.reason is reason
    assert refused.value.gaps["detail"] == told
    assert "4711" not in str(refused.value)


async def test_a_404_that_is_not_about_the_dag_refuses_nothing(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.faults.answer(404, "POST", "/dagRuns", body="<html>no such site</html>")
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("train", RUN, {}, "")
    assert type(error.value) is AirflowError
    assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("done", [True, False])
async def test_a_lost_reply_is_ambiguous_and_settled_by_reading(
    airflow: Airflow, fake: FakeAirflow, done: bool
) -> None:
    fake.faults.drop("POST", "/dagRuns", done=done)
    with pytest.raises(Ambiguous) as ambiguous:
        await airflow.trigger("train", RUN, {}, "")
    assert ambiguous.value.reason is Reason.UNREACHABLE
    assert calls(fake, "POST", "/dagRuns") == [0]
    assert (await airflow.run("train", RUN) is not None) is done


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_a_server_error_is_ambiguous(
    airflow: Airflow, fake: FakeAirflow, status: int, done: bool
) -> None:
    fake.faults.answer(status, "POST", "/dagRuns", done=done, headers={"Retry-After": "7"})
    with pytest.raises(Ambiguous) as ambiguous:
        await airflow.trigger("train", RUN, {}, "")
    assert ambiguous.value.retry_after is not None
    assert ambiguous.value.retry_after.total_seconds() == 7
    assert calls(fake, "POST", "/dagRuns") == [status]


async def test_a_time_out_is_ambiguous(
    airflow: Airflow, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slackwater.airflow.session.WRITE_SECONDS", 0.1)
    hold = fake.faults.hold("POST", "/dagRuns", done=True)
    with pytest.raises(Ambiguous) as ambiguous:
        await airflow.trigger("train", RUN, {}, "")
    assert ambiguous.value.reason is Reason.TIMEOUT
    hold.release()
    assert await airflow.run("train", RUN) is not None


@pytest.mark.parametrize(
    "body",
    [
        "<html>welcome</html>",
        {"dag_id": "train"},
        {"dag_run_id": 3},
        {"dag_id": "train", "dag_run_id": "other"},
    ],
)
async def test_a_success_that_cannot_be_read_is_ambiguous(
    airflow: Airflow, fake: FakeAirflow, body: Any
) -> None:
    fake.faults.answer(200, "POST", "/dagRuns", body=body, done=True)
    with pytest.raises(Ambiguous) as ambiguous:
        await airflow.trigger("train", RUN, {}, "")
    assert ambiguous.value.reason is Reason.MALFORMED


async def test_a_server_that_is_down_was_certainly_not_reached(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.trigger("train", RUN, {}, "")
    await fake.go_down()
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("train", f"{RUN}b", {}, "")
    assert type(error.value) is AirflowError
    assert error.value.reason is Reason.UNREACHABLE
    await fake.come_up()
    await airflow.trigger("train", f"{RUN}b", {}, "")
    assert [run.run_id for run in fake.runs] == [RUN, f"{RUN}b"]


async def test_throttling_was_certainly_no_start(airflow: Airflow, fake: FakeAirflow) -> None:
    fake.faults.answer(429, "POST", "/dagRuns", headers={"Retry-After": "42"})
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("train", RUN, {}, "")
    assert type(error.value) is AirflowError
    assert error.value.reason is Reason.THROTTLED
    assert error.value.retry_after is not None
    assert error.value.retry_after.total_seconds() == 42
    assert fake.runs == []
