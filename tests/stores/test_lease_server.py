"""Two electors and a real API server."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from slackwater.stores.cluster import Cluster
from slackwater.stores.lease import KubernetesLease
from testbed.kubernetes import ControlPlane
from tests.stores.conftest import until
from tests.stores.real_cluster import HOME, SystemClock

pytestmark = pytest.mark.server


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
    nobody = 0
    async with asyncio.timeout(20):
        while not two.held:
            nobody += not one.held
            await asyncio.sleep(0.005)
    assert nobody  # there was a time in between
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
