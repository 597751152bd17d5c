"""The adapter on real servers under the auth managers that users meet: simple and FAB."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from slackwater.airflow import open_airflow
from slackwater.airflow.auth import Auth
from slackwater.core.run import RunState
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import NetPolicy
from slackwater.ports import Airflow
from slackwater.runtime.clock import SystemClock
from testbed import web
from testbed.airflow import API_ONLY
from testbed.airflow import Airflow as Server
from tests.airflow.conftest import LOGIN, STATIC, Secrets
from tests.airflow.contract_targets import DAGS

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

As = Callable[..., Awaitable[Airflow]]


@pytest.fixture(scope="module", params=["simple", "fab"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real Airflow under one of the auth managers."""
    with Server(DAGS, components=API_ONLY, dags=["plain"], auth=request.param) as found:
        yield found


@pytest.fixture
async def opened(server: Server) -> AsyncIterator[As]:
    """Open the server as a user; closed at the end."""
    async with AsyncExitStack() as stack:

        async def start(user: str, *, password: str = "", auth: Auth = LOGIN) -> Airflow:
            secrets = Secrets()
            secrets.values = {
                "username": user,
                "password": password or user,
                "token": password,
            }
            airflow = await open_airflow(
                server.url,
                auth,
                Ref("research", "default"),
                secrets=secrets,
                clock=SystemClock(),
                policy=NetPolicy(loopback=True),
            )
            stack.push_async_callback(airflow.aclose)
            return airflow

        yield start


def signed(server: Server, *, good: bool, life: float) -> str:
    """The token of `op` with another end, and signed with another secret where it is not good."""
    head, claims, _ = server.token("op").split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
    changed["exp"] = int(time.time() + life)
    changed["nbf"] = changed["iat"] = changed["exp"] - 86400
    text = f"{head}.{encoded(json.dumps(changed).encode())}"
    secret = server.environment()["AIRFLOW__API_AUTH__JWT_SECRET"] if good else "x" * 64
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha512).digest()
    return f"{text}.{encoded(digest)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("user", ["user", "op"])
async def test_an_ordinary_account_can_do_all_that_slackwater_does(opened: As, user: str) -> None:
    airflow = await opened(user)
    assert (await airflow.version()).startswith("3.")
    facts = await airflow.preflight("plain")
    assert facts.problem in {None, Reason.SCHEDULER_UNHEALTHY}  # this server has no scheduler
    run_id = f"slackwater.{user}.1"
    made = await airflow.trigger("plain", run_id, {"trainingWindow": {"name": "n"}}, "why")
    assert made.state is RunState.QUEUED
    assert [run.run_id for run in await airflow.active_runs(f"slackwater.{user}.")] == [run_id]
    await airflow.cancel("plain", run_id)
    found = await airflow.run("plain", run_id)
    assert found is not None
    assert found.state is RunState.FAILED
    await airflow.trigger("plain", f"{run_id}b", {}, "")
    assert await airflow.delete_queued("plain", f"{run_id}b")
    assert await airflow.run("plain", f"{run_id}b") is None


async def test_an_account_that_may_only_look_is_told_so_at_the_start(opened: As) -> None:
    airflow = await opened("viewer")
    assert await airflow.active_runs("slackwater.none.") == ()
    with pytest.raises(AirflowError) as failed:
        await airflow.trigger("plain", "slackwater.viewer.1", {}, "")
    assert failed.value.reason is Reason.FORBIDDEN


async def test_a_wrong_password_is_told(opened: As) -> None:
    airflow = await opened("op", password="tide")
    with pytest.raises(AirflowError) as failed:
        await airflow.run("plain", "x")
    assert failed.value.reason is Reason.UNAUTHORIZED


async def test_expired_and_forged_tokens_are_answered_as_the_renewal_expects(
    server: Server, opened: As
) -> None:
    for good, life, status, detail in (
        (True, -3600.0, 401, "Token Expired"),
        (False, 3600.0, 403, "Invalid JWT token"),
    ):
        token = signed(server, good=good, life=life)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{server.url}/api/v2/dags/plain"
        answer = await asyncio.to_thread(web.call, "GET", url, headers=headers)
        assert (answer.status, answer.json()["detail"]) == (status, detail)
        airflow = await opened("op", password=token, auth=STATIC)
        with pytest.raises(AirflowError) as failed:
            await airflow.run("plain", "x")
        assert failed.value.reason is Reason.UNAUTHORIZED
