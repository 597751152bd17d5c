"""What else the cluster store reads: namespaces, nodes, secrets and its own credentials."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, SecretError, StoreError
from slackwater.ports import SecretsChanged
from slackwater.stores.cluster import Cluster
from slackwater.stores.cluster_facts import selector_text
from slackwater.stores.kubernetes import KubernetesStore
from tests.stores.conftest import Told, kubeconfig
from tests.stores.fake_cluster import OURS, SECRETS, FakeClock, FakeCluster, encoded

CALENDARS = f"{OURS}/calendars"
# Self-signed, of nobody: a file that can be loaded as an authority.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUPar7hFsTbyiVFPfNFTiiH2wipSYwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEZmFrZTAgFw0yNjExMjMxODQ2MDdaGA8yMTI2MTAzMDE4NDYw
N1owDzENMAsGA1UEAwwEZmFrZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABO1L
MSK2ZTGQXzvXJtaYGLP6WCASZmcYdKT5gFrWXQSuKTpg3zKbDNIjjS+JDTcFRrDm
/9u3nwgPxG/QjFWuuCOjUzBRMB0GA1UdDgQWBBTxkLl22nUjkTQfMISqDmhXQZ5G
QDAfBgNVHSMEGDAWgBTxkLl22nUjkTQfMISqDmhXQZ5GQDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCID7LylqE+SLcupgwAt8t4vkoBgkZU+881ChM
xk51VDHBAiA+Ao7YJWxZDtp0hoY0DkuKNu6dAsZy0F7HpNqU97Yryg==
-----END CERTIFICATE-----
"""


async def test_the_installation_is_the_uid_of_kube_system(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock, store: KubernetesStore
) -> None:
    uid = fake.objects["/api/v1/namespaces", None, "kube-system"]["metadata"]["uid"]
    assert await store.installation() == uid
    assert await store.installation() == uid
    assert fake.count("GET", "kube-system") == 1
    assert await KubernetesStore(cluster, clock, installation="lab").installation() == "lab"
    assert fake.count("GET", "kube-system") == 1


async def test_labels_of_namespaces_are_kept_for_a_minute(
    fake: FakeCluster, store: KubernetesStore, clock: FakeClock
) -> None:
    fake.create("/api/v1/namespaces", "research", metadata={"labels": {"team": "a"}})
    both = await asyncio.gather(*(store.namespace_labels("research") for _ in range(2)))
    assert both == [{"team": "a"}, {"team": "a"}]
    fake.edit("/api/v1/namespaces", "research", None, {"metadata": {"labels": {"team": "b"}}})
    clock.advance(59)
    assert await store.namespace_labels("research") == {"team": "a"}
    assert fake.count("GET", "namespaces/research$") == 1
    clock.advance(2)
    assert await store.namespace_labels("research") == {"team": "b"}
    assert await store.namespace_labels("nowhere") == {}


async def test_a_failure_to_read_labels_is_not_remembered(
    fake: FakeCluster, store: KubernetesStore
) -> None:
    fake.create("/api/v1/namespaces", "research", metadata={"labels": {"team": "a"}})
    fake.fault("GET", "namespaces/research", status=403, times=1)
    with pytest.raises(StoreError) as caught:
        await store.namespace_labels("research")
    assert caught.value.reason is Reason.FORBIDDEN
    assert await store.namespace_labels("research") == {"team": "a"}


async def test_nodes_are_picked_by_selector_and_only_metadata_is_asked_for(
    fake: FakeCluster, store: KubernetesStore, clock: FakeClock
) -> None:
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        fake.create("/api/v1/nodes", name)
    fake.page = 2
    selector = {
        "matchLabels": {"zone": "a"},
        "matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100", "a100"]}],
    }
    assert await store.node_names(selector) == {"gpu-1", "gpu-2", "gpu-3"}
    pages = [a for a in fake.asked if a.path == "/api/v1/nodes"]
    assert [p.query["labelSelector"] for p in pages] == ["gpu in (a100,h100),zone=a"] * 2
    assert "PartialObjectMetadataList" in pages[0].headers["Accept"]
    await store.node_names(selector)
    assert fake.count("GET", "nodes") == 2
    clock.advance(61)
    await store.node_names({})
    assert "labelSelector" not in fake.asked[-1].query


def test_selectors_are_written_as_the_api_wants_them() -> None:
    expressions = [
        {"key": "a", "operator": "NotIn", "values": ["x"]},
        {"key": "b", "operator": "Exists"},
        {"key": "c", "operator": "DoesNotExist"},
    ]
    assert selector_text({"matchExpressions": expressions}) == "!c,a notin (x),b"
    assert selector_text({}) == ""
    with pytest.raises(ConfigError):
        selector_text({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})


# --- secrets -------------------------------------------------------------------------------------


async def test_a_secret_is_read_by_name_and_kept_for_seconds(
    fake: FakeCluster, store: KubernetesStore, clock: FakeClock
) -> None:
    fake.create(SECRETS, "login", "research", data=encoded(user="ada", password="p4ss\n"))
    assert await store.secrets.read("research", "login", "user") == "ada"
    assert await store.secrets.read("research", "login", "password") == "p4ss\n"
    assert fake.count("GET", "secrets") == 1
    assert fake.asked[-1].path == "/api/v1/namespaces/research/secrets/login"
    clock.advance(16)
    await store.secrets.read("research", "login", "user")
    assert fake.count("GET", "secrets") == 2


