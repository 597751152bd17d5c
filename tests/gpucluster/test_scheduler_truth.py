"""A pool's sample beside the truth of a real scheduler, through what happens in a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from slackwater.core.sample import Sample
from slackwater.errors import PoolError
from slackwater.gpus.config import PoolConfig, PrometheusConfig
from slackwater.gpus.prometheus import PrometheusPool
from testbed.kubernetes.cluster import GpuCluster, pod
from testbed.prometheus import Prometheus
from tests.gpus.fake_prometheus import LOOPBACK, REF, FakeSecrets, SystemClock

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def cluster() -> Iterator[GpuCluster]:
    with GpuCluster(nodes=4, gpus=4) as found:
        yield found


@pytest.fixture
async def source(cluster: GpuCluster) -> AsyncIterator[PrometheusPool]:
    with Prometheus(cluster.targets) as server:
        found = PrometheusPool(
            PoolConfig(ref=REF, nodes="gpu-.*"),
            PrometheusConfig(server_address=server.url),
            clock=SystemClock(),
            secrets=FakeSecrets(),
            policy=LOOPBACK,
        )
        yield found
        await found.aclose()


async def until(source: PrometheusPool, holds: Callable[[Sample], bool]) -> Sample:
    deadline = time.monotonic() + 60
    seen: object = None
    while time.monotonic() < deadline:
        try:
            sample = await source.sample()
        except PoolError as error:
            seen = error
        else:
            seen = sample
            if holds(sample):
                return sample
        await asyncio.sleep(0.2)
    raise AssertionError(f"not in time: {seen!r}")


async def test_free_gpus_are_those_that_the_scheduler_can_give(cluster, source) -> None:
    async def agrees(free: dict[str, int]) -> Sample:
        assert cluster.usable() == free
        return await until(source, lambda s: {r.node: r.free for r in s.rooms} == free)

    sample = await agrees({"gpu-1": 4, "gpu-2": 4, "gpu-3": 4, "gpu-4": 4})
    assert (sample.capacity, sample.waiting) == (16, 0)

    # Fragmentation: twelve are free, and no pod of four can have any.
    for number in range(1, 5):
        cluster.run_pod(f"one-{number}", 1, f"gpu-{number}")
    sample = await agrees(dict.fromkeys(cluster.usable(), 3))
    assert (sample.fit(1), sample.fit(4), cluster.fit(4)) == (12, 0, 0)
    sample = await until(source, lambda s: s.coverage == 1 and (s.utilization or 0) > 0.2)
    assert sample.utilization == pytest.approx(0.225)

    # The scheduler cannot place it, and it counts as waiting.
    cluster.plane.request("POST", "/api/v1/namespaces/default/pods", pod("waits", 4))
    await until(source, lambda s: s.waiting == 4)

    # A pod that finishes stays listed and gives its GPU back: the one that waits takes the node.
    cluster.finish_pod("one-2")
    cluster.await_running("waits")
    sample = await agrees({"gpu-1": 3, "gpu-2": 0, "gpu-3": 3, "gpu-4": 3})
    assert sample.waiting == 0

    cluster.cordon("gpu-1")
    cluster.lose("gpu-3")
    wait = time.monotonic() + 30
    while len(cluster.usable()) > 2 and time.monotonic() < wait:
        await asyncio.sleep(0.1)
    sample = await agrees({"gpu-2": 0, "gpu-4": 3})
    assert (sample.capacity, sample.coverage) == (16, 1.0)  # what is unusable need not report

    cluster.cordon("gpu-1", cordoned=False)
    cluster.recover("gpu-3")
    while len(cluster.usable()) < 4 and time.monotonic() < wait + 30:
        await asyncio.sleep(0.1)
    await agrees({"gpu-1": 3, "gpu-2": 0, "gpu-3": 3, "gpu-4": 3})


async def test_a_frozen_exporter_shows_by_its_age(cluster, source) -> None:
    first = await until(source, lambda s: s.coverage == 1)
    cluster.exporters.freeze("dcgm")
    try:
        old = await until(source, lambda s: (SystemClock().now() - s.time).total_seconds() > 5)
        assert old.capacity == first.capacity
    finally:
        cluster.exporters.recover("dcgm")
    await until(source, lambda s: (SystemClock().now() - s.time).total_seconds() < 4)
