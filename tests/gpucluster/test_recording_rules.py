"""The chart's recording rules: what they record, and that a sample of it is the same sample."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slackwater.core.sample import Sample
from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus import queries
from slackwater.gpus.config import Mode, PoolConfig, PrometheusConfig, Toleration
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.gpus.queries import Scope
from testbed.gpus import GENERATIONS, SimulatedPool
from testbed.prometheus import Binaries, Prometheus
from tests.gpucluster.conftest import FILES
from tests.gpus.fake_prometheus import LOOPBACK, REF, FakeSecrets, SystemClock

pytestmark = pytest.mark.server

GPU = 'resource="nvidia_com_gpu"'


def test_the_rules_record_nodes_demand_loads_and_times(promtool) -> None:
    main, init = "kube_pod_container_resource_requests", "kube_pod_init_container_resource_requests"
    p, q, w = (f'namespace="x",pod="{name}",uid="{name}"' for name in "pqw")
    ready = 'condition="Ready",status="true"'
    series = {
        f'kube_node_status_allocatable{{node="n1",{GPU},instance="a"}}': "8x30",
        f'kube_node_status_allocatable{{node="n1",{GPU},instance="b"}}': "8x30",  # two replicas
        f'kube_node_status_allocatable{{node="n2",{GPU}}}': "8x30",
        f'kube_node_status_condition{{node="n1",{ready}}}': "1x30",
        f'kube_node_status_condition{{node="n2",{ready}}}': "1x30",
        'kube_node_spec_unschedulable{node="n1"}': "0x30",
        'kube_node_spec_unschedulable{node="n2"}': "0x10 1x20",
        f'{main}{{{p},container="c",node="n1",{GPU}}}': "4x30",
        f'kube_pod_status_phase{{{p},phase="Running"}}': "1x5 0x25",
        f'kube_pod_status_phase{{{p},phase="Succeeded"}}': "0x5 1x25",
        f'{init}{{{q},container="i",node="n1",{GPU}}}': "2x4 stale",
        f'{main}{{{q},container="c",node="n1",{GPU}}}': "1x4 stale",
        f'{main}{{{w},container="c",node="",{GPU}}}': "_x10 6x20",
        'DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname="n1",gpu="0",UUID="g0"}': "0.5x30",
        'DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname="n1",gpu="1",UUID="g1"}': "0.7x10" + " NaN" * 20,
        'DCGM_FI_DEV_GPU_UTIL{hostname="n2",gpu="0",UUID="g2"}': "30x15 stale",
        'DCGM_FI_DEV_GPU_UTIL_RATIO{hostname="n3",gpu="0",UUID="g3"}': "0.2x15 808334905x15",
    }

    def by_node(name: str, **values: float) -> list[dict[str, Any]]:
        return [
            {"labels": f"{name}{{node={json.dumps(n)}}}" if n != "none" else name, "value": value}
            for n, value in values.items()
        ]

    capacity, allocatable = queries.CAPACITY_SERIES, queries.ALLOCATABLE_SERIES
    requested, load = queries.REQUESTED_SERIES, queries.LOAD_SERIES
    expected = [
        (3, capacity, by_node(capacity, n1=8, n2=8)),
        (3, allocatable, by_node(allocatable, n1=8, n2=8)),
        (12, capacity, by_node(capacity, n1=8, n2=8)),
        (12, allocatable, by_node(allocatable, n1=8)),
        (3, requested, by_node(requested, n1=6)),
        (8, requested, []),
        (12, requested, by_node(requested, none=6)),
        (
            3,
            f"sum by (Hostname, hostname) ({load})",
            [
                {"labels": '{Hostname="n1"}', "value": 1.2},
                {"labels": '{hostname="n2"}', "value": 0.3},
                {"labels": '{hostname="n3"}', "value": 0.2},
            ],
        ),
        (
            17,
            f"sum by (Hostname, hostname) ({load})",
            [{"labels": '{Hostname="n1"}', "value": 0.5}],
        ),
        # Times are those of the raw samples, and do not go on when these stop.
        (
            10,
            f'{queries.LOAD_SAMPLED_SERIES}{{hostname="n2"}}',
            [{"labels": f'{queries.LOAD_SAMPLED_SERIES}{{hostname="n2"}}', "value": 600}],
        ),
        (
            20,
            f'{queries.NODES_SAMPLED_SERIES}{{node="n1", of="ready"}}',
            [
                {
                    "labels": f'{queries.NODES_SAMPLED_SERIES}{{node="n1", of="ready"}}',
                    "value": 1200,
                }
            ],
        ),
    ]
    promtool(
        "recording-rules.yaml",
        [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}
                    for minute, expression, samples in expected
                ],
            }
        ],
    )


@pytest.fixture(scope="module")
def recorded(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    rules = yaml.safe_load((FILES / "recording-rules.yaml").read_text())
    path = Path(tmp_path_factory.mktemp("rules"), "rules.yml")
    path.write_text(json.dumps({"groups": [{"name": "x", "interval": "1s", "rules": rules}]}))
    with Prometheus(version=binaries.major, rules=[path]) as server:
        yield server


@pytest.fixture
async def ask(recorded: Prometheus) -> AsyncIterator[Any]:
    """A pool's sample, from the raw series or from the recorded ones."""
    async with AsyncExitStack() as stack:

        def build(
            recorded_series: bool,
            mode: Mode = Mode.KUBERNETES,
            server: Prometheus = recorded,
            **pool: Any,
        ) -> PrometheusPool:
            source = PrometheusPool(
                PoolConfig(ref=REF, **pool),
                PrometheusConfig(server_address=server.url, recorded=recorded_series, mode=mode),
                clock=SystemClock(),
                secrets=FakeSecrets(),
                policy=LOOPBACK,
            )
            stack.push_async_callback(source.aclose)
            return source

        yield build


