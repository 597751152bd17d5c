"""Identities of the operator: whom they are lent to, and the file that says so (R14)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from slackwater.api.read import read_airflow_instance
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.net import Identities, NetPolicy
from slackwater.ports import Key, Kind
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.identities import read_identities
from slackwater.runtime.sources import LiveSources
from slackwater.stores.directory import DirectoryStore

GOOD = """
identities:
- name: ci
  tokenFile: /var/run/secrets/airflow/token
  hosts: [Airflow.example, "airflow.staging.svc:8080"]
  namespaces: [research]
- {name: all, tokenFile: /t, hosts: [airflow.example], namespaces: ["*"]}
"""


def read(tmp_path: Path, text: str) -> Identities:
    file = tmp_path / "identities.yaml"
    file.write_text(text)
    return read_identities(file)


@pytest.mark.parametrize(
    ("name", "namespace", "url", "is_lent"),
    [
        ("ci", "research", "https://airflow.example/", True),
        ("ci", "research", "https://AIRFLOW.example:8443/x", True),
        ("ci", "research", "http://airflow.staging.svc:8080", True),
        ("ci", "research", "http://airflow.staging.svc:8081", False),
        ("ci", "research", "https://airflow.example.evil.example/", False),
        ("ci", "research", "https://airflow.example@evil.example/", False),
        ("ci", "demo", "https://airflow.example/", False),
        ("all", "demo", "https://airflow.example/", True),
        ("nobody", "research", "https://airflow.example/", False),
    ],
)
def test_an_identity_is_lent_to_named_namespaces_at_named_hosts_only(
    tmp_path: Path, name: str, namespace: str, url: str, *, is_lent: bool
) -> None:
    assert (read(tmp_path, GOOD).lent(name, namespace, url) is not None) is is_lent


def test_without_a_file_nothing_is_lent() -> None:
    assert read_identities(None).lent("ci", "research", "https://airflow.example/") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not YAML"),
        ("[]", "the document"),
        ("identities: [{name: ci}]", r"identities\.0\.tokenFile"),
        (GOOD.replace("/t,", "t,"), "tokenFile of all must be an absolute path"),
        (GOOD.replace("name: all", "name: ci"), "two identities have one name"),
        (GOOD.replace("[research]", "[]"), r"identities\.0\.namespaces"),
        (GOOD.replace("[research]", "['re*']"), "write the name of a namespace"),
        (GOOD.replace("[Airflow.example,", "['https://airflow.example',"), "write a host"),
        (GOOD + "more: 1\n", "more"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as failed:
        read(tmp_path, text)
    assert failed.value.sentence.startswith("--identities: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_identities(tmp_path / "missing.yaml")


def test_an_airflow_instance_with_an_identity_that_is_not_lent_is_refused(tmp_path: Path) -> None:
    spec = read_airflow_instance({"url": "https://airflow.example", "auth": {"identity": "ci"}})
    clock = SystemClock()
    sources = LiveSources(
        clock=clock,
        store=DirectoryStore([tmp_path], tmp_path / "state.db", None, clock),
        calendars=NetPolicy(),
        services=NetPolicy(),
        identities=read(tmp_path, GOOD),
    )
    try:
        key = Key(Kind.AIRFLOW_INSTANCE, Ref("research", "default"))
        assert sources.airflow(key, spec) is not None
        with pytest.raises(ConfigError) as failed:
            sources.airflow(Key(Kind.AIRFLOW_INSTANCE, Ref("demo", "default")), spec)
    finally:
        asyncio.run(sources.aclose())
    assert failed.value.reason is Reason.IDENTITY_NOT_LENT
    assert "identity ci" in failed.value.sentence