async def test_missing_and_forbidden_secrets_look_the_same(
    fake: FakeCluster, store: KubernetesStore
) -> None:
    fake.create(SECRETS, "hidden", "research", data=encoded(a="b"))
    fake.fault("GET", "secrets/hidden", status=403)
    for name in ("hidden", "missing"):
        with pytest.raises(SecretError) as caught:
            await store.secrets.read("research", name, "a")
        assert caught.value.reason is Reason.SECRET_NOT_FOUND
        assert caught.value.sentence.startswith(f"Secret research/{name} ")


async def test_a_missing_key_is_named(fake: FakeCluster, store: KubernetesStore) -> None:
    fake.create(SECRETS, "login", "research", data=encoded(user="ada"))
    with pytest.raises(SecretError, match="research/login has no key password"):
        await store.secrets.read("research", "login", "password")


async def test_a_value_that_is_no_text_is_malformed_and_not_quoted(
    fake: FakeCluster, store: KubernetesStore
) -> None:
    data = {"key": base64.b64encode(b"\xffsecret").decode()}
    fake.create(SECRETS, "login", "research", data=data)
    with pytest.raises(SecretError) as caught:
        await store.secrets.read("research", "login", "key")
    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_server_that_cannot_be_asked_is_no_missing_secret(
    fake: FakeCluster, store: KubernetesStore
) -> None:
    fake.fault("GET", "secrets", status=500)
    with pytest.raises(SecretError) as caught:
        await store.secrets.read("research", "login", "key")
    assert caught.value.reason is Reason.UNAVAILABLE


@pytest.fixture
async def calendar(fake: FakeCluster, store: KubernetesStore, told: Told) -> None:
    """A calendar whose secret `feed` has been read."""
    spec = {"provider": {"ical": {"urlSecretRef": {"name": "feed", "key": "url"}}}}
    fake.create(CALENDARS, "team", "research", spec=spec)
    fake.create(SECRETS, "feed", "research", data=encoded(url="https://a.example"))
    fake.create(SECRETS, "other", "research", data=encoded(url="https://b.example"))
    await store.resync()
    await told.until_listed()
    await store.secrets.read("research", "feed", "url")
    await store.secrets.read("research", "other", "url")


async def test_a_rotated_secret_is_told(
    fake: FakeCluster, store: KubernetesStore, told: Told, calendar: None
) -> None:
    await store._secrets.recheck()
    fake.edit(SECRETS, "feed", "research", {"data": encoded(url="https://c.example")})
    await store._secrets.recheck()
    assert await told.next() == SecretsChanged("research", "feed")
    assert await store.secrets.read("research", "feed", "url") == "https://c.example"


async def test_a_secret_that_comes_into_being_is_told(
    fake: FakeCluster, store: KubernetesStore, told: Told, calendar: None
) -> None:
    fake.delete(SECRETS, "feed", "research")
    await store._secrets.recheck()
    assert await told.next() == SecretsChanged("research", "feed")
    fake.create(SECRETS, "feed", "research", data=encoded(url="https://d.example"))
    await store._secrets.recheck()
    assert await told.next() == SecretsChanged("research", "feed")


async def test_secrets_that_nobody_names_any_more_are_not_looked_at(
    fake: FakeCluster, store: KubernetesStore, calendar: None
) -> None:
    before = fake.count("GET", "secrets/other")
    await store._secrets.recheck()
    assert fake.count("GET", "secrets/other") == before
    assert fake.count("GET", "secrets/feed") == 2


# --- credentials ---------------------------------------------------------------------------------


async def test_the_token_is_read_again_when_the_kubeconfig_changes(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    def sent() -> str:
        return fake.asked[-1].headers["Authorization"]

    await cluster.call("GET", "/api")
    assert sent() == "Bearer t0ken"
    server = fake.kubeconfig.read_text().partition('server: "')[2].partition('"')[0]
    fake.kubeconfig.write_text(kubeconfig(server, token="n3w"))
    await cluster.call("GET", "/api")
    assert sent() == "Bearer t0ken"
    clock.advance(61)
    await cluster.call("GET", "/api")
    assert sent() == "Bearer n3w"
    assert (await cluster.access()).authorization == "Bearer n3w"


async def test_the_token_of_a_pod_is_read_again(
    fake: FakeCluster, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.aio.config import incluster_config

    ca = tmp_path / "ca.crt"
    ca.write_text(CERTIFICATE)
    token = tmp_path / "token"
    token.write_text("one")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    cluster = await Cluster.connect(clock)
    assert (await cluster.access()).server == "https://127.0.0.1:1"
    assert (await cluster.access()).authorization == "bearer one"
    token.write_text("two")
    clock.advance(59)
    assert (await cluster.access()).authorization == "bearer one"
    clock.advance(2)
    assert (await cluster.access()).authorization == "bearer two"
    token.unlink()
    clock.advance(61)
    with pytest.raises(StoreError) as caught:
        await cluster.call("GET", "/api")
    assert caught.value.reason is Reason.UNAUTHORIZED
    await cluster.aclose()


async def test_a_kubeconfig_that_is_missing_is_a_configuration_error(
    clock: FakeClock, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="kubeconfig"):
        await Cluster.connect(clock, kubeconfig=tmp_path / "none")


async def test_credentials_do_not_show(cluster: Cluster) -> None:
    assert "t0ken" not in repr(await cluster.access())
