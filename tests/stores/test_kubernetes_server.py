"""The cluster store against a real API server, with no more rights than the chart gives."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta

import pytest

from slackwater.core.words import Reason
from slackwater.errors import Conflict, Gone, SecretError, StoreError
from slackwater.ports import Changed, Deleted, Kind, SecretsChanged
from slackwater.stores.cluster import Cluster
from slackwater.stores.kubernetes import KubernetesStore
from slackwater.stores.objects import list_path, object_path
from testbed.kubernetes import ControlPlane
from tests.stores.conftest import Told, running
from tests.stores.real_cluster import (
    CLUSTER_RULES,
    SystemClock,
    delete,
    grant,
    key,
    make,
    patch,
    window,
)

pytestmark = pytest.mark.server


@pytest.fixture
def store(real: Cluster, namespace: str) -> KubernetesStore:
    return KubernetesStore(real, SystemClock(), namespaces=(namespace,))


@pytest.fixture
def told(store: KubernetesStore) -> Told:
    return Told(store)


async def test_objects_are_listed_then_watched(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    make(plane, namespace, "a")
    async with running(store):
        (first,) = await told.until_listed()
        assert isinstance(first, Changed)
        assert first.object.spec["dag"]["dagId"] == "train"
        make(plane, namespace, "b")
        b = await told.changed("b")
        assert b.generation == 1
        patch(plane, b.key, {"spec": {"suspend": True}})
        b = await told.changed("b")
        assert (b.generation, b.spec["suspend"]) == (2, True)
        patch(plane, b.key, {"metadata": {"annotations": {"slackwater.dev/skip": "x"}}})
        b = await told.changed("b")
        assert b.annotations == {"slackwater.dev/skip": "x"}
        await store.remove_annotation(b.key, "slackwater.dev/skip", b.resource_version)
        assert (await told.changed("b")).annotations == {}
        delete(plane, namespace, "a")
        await told.deleted("a")


async def test_the_whole_cluster_can_be_watched(
    plane: ControlPlane, namespace: str, real: Cluster
) -> None:
    store = KubernetesStore(real, SystemClock())
    told = Told(store)
    async with running(store):
        await told.until_listed()
        make(plane, namespace, "a")
        await told.changed("a")


async def test_our_own_writes_are_not_told_and_those_of_others_are(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    make(plane, namespace, "a")
    async with running(store):
        (first,) = await told.until_listed()
        assert isinstance(first, Changed)
        version = first.object.resource_version
        for number in range(5):
            status = {"message": f"{number}", "observedGeneration": 1}
            version = await store.write_status(first.object.key, status, version)
        patch(plane, first.object.key, {"status": None}, "status")
        wiped = await told.changed("a")
        assert wiped.status == {}
        with pytest.raises(Conflict):
            await store.write_status(wiped.key, {"message": "stale"}, version)
        await store.write_status(wiped.key, {"message": "again"}, wiped.resource_version)
        make(plane, namespace, "sentinel")
        await told.changed("sentinel")
        held = plane.request("GET", object_path(wiped.key))
        assert held["status"] == {"message": "again"}


async def test_a_stale_write_is_refused_by_the_server_and_told(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    make(plane, namespace, "a")
    await store.resync()  # no watch: only the conflict itself can bring the news
    (first,) = await told.until_listed()
    assert isinstance(first, Changed)
    patch(plane, first.object.key, {"spec": {"suspend": True}})
    with pytest.raises(Conflict):
        await store.write_status(first.object.key, {"message": "x"}, first.object.resource_version)
    newer = await told.changed("a")
    assert newer.spec["suspend"] is True
    with pytest.raises(Conflict):
        await store.remove_annotation(newer.key, "x", first.object.resource_version)
    await store.write_status(newer.key, {"message": "x"}, newer.resource_version)


async def test_a_write_that_changes_nothing_leaves_the_version(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    made = make(plane, namespace, "a")
    await store.resync()
    await told.until_listed()
    where = key(namespace, "a")
    version = await store.write_status(where, {"message": "x"}, made["metadata"]["resourceVersion"])
    assert await store.write_status(where, {"message": "x"}, version) == version
    assert plane.request("GET", object_path(where))["metadata"]["resourceVersion"] == version


async def test_what_is_gone_is_gone(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    made = make(plane, namespace, "a")
    await store.resync()
    await told.until_listed()
    delete(plane, namespace, "a")
    with pytest.raises(Gone):
        await store.write_status(
            key(namespace, "a"), {"message": "x"}, made["metadata"]["resourceVersion"]
        )


async def test_a_deletion_that_no_watch_saw_is_found_by_the_list(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    make(plane, namespace, "a")
    make(plane, namespace, "b")
    async with running(store):
        await told.until_listed()
        make(plane, namespace, "c")
        await told.changed("c")
    delete(plane, namespace, "a")
    delete(plane, namespace, "b")
    make(plane, namespace, "b")
    async with running(store):
        changes = [await told.next() for _ in range(3)]
    deleted = [c.key.ref.name for c in changes if isinstance(c, Deleted)]
    changed = [c.object.key.ref.name for c in changes if isinstance(c, Changed)]
    assert (sorted(deleted), changed) == (["a", "b"], ["b"])


async def test_many_objects_are_listed_in_pages(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    items = [window(f"w{number}") for number in range(520)]
    for item in items:
        item["metadata"]["namespace"] = namespace
    plane.apply(items)
    await store.resync()
    assert len(await told.until_listed()) == 520


async def test_a_restart_of_the_server_is_survived(
    plane: ControlPlane, namespace: str, real: Cluster
) -> None:
    store = KubernetesStore(
        real, SystemClock(), namespaces=(namespace,), list_every=timedelta(minutes=10)
    )
    told = Told(store)
    make(plane, namespace, "a")
    async with running(store) as task:
        await told.until_listed()
        await asyncio.to_thread(plane.apiserver.restart)
        await asyncio.to_thread(make, plane, namespace, "b")
        b = await told.next(timeout=120)
        assert isinstance(b, Changed)
        assert b.object.key.ref.name == "b"
        assert not task.done()


async def test_missing_rights_end_the_run(plane: ControlPlane, namespace: str) -> None:
    config = plane.kubeconfig_for(plane.token_for(namespace, "nobody"))
    cluster = await Cluster.connect(SystemClock(), kubeconfig=config)
    with pytest.raises(StoreError) as caught:
        await KubernetesStore(cluster, SystemClock()).run()
    assert caught.value.reason is Reason.FORBIDDEN
    await cluster.aclose()


async def test_a_role_in_its_namespace_is_enough_to_serve_that_namespace(
    plane: ControlPlane, namespace: str
) -> None:
    cluster_scoped = ("namespaces", "nodes")
    rules = [rule for rule in CLUSTER_RULES if not set(rule["resources"]) & set(cluster_scoped)]
    rules.append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})
    grant(plane, "Role", namespace, rules)
    config = plane.kubeconfig_for(plane.token_for(namespace, "slackwater"))
    cluster = await Cluster.connect(SystemClock(), kubeconfig=config)
    store = KubernetesStore(cluster, SystemClock(), namespaces=(namespace,), installation="lab")
    told = Told(store)
    async with running(store):
        await told.until_listed()
        make(plane, namespace, "a")
        a = await told.changed("a")
        await store.write_status(a.key, {"message": "x"}, a.resource_version)
        assert await store.installation() == "lab"
        with pytest.raises(StoreError) as caught:
            await store.namespace_labels(namespace)
        assert caught.value.reason is Reason.FORBIDDEN
    await cluster.aclose()


async def test_namespaces_nodes_and_secrets_are_read(
    plane: ControlPlane, namespace: str, store: KubernetesStore, told: Told
) -> None:
    uid = plane.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert await store.installation() == uid
    assert (await store.namespace_labels(namespace))["team"] == "research"
    assert await store.namespace_labels("nowhere") == {}

    for name, labels in (("n1", {"gpu": "h100"}), ("n2", {"gpu": "a100"}), ("n3", {})):
        node = {"metadata": {"name": f"{namespace}-{name}", "labels": {**labels, "in": namespace}}}
        plane.request("POST", "/api/v1/nodes", node)
    ours = {"matchLabels": {"in": namespace}}
    both = {
        **ours,
        "matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100", "a100"]}],
    }
    none = {**ours, "matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}
    assert await store.node_names(both) == {f"{namespace}-n1", f"{namespace}-n2"}
    assert await store.node_names(none) == {f"{namespace}-n3"}

    secret = {"metadata": {"name": "login"}, "data": {"user": base64.b64encode(b"ada").decode()}}
    plane.request("POST", f"/api/v1/namespaces/{namespace}/secrets", secret)
    assert await store.secrets.read(namespace, "login", "user") == "ada"
    with pytest.raises(SecretError) as caught:
        await store.secrets.read(namespace, "other", "user")
    assert caught.value.reason is Reason.SECRET_NOT_FOUND
    with pytest.raises(SecretError) as caught:
        await store.secrets.read(namespace, "login", "password")
    assert caught.value.reason is Reason.SECRET_KEY_NOT_FOUND


async def test_a_rotated_secret_is_told(plane: ControlPlane, namespace: str, real: Cluster) -> None:
    store = KubernetesStore(
        real,
        SystemClock(),
        namespaces=(namespace,),
        secrets_every=timedelta(milliseconds=200),
    )
    told = Told(store)
    where = f"/api/v1/namespaces/{namespace}/secrets"
    plane.request("POST", where, {"metadata": {"name": "feed"}, "stringData": {"url": "one"}})
    calendar = {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "Calendar",
        "metadata": {"name": "team"},
        "spec": {"provider": {"ical": {"urlSecretRef": {"name": "feed", "key": "url"}}}},
    }
    plane.request("POST", list_path(Kind.CALENDAR, namespace), calendar)
    async with running(store):
        await told.until_listed()
        assert await store.secrets.read(namespace, "feed", "url") == "one"
        plane.request(
            "PATCH",
            f"{where}/feed",
            {"stringData": {"url": "two"}},
            content_type="application/merge-patch+json",
        )
        assert await told.next() == SecretsChanged(namespace, "feed")
        assert await store.secrets.read(namespace, "feed", "url") == "two"
