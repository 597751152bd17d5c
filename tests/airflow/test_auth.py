from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import STATIC, Clock, Open, Secrets, calls
from tests.fakes.airflow import FakeAirflow
from tests.fakes.airflow_bodies import base64_text
from tests.fakes.airflow_tokens import Tokens


def logins(fake: FakeAirflow) -> list[int]:
    return calls(fake, "POST", "/auth/token")


async def refused(airflow: Airflow) -> AirflowError:
    with pytest.raises(AirflowError) as error:
        await airflow.run("train", "r1")
    return error.value


async def test_opening_a_server_sends_nothing(opened: Open, fake: FakeAirflow) -> None:
    await opened()
    assert fake.requests == []


async def test_one_login_serves_all_that_ask_at_once(airflow: Airflow, fake: FakeAirflow) -> None:
    await asyncio.gather(*(airflow.run("train", f"r{number}") for number in range(20)))
    assert logins(fake) == [201]


async def test_a_token_is_renewed_at_four_fifths_of_its_life(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    await airflow.run("train", "r1")
    clock.advance(hours=19)
    await airflow.run("train", "r1")
    assert logins(fake) == [201]
    clock.advance(minutes=13)
    await airflow.run("train", "r1")
    assert logins(fake) == [201, 201]
    assert calls(fake, "GET") == [404, 404, 404]


async def test_a_server_whose_clock_is_behind_gives_tokens_of_full_life(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.tokens = Tokens(lambda: clock.now() - timedelta(hours=20), timedelta(days=1))
    await airflow.run("train", "r1")
    clock.advance(hours=19)
    await airflow.run("train", "r1")
    assert logins(fake) == [201]


async def test_a_token_that_seems_to_be_over_at_once_is_used_until_it_is_refused(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    claims = base64_text(json.dumps({"exp": clock.now().timestamp() - 60}).encode())
    fake.faults.answer(201, "POST", "/auth/token", body={"access_token": f"a.{claims}.c"})
    fake.faults.answer(200, "GET", body={"dag_id": "train", "dag_run_id": "r1"}, times=3)
    for _ in range(3):
        await airflow.run("train", "r1")
    assert logins(fake) == [201]


async def test_an_expired_token_is_replaced_and_the_request_repeated(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    await airflow.run("train", "r1")
    clock.moment = clock.moment.replace(year=2027)
    assert await airflow.run("train", "r1") is None
    assert calls(fake, "GET") == [404, 401, 404]
    assert logins(fake) == [201, 201]


async def test_a_rotated_signing_secret_costs_one_login_and_no_write(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    await airflow.trigger("train", "r1", {}, "")
    assert calls(fake, "POST", "/dagRuns") == [403, 200]
    assert logins(fake) == [201, 201]
    assert len(fake.runs) == 1


async def test_many_that_meet_an_expired_token_share_one_login(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    await asyncio.gather(*(airflow.run("train", f"r{number}") for number in range(20)))
    assert logins(fake) == [201, 201]


@pytest.mark.parametrize(("status", "detail"), [(401, "Token Expired"), (403, "Invalid JWT token")])
async def test_a_new_token_that_is_refused_as_well_ends_the_matter(
    airflow: Airflow, fake: FakeAirflow, status: int, detail: str
) -> None:
    fake.faults.answer(status, "GET", "/dagRuns", body={"detail": detail}, times=2)
    error = await refused(airflow)
    assert error.reason is Reason.UNAUTHORIZED
    assert error.retry_after is not None
    assert calls(fake, "GET") == [status, status]
    assert await airflow.run("train", "r1") is None


async def test_a_wrong_password_is_told(airflow: Airflow, secrets: Secrets) -> None:
    secrets.values["password"] = "wrong"
    error = await refused(airflow)
    assert error.reason is Reason.UNAUTHORIZED
    assert error.sentence == "Airflow research/default refuses the credentials."


async def test_a_wrong_password_is_tried_once_in_half_a_minute(
    airflow: Airflow, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values["password"] = "wrong"
    for _ in range(10):
        assert (await refused(airflow)).retry_after is not None
        clock.advance(seconds=2)
    assert logins(fake) == [401]
    clock.advance(seconds=15)
    await refused(airflow)
    assert logins(fake) == [401, 401]


async def test_a_corrected_password_is_tried_at_once(
    airflow: Airflow, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["password"] = "wrong"
    await refused(airflow)
    secrets.values["password"] = "admin"
    assert await airflow.run("train", "r1") is None


async def test_a_password_that_changes_during_the_login_is_read_again(
    airflow: Airflow, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["password"] = "old"
    fake.users["admin"] = ("new", "admin")

    def rotated(_method: str, path: str) -> None:
        secrets.values["password"] = "new"

    fake.between = rotated
    assert await airflow.run("train", "r1") is None
    assert logins(fake) == [401, 201]


@pytest.mark.parametrize(("status", "reason"), [(400, "x"), (403, "x"), (422, "x")])
async def test_a_login_refused_in_other_words_is_a_refused_login(
    airflow: Airflow, fake: FakeAirflow, status: int, reason: str
) -> None:
    fake.faults.answer(status, "POST", "/auth/token", body={"detail": reason})
    assert (await refused(airflow)).reason is Reason.UNAUTHORIZED


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.NOT_FOUND), (500, Reason.UNAVAILABLE), (429, Reason.THROTTLED)],
)
async def test_a_login_that_fails_otherwise_is_no_refusal(
    airflow: Airflow, fake: FakeAirflow, status: int, reason: Reason
) -> None:
    fake.faults.answer(status, "POST", "/auth/token", body={"detail": "x"})
    assert (await refused(airflow)).reason is reason
    assert await airflow.run("train", "r1") is None


@pytest.mark.parametrize("body", ["<html>welcome</html>", {}, {"access_token": ""}, {"a": 1}])
async def test_a_login_without_a_token_is_malformed(
    airflow: Airflow, fake: FakeAirflow, body: object
) -> None:
    fake.faults.answer(201, "POST", "/auth/token", body=body)
    assert (await refused(airflow)).reason is Reason.MALFORMED


async def test_a_token_that_is_no_jwt_is_used_until_it_is_refused(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    fake.faults.answer(201, "POST", "/auth/token", body={"access_token": "a.!.c"})
    fake.faults.answer(200, "GET", body={"dag_id": "train", "dag_run_id": "r1"}, times=2)
    await airflow.run("train", "r1")
    clock.advance(days=400)
    await airflow.run("train", "r1")
    assert logins(fake) == [201]


async def test_a_renewal_that_finds_the_server_ill_keeps_the_token_it_has(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    await airflow.run("train", "r1")
    clock.advance(hours=20)
    fake.faults.answer(503, "POST", "/auth/token")
    assert await airflow.run("train", "r1") is None
    assert await airflow.run("train", "r1") is None
    assert logins(fake) == [201, 503]
    clock.advance(seconds=31)
    assert await airflow.run("train", "r1") is None
    assert logins(fake) == [201, 503, 201]


async def test_a_renewal_with_a_password_that_was_changed_is_told(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    await airflow.run("train", "r1")
    clock.advance(hours=20)
    fake.users["admin"] = ("new", "admin")
    assert (await refused(airflow)).reason is Reason.UNAUTHORIZED


async def test_a_missing_secret_is_told_as_such(airflow: Airflow, secrets: Secrets) -> None:
    del secrets.values["password"]
    error = await refused(airflow)
    assert error.reason is Reason.SECRET_KEY_NOT_FOUND
    assert error.sentence == "Secret research/airflow has no key password."


async def test_a_static_token_is_sent_without_its_line_end(
    opened: Open, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin") + "\n"
    airflow = await opened(auth=STATIC)
    await airflow.trigger("train", "r1", {}, "")
    assert logins(fake) == []
    assert len(fake.runs) == 1


async def test_a_refused_static_token_is_read_again(
    opened: Open, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin")
    airflow = await opened(auth=STATIC)
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    secrets.values["token"] = fake.tokens.give("admin")
    assert await airflow.run("train", "r1") is None
    assert calls(fake, "GET") == [404, 403, 404]


async def test_a_static_token_that_stays_refused_is_not_sent_again_and_again(
    opened: Open, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin")
    airflow = await opened(auth=STATIC)
    fake.tokens.rotate_secret()
    for _ in range(5):
        assert (await refused(airflow)).reason is Reason.UNAUTHORIZED
    assert calls(fake, "GET") == [403]
    secrets.values["token"] = fake.tokens.give("admin")
    assert await airflow.run("train", "r1") is None


async def test_a_static_token_is_read_again_before_it_expires(
    opened: Open, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin")
    airflow = await opened(auth=STATIC)
    await airflow.run("train", "r1")
    clock.advance(hours=20)
    secrets.values["token"] = fake.tokens.give("admin")
    await airflow.run("train", "r1")
    clock.advance(hours=10)
    await airflow.run("train", "r1")
    assert calls(fake, "GET") == [404, 404, 404]
    assert secrets.reads == 2


async def test_a_static_token_of_some_age_is_read_again_in_time(
    opened: Open, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin")
    airflow = await opened(auth=STATIC)
    clock.advance(hours=20)
    await airflow.run("train", "r1")
    clock.advance(hours=3, minutes=30)
    await airflow.run("train", "r1")
    assert secrets.reads == 2


async def test_a_static_token_near_its_end_is_not_read_for_every_request(
    opened: Open, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values["token"] = fake.tokens.give("admin")
    airflow = await opened(auth=STATIC)
    clock.advance(hours=23, minutes=59, seconds=50)
    for _ in range(4):
        await airflow.run("train", "r1")
        clock.advance(seconds=3)
    assert secrets.reads == 1


async def test_a_lack_of_rights_is_told_and_not_asked_about_for_a_while(
    airflow: Airflow, fake: FakeAirflow, clock: Clock, secrets: Secrets
) -> None:
    secrets.values |= {"username": "viewer", "password": "viewer"}
    for _ in range(5):
        with pytest.raises(AirflowError) as error:
            await airflow.trigger("train", "r1", {}, "")
        assert type(error.value) is AirflowError
        assert error.value.reason is Reason.FORBIDDEN
        assert error.value.retry_after is not None
        clock.advance(seconds=4)
    assert error.value.retry_after.total_seconds() == 14
    assert calls(fake, "POST", "/dagRuns") == [403]
    assert logins(fake) == [201]
    assert await airflow.run("train", "r1") is None
    clock.advance(seconds=11)
    fake.users["viewer"] = ("viewer", "user")
    await airflow.trigger("train", "r1", {}, "")


async def test_a_lack_of_rights_to_one_dag_leaves_the_others(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.faults.answer(403, "POST", "/train/", body={"detail": "Forbidden"})
    with pytest.raises(AirflowError):
        await airflow.trigger("train", "r1", {}, "")
    await airflow.trigger("params", "r1", {}, "")
    assert len(fake.runs) == 1
