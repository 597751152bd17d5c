"""The cluster store against a real API server, with no more rights than the chart gives."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import Conflict, Gone, SecretError, StoreError
from slackwater.ports import Changed, Deleted, Key, Kind, SecretsChanged
from slackwater.stores.cluster import Cluster
from slackwater.stores.kubernetes import KubernetesStore
from slackwater.stores.lease import KubernetesLease
from slackwater.stores.objects import PLURALS, list_path, object_path
from slackwater.stores.recorder import EventRecorder
from testbed.kubernetes import ControlPlane
from tests.stores.conftest import Told, running, until

pytestmark = pytest.mark.server

CRDS = Path(__file__).parents[2] / "crds"
HOME = "slackwater"  # the operator's own namespace

# What the operator needs of the whole cluster, and of its own namespace.
CLUSTER_RULES = [
    {"apiGroups": ["slackwater.dev"], "resources": [*PLURALS.values()], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["slackwater.dev"],
        "resources": [f"{plural}/status" for plural in PLURALS.values()],
        "verbs": ["patch"],
    },
    {"apiGroups": ["slackwater.dev"], "resources": ["trainingwindows"], "verbs": ["get", "patch"]},
    {
        "apiGroups": ["slackwater.dev"],
        "resources": ["calendars", "gpupools", "airflowinstances"],
        "verbs": ["get"],
    },
    {"apiGroups": [""], "resources": ["secrets", "namespaces"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
]
HOME_RULES = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The server with our resources, and a service account with the rights above."""
    for path in sorted(CRDS.glob("*.yaml")):
        control_plane.apply(path)
    control_plane.create_namespace(HOME)
    control_plane.ensure_service_account(HOME, "slackwater")
    for kind, rules in (("ClusterRole", CLUSTER_RULES), ("Role", HOME_RULES)):
        metadata = {"name": "slackwater", "namespace": HOME}
        api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        account = {"kind": "ServiceAccount", "name": "slackwater", "namespace": HOME}
        group = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "slackwater"}
        control_plane.apply(
            [
                {**api, "kind": kind, "metadata": metadata, "rules": rules},
                {
                    **api,
                    "kind": f"{kind}Binding",
                    "metadata": metadata,
                    "subjects": [account],
                    "roleRef": group,
                },
            ]
        )
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return control_plane


@pytest.fixture
def namespace(plane: ControlPlane) -> str:
    return plane.create_namespace(f"t-{uuid.uuid4().hex[:8]}", {"team": "research"})


