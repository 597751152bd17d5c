"""What Slackwater adds to a start, and what following many runs costs, on a real Airflow.

Starts: from the call to the running task on Airflow with PostgreSQL, ours and a bare POST by turns, so
that the server's speed and the machine's cancel out. BENCH_RUNS says how many of each (50).
Following: so many queued runs (BENCH_ACTIVE, 1,000) for a minute at the default poll interval.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median
from typing import Any

from bench.figure import Figure, progress
from slackwater.airflow import StaticToken, client, open_airflow
from slackwater.core.action import Post
from slackwater.core.spec import Ref
from slackwater.net import NetPolicy
from slackwater.ports import Airflow as Port
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.carry_out import carry_out
from slackwater.runtime.clock import SystemClock
from slackwater.stores.lease import AlwaysHeld
from slackwater.wire import SecretKeyRef
from testbed.airflow import API_ONLY, Airflow
from testbed.postgres import Postgres

DAG = "sample_echo"
PREFIX = "slackwater.bench."
REF = Ref("bench", "default")
_POLL = timedelta(seconds=10)
_WATCHED = 60.0


def figures() -> list[Figure]:
    """Seconds from call to running task, ours and bare; requests and processor of following."""
    return [*_starting(int(os.environ.get("BENCH_RUNS", "50"))), *_following()]


# --- starts


def _starting(count: int) -> list[Figure]:
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        database = postgres.create_database("airflow")
        airflow = stack.enter_context(Airflow(database=database, dags={DAG}))
        ours, bare = asyncio.run(_by_turns(airflow, count))
    told = f"call to running task, real Airflow and PostgreSQL, median of {count}"
    return [
        Figure(f"{told}: Slackwater", ours, "s", ""),
        Figure("the same by a bare POST", bare, "s", ""),
        Figure("added by Slackwater", (ours - bare) * 1000, "ms", "at most 50"),
    ]


async def _by_turns(airflow: Airflow, count: int) -> tuple[float, float]:
    ours: list[float] = []
    bare: list[float] = []
    async with _opened(airflow) as port:
        follower = _follower(port)
        for number in range(-2, count):  # the first ones warm up
            for name, found in (("ours", ours), ("bare", bare)):
                run_id = f"{PREFIX}{name}.{number + 2}"
                began = datetime.now(UTC)
                if name == "ours":
                    until = began + timedelta(seconds=30)
                    post = Post(run_id, {"trainingWindow": {"version": 1}}, "why", until)
                    await carry_out(
                        post, DAG, REF, follower, lease=AlwaysHeld(), clock=SystemClock()
                    )
                else:
                    await asyncio.to_thread(airflow.trigger, DAG, run_id)
                took = (
                    await asyncio.to_thread(_task_began, airflow, run_id) - began
                ).total_seconds()
                if number >= 0:
                    found.append(took)
    progress(f"{count} starts by turns: {median(ours):.3f} s, bare {median(bare):.3f} s")
    return median(ours), median(bare)


def _task_began(airflow: Airflow, run_id: str) -> datetime:
    airflow.wait_for_run(DAG, run_id, timeout=120)
    task = airflow.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/echo")
    return datetime.fromisoformat(task["start_date"])


# --- following


def _following() -> list[Figure]:
    count = int(os.environ.get("BENCH_ACTIVE", "1000"))
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        airflow = stack.enter_context(
            Airflow(database=postgres.create_database("airflow"), components=API_ONLY, dags={DAG})
        )
        for number in range(count):
            conf = {"trainingWindow": {"version": 1, "namespace": "bench", "name": f"w{number}"}}
            airflow.trigger(DAG, f"{PREFIX}{number}", conf)
        progress(f"{count} runs are queued; following them for {_WATCHED:.0f} s")
        requests, share = asyncio.run(_watch(airflow, count))
    told = f"following {count:,} active runs"
    return [
        Figure(f"{told}: requests", requests, "/s", "at most 1"),
        Figure(f"{told}: processor", share * 100, "% of a core", "at most 2"),
    ]


async def _watch(airflow: Airflow, count: int) -> tuple[float, float]:
    """Requests a second, and seconds of processor a second, of this process."""
    sent = 0
    call = client.Client.call

    def counted(self: client.Client, *words: Any) -> Any:
        nonlocal sent
        sent += 1
        return call(self, *words)

    client.Client.call = counted  # type: ignore[method-assign,assignment]
    async with _opened(airflow) as port:
        follower = _follower(port)
        await follower.look()
        if len(follower.runs) != count:
            raise RuntimeError(f"{len(follower.runs)} of {count} runs are followed")
        sent, began, processor = 0, time.monotonic(), time.process_time()
        while time.monotonic() - began < _WATCHED:
            assert follower.next_at is not None
            left = (follower.next_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, left))
            await follower.look()
        elapsed = time.monotonic() - began
        return sent / elapsed, (time.process_time() - processor) / elapsed


# --- both


class _Token:
    def __init__(self, token: str) -> None:
        self._token = token

    async def read(self, namespace: str, name: str, key: str) -> str:
        return self._token


@asynccontextmanager
async def _opened(airflow: Airflow) -> AsyncIterator[Port]:
    port = await open_airflow(
        airflow.url,
        StaticToken(SecretKeyRef(name="airflow", key="token")),
        REF,
        secrets=_Token(await asyncio.to_thread(airflow.token)),
        clock=SystemClock(),
        policy=NetPolicy(loopback=True),
    )
    try:
        yield port
    finally:
        await port.aclose()


def _follower(port: Port) -> AirflowFollower:
    def ignore(*_: object) -> None:
        """Nobody waits for news here."""

    follower = AirflowFollower(REF, SystemClock(), Random(1), PREFIX, ignore, ignore, ignore)
    follower.configure(port, _POLL, None)
    return follower
