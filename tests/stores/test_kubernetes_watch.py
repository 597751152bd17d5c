"""The cluster store at work: kopf's watch against an API server in this process."""

from __future__ import annotations

import asyncio
import itertools
import logging
from datetime import timedelta
from typing import Any

import kopf
import pytest

from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import SecretsChanged
from slackwater.stores.backoff import EndlessJitter
from slackwater.stores.cluster import Cluster
from slackwater.stores.kubernetes import KubernetesStore
from tests.stores.conftest import Told, running, until
from tests.stores.fake_cluster import OURS, SECRETS, FakeClock, FakeCluster, encoded

WINDOWS = f"{OURS}/trainingwindows"


async def test_the_watch_tells_what_changes_and_nothing_twice(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    fake.window("a")
    async with running(store):
        assert len(await told.until_listed()) == 1
        await until(lambda: len(fake.watchers) == 4)
        fake.window("b")
        b = await told.changed("b")  # and not "a" once more, though kopf listed it too
        fake.edit(WINDOWS, "b", "research", {"spec": {"suspend": True}})
        b = await told.changed("b")
        assert b.generation == 2
        await store.write_status(b.key, {"message": "ours"}, b.resource_version)
        fake.edit(WINDOWS, "b", "research", {"status": {"message": "theirs"}})
        assert (await told.changed("b")).status == {"message": "theirs"}  # not "ours"
        fake.delete(WINDOWS, "a", "research")
        await told.deleted("a")
        assert store.watch_trusted


async def test_nothing_is_written_by_watching(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    fake.window("a")
    async with running(store):
        await told.until_listed()
        await until(lambda: len(fake.watchers) == 4)
        fake.edit(WINDOWS, "a", "research", {"spec": {"suspend": True}})
        await told.changed("a")
    assert {asked.method for asked in fake.asked} == {"GET"}
    assert not any(re_path in asked.path for asked in fake.asked for re_path in ("/events",))


async def test_a_deletion_in_a_watch_gap_is_found_by_the_next_list(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    store = KubernetesStore(cluster, clock, list_every=timedelta(seconds=0.3))
    told = Told(store)
    fake.window("a")
    fake.window("b")
    async with running(store):
        await told.until_listed()
        await until(lambda: len(fake.watchers) == 4)
        # The connection ends, the object goes and the history with it: kopf lists anew after
        # 410 and sees "b" only.
        fake.news_held = True
        fake.delete(WINDOWS, "a", "research")
        fake.forget_history()
        fake.news_held = False
        await fake.cut_watches()
        await told.deleted("a")


@pytest.mark.parametrize("failure", [None, RuntimeError("broken"), kopf.LoginError("no")])
async def test_a_watch_that_ends_ends_the_run(
    fake: FakeCluster,
    store: KubernetesStore,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception | None,
) -> None:
    async def operator(**_: Any) -> None:
        await asyncio.sleep(0)
        if failure is not None:
            raise failure

    monkeypatch.setattr("kopf.operator", operator)
    with pytest.raises(StoreError) as caught:
        await store.run()
    expected = Reason.UNAUTHORIZED if isinstance(failure, kopf.LoginError) else Reason.UNAVAILABLE
    assert caught.value.reason is expected


@pytest.mark.parametrize("namespaces", [(), ("research", "demo")])
async def test_kopf_is_told_to_watch_and_to_do_nothing_else(
    fake: FakeCluster,
    cluster: Cluster,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    namespaces: tuple[str, ...],
) -> None:
    given: dict[str, Any] = {}

    async def operator(**settings: Any) -> None:
        await asyncio.sleep(0)
        given.update(settings)

    monkeypatch.setattr("kopf.operator", operator)
    with pytest.raises(StoreError):
        await KubernetesStore(cluster, clock, namespaces=namespaces).run()
    assert given["standalone"] is True
    assert (given["clusterwide"], given["namespaces"]) == (not namespaces, namespaces)
    settings: kopf.OperatorSettings = given["settings"]
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert settings.process.ultimate_exiting_timeout is None
    assert settings.watching.chunk_size == 500
    assert settings.watching.inactivity_timeout == 70
    assert settings.queueing.idle_timeout == 0.5
    assert settings.networking.request_timeout == 30
    assert settings.networking.error_backoffs.__class__ is EndlessJitter


def test_backoffs_grow_to_their_limit_and_never_end() -> None:
    backoffs = EndlessJitter(timedelta(seconds=1), timedelta(seconds=8))
    for _ in range(2):  # it can be iterated over again
        first = list(itertools.islice(backoffs, 50))
        for delay, whole in zip(first, [1, 2, 4, *[8] * 47], strict=True):
            assert whole / 2 <= delay <= whole
    assert not hasattr(backoffs, "__len__")  # kopf would count the attempts


async def test_the_first_list_is_tried_until_the_server_is_there(
    fake: FakeCluster, store: KubernetesStore, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slackwater.stores.kubernetes.EndlessJitter", lambda: iter([0.0] * 5))
    fake.window("a")
    fake.fault("GET", "airflowinstances", status=503, times=2)
    async with running(store):
        assert len(await told.until_listed()) == 1


async def test_a_later_list_that_fails_ends_nothing(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = KubernetesStore(cluster, clock, list_every=timedelta(milliseconds=50))
    told = Told(store)
    async with running(store):
        await told.until_listed()
        await until(lambda: len(fake.watchers) == 4)
        fake.fault("GET", "airflowinstances", status=403, times=1)
        await until(lambda: "tried again" in caplog.text)
        fake.window("late")
        await told.changed("late")


async def test_our_tasks_outlive_kopf(
    fake: FakeCluster, store: KubernetesStore, told: Told
) -> None:
    """kopf cancels whatever is younger than itself in its loop; ours is another."""
    async with running(store):
        await told.until_listed()
        await until(lambda: len(fake.watchers) == 4)
        ours = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    assert not ours.done()
    ours.cancel()


async def test_the_run_looks_at_secrets_again(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="slackwater")
    store = KubernetesStore(cluster, clock, secrets_every=timedelta(milliseconds=20))
    told = Told(store)
    spec = {"auth": {"tokenSecretRef": {"name": "token", "key": "t"}}}
    fake.create(f"{OURS}/airflowinstances", "default", "research", spec=spec)
    fake.create(SECRETS, "token", "research", data=encoded(t="1"))
    async with running(store):
        await told.until_listed()
        await store.secrets.read("research", "token", "t")
        fake.fault("GET", "secrets", status=500, times=1)
        await until(lambda: "secrets could not be looked at" in caplog.text)
        fake.edit(SECRETS, "token", "research", {"data": encoded(t="2")})
        assert await told.next() == SecretsChanged("research", "token")
