"""The operator's composition, against a small API server in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, StoreError
from slackwater.ports import Clock
from slackwater.runtime import app
from slackwater.runtime.app import run_operator
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.settings import Address, OperatorSettings
from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import NAMESPACE, document, until, window
from tests.stores.conftest import kubeconfig
from tests.stores.fake_cluster import OURS, PLURALS, SECRETS, FakeCluster, encoded

LEASES = "/apis/coordination.k8s.io/v1/leases"
EVENTS = "/apis/events.k8s.io/v1/events"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    fake = FakeCluster(tmp_path)
    runner = web.AppRunner(fake.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.kubeconfig.write_text(kubeconfig(f"http://{host}:{port}"))
    yield fake
    for fault in fake.faults:
        if fault.hang is not None:
            fault.hang.set()
    await runner.cleanup()


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="slackwater"):
        yield


class JumpingClock(SystemClock):
    """The machine's clock, which somebody may set wrong."""

    def __init__(self) -> None:
        self.off = timedelta()

    def now(self) -> Any:
        return super().now() + self.off


@asynccontextmanager
async def operator(
    cluster: FakeCluster, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[tuple[asyncio.Task[int], asyncio.Event]]:
    stop = asyncio.Event()
    told = OperatorSettings(
        kubeconfig=cluster.kubeconfig,
        lease_namespace="slackwater",
        instance="pod-1",
        **{"metrics": Address("127.0.0.1", 0)} | settings,
    )
    task = asyncio.create_task(run_operator(told, stop, clock=clock))
    try:
        yield task, stop
    finally:
        stop.set()
        await asyncio.wait([task], timeout=20)
        assert task.done()


def lease(cluster: FakeCluster) -> dict[str, Any]:
    spec: dict[str, Any] = cluster.objects[LEASES, "slackwater", "slackwater"]["spec"]
    return spec


def populate(cluster: FakeCluster, airflow: FakeAirflow) -> None:
    """A TrainingWindow that is open, and what it needs."""

    def secret(key: str) -> dict[str, str]:
        return {"name": "airflow", "key": key}

    login = {"usernameSecretRef": secret("username"), "passwordSecretRef": secret("password")}
    pool = document("GPUPool", "box", {"source": {"static": {"gpus": 8}}})
    server = document("AirflowInstance", "default", {"url": airflow.url, "auth": {"login": login}})
    plurals = {kind: plural for plural, kind in PLURALS.items()}
    for body in (pool, server, window()):
        collection = f"{OURS}/{plurals[body['kind']]}"
        cluster.create(collection, body["metadata"]["name"], NAMESPACE, spec=body["spec"])
    data = encoded(username="admin", password="admin")
    cluster.create(SECRETS, "airflow", NAMESPACE, data=data)


async def test_it_starts_a_run_tells_of_it_and_gives_its_lease_back(
    cluster: FakeCluster, airflow: FakeAirflow
) -> None:
    populate(cluster, airflow)
    networks = (ip_network("127.0.0.0/8"),)
    async with operator(cluster, allow_networks=networks) as (task, stop):
        await until(lambda: airflow.runs)
        assert lease(cluster)["holderIdentity"].startswith("pod-1_")
        stop.set()
        assert await asyncio.wait_for(task, 10) == 0

    assert lease(cluster)["holderIdentity"] == ""
    events = [body for (where, _, _), body in cluster.objects.items() if where == EVENTS]
    assert "Starting" in {event["reason"] for event in events}, "what was told is posted first"
    assert {event["reportingInstance"] for event in events} == {"pod-1"}
    (run,) = airflow.runs
    installation = cluster.objects["/api/v1/namespaces", None, "kube-system"]["metadata"]["uid"]
    assert run.run_id.startswith(f"slackwater.{installation}.{NAMESPACE}.nightly.")


async def test_this_machine_is_out_of_reach_unless_it_is_named(
    cluster: FakeCluster, airflow: FakeAirflow
) -> None:
    populate(cluster, airflow)
    key = (f"{OURS}/airflowinstances", NAMESPACE, "default")
    async with operator(cluster):
        await until(lambda: "BlockedTarget" in str(cluster.objects[key].get("status")))

    assert airflow.requests == []


async def test_one_that_waits_for_the_lease_is_ready_and_starts_nothing(
    cluster: FakeCluster, airflow: FakeAirflow, unused_tcp_port: int
) -> None:
    populate(cluster, airflow)
    renew = SystemClock().now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": "pod-2_x", "leaseDurationSeconds": 15, "renewTime": renew}
    cluster.create(LEASES, "slackwater", "slackwater", spec=spec)
    settings = {
        "allow_networks": (ip_network("127.0.0.0/8"),),
        "metrics": Address("127.0.0.1", unused_tcp_port),
    }
    async with operator(cluster, **settings), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{unused_tcp_port}"
        async with asyncio.timeout(20):
            while not await _ready(session, url):
                await asyncio.sleep(0.02)
            await until(lambda: airflow.requests)  # its caches are warm
        async with session.get(f"{url}/metrics") as reply:
            assert "slackwater_leader 0.0" in await reply.text()

    assert airflow.runs == []
    assert lease(cluster)["holderIdentity"] == "pod-2_x"
    assert cluster.count("PATCH") == 0


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as reply:
            return reply.status == 200
    except aiohttp.ClientError:
        return False


async def test_one_that_has_lost_its_lease_ends_with_1(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "_LEASE_LOOK", timedelta(milliseconds=10))
    clock = JumpingClock()
    async with operator(cluster, clock) as (task, _):
        await until(lambda: "is held" in caplog.text)
        clock.off = timedelta(seconds=11)  # as after a machine was asleep
        assert await asyncio.wait_for(task, 10) == 1

    assert "the lease is lost: another process may act now" in caplog.text


async def test_a_cluster_without_the_resources_is_told_and_ends_with_1(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fault("GET", f"{OURS}/", status=404)
    async with operator(cluster) as (task, _):
        assert await asyncio.wait_for(task, 10) == 1

    assert "slackwater crds | kubectl apply --server-side -f -" in caplog.text


async def test_an_account_without_rights_is_told_and_ends_with_1(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fault("GET", f"{OURS}/", status=403)
    async with operator(cluster) as (task, _):
        assert await asyncio.wait_for(task, 10) == 1

    assert "the store ended: the Kubernetes API accepts the credentials but denies" in caplog.text


async def test_a_kubeconfig_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: []\n")
    settings = OperatorSettings(kubeconfig=tmp_path / "kubeconfig")
    with pytest.raises(ConfigError, match="kubeconfig"):
        await run_operator(settings, asyncio.Event())


async def test_events_that_cannot_be_posted_do_not_hold_up_the_end(
    cluster: FakeCluster, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_EVENTS_GRACE", timedelta(milliseconds=50))
    cluster.fault("POST", "/events", hang=asyncio.Event())
    populate(cluster, airflow)
    async with operator(cluster) as (task, stop):
        await until(lambda: cluster.count("POST", "/events"))
        stop.set()
        assert await asyncio.wait_for(task, 10) == 0

    assert lease(cluster)["holderIdentity"] == ""


async def test_a_store_that_ends_lets_go_of_the_lease(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from slackwater.stores.kubernetes import KubernetesStore

    async def run(store: KubernetesStore) -> None:
        await store.resync()
        await until(lambda: "is held" in caplog.text)
        raise StoreError(Reason.UNAVAILABLE, what="the watch of the Kubernetes API")

    monkeypatch.setattr(KubernetesStore, "run", run)
    async with operator(cluster) as (task, _):
        assert await asyncio.wait_for(task, 10) == 1

    assert lease(cluster)["holderIdentity"] == ""
