"""How programs log in: client credentials as Keycloak takes them, and identities of the operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from slackwater.airflow import ClientCredentials, LentToken
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import OperatorIdentity
from slackwater.wire import SecretKeyRef
from tests.airflow.conftest import Clock, Open, Secrets, calls
from tests.fakes.airflow import FakeAirflow

CLIENT = ClientCredentials("slackwater", SecretKeyRef(name="airflow", key="client"))


@pytest.fixture
async def fake(clock: Clock) -> AsyncIterator[FakeAirflow]:
    """A server under Keycloak's auth manager."""
    async with FakeAirflow(now=clock.now, clients={"slackwater": "tide"}) as server:
        server.add_dag("train")
        yield server


def lent(token: Path) -> LentToken:
    return LentToken(
        OperatorIdentity(
            name="ci", token_file=token, hosts=frozenset(), namespaces=frozenset({"research"})
        )
    )


async def test_client_credentials_are_exchanged_as_keycloak_takes_them(
    opened: Open, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["client"] = "tide\n"
    airflow = await opened(auth=CLIENT)
    await airflow.trigger("train", "r1", {}, "")
    await airflow.trigger("train", "r2", {}, "")
    assert calls(fake, "POST", "/auth/token") == [201]
    assert len(fake.runs) == 2


async def test_client_credentials_survive_a_rotated_signing_secret(
    opened: Open, fake: FakeAirflow, secrets: Secrets
) -> None:
    secrets.values["client"] = "tide"
    airflow = await opened(auth=CLIENT)
    await airflow.run("train", "r1")
    fake.tokens.rotate_secret()
    await airflow.trigger("train", "r1", {}, "")
    assert calls(fake, "POST", "/auth/token") == [201, 201]
    assert len(fake.runs) == 1


async def test_a_wrong_client_secret_is_told_and_tried_once_in_half_a_minute(
    opened: Open, fake: FakeAirflow, secrets: Secrets, clock: Clock
) -> None:
    secrets.values["client"] = "ebb"
    airflow = await opened(auth=CLIENT)
    for _ in range(3):
        with pytest.raises(AirflowError) as failed:
            await airflow.run("train", "r1")
        assert failed.value.reason is Reason.UNAUTHORIZED
        assert "ebb" not in str(failed.value)
    assert calls(fake, "POST", "/auth/token") == [403]
    secrets.values["client"] = "tide"
    assert await airflow.run("train", "r1") is None


async def test_the_token_of_an_identity_is_read_from_its_file_and_again_when_refused(
    opened: Open, fake: FakeAirflow, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(fake.tokens.give("slackwater") + "\n")
    airflow = await opened(auth=lent(token))
    assert await airflow.run("train", "r1") is None
    fake.tokens.rotate_secret()
    token.write_text(fake.tokens.give("slackwater"))
    assert await airflow.run("train", "r1") is None
    assert calls(fake, "GET") == [404, 403, 404]
    assert calls(fake, "POST") == []


async def test_an_identity_whose_file_is_gone_is_told_without_its_path(
    opened: Open, tmp_path: Path
) -> None:
    airflow = await opened(auth=lent(tmp_path / "gone"))
    with pytest.raises(AirflowError) as failed:
        await airflow.run("train", "r1")
    assert failed.value.reason is Reason.IDENTITY_UNREADABLE
    assert failed.value.sentence == "The token of identity ci cannot be read."
    assert str(tmp_path) not in repr(failed.value)


async def test_a_login_is_renewed_before_keycloak_s_own_token_in_it_ends(
    opened: Open, fake: FakeAirflow, secrets: Secrets, clock: Clock
) -> None:
    secrets.values["client"] = "tide"
    fake.tokens.inner_life = timedelta(minutes=5)
    airflow = await opened(auth=CLIENT)
    await airflow.run("train", "r1")
    clock.advance(minutes=3, seconds=50)
    await airflow.run("train", "r1")
    assert calls(fake, "POST", "/auth/token") == [201]
    clock.advance(seconds=20)
    await airflow.run("train", "r1")
    assert calls(fake, "POST", "/auth/token") == [201, 201]
    clock.advance(minutes=30)
    await airflow.run("train", "r1")
    assert calls(fake, "GET") == [404] * 4
