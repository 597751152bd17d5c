"""The simulated world: store, calendars, pools and Airflow in memory, with their truth and faults.

Every port call takes virtual time before and after its effect, so a kill can land on either side,
and every call may fail in the ways that the real thing fails: refused, lost reply, late landing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slackwater.core.event import Event, Snapshot
from slackwater.core.identity import event_key, pod_labels, series_key
from slackwater.core.run import DagFacts, Run, RunState
from slackwater.core.sample import Room, Sample
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import (
    AirflowError,
    Ambiguous,
    CalendarError,
    Conflict,
    Gone,
    PoolError,
    RunExists,
    StoreError,
)
from slackwater.ports import (
    Change,
    Changed,
    Deleted,
    Fetched,
    FetchState,
    Key,
    Kind,
    Listed,
    Stored,
)

from .virtual import SimClock

CANARY = "kanarienvogel"
INSTALLATION = "sim"


class World:
    """What all simulated parts share: time, chance and the faults that are on."""

    def __init__(self, clock: SimClock, seed: int, *, faults: bool) -> None:
        self.clock, self.random, self.faults = clock, Random(seed), faults
        self.calls = 0
        self.kill_at: int | None = None
        self.kill: asyncio.Event = asyncio.Event()
        self.down: set[str] = set()  # names of dependencies that are out
        self.log: list[str] = []

    def now(self) -> datetime:
        return self.clock.true_now()

    def chance(self, p: float) -> bool:
        return self.faults and self.random.random() < p

    async def travel(self, *, slow: float = 0.05) -> None:
        """One way over the network; a kill may strike here."""
        self.calls += 1
        if self.kill_at is not None and self.calls >= self.kill_at:
            self.kill_at = None
            self.kill.set()
        wait = self.random.uniform(0.001, slow)
        if self.chance(0.002):
            wait = self.random.uniform(1, 12)
        await asyncio.sleep(wait)


# --- the store ---------------------------------------------------------------------------------


class SimStore:
    """Objects with resource versions and watchers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects: dict[Key, Stored] = {}
        self._version = 0
        self._watchers: list[asyncio.Queue[Change]] = []
        self.statuses_written = 0
        self.windows_written = 0
        self.status_texts: set[str] = set()

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def apply(self, kind: Kind, ref: Ref, spec: Mapping[str, Any], **annotations: str) -> Stored:
        """kubectl apply."""
        key = Key(kind, ref)
        old = self.objects.get(key)
        if old is None:
            stored = Stored(
                key=key,
                uid=f"uid-{self._next()}",
                generation=1,
                resource_version=self._next(),
                created=self.world.clock.now(),
                spec=spec,
                annotations=annotations,
            )
        else:
            changed = old.spec != spec
            stored = replace(
                old,
                spec=spec,
                annotations=annotations,
                generation=old.generation + changed,
                resource_version=self._next(),
            )
        self.objects[key] = stored
        self._tell(Changed(stored))
        return stored

    def delete(self, key: Key) -> None:
        if self.objects.pop(key, None) is not None:
            self._tell(Deleted(key))

    def wipe_status(self, key: Key) -> None:
        """Somebody, or a restored backup, loses the status."""
        stored = replace(self.objects[key], status={}, resource_version=self._next())
        self.objects[key] = stored
        self._tell(Changed(stored))

    def _tell(self, change: Change) -> None:
        for queue in self._watchers:
            queue.put_nowait(change)

    def changes(self) -> AsyncIterator[Change]:
        return self._changes()

    async def _changes(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watchers.append(queue)
        try:
            await self.world.travel()
            listed = set(self.objects)
            for stored in list(self.objects.values()):
                yield Changed(stored)
            yield Listed()
            while True:
                change = await queue.get()
                key = change.key if isinstance(change, Deleted) else change.object.key  # type: ignore[union-attr]
                listed.add(key)
                await self.world.travel(slow=0.01)
                yield change
        finally:
            self._watchers.remove(queue)

    async def write_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> str:
        await self.world.travel()
        if "store" in self.world.down or self.world.chance(0.002):
            raise StoreError(Reason.UNREACHABLE, what="the store")
        stored = self.objects.get(key)
        if stored is None:
            raise Gone
        if stored.resource_version != resource_version:
            raise Conflict
        text = json.dumps(status)
        self.status_texts.add(text)
        if len(self.status_texts) > 500:
            self.status_texts.clear()
        assert CANARY not in text, "a title reached a status"
        # A watcher hears of it unless it wrote it itself; hearing it again must do no harm.
        version = self._next()
        self.objects[key] = replace(stored, status=json.loads(text), resource_version=version)
        self.statuses_written += 1
        self.windows_written += key.kind is Kind.TRAINING_WINDOW
        self._tell(Changed(self.objects[key]))
        await self.world.travel()
        if self.world.chance(0.002):
            raise StoreError(Reason.TIMEOUT, what="the store")
        return version

    async def remove_annotation(self, key: Key, name: str, resource_version: str) -> None:
        raise AssertionError("not used by the engine")

    async def installation(self) -> str:
        return INSTALLATION

    async def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        return {"kubernetes.io/metadata.name": namespace}

    async def node_names(self, selector: Mapping[str, Any]) -> frozenset[str] | None:
        return None

    @property
    def secrets(self) -> Any:
        raise AssertionError("no secrets in the simulation")


class SimLease:
    """Who may act; handed over by the simulation."""

    def __init__(self, *, held: bool) -> None:
        self._event = asyncio.Event()
        if held:
            self._event.set()

    @property
    def held(self) -> bool:
        return self._event.is_set()

    def set(self, *, held: bool) -> None:
        self._event.set() if held else self._event.clear()

    async def wait_held(self) -> None:
        await self._event.wait()


@dataclass
class SimRecorder:
    """Keeps what was said."""

    notes: list[tuple[Key, str, str]] = field(default_factory=list)

    def record(self, key: Key, *, warning: bool, reason: str, action: str, note: str) -> None:
        assert CANARY not in note, "a title reached an Event"
        self.notes.append((key, reason, note))


# --- calendars ---------------------------------------------------------------------------------


@dataclass
class Entry:
    """One event in a calendar, in truth. `logical` stays when an edit gives it a new uid."""

    uid: str
    logical: str
    original: str
    start: datetime
    end: datetime
    title: str
    series: str = ""


def _nobody() -> None:
    """Nobody listens."""


class SimCalendar:
    """One provider-side calendar and what was last told of it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.entries: dict[str, Entry] = {}
        self.version = 0
        self.told: tuple[Event, ...] | None = None
        self.told_at: datetime | None = None
        self.asked_at: datetime | None = None
        self.logical_of: dict[str, str] = {}
        self.on_told: Callable[[], None] = _nobody

    def put(self, entry: Entry) -> None:
        self.entries[entry.uid] = entry
        self.logical_of[event_key(self.name, entry.uid, entry.original)] = entry.logical
        self.version += 1

    def tidy(self) -> None:
        """Forget what is so long ago that no snapshot holds it any more."""
        old = self.world.now() - timedelta(days=4)
        for uid in [uid for uid, entry in self.entries.items() if entry.end < old]:
            del self.entries[uid]

    def remove(self, uid: str) -> None:
        if self.entries.pop(uid, None) is not None:
            self.version += 1

    def event(self, entry: Entry) -> Event:
        return Event(
            key=event_key(self.name, entry.uid, entry.original),
            series=series_key(self.name, entry.series or entry.uid),
            original_start=entry.original,
            span=Span(entry.start, entry.end),
            summary=entry.title,
        )

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        await self.world.travel(slow=0.5)
        self.asked_at = self.world.now()
        if self.name in self.world.down or self.world.chance(0.003):
            raise CalendarError(Reason.UNREACHABLE, what="the calendar")
        config = f"{horizon.start}{horizon.end}"
        version = str(self.version)
        if state is not None and state.config_hash == config and state.cursor["v"] == version:
            self.told_at = self.world.now()
            await self.world.travel()
            return Fetched(None, state)
        events = tuple(
            self.event(entry)
            for entry in sorted(self.entries.values(), key=lambda e: e.uid)
            if Span(entry.start, entry.end).overlaps(horizon)
        )
        await self.world.travel()
        self.told, self.told_at = events, self.world.now()
        self.on_told()
        return Fetched(
            Snapshot(horizon, events, now), FetchState(config_hash=config, cursor={"v": version})
        )

    async def aclose(self) -> None:
        return


# --- Airflow -----------------------------------------------------------------------------------


@dataclass
class SimRun:
    run: Run
    conf: Mapping[str, Any]
    begins: datetime
    lasts: timedelta
    pods_after: timedelta
    lingers: timedelta
    ran: int = 0
    cancelled_at: datetime | None = None
    late: bool = False  # it landed after its request had been given up


class SimAirflow:
    """DAG runs that queue, run and end in virtual time."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.runs: dict[str, SimRun] = {}
        self.live: dict[str, SimRun] = {}  # those that may still change or have pods
        self.posts: list[tuple[datetime, str]] = []
        self.deleted: set[str] = set()
        self.on_trigger: Any = None
        self.times_ran: dict[str, int] = {}
        self.begun_at: dict[str, datetime] = {}
        self.times: tuple[timedelta, ...] | None = None  # in place of those of its runs
        self.asked_times = 0

    # truth

    def step(self, run_id: str) -> None:
        """Bring one run up to the present."""
        sim = self.runs[run_id]
        now, run = self.world.now(), sim.run
        if run.state is RunState.QUEUED and now >= sim.begins:
            run = replace(run, state=RunState.RUNNING, start_date=sim.begins)
            self.times_ran[run_id] = self.times_ran.get(run_id, 0) + 1
            self.begun_at[run_id] = sim.begins
        if run.state is RunState.RUNNING and run.start_date is not None:
            end = run.start_date + sim.lasts
            if now >= end:
                run = replace(run, state=RunState.SUCCESS, end_date=end)
        sim.run = run
        lingers = sim.cancelled_at is not None and now < sim.cancelled_at + sim.lingers
        if run.state.is_over and not lingers:
            self.live.pop(run_id, None)

    def step_all(self) -> None:
        for run_id in list(self.live):
            self.step(run_id)

    def pods(self, run_id: str) -> int:
        """GPUs that the run's pods request now."""
        self.step(run_id)
        sim = self.runs[run_id]
        gpus = int(sim.conf["trainingWindow"]["gpus"])
        run, now = sim.run, self.world.now()
        if run.start_date is None or now < run.start_date + sim.pods_after:
            return 0
        if run.end_date is None:
            return gpus
        if sim.cancelled_at is not None and now < sim.cancelled_at + sim.lingers:
            return gpus
        return 0

    # port

    async def _reach(self) -> None:
        await self.world.travel()
        if self.name in self.world.down:
            raise AirflowError(Reason.UNREACHABLE, what="Airflow")

    async def version(self) -> str:
        await self._reach()
        return "3.3.2"

    async def preflight(self, dag_id: str) -> DagFacts:
        await self._reach()
        return DagFacts(problem=None, checked_at=self.world.clock.now())

    async def active_runs(self, prefix: str) -> tuple[Run, ...]:
        await self._reach()
        self.step_all()
        found = tuple(sim.run for sim in self.live.values() if not sim.run.state.is_over)
        await self.world.travel()
        return found

    async def run(self, dag_id: str, run_id: str) -> Run | None:
        await self._reach()
        if run_id not in self.runs:
            return None
        self.step(run_id)
        run = self.runs[run_id].run
        await self.world.travel()
        return run

    async def task_times(self, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
        self.asked_times += 1
        if self.name in self.world.down:
            raise AirflowError(Reason.UNREACHABLE, what="Airflow")
        self.step_all()
        if self.times is not None:
            return self.times
        ended = (
            sim.run
            for sim in self.runs.values()
            if sim.run.dag_id == dag_id and sim.run.state is RunState.SUCCESS
        )
        return tuple(
            run.end_date - run.start_date
            for run in ended
            if run.start_date is not None and run.end_date is not None and run.end_date >= since
        )[-25:]

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Run:
        self.posts.append((self.world.now(), run_id))
        if self.on_trigger is not None:
            self.on_trigger(self, run_id, conf)
        await self._reach()
        if self.world.chance(0.01):
            raise Ambiguous(Reason.UNAVAILABLE, what="Airflow")  # it was not done
        if self.world.chance(0.01):
            self._land_later(dag_id, run_id, conf)
            raise Ambiguous(Reason.TIMEOUT, what="Airflow")
        run = self._land(dag_id, run_id, conf)
        await self.world.travel()
        if self.world.chance(0.02):
            raise Ambiguous(Reason.TIMEOUT, what="Airflow")  # it was done, the reply is lost
        return run

    def _land_later(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        def land() -> None:
            if run_id not in self.runs:
                self._land(dag_id, run_id, conf)
                self.runs[run_id].late = True

        delay = self.world.random.uniform(1, 20)
        asyncio.get_running_loop().call_later(delay, land)

    def _land(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> Run:
        if run_id in self.runs:
            raise RunExists(Reason.RUN_ID_CONFLICT, what="Airflow")
        random, now = self.world.random, self.world.now()
        queued = random.uniform(0.2, 5)
        if self.world.chance(0.05):
            queued = random.uniform(60, 1800)
        run = Run(
            dag_id=dag_id,
            run_id=run_id,
            state=RunState.QUEUED,
            queued_at=now,
            origin=conf["trainingWindow"],
        )
        self.runs[run_id] = self.live[run_id] = SimRun(
            run=run,
            conf=conf,
            begins=now + timedelta(seconds=queued),
            lasts=timedelta(minutes=random.uniform(5, 180)),
            pods_after=timedelta(minutes=random.choice((0, 0, 1, 30))),
            lingers=timedelta(seconds=random.uniform(0, 45)),
        )
        self.deleted.discard(run_id)
        return run

    async def cancel(self, dag_id: str, run_id: str) -> None:
        await self._reach()
        if run_id in self.runs:
            self.step(run_id)
            sim = self.runs[run_id]
            if not sim.run.state.is_over:
                sim.run = replace(sim.run, state=RunState.FAILED, end_date=self.world.now())
                sim.cancelled_at = self.world.now()
        await self.world.travel()

    async def delete_queued(self, dag_id: str, run_id: str) -> bool:
        await self._reach()
        if run_id in self.runs:
            self.step(run_id)
            if self.runs[run_id].run.state is RunState.RUNNING:
                return False
            if self.runs[run_id].run.state is RunState.QUEUED:
                del self.runs[run_id]
                self.live.pop(run_id, None)
                self.deleted.add(run_id)
        await self.world.travel()
        if self.world.chance(0.01):
            raise Ambiguous(Reason.TIMEOUT, what="Airflow")
        return True

    async def aclose(self) -> None:
        return


# --- pools -------------------------------------------------------------------------------------


class SimPool:
    """GPUs of several nodes, used by runs of ours and by a foreign load that comes and goes."""

    def __init__(
        self, world: World, ref: Ref, airflows: list[SimAirflow], gpus: int, *, labels: bool
    ) -> None:
        self.world, self.ref, self.airflows = world, ref, airflows
        self.gpus, self.labels = gpus, labels
        self.foreign = 0
        self.demand: tuple[tuple[datetime, float], ...] = ()
        self.told: tuple[Sample, dict[str, int]] | None = None
        self.frozen: tuple[Sample, dict[str, int]] | None = None
        self.on_told: Callable[[], None] = _nobody

    def of_ours(self) -> dict[str, int]:
        """GPUs that pods request, per run of ours in this pool."""
        found = {}
        for airflow in self.airflows:
            for run_id, sim in list(airflow.live.items()):
                if sim.conf["trainingWindow"].get("pool") == str(self.ref):
                    found[run_id] = airflow.pods(run_id)
        return found

    async def sample(self) -> Sample:
        await self.world.travel()
        if str(self.ref) in self.world.down or self.world.chance(0.003):
            raise PoolError(self.world.random.choice((Reason.NO_DATA, Reason.NOT_A_NUMBER)))
        if self.frozen is not None:
            return self.frozen[0]
        ours = self.of_ours()
        used = min(self.gpus, self.foreign + sum(ours.values()))
        sample = Sample(
            time=self.world.clock.now(),
            capacity=self.gpus,
            rooms=(Room("n", self.gpus, self.gpus - used),),
            used=used,
            utilization=used / self.gpus,
            coverage=1.0,
            visible={pod_labels(run)[0]: gpus for run, gpus in ours.items()}
            if self.labels
            else None,
        )
        self.told = (sample, ours)
        self.on_told()
        await self.world.travel()
        return sample

    async def utilization_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        return ()

    async def demand_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        await self.world.travel()
        if self.world.chance(0.1):
            raise PoolError(Reason.NO_DATA)
        return self.demand

    async def aclose(self) -> None:
        return