@pytest.fixture
async def real(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """A connection as the operator's service account."""
    token = plane.token_for(HOME, "slackwater")
    cluster = await Cluster.connect(SystemClock(), kubeconfig=plane.kubeconfig_for(token))
    yield cluster
    await cluster.aclose()


@pytest.fixture
def store(real: Cluster, namespace: str) -> KubernetesStore:
    return KubernetesStore(real, SystemClock(), namespaces=(namespace,))


@pytest.fixture
def told(store: KubernetesStore) -> Told:
    return Told(store)


def window(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "TrainingWindow",
        "metadata": {"name": name},
        "spec": {
            "windows": [
                {
                    "name": "nights",
                    "effect": "Trigger",
                    "schedule": "0 22 * * *",
                    "durationSeconds": 3600,
                }
            ],
            "dag": {"airflowRef": {"name": "default"}, "dagId": "train"},
            **spec,
        },
    }


def make(plane: ControlPlane, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    path = list_path(Kind.TRAINING_WINDOW, namespace)
    made: dict[str, Any] = plane.request("POST", path, window(name, **spec))
    return made


def patch(plane: ControlPlane, key: Key, change: Any, *subresource: str) -> dict[str, Any]:
    path = object_path(key, *subresource)
    changed: dict[str, Any] = plane.request(
        "PATCH", path, change, content_type="application/merge-patch+json"
    )
    return changed


def key(namespace: str, name: str) -> Key:
    return Key(Kind.TRAINING_WINDOW, Ref(namespace, name))


def delete(plane: ControlPlane, namespace: str, name: str) -> None:
    plane.request("DELETE", object_path(key(namespace, name)))


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


async def test_events_can_be_seen_and_are_counted(
    plane: ControlPlane, namespace: str, real: Cluster, store: KubernetesStore, told: Told
) -> None:
    made = make(plane, namespace, "nightly")
    await store.resync()
    await told.until_listed()
    recorder = EventRecorder(real, SystemClock(), instance="pod-1", look=store.peek)
    task = asyncio.create_task(recorder.run())
    where = key(namespace, "nightly")
    for _ in range(3):
        recorder.record(
            where, warning=True, reason="DagPaused", action="Checking", note="DAG is paused."
        )
    recorder.record(where, warning=False, reason="Triggered", action="Starting", note="é" * 2000)
    await recorder.flush()
    task.cancel()
    assert recorder.dropped == 0

    # As `kubectl describe` and `kubectl get events` find them.
    found = json.loads(
        plane.kubectl(
            "get",
            "events",
            "--namespace",
            namespace,
            "--field-selector",
            f"involvedObject.uid={made['metadata']['uid']}",
            "--output",
            "json",
        )
    )["items"]
    by_reason = {event["reason"]: event for event in found}
    assert set(by_reason) == {"DagPaused", "Triggered"}
    assert by_reason["DagPaused"]["series"]["count"] == 3
    assert by_reason["DagPaused"]["type"] == "Warning"
    assert by_reason["Triggered"]["type"] == "Normal"


# --- the lease -----------------------------------------------------------------------------------


class Wire:
    """Carries bytes to the API server, until it is cut: then everything hangs."""

    def __init__(self, plane: ControlPlane) -> None:
        self._port = plane.apiserver.port
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        self._whole.clear()

    def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._whole.wait()
                target.write(data)
                await target.drain()
        finally:
            target.close()


Elect = Callable[[Cluster, str], KubernetesLease]


@pytest.fixture
def elect() -> Elect:
    name = f"lease-{uuid.uuid4().hex[:8]}"

    def elect(cluster: Cluster, identity: str) -> KubernetesLease:
        return KubernetesLease(
            cluster,
            SystemClock(),
            namespace=HOME,
            name=name,
            identity=identity,
            duration=timedelta(seconds=4),
            deadline=timedelta(seconds=2.5),
            retry=timedelta(seconds=0.4),
        )

    return elect


async def test_a_leader_that_is_cut_off_stops_before_the_next_one_begins(
    plane: ControlPlane, real: Cluster, elect: Elect
) -> None:
    wire = Wire(plane)
    port = await wire.start()
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = plane.home / f"wire-{port}"
    path.write_text(json.dumps(config))
    far = await Cluster.connect(SystemClock(), kubeconfig=path)
    one, two = elect(far, "one"), elect(real, "two")
    tasks = [asyncio.create_task(one.run())]
    await one.wait_held()
    tasks.append(asyncio.create_task(two.run()))
    for _ in range(100):
        assert one.held
        assert not two.held
        await asyncio.sleep(0.02)

    wire.cut()
    gap = False
    async with asyncio.timeout(20):
        while not two.held:
            assert one.held or not two.held
            gap = gap or not one.held
            await asyncio.sleep(0.005)
    assert gap
    for _ in range(50):
        assert two.held
        assert not one.held
        await asyncio.sleep(0.02)

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    wire.close()
    await far.aclose()


async def test_an_orderly_end_hands_over_at_once(
    plane: ControlPlane, real: Cluster, elect: Elect
) -> None:
    one, two = elect(real, "one"), elect(real, "two")
    first = asyncio.create_task(one.run())
    await one.wait_held()
    second = asyncio.create_task(two.run())
    await asyncio.sleep(0.5)
    assert not two.held
    first.cancel()
    await asyncio.wait([first])
    assert not one.held
    began = time.monotonic()
    await two.wait_held()
    assert time.monotonic() - began < 2  # a retry, not the lease's four seconds
    leases = plane.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases")
    (lease,) = [item for item in leases["items"] if item["spec"]["holderIdentity"] == "two"]
    assert lease["spec"]["leaseTransitions"] == 1
    renewed = datetime.fromisoformat(lease["spec"]["renewTime"])
    assert abs(renewed - datetime.now(UTC)) < timedelta(seconds=10)
    second.cancel()
    await asyncio.wait([second])
    await until(lambda: not two.held)
