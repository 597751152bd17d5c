"""Our login by client credentials, judged by a real Airflow under its own Keycloak auth manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from slackwater.airflow import ClientCredentials, open_airflow
from slackwater.core.run import RunState
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import NetPolicy
from slackwater.ports import Airflow
from slackwater.wire import SecretKeyRef
from slackwater_windows.wire import encode
from testbed import web
from testbed.airflow import API_ONLY
from testbed.airflow import Airflow as Server
from tests.airflow.conftest import Clock, Secrets
from tests.airflow.contract_targets import DAGS
from tests.fakes.keycloak import CLIENT, SECRET, Keycloak, serving
from tests.slackwater_airflow.installed import PACKAGES, ROOT
from tests.windows.make import document, window

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

As = Callable[..., Awaitable[Airflow]]


@pytest.fixture(scope="module")
def keycloak() -> Iterator[Keycloak]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def server(keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("windows") / "windows.json"
    windows = (window(name="shown", dag_id="plain"), window(name="hidden", dag_id="elsewhere"))
    file.write_text(encode(document(*windows)))
    with Server(
        DAGS,
        components=API_ONLY,
        dags=["plain"],
        auth="keycloak",
        settings=keycloak.settings,
        extra_packages=[ROOT / "packages" / name for name in PACKAGES],
        variables={"SLACKWATER_WINDOWS_FILE": str(file)},
    ) as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    found = Clock()
    found.moment = datetime.now(UTC)
    return found


@pytest.fixture
async def opened(server: Server, keycloak: Keycloak, clock: Clock) -> AsyncIterator[As]:
    keycloak.permissions.clear()
    keycloak.grants.clear()
    keycloak.may_write = True
    async with AsyncExitStack() as stack:

        async def start(client: str = CLIENT, secret: str = SECRET) -> Airflow:
            secrets = Secrets()
            secrets.values = {"client": f"{secret}\n"}
            airflow = await open_airflow(
                server.url,
                ClientCredentials(client, SecretKeyRef(name="airflow", key="client")),
                Ref("research", "default"),
                secrets=secrets,
                clock=clock,
                policy=NetPolicy(loopback=True),
            )
            stack.push_async_callback(airflow.aclose)
            return airflow

        yield start


async def test_all_that_slackwater_does_needs_the_scopes_that_the_docs_name(
    opened: As, keycloak: Keycloak
) -> None:
    airflow = await opened()
    await airflow.preflight("plain")
    made = await airflow.trigger("plain", "slackwater.kc.1", {"trainingWindow": {}}, "why")
    assert made.state is RunState.QUEUED
    assert [run.run_id for run in await airflow.active_runs("slackwater.kc.")] == [made.run_id]
    await airflow.cancel("plain", made.run_id)
    found = await airflow.run("plain", made.run_id)
    assert found is not None
    assert found.state is RunState.FAILED
    await airflow.trigger("plain", "slackwater.kc.2", {}, "")
    assert await airflow.delete_queued("plain", "slackwater.kc.2")

    assert keycloak.grants == ["client_credentials"]
    assert keycloak.permissions == {
        ("Dag", "GET"),
        ("Dag", "LIST"),
        ("Dag", "POST"),
        ("Dag", "PUT"),
        ("Dag", "DELETE"),
        ("Pool", "GET"),
        ("Pool", "LIST"),
    }


async def test_a_client_that_may_only_look_is_told_so(opened: As, keycloak: Keycloak) -> None:
    airflow = await opened()
    keycloak.may_write = False
    with pytest.raises(AirflowError) as failed:
        await airflow.trigger("plain", "slackwater.kc.3", {}, "")
    assert failed.value.reason is Reason.FORBIDDEN


@pytest.mark.parametrize(("client", "secret"), [(CLIENT, "wrong"), ("another-client", SECRET)])
async def test_a_wrong_secret_and_a_client_other_than_airflow_s_are_refused(
    opened: As, client: str, secret: str
) -> None:
    airflow = await opened(client, secret)
    with pytest.raises(AirflowError) as failed:
        await airflow.run("plain", "x")
    assert failed.value.reason is Reason.UNAUTHORIZED


async def test_a_login_is_renewed_before_keycloak_s_own_token_in_it_ends(
    server: Server, opened: As, keycloak: Keycloak, clock: Clock
) -> None:
    airflow = await opened()
    await airflow.run("plain", "x")
    clock.advance(seconds=keycloak.life * 0.7)
    await airflow.run("plain", "x")
    assert keycloak.grants == ["client_credentials"]
    keycloak.expire()
    clock.advance(seconds=keycloak.life * 0.15)
    assert await airflow.run("plain", "x") is None
    assert keycloak.grants == ["client_credentials"] * 2

    # What it would meet else: Airflow's own token is good for a day, and means nothing any more.
    body = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
    answer = await asyncio.to_thread(web.call, "POST", f"{server.url}/auth/token", body)
    keycloak.expire()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    url = f"{server.url}/api/v2/dags/plain"
    refused = await asyncio.to_thread(web.call, "GET", url, headers=headers)
    assert (answer.status, refused.status, refused.json()["detail"]) == (201, 403, "Forbidden")


async def test_the_tide_table_asks_keycloak_who_may_read_what(server: Server) -> None:
    address = f"{server.url}/slackwater/"
    nobody = await asyncio.to_thread(web.call, "GET", address)
    bearer = {"Authorization": f"Bearer {await asyncio.to_thread(server.token)}"}
    somebody = await asyncio.to_thread(web.call, "GET", address, headers=bearer)

    assert nobody.status == 401
    assert somebody.status == 200
    assert "shown" in somebody.text
    assert "elsewhere" not in somebody.text
