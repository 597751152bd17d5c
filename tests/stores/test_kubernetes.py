"""The cluster store against an API server in this process: lists and writes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import Conflict, Gone, StoreError
from slackwater.ports import Changed, Key, Kind, Listed, Store
from slackwater.stores.cluster import Cluster
from slackwater.stores.kubernetes import KubernetesStore
from slackwater.stores.objects import PLURALS, object_path
from tests.stores.conftest import Told, window_key
from tests.stores.fake_cluster import OURS, FakeClock, FakeCluster

WINDOWS = f"{OURS}/trainingwindows"


def test_it_is_a_store(store: KubernetesStore) -> None:
    port: Store = store
    assert port is store


# --- lists ---------------------------------------------------------------------------------------


async def test_all_objects_come_before_listed(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    fake.window("b")
    fake.window("a", "demo", status={"message": "hi"}, metadata={"annotations": {"x": "y"}})
    fake.create(f"{OURS}/airflowinstances", "default", "research")
    await store.resync()
    seen = [c.object for c in await told.until_listed() if isinstance(c, Changed)]
    assert [(str(o.key.kind), str(o.key.ref)) for o in seen] == [
        ("AirflowInstance", "research/default"),
        ("TrainingWindow", "demo/a"),
        ("TrainingWindow", "research/b"),
    ]
    assert seen[1].status == {"message": "hi"}
    assert seen[1].annotations == {"x": "y"}
    assert seen[1].created.isoformat() == "2026-11-23T10:00:00+00:00"


async def test_pages_make_one_list(fake: FakeCluster, store: KubernetesStore, told: Told) -> None:
    for number in range(7):
        fake.window(f"w{number}")
    fake.page = 3
    await store.resync()
    assert len(await told.until_listed()) == 7
    assert fake.count("GET", "trainingwindows") == 3


async def test_a_list_whose_version_expired_half_way_begins_anew(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    for number in range(4):
        fake.window(f"w{number}")
    fake.page = 3
    fake.fault("GET", "trainingwindows", status=200, body='{"metadata":{"resourceVersion":"1",'
               '"continue":"3-1"},"items":[]}', times=1)  # fmt: skip
    fake.oldest = 50
    await store.resync()
    assert len(await told.until_listed()) == 4


async def test_an_interrupted_list_deletes_nothing(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    for number in range(4):
        fake.window(f"w{number}")
    await store.resync()
    await told.until_listed()
    fake.page = 3
    fake.fault("GET", "trainingwindows", status=503)
    with pytest.raises(StoreError) as caught:
        await store.resync()
    assert caught.value.reason is Reason.UNAVAILABLE
    fake.faults.clear()
    fake.delete(WINDOWS, "w2", "research")
    await store.resync()
    await told.deleted("w2")


async def test_listed_is_told_once_and_only_after_a_whole_list(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    fake.fault("GET", "trainingwindows", status=500, times=1)
    with pytest.raises(StoreError):
        await store.resync()
    await store.resync()
    fake.window("late")
    await store.resync()
    assert await told.next() == Listed()
    await told.changed("late")


async def test_an_object_that_is_being_deleted_is_gone_for_us(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    fake.window("a", metadata={"finalizers": ["example.com/keep"]})
    fake.window("b")
    await store.resync()
    await told.until_listed()
    fake.edit(WINDOWS, "a", "research", {"metadata": {"deletionTimestamp": "2026-11-23T12:00:00Z"}})
    await store.resync()
    await told.deleted("a")


async def test_only_the_given_namespaces_are_listed(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    for namespace in ("research", "demo", "other"):
        fake.window("a", namespace)
    store = KubernetesStore(cluster, clock, namespaces=("research", "demo"))
    await store.resync()
    seen = [c.object for c in await Told(store).until_listed() if isinstance(c, Changed)]
    assert {o.key.ref.namespace for o in seen} == {"research", "demo"}
    assert fake.count("GET", f"^{WINDOWS}$") == 0


async def test_missing_resources_end_the_run_and_say_which(
    fake: FakeCluster, store: KubernetesStore
) -> None:
    fake.fault("GET", "gpupools", status=404)
    with pytest.raises(StoreError) as caught:
        await store.run()
    assert caught.value.reason is Reason.NOT_FOUND
    assert "gpupools" in caught.value.sentence


# --- writes --------------------------------------------------------------------------------------


@pytest.fixture
async def window(fake: FakeCluster, store: KubernetesStore, told: Told) -> Any:
    """An object with a status, listed."""
    fake.window(
        "a",
        status={"message": "old", "nextWindowStart": "2026-11-23T22:00:00Z", "occurrences": [1]},
        metadata={"annotations": {"slackwater.dev/trigger": "now", "other": "stays"}},
    )
    await store.resync()
    changes = await told.until_listed()
    assert isinstance(changes[0], Changed)
    return changes[0].object


async def test_a_status_is_replaced_wholly_and_only_what_differs_is_sent(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    version = await store.write_status(
        window.key, {"message": "new", "occurrences": [1]}, window.resource_version
    )
    held = fake.objects[WINDOWS, "research", "a"]
    assert held["status"] == {"message": "new", "occurrences": [1]}
    assert version == held["metadata"]["resourceVersion"]
    patch = next(a for a in fake.asked if a.method == "PATCH")
    assert patch.path == f"{OURS}/namespaces/research/trainingwindows/a/status"
    assert patch.headers["Content-Type"] == "application/merge-patch+json"
    assert patch.body == {
        "metadata": {"resourceVersion": window.resource_version},
        "status": {"message": "new", "nextWindowStart": None},
    }


async def test_a_write_that_changes_nothing_makes_no_request(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    before = len(fake.asked)
    version = await store.write_status(window.key, dict(window.status), window.resource_version)
    assert version == window.resource_version
    assert len(fake.asked) == before


async def test_the_next_write_builds_on_the_reply_without_waiting_for_the_watch(
    fake: FakeCluster, store: KubernetesStore, told: Told, window: Any
) -> None:
    version = await store.write_status(window.key, {"message": "1"}, window.resource_version)
    version = await store.write_status(window.key, {"message": "2"}, version)
    await store.resync()
    fake.window("sentinel")
    await store.resync()
    await told.changed("sentinel")  # neither write was told as a change
    assert fake.objects[WINDOWS, "research", "a"]["status"] == {"message": "2"}
    assert fake.count("PATCH") == 2


async def test_a_stale_version_is_a_conflict_and_what_is_newer_is_told(
    fake: FakeCluster, store: KubernetesStore, told: Told, window: Any
) -> None:
    fake.edit(WINDOWS, "a", "research", {"spec": {"suspend": True}})
    with pytest.raises(Conflict):
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    newer = await told.changed("a")  # though no watch is running
    assert newer.spec["suspend"] is True
    with pytest.raises(Conflict):
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    assert fake.count("PATCH") == 1  # the second was known to be stale
    await store.write_status(window.key, {"message": "new"}, newer.resource_version)


async def test_a_status_wiped_by_somebody_else_is_told(
    fake: FakeCluster, store: KubernetesStore, told: Told, window: Any
) -> None:
    await store.write_status(window.key, {"message": "new"}, window.resource_version)
    fake.edit(WINDOWS, "a", "research", {"status": None})
    await store.resync()
    assert (await told.changed("a")).status == {}


async def test_an_object_that_is_gone_cannot_be_written(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    fake.delete(WINDOWS, "a", "research")
    with pytest.raises(Gone):
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    with pytest.raises(Gone):
        await store.write_status(window_key("never"), {"message": "new"}, "1")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.UNAUTHORIZED),
        (403, Reason.FORBIDDEN),
        (413, Reason.TOO_LARGE),
        (422, Reason.BAD_REQUEST),
        (429, Reason.THROTTLED),
        (500, Reason.UNAVAILABLE),
        (503, Reason.UNAVAILABLE),
    ],
)
async def test_a_refused_write_says_why(
    fake: FakeCluster, store: KubernetesStore, window: Any, status: int, reason: Reason
) -> None:
    fake.fault("PATCH", "status", status=status)
    with pytest.raises(StoreError) as caught:
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    assert caught.value.reason is reason


async def test_an_invalid_status_names_fields_and_no_values(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    body = (
        '{"message": "status.message: Invalid value: \\"s3cret\\"", '
        '"details": {"causes": [{"field": "status.message", "message": "s3cret"}]}}'
    )
    fake.fault("PATCH", "status", status=422, body=body)
    with pytest.raises(StoreError, match=r"status\.message") as caught:
        await store.write_status(window.key, {"message": "s3cret"}, window.resource_version)
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_is_not_there_is_unreachable(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    fake.fault("PATCH", "status", lose_reply=True, times=1)
    with pytest.raises(StoreError) as caught:
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    assert caught.value.reason is Reason.UNREACHABLE


async def test_a_write_whose_reply_was_lost_comes_back_as_a_change(
    fake: FakeCluster, store: KubernetesStore, told: Told, window: Any
) -> None:
    fake.fault("PATCH", "status", lose_reply=True, times=1)
    with pytest.raises(StoreError):
        await store.write_status(window.key, {"message": "new"}, window.resource_version)
    await store.resync()
    assert (await told.changed("a")).status == {"message": "new"}


async def test_a_request_that_hangs_ends_in_time(fake: FakeCluster, clock: FakeClock) -> None:
    cluster = await Cluster.connect(
        clock, kubeconfig=fake.kubeconfig, timeout=timedelta(milliseconds=50)
    )
    fake.fault("GET", "airflowinstances", hang=asyncio.Event())
    with pytest.raises(StoreError) as caught:
        await KubernetesStore(cluster, clock).resync()
    assert caught.value.reason is Reason.TIMEOUT
    await cluster.aclose()


async def test_a_server_that_drops_fields_is_warned_about_and_not_written_to_for_ever(
    fake: FakeCluster, store: KubernetesStore, window: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake.prune = lambda status: status.pop("unknown", None)
    wanted = {"message": "new", "unknown": 1}
    version = await store.write_status(window.key, wanted, window.resource_version)
    assert "CRDs" in caplog.text
    assert await store.write_status(window.key, dict(wanted), version) == version
    assert fake.count("PATCH") == 1
    version = await store.write_status(window.key, {**wanted, "message": "newer"}, version)
    assert fake.objects[WINDOWS, "research", "a"]["status"]["message"] == "newer"


async def test_an_annotation_is_taken_off_and_the_object_without_it_told(
    fake: FakeCluster, store: KubernetesStore, told: Told, window: Any
) -> None:
    name = "slackwater.dev/trigger"
    await store.remove_annotation(window.key, name, window.resource_version)
    after = await told.changed("a")
    assert after.annotations == {"other": "stays"}
    assert fake.objects[WINDOWS, "research", "a"]["metadata"]["annotations"] == {"other": "stays"}
    patch = next(a for a in fake.asked if a.method == "PATCH")
    assert patch.body["metadata"]["resourceVersion"] == window.resource_version
    await store.remove_annotation(window.key, name, after.resource_version)
    assert fake.count("PATCH") == 1


async def test_an_annotation_of_an_object_that_changed_is_a_conflict(
    fake: FakeCluster, store: KubernetesStore, window: Any
) -> None:
    fake.edit(WINDOWS, "a", "research", {"metadata": {"annotations": {"more": "1"}}})
    with pytest.raises(Conflict):
        await store.remove_annotation(window.key, "slackwater.dev/trigger", window.resource_version)
    assert (
        "slackwater.dev/trigger"
        in (fake.objects[WINDOWS, "research", "a"]["metadata"]["annotations"])
    )


def test_kinds_and_plurals_agree() -> None:
    assert set(PLURALS) == set(Kind)
    key = Key(Kind.GPU_POOL, Ref("research", "h100"))
    assert object_path(key, "status") == f"{OURS}/namespaces/research/gpupools/h100/status"
