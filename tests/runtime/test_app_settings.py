"""What the long-running commands are told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from slackwater.errors import ConfigError
from slackwater.runtime import settings as module
from slackwater.runtime.last_run import remember
from slackwater.runtime.settings import (
    Address,
    DirectorySettings,
    directory_settings,
    kubeconfig_of,
    log_settings,
    names_directory,
    operator_settings,
)
from slackwater.runtime.sources import cluster_policies, directory_policies

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.fixture(autouse=True)
def _no_service_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_SERVICE_ACCOUNT", tmp_path / "namespace")


def test_an_operator_that_is_told_nothing_serves_everything() -> None:
    told = operator_settings({}, IN_POD)

    assert told.namespaces == ()
    assert (told.lease_namespace, told.lease_name) == ("default", "slackwater")
    assert told.metrics == Address("0.0.0.0", 8080)
    assert told.installation is None
    assert told.kubeconfig is None


def test_a_pod_keeps_its_lease_in_its_own_namespace(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("apps\n")
    assert operator_settings({}, IN_POD).lease_namespace == "apps"

    environ = IN_POD | {"POD_NAMESPACE": "slackwater", "POD_NAME": "slackwater-6f9"}
    told = operator_settings({}, environ)
    assert (told.lease_namespace, told.instance) == ("slackwater", "slackwater-6f9")


FLAGS: Mapping[str, Any] = {
    "namespace": ["research", "demo"],
    "installation": "lab-7",
    "allow_network": ["10.20.0.0/16", "fd00::/8"],
    "google_endpoint": "http://127.0.0.1:4620",
    "metrics_address": "[::1]:9000",
    "lease_namespace": "apps",
    "lease_name": "tide",
    "kubeconfig": __file__,
    "context": "lab",
    "identities": __file__,
    "calendar_host": ["login.sovereign.example", "Graph.sovereign.example:8443"],
    "public_url": "https://slackwater.example/tide/",
}


def test_every_flag_of_the_operator_has_a_variable_of_its_name() -> None:
    environ = {
        f"SLACKWATER_{name.upper()}": ",".join(value) if isinstance(value, list) else value
        for name, value in FLAGS.items()
    }

    assert operator_settings({}, environ) == operator_settings(FLAGS, {})
    told = operator_settings(FLAGS, {})
    assert told.namespaces == ("research", "demo")
    assert told.endpoints == {"google": "http://127.0.0.1:4620"}
    assert told.calendar_hosts == {"login.sovereign.example", "graph.sovereign.example:8443"}
    assert told.allow_networks == (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert told.metrics == Address("::1", 9000)
    assert str(told.metrics) == "[::1]:9000"


def test_every_flag_of_run_has_a_variable_of_its_name(tmp_path: Path) -> None:
    flags = {
        "manifests": [str(tmp_path / "a"), str(tmp_path / "b")],
        "data": str(tmp_path / "data"),
        "secrets": str(tmp_path / "secrets"),
        "listen": "127.0.0.1:0",
        "installation": "box",
        "allow_network": ["192.0.2.0/24"],
        "google_endpoint": "https://google.example",
    }
    environ = {
        f"SLACKWATER_{name.upper()}": os.pathsep.join(value) if isinstance(value, list) else value
        for name, value in flags.items()
    }

    told = directory_settings(flags, {})
    assert directory_settings({}, environ) == told
    assert told.manifests == (tmp_path / "a", tmp_path / "b")
    assert told.database == tmp_path / "data" / "slackwater.db"


def test_a_flag_wins_over_its_variable_and_an_empty_variable_is_none() -> None:
    environ = IN_POD | {"SLACKWATER_LEASE_NAME": "other", "SLACKWATER_NAMESPACE": ""}

    told = operator_settings({"lease_name": "tide"}, environ)
    assert told.lease_name == "tide"
    assert told.namespaces == ()


@pytest.mark.parametrize(
    ("flags", "environ", "said"),
    [
        ({"metrics_address": "8080"}, {}, r"--metrics-address: 8080 is no address"),
        ({"metrics_address": "::1:8080"}, {}, r"write HOST:PORT, such as 0\.0\.0\.0:8080"),
        ({"metrics_address": "localhost:99999"}, {}, r"localhost:99999 is no address"),
        ({}, {"SLACKWATER_METRICS_ADDRESS": ":80"}, r"SLACKWATER_METRICS_ADDRESS: :80 is no"),
        ({"allow_network": ["10.0.0.1/8"]}, {}, r"--allow-network: 10\.0\.0\.1/8 is no range"),
        ({"google_endpoint": "127.0.0.1:1"}, {}, r"--google-endpoint: 127\.0\.0\.1:1 is no origin"),
        ({"google_endpoint": "https://a/b"}, {}, r"https://a/b is no origin; write it like"),
        ({"namespace": ["Research"]}, {}, r"--namespace: Research is no name"),
        ({"calendar_host": ["https://x"]}, {}, r"--calendar-host: https://x is no host"),
        ({"lease_name": "a/b"}, {}, r"--lease-name: a/b is no name"),
        ({"installation": "a.b"}, {}, r"--installation: write at most 63 letters"),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_to_write(
    flags: Mapping[str, Any], environ: Mapping[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        operator_settings(flags, IN_POD | dict(environ))


def test_a_kubeconfig_must_exist_and_kubectls_own_will_do(tmp_path: Path) -> None:
    missing, there = tmp_path / "missing", tmp_path / "there"
    there.write_text("{}")

    with pytest.raises(ConfigError, match=r"--kubeconfig: .*/missing does not exist"):
        kubeconfig_of({"kubeconfig": str(missing)}, IN_POD)
    with pytest.raises(ConfigError, match="There is no cluster to talk to"):
        kubeconfig_of({}, {"KUBECONFIG": str(missing)})
    assert kubeconfig_of({}, {"KUBECONFIG": f"{missing}{os.pathsep}{there}"}) is None
    assert kubeconfig_of({"kubeconfig": str(there)}, {}) == there


def test_an_unknown_log_format_in_the_environment_is_named() -> None:
    with pytest.raises(ConfigError, match="SLACKWATER_LOG_FORMAT: xml is not one of text, json"):
        log_settings({}, {"SLACKWATER_LOG_FORMAT": "xml"}, "info")
    assert log_settings({}, {"SLACKWATER_LOG_LEVEL": "debug"}, "info").level == "debug"
    assert log_settings({"log_level": "error"}, {}, "info").level == "error"
    assert log_settings({}, {}, "warning").level == "warning"


# --- beside a `slackwater run`


def test_run_needs_manifests_by_name() -> None:
    with pytest.raises(ConfigError, match="--manifests DIR"):
        directory_settings({}, {})


def test_a_command_beside_it_takes_the_manifests_of_the_last_run(tmp_path: Path) -> None:
    ran = DirectorySettings(manifests=(tmp_path / "manifests",), data=tmp_path)
    remember(ran.manifests, ran.data)

    told = directory_settings({"data": str(tmp_path)}, {}, beside=True)
    assert told.manifests == ran.manifests
    assert told.database == ran.database
    with pytest.raises(ConfigError, match="--manifests DIR"):
        directory_settings({"data": str(tmp_path)}, {})


@pytest.mark.parametrize("word", ["", "{", "[]", json.dumps({"manifests": None})])
def test_a_word_of_the_last_run_that_cannot_be_read_is_none(tmp_path: Path, word: str) -> None:
    (tmp_path / "run.json").write_text(word)

    with pytest.raises(ConfigError, match="--manifests DIR"):
        directory_settings({"data": str(tmp_path)}, {}, beside=True)


def test_data_or_manifests_mean_a_directory_and_a_kubeconfig_means_a_cluster() -> None:
    assert names_directory({"data": "x"}, {})
    assert names_directory({"manifests": ["x"]}, {})
    assert names_directory({}, {"SLACKWATER_DATA": "x"})
    assert not names_directory({}, {})
    assert not names_directory({"context": "lab"}, {"SLACKWATER_DATA": "x"})
    with pytest.raises(ConfigError, match="give only one of the two"):
        names_directory({"data": "x", "context": "lab"}, {})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"identities": "nowhere.yaml"}, "--identities: nowhere.yaml does not exist"),
        ({"public_url": "slackwater.example"}, "--public-url: write an address"),
        ({"public_url": "https://me:word@slackwater.example/"}, "with no user name"),
    ],
)
def test_a_file_or_an_address_that_cannot_work_is_named(
    flags: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        directory_settings({"manifests": ["x"], **flags}, {})


# --- where adapters may reach (R14)

PUBLIC, PRIVATE, LOOPBACK, METADATA = "8.8.8.8", "10.1.2.3", "127.0.0.1", "169.254.169.254"


def reached(policy: Any) -> set[str]:
    return {where for where in (PUBLIC, PRIVATE, LOOPBACK, METADATA) if policy.allows(where)}


def test_in_a_cluster_calendars_are_public_and_services_private_too() -> None:
    calendars, services = cluster_policies(())

    assert reached(calendars) == {PUBLIC}
    assert reached(services) == {PUBLIC, PRIVATE}


def test_a_named_range_is_open_to_both() -> None:
    calendars, services = cluster_policies((ip_network("127.0.0.0/8"),))

    assert reached(calendars) == {PUBLIC, LOOPBACK}
    assert reached(services) == {PUBLIC, PRIVATE, LOOPBACK}


def test_on_a_directory_this_machine_may_be_reached_but_no_metadata() -> None:
    for policy in directory_policies(()):
        assert reached(policy) == {PUBLIC, PRIVATE, LOOPBACK}
