"""Samples of a simulated pool that a real Prometheus scrapes as it would scrape real exporters."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slackwater.core.identity import pod_labels
from slackwater.core.sample import Room, Sample
from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.config import Mode, PoolConfig, PrometheusConfig, Toleration
from slackwater.gpus.prometheus import PrometheusPool
from testbed.gpus import GENERATIONS, SimulatedPool
from testbed.prometheus import Prometheus
from tests.gpus.fake_prometheus import LOOPBACK, REF, FakeSecrets, SystemClock

pytestmark = pytest.mark.server

_numbers = itertools.count(1)


@dataclass
class World:
    """Pools with exporters of their own on one Prometheus, told apart by resource and node names."""

    prometheus: Prometheus
    stack: ExitStack
    closing: AsyncExitStack
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def resource(self) -> str:
        return f"test-{self.number}.example/gpu"

    @property
    def nodes(self) -> str:
        return f"t{self.number}-.*"

    def simulate(
        self, nodes: int = 2, gpus: int = 8, *, group: str = "n", replicas: int = 1, **options: Any
    ) -> SimulatedPool:
        """Nodes t<number>-<group>-1…; kube-state-metrics as often as there are replicas."""
        prefix = f"t{self.number}-{group}"
        pool = SimulatedPool(nodes, gpus, prefix=prefix, resource=self.resource, **options)
        self.stack.enter_context(pool)
        pages = ["dcgm/metrics", *["kube-state/metrics"] * replicas]
        added = [f"{pool.target}/{page}" for page in pages]
        self.prometheus.targets += added
        self.stack.callback(lambda: self._forget(added))
        self.prometheus.reload()
        return pool

    def _forget(self, added: list[str]) -> None:
        self.prometheus.targets = [t for t in self.prometheus.targets if t not in added]
        self.prometheus.reload()

    def source(self, **options: Any) -> PrometheusPool:
        select = options.pop("select_nodes", None)
        nodes = options.pop("nodes", None if select else self.nodes)
        tolerations = options.pop("tolerations", ())
        namespaces = options.pop("namespaces", frozenset())
        source = PrometheusPool(
            PoolConfig(
                ref=REF,
                nodes=nodes,
                select_nodes=select,
                resource=self.resource,
                tolerations=tolerations,
                namespaces=namespaces,
            ),
            PrometheusConfig(server_address=self.prometheus.url, **options),
            clock=SystemClock(),
            secrets=FakeSecrets(),
            policy=LOOPBACK,
        )
        self.closing.push_async_callback(source.aclose)
        return source


@pytest.fixture
async def world(prometheus) -> AsyncIterator[World]:
    with ExitStack() as stack:
        async with AsyncExitStack() as closing:
            yield World(prometheus, stack, closing)


async def until(
    look: Callable[[], Awaitable[Sample]], holds: Callable[[Sample], object], within: float = 20
) -> Sample:
    """Sample until it shows what was scraped meanwhile; the last sample is in the failure."""
    deadline = time.monotonic() + within
    while True:
        try:
            sample: Any = await look()
            if holds(sample):
                return sample
        except PoolError as error:
            sample = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {sample!r}")
        await asyncio.sleep(0.1)


async def until_blocked(look: Callable[[], Awaitable[Sample]], within: float = 20) -> Reason:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            await look()
        except PoolError as error:
            return error.reason
        await asyncio.sleep(0.1)
    raise AssertionError(f"still sampled after {within} s")


def free(sample: Sample) -> int:
    return sum(room.free for room in sample.rooms)


# --- what there is -----------------------------------------------------------------------------


async def test_all_generations_of_the_exporter_in_one_pool(world):
    for load, generation in zip((0.2, 0.4, 0.9), GENERATIONS, strict=True):
        group = generation.replace(".", "-")
        pool = world.simulate(1, 4, group=group, generation=generation)
        pool.set_utilization(load)
    sample = await until(world.source().sample, lambda s: s.capacity == 12 and s.coverage == 1)
    assert sample.utilization == pytest.approx(0.5)
    assert sample.fit(4) == 12


async def test_replicas_init_containers_and_finished_pods_count_once_more_or_not_at_all(world):
    pool = world.simulate(3, 8, replicas=2)
    one, two, three = pool.nodes
    pool.add_pod("plain", 3, one)
    pool.add_pod("init-heavy", 1, one, init_gpus=4)
    pool.add_pod("finished", 8, two)
    pool.finish_pod("finished")
    pool.add_pod("failed", 8, two, phase="Failed")
    pool.add_pod("starting", 2, three, phase="Pending")
    pool.add_pod("lost", 1, three, phase="Unknown")
    pool.add_pod("waiting", 5)
    pool.add_pod("waiting-init", 1, init_gpus=2)
    pool.add_pod("gave-up", 8, phase="Failed")
    sample = await until(world.source().sample, lambda s: s.waiting == 7)
    assert sample.rooms == (Room(one, 8, 1), Room(two, 8, 8), Room(three, 8, 5))
    assert (sample.capacity, sample.used, sample.waiting) == (24, 10, 7)


async def test_a_pod_that_only_one_replica_knows_to_be_bound_counts_once(world):
    early, late = world.simulate(1, 8), world.simulate(1, 8)
    (node,) = early.nodes
    early.add_pod("job", 8, uid="same")
    late.add_pod("job", 8, node, uid="same")
    sample = await until(world.source().sample, lambda s: s.used == 8)
    assert (sample.used, sample.waiting) == (8, 0)
    early.bind_pod("job", node)
    sample = await until(world.source().sample, lambda s: s.used == 8)
    assert (sample.used, sample.waiting, free(sample)) == (8, 0, 0)


async def test_unusable_nodes_offer_nothing(world):
    pool = world.simulate(6, 8)
    good, cordoned, lost, tainted, own, tolerated = pool.nodes
    pool.cordon(cordoned)
    pool.lose_node(lost)
    pool.taint(tainted, "dedicated", "other")
    pool.taint(own, world.resource, "present")
    pool.taint(tolerated, "dedicated", "training", effect="NoExecute")
    pool.taint(good, "soft", effect="PreferNoSchedule")
    pool.add_pod("on-cordoned", 4, cordoned)

    def names(sample: Sample) -> list[str]:
        return [room.node for room in sample.rooms]

    plain = await until(world.source().sample, lambda s: len(s.rooms) == 2 and s.coverage == 1)
    assert names(plain) == [good, own]
    assert (plain.capacity, plain.used, free(plain)) == (48, 4, 16)
    exact = world.source(
        tolerations=(Toleration(key="dedicated", value="training", effect="NoExecute"),)
    )
    assert names(await exact.sample()) == [good, own, tolerated]
    any_value = world.source(tolerations=(Toleration(key="dedicated"),))
    assert names(await any_value.sample()) == [good, tainted, own, tolerated]


async def test_nodes_by_name_are_counted_alike_however_many_they_are(world):
    pool = world.simulate(4, 8)
    pool.set_utilization(0.5)
    one, two, three, _ = pool.nodes
    pool.set_utilization(1.0, one)
    pool.add_pod("job", 3, one)

    def picks(*names: str) -> Callable[[], Awaitable[frozenset[str]]]:
        async def select() -> frozenset[str]:
            return frozenset(names)

        return select

    few = world.source(select_nodes=picks(one, two))
    many = world.source(select_nodes=picks(one, two, *(f"other-{i}.lan" for i in range(200))))
    sample = await until(few.sample, lambda s: s.capacity == 16 and s.used == 3 and s.coverage)
    assert sample.utilization == pytest.approx(0.75)
    again = await many.sample()
    assert (again.capacity, again.rooms, again.used) == (16, sample.rooms, 3)
    assert (again.utilization, again.coverage) == (sample.utilization, sample.coverage)
    assert abs(again.time - sample.time) < timedelta(seconds=3)
    other = world.source(select_nodes=picks(three))
    assert (await other.sample()).utilization == pytest.approx(0.5)


# --- faults of exporters -----------------------------------------------------------------------


async def test_bad_signals_neither_hide_nor_invent_load(world):
    pool = world.simulate(2, 4)
    one, two = pool.nodes
    pool.set_utilization(0.5)
    pool.set_utilization(0.0, one, 0, "profiling")  # stuck at 0, dcgm-exporter #662
    pool.set_utilization(8083349.05, one, 1, "device")  # spikes, dcgm-exporter #418
    pool.set_utilization(float("nan"), one, 2, "profiling")
    pool.set_utilization(float("nan"), two, 3)
    sample = await until(world.source().sample, lambda s: s.coverage == 7 / 8)
    assert sample.utilization == pytest.approx(0.5)


async def test_dead_gpu_exporters_leave_no_coverage_and_dead_kube_state_metrics_no_data(world):
    pool = world.simulate(2, 4)
    source = world.source()
    await until(source.sample, lambda s: s.coverage == 1 and s.capacity == 8)
    pool.fail("dcgm")
    sample = await until(source.sample, lambda s: s.coverage == 0)
    assert (sample.utilization, sample.capacity) == (None, 8)
    pool.recover()
    await until(source.sample, lambda s: s.coverage == 1)
    pool.fail("kube-state")
    assert await until_blocked(source.sample) is Reason.NO_DATA


@pytest.mark.parametrize("exporter", ["dcgm", "kube-state"])
async def test_a_sample_grows_as_old_as_its_oldest_input(world, exporter):
    pool = world.simulate(2, 4, timestamps=True)
    pool.add_pod("job", 1, next(iter(pool.nodes)))
    source = world.source()

    def age(sample: Sample) -> timedelta:
        return datetime.now(UTC) - sample.time

    few, many = timedelta(seconds=3), timedelta(seconds=6)
    await until(source.sample, lambda s: s.used == 1 and s.coverage == 1 and age(s) < few)
    pool.freeze(exporter)
    frozen_at = datetime.now(UTC)
    old = await until(source.sample, lambda s: age(s) > many)
    assert abs(old.time - frozen_at) < few
    pool.recover()
    await until(source.sample, lambda s: age(s) < few)


# --- hosts without Kubernetes ------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_hosts_without_kubernetes_are_known_by_their_exporters(world, generation):
    pool = world.simulate(2, 4, generation=generation)
    one, two = pool.nodes
    pool.set_utilization(0.04)
    pool.set_memory(400)
    pool.set_utilization(0.9, one, 0)
    pool.set_memory(20_000, one, 1)
    pool.set_utilization(0.9, two, 2)
    pool.set_memory(20_000, two, 2)
    source = world.source(mode=Mode.EXPORTER)
    sample = await until(source.sample, lambda s: s.used == 3)
    assert (sample.capacity, sample.waiting, sample.coverage) == (8, 0, 1.0)
    assert sample.rooms == (Room(one, 4, 2), Room(two, 4, 3))
    assert datetime.now(UTC) - sample.time < timedelta(seconds=4)
    tolerant = await world.source(mode=Mode.EXPORTER, busy_percent=95).sample()
    assert tolerant.used == 2
    pool.fail("dcgm")
    assert await until_blocked(source.sample) is Reason.NO_DATA


def _backfill(server: Prometheus, lines: list[str]) -> None:
    page = server.home / "history.om"
    page.write_text("\n".join(["# TYPE DCGM_FI_DEV_GPU_UTIL gauge", *lines, "# EOF\n"]))
    subprocess.run(
        [server.promtool, "tsdb", "create-blocks-from", "openmetrics", page, server.home / "data"],
        check=True,
        capture_output=True,
    )


async def test_history_shows_who_fell_silent_and_how_busy_it_was(prometheus):
    """Two hours of eight GPUs on two hosts, of which one stopped reporting 30 minutes ago."""
    now = int(time.time())
    lines = [
        f'DCGM_FI_DEV_GPU_UTIL{{hostname="h-{host}",gpu="{gpu}",UUID="{host}{gpu}"}} {load} {at}'
        for host, load, last in (("a", 80, 0), ("b", 20, 1800))
        for gpu in range(4)
        for at in range(now - 7200, now - last, 15)
    ]
    with Prometheus(version=prometheus.binaries.major) as server:
        server.stop()
        _backfill(server, lines)
        server.start()
        async with AsyncExitStack() as closing:
            source = World(server, ExitStack(), closing).source(nodes="h-.*", mode=Mode.EXPORTER)
            sample = await source.sample()
            assert (sample.capacity, sample.coverage) == (4, 0.5)
            assert sample.utilization == pytest.approx(0.8)
            since = datetime.now(UTC) - timedelta(hours=1)
            found = await source.utilization_since(since)
    assert 230 <= len(found) <= 241
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    assert abs(found[0][0] - since) < timedelta(seconds=2)
    early = [load for at, load in found if at < since + timedelta(minutes=25)]
    late = [load for at, load in found if at > since + timedelta(minutes=40)]
    assert statistics.mean(early) == pytest.approx(0.5)
    assert statistics.mean(late) == pytest.approx(0.8)


async def test_the_use_of_some_namespaces_and_the_demand_of_all_are_told(world):
    pool = world.simulate(2, 8)
    one, two = pool.nodes
    pool.add_pod("mine", 3, one, namespace="research")
    pool.add_pod("show", 2, one, namespace="demo")
    pool.add_pod("more", 4, two, namespace="demo", init_gpus=5)
    pool.add_pod("over", 8, two, namespace="demo", phase="Succeeded")
    pool.add_pod("waits", 6, namespace="demo")
    source = world.source(namespaces=frozenset({"demo", "sales"}))
    sample = await until(source.sample, lambda s: s.used == 10 and s.waiting == 6)
    assert sample.used_by == {"demo": 7}
    found = await source.demand_since(datetime.now(UTC) - timedelta(hours=2))
    assert [gpus for _, gpus in found][-1] == 16


async def test_the_demand_recorded_by_slackwater_is_preferred_where_it_reaches(prometheus):
    now = int(time.time())
    name = (
        f'slackwater_pool_foreground_gpus{{exported_namespace="{REF.namespace}",name="{REF.name}"}}'
    )
    other = f'slackwater_pool_foreground_gpus{{namespace="elsewhere",name="{REF.name}"}}'
    lines = [f"{name} 7 {at}" for at in range(now - 7200, now, 60)]
    lines += [f"{other} 99 {at}" for at in range(now - 7200, now, 60)]
    with Prometheus(version=prometheus.binaries.major) as server:
        server.stop()
        _backfill(server, lines)
        server.start()
        async with AsyncExitStack() as closing:
            source = World(server, ExitStack(), closing).source(
                nodes="h-.*", queries={"requested": "vector(3)"}
            )
            found = await source.demand_since(datetime.now(UTC) - timedelta(hours=5))
    values = [gpus for _, gpus in found]
    assert set(values) == {3.0, 7.0}
    assert values[0] == 3.0
    assert 3 <= values.count(7.0) <= 5


async def test_the_pods_of_a_run_are_found_by_their_labels(world):
    run = (
        "slackwater.0a1b2c3d-1111-2222-3333-444455556666.research.nightly.0123456789abcdef01234567"
    )
    airflows, own = pod_labels(run)
    pool = world.simulate(2, 8, replicas=2)
    node, other = f"t{world.number}-n-1", f"t{world.number}-n-2"
    look = world.source().sample
    pool.add_pod("foreign", gpus=1, node=node)
    by_run = {"dag_id": "train", "run_id": airflows, "task_id": "fit"}
    pool.add_pod("bound", gpus=4, node=node, labels=by_run)
    pool.add_pod("waiting", gpus=2, labels=by_run)
    pool.add_pod("job", gpus=1, node=other, labels={"slackwater.dev/run": own})
    pool.add_pod("no-gpu", gpus=0, node=node, labels=by_run)
    pool.add_pod("elsewhere", gpus=8, node="far-away", labels=by_run)
    pool.add_pod("start", gpus=0, init_gpus=3, node=other, labels=by_run)
    sample = await until(look, lambda s: s.shown(run) == 10 and s.used == 9)
    assert sample.waiting == 2
    pool.finish_pod("bound")
    pool.bind_pod("waiting", node=other)
    assert (await until(look, lambda s: s.used == 7 and s.waiting == 0)).shown(run) == 6
    for name in ("bound", "waiting", "job", "no-gpu", "elsewhere", "start"):
        pool.remove_pod(name)
    assert (await until(look, lambda s: s.used == 1)).shown(run) == 0
    assert await world.source().sample()


# --- the server refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sum(", Reason.BAD_QUERY),
        ("kube_node_spec_unschedulable * on () kube_node_spec_unschedulable", Reason.BAD_QUERY),
        ("kube_node_spec_unschedulable[5m]", Reason.BAD_RESULT_TYPE),
        ('"text"', Reason.BAD_RESULT_TYPE),
        ("kube_node_spec_unschedulable", Reason.TOO_MANY_SERIES),
        ("vector(0) / 0", Reason.NOT_A_NUMBER),
    ],
)
async def test_a_query_that_makes_no_sense_is_named(world, text, reason):
    world.simulate(2, 1)
    await until(world.source().sample, lambda s: s.capacity == 2)
    with pytest.raises(PoolError) as caught:
        await world.source(queries={"waiting": text}).sample()
    assert caught.value.reason is reason
    assert caught.value.gaps["what"].endswith("(queries.waiting)")


async def test_own_queries_may_be_scalars_or_vectors(world):
    world.simulate(1, 4)
    own = {"waiting": "3", "utilization": "vector(0.25)", "coverage": "vector(1)"}
    sample = await until(world.source(queries=own).sample, lambda s: s.capacity == 4)
    assert (sample.waiting, sample.utilization, sample.coverage) == (3, 0.25, 1.0)
