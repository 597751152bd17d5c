"""Virtual time and small fake ports for the parts of the runtime, and a whole engine on them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slackwater.core.event import Event, Snapshot, Warned
from slackwater.core.run import DagFacts, Run, RunState
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, PoolError, SlackwaterError
from slackwater.ports import Fetched, FetchState, Key, Kind
from slackwater.runtime.engine import Engine
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.tell import Teller
from tests.core.builders import CANARY, DAG, NS, run_of, sample
from tests.simulation.harbour import (
    INSTALLATION,
    Entry,
    SimAirflow,
    SimCalendar,
    SimLease,
    SimPool,
    SimRecorder,
    SimStore,
    World,
)
from tests.simulation.virtual import EPOCH, SimClock, VirtualLoop, run_virtual

__all__ = ["CANARY", "DAG", "EPOCH", "INSTALLATION", "NS", "RunState", "run_of", "sample"]

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def at(hours: float) -> datetime:
    return EPOCH + hours * HOUR


def on_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test, which takes the clock first, in virtual time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = VirtualLoop()
        run_virtual(test(SimClock(loop), *args, **kwargs), loop)

    # pytest must not take the clock for a fixture.
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


@dataclass
class Calendar:
    """A `CalendarSource` that gives what it is told to: events, None for unchanged, or an error."""

    clock: SimClock
    answer: tuple[Event, ...] | Exception | None = ()
    warnings: tuple[Warned, ...] = ()
    takes: timedelta = timedelta()
    asked: list[FetchState | None] = field(default_factory=list)
    during: Callable[[], None] | None = None
    horizons: list[Span] = field(default_factory=list)

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        self.asked.append(state)
        self.horizons.append(horizon)
        await asyncio.sleep(self.takes.total_seconds())
        if self.during is not None:
            self.during()
        if isinstance(self.answer, Exception):
            raise self.answer
        made = FetchState(config_hash="x", cursor={"n": str(len(self.asked))})
        if self.answer is None:
            return Fetched(None, made)
        return Fetched(Snapshot(horizon, self.answer, now, self.warnings), made)

    async def aclose(self) -> None:
        return


def down(reason: Reason = Reason.UNREACHABLE, after: timedelta | None = None) -> CalendarError:
    return CalendarError(reason, retry_after=after, what="the calendar")


@dataclass
class Pool:
    """A `PoolSource` that gives what it is told to."""

    clock: SimClock
    answer: Sample | Exception | None = None
    past: tuple[tuple[datetime, float], ...] | SlackwaterError = ()
    samples: int = 0
    asked_past: int = 0
    demand: tuple[tuple[datetime, float], ...] | SlackwaterError = ()
    asked_demand: list[datetime] = field(default_factory=list)

    async def sample(self) -> Sample:
        self.samples += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or sample(self.clock.now(), 8, utilization=0.1, coverage=1.0)

    async def utilization_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        self.asked_past += 1
        if isinstance(self.past, SlackwaterError):
            raise self.past
        return self.past

    async def demand_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        self.asked_demand.append(since)
        if isinstance(self.demand, SlackwaterError):
            raise self.demand
        return tuple(point for point in self.demand if point[0] >= since)

    async def aclose(self) -> None:
        return


def no_data() -> PoolError:
    return PoolError(Reason.NO_DATA, what="Prometheus")


@dataclass
class Airflow:
    """An `Airflow` whose runs are set by hand, and which remembers what it was asked."""

    clock: SimClock
    runs: dict[str, Run] = field(default_factory=dict)
    facts: Mapping[str, DagFacts] = field(default_factory=dict)
    error: Exception | None = None
    slow: timedelta = timedelta()
    asked: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    times: tuple[timedelta, ...] | Exception = ()

    async def _reach(self, what: str) -> None:
        self.asked.append(what)
        error = self.error
        await asyncio.sleep(self.slow.total_seconds())
        if error is not None:
            raise error

    def count(self, what: str) -> int:
        return sum(asked.split()[0] == what for asked in self.asked)

    async def version(self) -> str:
        await self._reach("version")
        return "3.3.2"

    async def preflight(self, dag_id: str) -> DagFacts:
        await self._reach(f"preflight {dag_id}")
        return replace(
            self.facts.get(dag_id, DagFacts(problem=None, checked_at=self.clock.now())),
            checked_at=self.clock.now(),
        )

    async def active_runs(self, prefix: str) -> tuple[Run, ...]:
        found = tuple(r for r in self.runs.values() if not r.state.is_over)
        await self._reach("list")
        return found

    async def run(self, dag_id: str, run_id: str) -> Run | None:
        found = self.runs.get(run_id)
        await self._reach(f"run {run_id}")
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def task_times(self, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
        await self._reach(f"times {dag_id}")
        if isinstance(self.times, Exception):
            raise self.times
        return self.times

    async def delete_queued(self, dag_id: str, run_id: str) -> bool:
        await self._reach(f"delete {run_id}")
        self.deleted.append(run_id)
        return self.runs.pop(run_id, None) is not None

    async def aclose(self) -> None:
        return


@contextlib.contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """The errors that followers log meanwhile."""
    lines: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lines.append  # type: ignore[method-assign]
    log = logging.getLogger("slackwater.follow")
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


# --- a whole engine


class Bay:
    """A calm world with one of each, and an engine on it.

    The calendar `team` is read every 5 minutes; the pool `h100` has labels; the server is
    `default`.
    """

    def __init__(self, clock: SimClock, *, gpus: int = 32, labels: bool = True) -> None:
        self.clock = clock
        self.world = World(clock, 7, faults=False)
        self.store = SimStore(self.world)
        self.recorder = SimRecorder()
        self.calendar = SimCalendar(self.world, "team")
        self.airflow = SimAirflow(self.world, "default")
        self.pool = SimPool(self.world, Ref(NS, "h100"), [self.airflow], gpus, labels=labels)
        self.lease = SimLease(held=True)
        self.files = False
        self.engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self.serial = 0
        self.lasts = timedelta(minutes=30)

    # `runtime.records.Sources`

    def sources(self) -> Any:
        bay = self

        class _Sources:
            files = False

            def calendar(self, key: Key, spec: Any) -> Any:
                return bay.calendar

            def pool(self, key: Key, spec: Any) -> Any:
                return bay.pool

            def airflow(self, key: Key, spec: Any) -> Any:
                return bay.airflow

        return _Sources()

    # life

    def apply_all(self, **airflow: Any) -> None:
        event = {
            "uid": "x",
            "summary": "x",
            "start": "2020-01-01T00:00:00Z",
            "end": "2020-01-01T01:00:00Z",
        }
        self.store.apply(
            Kind.CALENDAR,
            Ref(NS, "team"),
            {"provider": {"static": {"events": [event]}}, "refreshIntervalSeconds": 300},
        )
        source = {"static": {"gpus": self.pool.gpus}}
        self.store.apply(Kind.GPU_POOL, Ref(NS, "h100"), {"source": source})
        spec = {
            "url": "http://airflow.example/",
            "auth": {"tokenSecretRef": {"name": "t", "key": "k"}},
        }
        self.store.apply(Kind.AIRFLOW_INSTANCE, Ref(NS, "default"), spec | airflow)

    def start(self) -> None:
        metrics = Metrics()
        self.metrics = metrics
        self.engine = Engine(
            clock=self.clock,
            store=self.store,
            lease=self.lease,
            sources=self.sources(),
            teller=Teller(self.recorder, metrics),
            metrics=metrics,
            random=Random(1),
        )
        self._task = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, hour: float | datetime) -> None:
        """Let virtual time pass; the engine must not end by itself."""
        moment = hour if isinstance(hour, datetime) else at(hour)
        assert self._task is not None
        while self.world.now() < moment:
            left = (moment - self.world.now()).total_seconds()
            await asyncio.sleep(min(left, 60))
            if self._task.done():
                self._task.result()
        for sim in self.airflow.runs.values():
            sim.lasts = min(sim.lasts, self.lasts)

    # what users do

    def window(self, name: str = "nightly", **spec: Any) -> Key:
        entry = {
            "name": "train",
            "calendarRef": {"name": "team"},
            "effect": "Trigger",
            "match": {"summary": f"{name} *"},
        }
        fields: dict[str, Any] = {
            "calendars": [entry],
            "dag": {"airflowRef": {"name": "default"}, "dagId": DAG},
        }
        self.store.apply(Kind.TRAINING_WINDOW, Ref(NS, name), fields | spec)
        return Key(Kind.TRAINING_WINDOW, Ref(NS, name))

    def event(self, start: float, end: float, name: str = "nightly") -> str:
        self.serial += 1
        uid = f"e{self.serial}"
        title = f"{name} {CANARY}"
        self.calendar.put(Entry(uid, uid, "", at(start), at(end), title))
        return uid

    # what is seen

    def status(self, name: str = "nightly") -> dict[str, Any]:
        return dict(self.store.objects[Key(Kind.TRAINING_WINDOW, Ref(NS, name))].status)

    def lines(self, name: str = "nightly") -> list[dict[str, Any]]:
        return list(self.status(name).get("occurrences", ()))

    def states(self, name: str = "nightly") -> list[str]:
        return [line["state"] for line in self.lines(name)]


GPU = {"poolRef": {"name": "h100"}, "count": 8}


class Village:
    """A `runtime.world.World` of objects without an engine: keys that it touched are kept."""

    def __init__(self, clock: SimClock) -> None:
        from slackwater.runtime.world import World as Objects

        self.clock = clock
        self.store = SimStore(World(clock, 7, faults=False))
        self.servers: dict[Ref, Airflow] = {}
        self.pools: dict[Ref, Pool] = {}
        self.calendars: dict[Ref, Calendar] = {}
        self.touched: list[Ref] = []
        self.changed: list[Ref] = []
        self.objects = Objects(
            clock=clock,
            random=Random(1),
            sources=self,  # type: ignore[arg-type]
            touched=self.touched.append,
            poked=lambda key: None,
            published=lambda key: None,
            closing=lambda adapter: None,
        )
        self.objects.installation = INSTALLATION

    files = False

    def calendar(self, key: Key, spec: Any) -> Any:
        return self.calendars.setdefault(key.ref, Calendar(self.clock))

    def pool(self, key: Key, spec: Any) -> Any:
        return self.pools.setdefault(key.ref, Pool(self.clock))

    def airflow(self, key: Key, spec: Any) -> Any:
        return self.servers.setdefault(key.ref, Airflow(self.clock))

    def apply(self, kind: Kind, name: str, spec: Any, namespace: str = NS) -> Key:
        stored = self.store.apply(kind, Ref(namespace, name), spec)
        self.objects.admit(stored)
        return stored.key

    def apply_calendar(self, name: str = "team") -> Key:
        event = {
            "uid": "x",
            "summary": "x",
            "start": "2020-01-01T00:00:00Z",
            "end": "2020-01-01T01:00:00Z",
        }
        return self.apply(Kind.CALENDAR, name, {"provider": {"static": {"events": [event]}}})

    def apply_pool(self, name: str = "h100", **spec: Any) -> Key:
        return self.apply(Kind.GPU_POOL, name, {"source": {"static": {"gpus": 8}}} | spec)

    def apply_airflow(self, name: str = "default", namespace: str = NS, **spec: Any) -> Key:
        fields = {
            "url": "http://airflow.example/",
            "auth": {"tokenSecretRef": {"name": "t", "key": "k"}},
        }
        return self.apply(Kind.AIRFLOW_INSTANCE, name, fields | spec, namespace)

    def apply_window(self, name: str = "nightly", namespace: str = NS, **spec: Any) -> Key:
        fields = {
            "windows": [
                {
                    "name": "nights",
                    "effect": "Trigger",
                    "schedule": "0 22 * * *",
                    "durationSeconds": 3600,
                }
            ],
            "gpu": {"poolRef": {"name": "h100"}, "count": 8},
            "dag": {"airflowRef": {"name": "default"}, "dagId": DAG},
        }
        return self.apply(Kind.TRAINING_WINDOW, name, fields | spec, namespace)

    def drop(self, key: Key) -> None:
        self.store.objects.pop(key)
        self.objects.drop(key)