async def settled(raw: PrometheusPool, other: PrometheusPool, holds: Any) -> tuple[Sample, Sample]:
    """Both samples once both hold; they may see a change one evaluation apart."""
    deadline = time.monotonic() + 30
    seen: list[Any] = []
    while time.monotonic() < deadline:
        try:
            seen = [await raw.sample(), await other.sample()]
        except PoolError as error:
            seen = [error]
        else:
            if all(holds(one) for one in seen):
                return seen[0], seen[1]
        await asyncio.sleep(0.2)
    raise AssertionError(f"not settled: {seen}")


async def test_a_sample_of_recorded_series_is_the_sample_of_the_raw_ones(recorded, ask) -> None:
    async def select() -> frozenset[str]:
        return frozenset({"g0-1", "g1-1", "g1-2"})

    taint = Toleration(key="spot", effect="NoSchedule")
    choices: list[dict[str, Any]] = [
        {"nodes": "g.*"},
        {"nodes": "g1-.*"},
        {"select_nodes": select},
        {"nodes": "g.*", "tolerations": (taint,)},
    ]
    pools = [
        SimulatedPool(2, 8, prefix=f"g{i}", generation=generation)
        for i, generation in enumerate(GENERATIONS)
    ]
    loads = itertools.cycle([0.1, 0.5, 0.9])
    for pool in pools:
        pool.start()
        for name in pool.nodes:
            pool.set_utilization(next(loads), node=name)
            pool.add_pod(f"train-{name}", 3, name)
    recorded.targets = [
        f"{pool.target}/{page}" for pool in pools for page in ("dcgm/metrics", "kube-state/metrics")
    ]
    recorded.reload()
    try:
        pools[0].cordon("g0-2")
        pools[1].taint("g1-2", "spot")
        pools[2].lose_node("g2-1")
        pools[2].add_pod("waits", 5, None)
        for options in choices:
            everything = options.get("nodes") == "g.*"

            def whole(sample: Sample, everything: bool = everything) -> bool:
                return sample.waiting == 5 and (not everything or sample.capacity == 48)

            raw, other = await settled(ask(False, **options), ask(True, **options), whole)
            at = raw.time
            assert replace(other, time=at, utilization=None) == replace(raw, utilization=None)
            assert other.utilization == pytest.approx(raw.utilization)
            assert abs((other.time - raw.time).total_seconds()) < 5

        raw, other = await settled(
            ask(False, Mode.EXPORTER, nodes="g.*"),
            ask(True, Mode.EXPORTER, nodes="g.*"),
            lambda sample: sample.capacity == 40,
        )
        assert (other.rooms, other.used) == (raw.rooms, raw.used)
    finally:
        for pool in pools:
            pool.stop()
        recorded.targets = []
        recorded.reload()


async def test_recorded_numbers_age_when_what_is_behind_them_stops(recorded, ask) -> None:
    """A rule would go on to record the last load for minutes: its time says how old it is."""
    pool = SimulatedPool(1, 8, prefix="old", timestamps=True)
    with pool:
        recorded.targets = [pool.target]
        recorded.reload()
        source = ask(True, nodes="old-.*")
        raw, _ = await settled(source, source, lambda sample: sample.capacity == 8)
        pool.freeze()
        frozen = await source.sample()
        await settled(
            source,
            source,
            lambda sample: (SystemClock().now() - sample.time).total_seconds() > 3,
        )
        later = await source.sample()
        assert abs((later.time - frozen.time).total_seconds()) < 2
        assert later.capacity == raw.capacity
    recorded.targets = []
    recorded.reload()


async def test_without_the_rules_there_is_no_data(binaries, ask) -> None:
    with (
        SimulatedPool(1, 8, prefix="bare") as pool,
        Prometheus([pool.target], version=binaries.major) as server,
    ):
        server.wait_for("count(DCGM_FI_DEV_GPU_UTIL)", 8, 60)
        source = ask(True, server=server, nodes="bare-.*")
        with pytest.raises(PoolError) as raised:
            await source.sample()
    assert raised.value.reason is Reason.NO_DATA


def test_another_resource_reads_nodes_and_pods_from_the_raw_series() -> None:
    scope = Scope(nodes="n.*", resource="amd.com/gpu", recorded=True)
    assert queries.capacity(scope) == queries.capacity(replace(scope, recorded=False))
    assert queries.requested(scope) == queries.requested(replace(scope, recorded=False))
    assert queries.LOAD_SERIES in queries.gpu_load(scope)


def test_tolerations_are_read_from_the_raw_series() -> None:
    scope = Scope(nodes="n.*", tolerations=(Toleration(key="spot"),), recorded=True)
    assert 'key="spot"' in queries.allocatable(scope)
    assert queries.REQUESTED_SERIES in queries.requested(scope)
