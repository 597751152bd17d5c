"""A thousand windows that open in the same second: how soon is the last DAG run accepted?

In memory, so that the engine itself is measured: store, pool and Airflow answer at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from bench.figure import Figure, percentile
from slackwater.core.run import Run
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.engine import Engine
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.tell import Teller
from tests.simulation.harbour import (
    SimAirflow,
    SimLease,
    SimPool,
    SimRecorder,
    SimStore,
    World,
)

NS = "bench"
WINDOWS = 1000
POOL, AIRFLOW = Ref(NS, "pool"), Ref(NS, "airflow")


class _Clock(SystemClock):
    def true_now(self) -> datetime:
        return self.now()


class _World(World):
    async def travel(self, *, slow: float = 0.05) -> None:
        await asyncio.sleep(0)


class _Airflow(SimAirflow):
    def __init__(self, world: World) -> None:
        super().__init__(world, "airflow")
        self.accepted: list[datetime] = []

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Run:
        run = await super().trigger(dag_id, run_id, conf, note)
        self.accepted.append(self.world.now())
        return run


class _Sources:
    files = False

    def __init__(self, pool: SimPool, airflow: SimAirflow) -> None:
        self._pool, self._airflow = pool, airflow

    def calendar(self, key: Key, spec: Any) -> Any:
        raise NotImplementedError(key)

    def pool(self, key: Key, spec: Any) -> Any:
        return self._pool

    def airflow(self, key: Key, spec: Any) -> Any:
        return self._airflow


async def burst(windows: int, lead: float = 3.0) -> list[float]:
    """Seconds from the opening until each run was accepted, sorted."""
    world = _World(_Clock(), 1, faults=False)  # type: ignore[arg-type]
    airflow = _Airflow(world)
    pool = SimPool(world, POOL, [airflow], windows + 8, labels=False)
    store = SimStore(world)
    opens = world.now() + timedelta(seconds=lead + windows / 400)
    _apply(store, windows, opens)
    lease, metrics = SimLease(held=True), Metrics()
    engine = Engine(
        clock=world.clock,
        store=store,
        lease=lease,
        sources=_Sources(pool, airflow),
        teller=Teller(SimRecorder(), metrics),
        metrics=metrics,
        random=Random(1),
    )
    task = asyncio.create_task(engine.run())
    while len(airflow.accepted) < windows and not task.done():
        await asyncio.sleep(0.02)
        if world.now() > opens + timedelta(seconds=120):
            break
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return sorted((at - opens).total_seconds() for at in airflow.accepted)


def _apply(store: SimStore, windows: int, opens: datetime) -> None:
    store.apply(Kind.GPU_POOL, POOL, {"source": {"static": {"gpus": windows + 8}}})
    token = {"tokenSecretRef": {"name": "t", "key": "k"}}
    store.apply(Kind.AIRFLOW_INSTANCE, AIRFLOW, {"url": "http://airflow.example/", "auth": token})
    start = opens.isoformat().replace("+00:00", "Z")
    end = (opens + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    for index in range(windows):
        spec = {
            "windows": [{"name": "once", "effect": "Trigger", "start": start, "end": end}],
            "gpu": {"poolRef": {"name": POOL.name}, "count": 1},
            "dag": {"airflowRef": {"name": AIRFLOW.name}, "dagId": "train"},
        }
        store.apply(Kind.TRAINING_WINDOW, Ref(NS, f"w{index}"), spec)


def figures() -> list[Figure]:
    """Starts in a second, and how late the last ones are."""
    delays = asyncio.run(burst(WINDOWS))
    if len(delays) < WINDOWS:
        raise RuntimeError(f"only {len(delays)} of {WINDOWS} runs were accepted")
    told = f"{WINDOWS:,} windows at once, in memory"
    return [
        Figure(f"{told}: starts", WINDOWS / max(delays), "/s", "at least 500"),
        Figure(f"{told}: delay, 99th percentile", percentile(delays, 0.99), "s", "at most 2"),
    ]
