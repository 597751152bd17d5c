from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.airflow.answers import refusal
from slackwater.airflow.client import Answer
from slackwater.errors import AirflowError
from tests.airflow.conftest import STATIC, Clock, Open, Secrets
from tests.fakes.airflow import FakeAirflow, Param

CANARIES = ("pass-c4n4ry", "conf-c4n4ry", "note-c4n4ry", "c4n4ry-token")
NOTE = "note-c4n4ry"
CONF = {"title": "conf-c4n4ry", "conf-c4n4ry": 1, "epochs": "conf-c4n4ry"}


def told(error: BaseException) -> str:
    """Everything a log with a traceback would show of it."""
    return "".join(traceback.format_exception(error)) + repr(error)


def clean(text: str, *more: str) -> bool:
    return not any(canary in text for canary in (*CANARIES, *more))


@pytest.fixture(autouse=True)
def all_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3_future", "airflow_client", "airflow_client.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)


FAULTS: list[dict[str, Any]] = [
    {"status": 400, "body": {"detail": "conf-c4n4ry is not allowed"}},
    {"status": 400, "body": {"detail": "Invalid input for param epochs: 'conf-c4n4ry' is wrong"}},
    {"status": 401, "body": {"detail": "pass-c4n4ry"}, "times": 2},
    {"status": 403, "body": {"detail": "conf-c4n4ry"}},
    {"status": 404, "body": "<html>conf-c4n4ry</html>"},
    {"status": 409, "body": {"detail": "conf-c4n4ry"}},
    {"status": 422, "body": {"detail": [{"type": "x", "loc": ["body"], "input": CONF}]}},
    {"status": 422, "body": {"detail": {"reason": "conf-c4n4ry", "message": "conf-c4n4ry"}}},
    {"status": 500, "body": {"detail": "conf-c4n4ry"}},
    {"status": 200, "body": "conf-c4n4ry"},
    {"status": 302, "headers": {"Location": "http://127.0.0.1/?conf-c4n4ry"}},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["status"]))
async def test_no_refusal_repeats_what_was_sent(
    opened: Open,
    fake: FakeAirflow,
    secrets: Secrets,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
) -> None:
    fake.users["admin"] = ("pass-c4n4ry", "admin")
    secrets.values["password"] = "pass-c4n4ry"
    airflow = await opened()
    fake.faults.answer(method="POST", path="/dagRuns", **fault)
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("params", "r1", CONF, NOTE)
    assert clean(told(error.value))
    assert "POST" in caplog.text
    assert clean(caplog.text, "eyJ", "Authorization", "Bearer")


@pytest.mark.parametrize("fault", ["drop", "refuse", "time out", "wrong password", "no secret"])
async def test_no_failure_repeats_what_was_sent(
    opened: Open,
    fake: FakeAirflow,
    secrets: Secrets,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    secrets.values["token"] = "c4n4ry-token"
    secrets.values["password"] = "pass-c4n4ry"
    fake.users["admin"] = ("pass-c4n4ry" if fault != "wrong password" else "other", "admin")
    airflow = await opened()
    hold = None
    match fault:
        case "drop":
            fake.faults.drop("POST", "/dagRuns")
        case "refuse":
            await fake.go_down()
        case "time out":
            monkeypatch.setattr("slackwater.airflow.session.WRITE_SECONDS", 0.1)
            hold = fake.faults.hold("POST", "/dagRuns")
        case "no secret":
            del secrets.values["username"]
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("params", "r1", CONF, NOTE)
    if hold is not None:
        hold.release()
    assert clean(told(error.value), "eyJ")
    assert clean(caplog.text, "eyJ", "Authorization", "Bearer")


async def test_a_static_token_is_in_no_error_and_no_log(
    opened: Open, fake: FakeAirflow, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    secrets.values["token"] = "c4n4ry-token"
    airflow = await opened(auth=STATIC)
    with pytest.raises(AirflowError) as error:
        await airflow.trigger("train", "r1", {}, "")
    assert clean(told(error.value), "eyJ")
    assert clean(caplog.text, "Authorization", "Bearer")


async def test_a_token_that_no_header_can_carry_is_in_no_error(
    opened: Open, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    secrets.values["token"] = "c4n4ry-token\r\nX-Evil: 1"
    airflow = await opened(auth=STATIC)
    with pytest.raises(AirflowError) as error:
        await airflow.run("train", "r1")
    assert clean(told(error.value))
    assert clean(caplog.text)


async def test_what_is_kept_shows_no_secret_when_printed(
    opened: Open, fake: FakeAirflow, secrets: Secrets
) -> None:
    fake.users["admin"] = ("pass-c4n4ry", "admin")
    secrets.values["password"] = "pass-c4n4ry"
    airflow = await opened()
    run = await airflow.trigger("params", "r1", {"trainingWindow": {"t": "conf-c4n4ry"}}, "")
    tokens = airflow._session._tokens  # type: ignore[attr-defined]
    assert tokens._token.value.startswith("eyJ")
    shown = f"{run!r} {tokens!r} {tokens._token!r} {airflow!r} {tokens._refused!r}"
    assert clean(shown, "eyJ")


SCHEMAS: list[dict[str, Any]] = [
    {"type": "integer"},
    {"enum": ["a", 1]},
    {"pattern": "^x$", "type": "string"},
    {"maxLength": 1},
    {"format": "date-time", "type": "string", "pattern": "^[0-9]+$"},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    {"not": {}},
    {"const": 0},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "required": ["a"]},
    {"type": "array", "items": {"type": "null"}},
]
# Titles that try to look like the end of a validator's message.
TITLES = st.builds(
    "{}{}{}".format,
    st.text(max_size=20),
    st.sampled_from(
        [
            " is not one of ['s3cr3t']",
            "' does not match 's3cr3t'",
            " is not of type 's3cr3t'",
            " is greater than the maximum of 4711",
            "\nFailed validating 's3cr3t'",
            " is not a 's3cr3t'",
            "s3cr3t",
        ]
    ),
    st.sampled_from(["", "'", "]", "\n", " "]),
)


@settings(max_examples=100)
@given(
    schema=st.sampled_from(SCHEMAS),
    value=st.one_of(TITLES, st.lists(TITLES, max_size=3), st.dictionaries(TITLES, TITLES)),
)
def test_no_value_comes_through_a_validators_message(schema: dict[str, Any], value: Any) -> None:
    import jsonschema

    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        body = {"detail": f"Invalid input for param p: {error}"}
        sentence = str(refusal(Answer(400, {}, body), what="Airflow a/b"))
        assert "s3cr3t" not in sentence
        assert "4711" not in sentence


async def test_params_of_a_real_dag_are_refused_in_our_words(
    opened: Open, fake: FakeAirflow, clock: Clock
) -> None:
    fake.add_dag("d", params={"team": Param("a", {"type": "string", "enum": ["a", "b"]})})
    airflow = await opened()
    results = await asyncio.gather(
        *(airflow.trigger("d", f"r{n}", {"team": f"s3cr3t{n}"}, "") for n in range(3)),
        return_exceptions=True,
    )
    assert [str(result) for result in results] == [
        "InvalidConf: The conf cannot be used: team must be one of 'a', 'b'."
    ] * 3
