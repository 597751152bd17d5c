"""The expressions by themselves on real Prometheus: as recording rules, and at size."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import time
from datetime import timedelta

import pytest

from slackwater.gpus import queries
from slackwater.gpus.config import PoolConfig, PrometheusConfig
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.gpus.queries import Scope
from testbed.gpus import SimulatedPool
from testbed.prometheus import Prometheus, find
from tests.gpus.fake_prometheus import LOOPBACK, REF, FakeSecrets, SystemClock

pytestmark = pytest.mark.server


def test_the_expressions_can_be_recorded_and_follow_a_pool_minute_by_minute(prometheus, tmp_path):
    scope = Scope(nodes="n.*")
    rules = {
        "capacity": f"sum({queries.capacity(scope)})",
        "allocatable": f"sum({queries.allocatable(scope)})",
        "requested": queries.requested(scope),
        "utilization": queries.utilization(scope),
        "reporting": queries.gpus_seen(scope),
    }
    main, init = "kube_pod_container_resource_requests", "kube_pod_init_container_resource_requests"
    gpu, phase = 'resource="nvidia_com_gpu"', "kube_pod_status_phase"
    p, q = 'namespace="x",pod="p",uid="1"', 'namespace="x",pod="q",uid="2"'
    ready = 'condition="Ready",status="true"'
    series = {
        f'kube_node_status_allocatable{{node="n1",{gpu}}}': "8x30",
        f'kube_node_status_allocatable{{node="n2",{gpu}}}': "8x30",
        f'kube_node_status_condition{{node="n1",{ready}}}': "1x30",
        f'kube_node_status_condition{{node="n2",{ready}}}': "1x30",
        'kube_node_spec_unschedulable{node="n1"}': "0x30",
        'kube_node_spec_unschedulable{node="n2"}': "0x10 1x20",
        f'{main}{{{p},container="c",node="n1",{gpu}}}': "4x30",
        f'{phase}{{{p},phase="Running"}}': "1x5 0x25",
        f'{phase}{{{p},phase="Succeeded"}}': "0x5 1x25",
        f'{init}{{{q},container="i",node="n1",{gpu}}}': "2x4 stale",
        f'{main}{{{q},container="c",node="n1",{gpu}}}': "1x4 stale",
        f'{phase}{{{q},phase="Running"}}': "1x4 stale",
        'DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname="n1",gpu="0",UUID="g0"}': "0.5x30",
        'DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname="n1",gpu="1",UUID="g1"}': "0.7x10" + " NaN" * 20,
        'DCGM_FI_DEV_GPU_UTIL{hostname="n2",gpu="0",UUID="g2"}': "30x15 stale",
    }
    # Minute: allocatable, requested on n1 (None: no series), utilisation, GPUs that report.
    expected = {
        3: (16, 6, 0.5, 3),
        8: (16, None, 0.5, 3),
        12: (8, None, 0.4, 2),
        17: (8, None, 0.5, 1),
    }
    checks = [
        {
            "expr": f"round(x:{name}, 0.001)",
            "eval_time": f"{minute}m",
            "exp_samples": [] if value is None else [{"labels": labels, "value": value}],
        }
        for minute, (allocatable, requested, utilization, reporting) in expected.items()
        for name, labels, value in (
            ("capacity", "{}", 16),
            ("allocatable", "{}", allocatable),
            ("requested", '{node="n1"}', requested),
            ("utilization", "{}", utilization),
            ("reporting", "{}", reporting),
        )
    ]
    groups = [{"name": "x", "rules": [{"record": f"x:{k}", "expr": v} for k, v in rules.items()]}]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": checks,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))
    done = subprocess.run(
        [find(prometheus.binaries.major).promtool, "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_pool_of_four_thousand_gpus_is_one_quick_sample(prometheus, tmp_path):
    """500 nodes with 8 GPUs and 3,000 pods; prints how long a sample takes, asserts what it says."""
    pool = SimulatedPool(500, 8, prefix="big")
    ours = {"run_id": "slackwater.test.research.nightly.0123"}
    for node, index in itertools.product(pool.nodes, range(6)):
        pool.add_pod(f"{node}-{index}", 1, node, labels=ours if index == 0 else None)
    pool.set_utilization(0.5)
    pool.freeze()  # so that writing its page does not compete with the samples
    pages = [f"{pool.target}/{page}" for page in ("dcgm/metrics", "kube-state/metrics")]
    names = frozenset(pool.nodes)

    async def select() -> frozenset[str]:
        return names

    major = prometheus.binaries.major
    with pool, Prometheus(pages, version=major, interval="10s", home=tmp_path) as server:
        server.wait_for("count(DCGM_FI_DEV_GPU_UTIL)", 4000, 60)
        server.wait_for("count(kube_pod_container_resource_requests)", 3000, 60)
        for options in ({"nodes": "big-.*"}, {"select_nodes": select}):
            source = PrometheusPool(
                PoolConfig(ref=REF, **options),
                PrometheusConfig(server_address=server.url, timeout=timedelta(seconds=30)),
                clock=SystemClock(),
                secrets=FakeSecrets(),
                policy=LOOPBACK,
            )
            took = []
            for _ in range(10):
                began = time.monotonic()
                sample = await source.sample()
                took.append((time.monotonic() - began) * 1000)
            await source.aclose()
            assert (sample.capacity, sample.used, sample.fit(1)) == (4000, 3000, 1000)
            assert (sample.utilization, sample.coverage) == (pytest.approx(0.5), 1.0)
            assert sample.shown(ours["run_id"]) == 500
            print(
                f"\nPrometheus {server.binaries.version}, 500 nodes by {next(iter(options))}: "
                f"fastest {min(took):.0f} ms, median {statistics.median(took):.0f} ms"
            )
