"""One simulated stretch of a busy team's life: a script of edits and faults, and what must hold.

The checks are an oracle of their own: they read the truth of the simulated world and what was told
to the controller, never the controller's mind.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import logging
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from slackwater.core.run import RunState
from slackwater.core.schedule import instances
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.engine import Engine
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.tell import Teller

from .harbour import (
    CANARY,
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
from .seasons import SEASONS, Season
from .virtual import EPOCH, SimClock, VirtualLoop, run_virtual

NS = "team"
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
SLACK = timedelta(seconds=60)
FRESH = timedelta(seconds=15)
WRITES_PER_HOUR = 40  # of one TrainingWindow's status, on average over a rough voyage
ACTOR: ContextVar[SimLease | None] = ContextVar("ACTOR", default=None)


@dataclass(frozen=True)
class Pace:
    """How often dependencies are asked, and how old their answers may be; whole seconds."""

    refresh: int = 300
    staleness: int = 3600
    sample: int = 15
    sample_age: int = 120
    poll: int = 10
    checks: int = 600  # of what should have ended


@dataclass(frozen=True)
class Course:
    """How long and how rough a voyage is."""

    seed: int
    days: float = 3
    windows: int = 12
    calendars: int = 4
    faults: bool = True
    actions_per_hour: float = 12.0
    pools: int = 2
    pace: Pace = Pace()
    begins: datetime = EPOCH
    seasons: bool = False  # windows at the hours that daylight saving skips, and series of events

    @property
    def ends(self) -> datetime:
        return self.begins + timedelta(days=self.days)


def stretch_of_a_year(begins: datetime, days: float, **more: Any) -> Course:
    """A busy team's life over the seasons; dependencies are asked as seldom as specs allow."""
    pace = Pace(refresh=3600, staleness=43200, sample=900, sample_age=1200, poll=600, checks=3600)
    return replace(
        Course(
            seed=begins.toordinal(),
            days=days,
            windows=40,
            calendars=6,
            pools=3,
            actions_per_hour=0.5,
            pace=pace,
            begins=begins,
            seasons=True,
        ),
        **more,
    )


class Violated(AssertionError):
    """An invariant does not hold."""


class Surprise(logging.Handler):
    """An exception that the controller did not expect is a violation, even if it goes on."""

    def __init__(self, violations: list[Violated]) -> None:
        super().__init__(logging.ERROR)
        self._violations = violations

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._violations.append(Violated(f"unexpected: {error!r}"))


class SimSources:
    """`runtime.world.Sources` over the simulated parts."""

    files = False

    def __init__(self, voyage: Voyage) -> None:
        self._voyage = voyage

    def calendar(self, key: Key, spec: Any) -> Any:
        return self._voyage.calendars[key.ref]

    def pool(self, key: Key, spec: Any) -> Any:
        return self._voyage.pools[key.ref]

    def airflow(self, key: Key, spec: Any) -> Any:
        return self._voyage.airflows[key.ref]


@dataclass
class Controller:
    """One running controller."""

    engine: Engine
    lease: SimLease
    task: asyncio.Task[None]
    since: datetime


@dataclass
class Told:
    """What was delivered, and when; the last few."""

    items: list[tuple[datetime, Any]] = field(default_factory=list)

    def add(self, at: datetime, item: Any) -> None:
        if not self.items or self.items[-1][1] is not item:
            self.items.append((at, item))
            del self.items[:-12]

    def lately(self, now: datetime) -> list[Any]:
        """Every item that was the newest at some moment of the last minute."""
        found = [item for at, item in self.items if at >= now - SLACK]
        before = [item for at, item in self.items if at < now - SLACK]
        return found + before[-1:]


class Voyage:
    """Sets the world up, runs the script and checks the invariants."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.loop = VirtualLoop((course.begins - EPOCH).total_seconds())
        self.clock = SimClock(self.loop)
        self.world = World(self.clock, course.seed, faults=course.faults)
        self.script = Random(course.seed * 7919 + 1)
        self.store = SimStore(self.world)
        self.recorder = SimRecorder()
        self.calendars = {
            Ref(NS, f"c{i}"): SimCalendar(self.world, f"c{i}") for i in range(course.calendars)
        }
        self.airflows = {Ref(NS, f"a{i}"): SimAirflow(self.world, f"a{i}") for i in range(2)}
        flows = list(self.airflows.values())
        self.pools = {
            Ref(NS, "p0"): SimPool(self.world, Ref(NS, "p0"), flows, 32, labels=True),
            Ref(NS, "p1"): SimPool(self.world, Ref(NS, "p1"), flows, 16, labels=False),
        }
        for index in range(2, course.pools):
            ref = Ref(NS, f"p{index}")
            self.pools[ref] = SimPool(self.world, ref, flows, 64, labels=True)
        self.sample_age = timedelta(seconds=course.pace.sample_age)
        self.controller: Controller | None = None
        self.lost_status: dict[str, datetime] = {}
        self.spec_changed: dict[str, datetime] = {}
        self.troubled_at = course.begins
        self.events_told = {ref: Told() for ref in self.calendars}
        self.samples_told = {ref: Told() for ref in self.pools}
        self.serial = 0
        self.triggers = 0
        self.season_starts: dict[tuple[Season, date], datetime] = {}
        self.violations: list[Violated] = []
        for flow in flows:
            flow.on_trigger = self._check_trigger
        for calendar_ref, calendar in self.calendars.items():
            calendar.on_told = partial(self._events_told, calendar_ref)
        for pool_ref, pool in self.pools.items():
            pool.on_told = partial(self._sample_told, pool_ref)

    # --- the script

    def sail(self) -> Voyage:
        log, surprise = logging.getLogger("slackwater.engine"), Surprise(self.violations)
        log.addHandler(surprise)
        try:
            run_virtual(self._sail(), self.loop)
        finally:
            log.removeHandler(surprise)
        return self

    async def _sail(self) -> None:
        self._apply_all()
        for _ in range(self.course.windows * 2):
            self._new_event()
        self._start_controller()
        watch = asyncio.create_task(self._watch())
        while self.world.now() < self.course.ends and not self.violations:
            await asyncio.sleep(self.script.expovariate(self.course.actions_per_hour / 3600))
            await self._act()
        if self.violations:
            raise self.violations[0]
        await self._calm()
        watch.cancel()
        await self._stop_controller()
        if self.violations:
            raise self.violations[0]
        self._check_end()

    async def _calm(self) -> None:
        """Every fault heals; what is open may settle."""
        self.world.faults = False
        self.world.down.clear()
        self.clock.jump = timedelta()
        for pool in self.pools.values():
            pool.frozen = None
        if self.controller is None:
            self._start_controller()
        self._trouble()
        await asyncio.sleep(1800)

    def _apply_all(self) -> None:
        for ref in self.calendars:
            spec = {
                "provider": {
                    "static": {
                        "events": [
                            {
                                "uid": "x",
                                "summary": "x",
                                "start": "2020-01-01T00:00:00Z",
                                "end": "2020-01-01T01:00:00Z",
                            }
                        ]
                    }
                },
                "refreshIntervalSeconds": self.course.pace.refresh,
                "maxStalenessSeconds": self.course.pace.staleness,
            }
            self.store.apply(Kind.CALENDAR, ref, spec)
        for ref, pool in self.pools.items():
            spec: dict[str, Any] = {
                "source": {"static": {"gpus": pool.gpus}},
                "sampleIntervalSeconds": self.course.pace.sample,
                "maxSampleAgeSeconds": self.course.pace.sample_age,
            }
            if self.course.seed % 3 == 0:
                spec["reservations"] = [
                    {
                        "name": "demos",
                        "calendarRef": {"name": min(self.calendars).name},
                        "match": {"summary": "deny*"},
                        "gpus": 8,
                    }
                ]
            if self.course.seed % 2:
                before = self.course.begins - timedelta(days=7)
                pool.demand = tuple(
                    (before + n * timedelta(minutes=30), 24.0 if 16 <= n % 48 < 40 else 2.0)
                    for n in range(336)
                )
            self.store.apply(Kind.GPU_POOL, ref, spec)
        for ref in self.airflows:
            spec = {
                "url": "http://airflow.example/",
                "auth": {"tokenSecretRef": {"name": "t", "key": "k"}},
                "pollIntervalSeconds": self.course.pace.poll,
            }
            self.store.apply(Kind.AIRFLOW_INSTANCE, ref, spec)
        for index in range(self.course.windows):
            self._apply_window(index)

    def _window_spec(self, index: int) -> dict[str, Any]:
        random = Random(self.course.seed * 1009 + index)
        names = [ref.name for ref in self.calendars]
        spec: dict[str, Any] = {
            "timeZone": random.choice(ZONES),
            "calendars": [
                {
                    "name": "train",
                    "calendarRef": {"name": random.choice(names)},
                    "effect": "Trigger",
                    "match": {"summary": f"w{index} *"},
                    "endOffsetSeconds": random.choice((0, 0, -600, 900)),
                    "startOffsetSeconds": random.choice((0, 0, -300, 600)),
                },
                {
                    "name": "keepout",
                    "calendarRef": {"name": random.choice(names)},
                    "effect": "Deny",
                    "match": {"summary": "deny*"},
                    "whenRunning": random.choice(("Finish", "Cancel")),
                },
            ],
            "windows": [],
            "overlap": random.choice(("Each", "Once")),
            "concurrencyPolicy": random.choice(("Forbid", "Forbid", "Allow")),
            "onWindowEnd": random.choice(("Finish", "Cancel")),
            "onEventCancelled": random.choice(("Finish", "Cancel")),
            "overrunSeconds": random.choice((0, 600)),
            "priority": random.choice((0, 0, 10)),
            "historyLimit": 5,
            "dag": {"airflowRef": {"name": random.choice(("a0", "a1"))}, "dagId": f"dag{index}"},
        }
        if random.random() < 0.4:
            spec["windows"].append(
                {
                    "name": "nightly",
                    "effect": "Trigger",
                    "schedule": f"{random.randrange(60)} {random.randrange(24)} * * *",
                    "durationSeconds": random.choice((1800, 14400, 32400)),
                }
            )
        if random.random() < 0.3:
            spec["windows"].append(
                {
                    "name": "quiet",
                    "effect": "Allow",
                    "schedule": "0 18 * * *",
                    "durationSeconds": 50400,
                }
            )
        if random.random() < 0.8:
            pool = random.choice([ref.name for ref in self.pools])
            count = random.choice((1, 4, 8, 16))
            spec["gpu"] = {"poolRef": {"name": pool}, "count": count}
        if random.random() < 0.5:
            spec["expectedDurationSeconds"] = random.choice((1800, 5400))
        if random.random() < 0.3:
            spec["startingDeadlineSeconds"] = random.choice((1800, 7200))
        if "gpu" in spec and random.random() < 0.4:
            spec["startPolicy"] = "OffPeak"
        if self.course.seasons:
            self._make_seasonal(index, spec)
        return spec

    @staticmethod
    def _make_seasonal(index: int, spec: dict[str, Any]) -> None:
        """One night of each week; and some windows open at the hours that clocks skip or repeat.

        Nothing holds those back but faults, so that a calm voyage must start each of them.
        """
        if index < len(SEASONS):
            spec |= {
                "timeZone": SEASONS[index].zone,
                "windows": [SEASONS[index].entry],
                "overlap": "Each",
                "concurrencyPolicy": "Allow",
                "onWindowEnd": "Finish",  # so that a run may be expected to end after it
            }
            for held_back_by in ("gpu", "startPolicy", "startingDeadlineSeconds"):
                spec.pop(held_back_by, None)
            spec["calendars"][1]["match"] = {"summary": "no event has this title"}
            return
        for entry in spec["windows"]:
            if entry["effect"] == "Trigger":
                entry["schedule"] = entry["schedule"][:-1] + str(index % 7)

    def _apply_window(self, index: int, *, suspend: bool = False) -> None:
        spec = self._window_spec(index)
        if suspend:
            spec["suspend"] = True
        self.store.apply(Kind.TRAINING_WINDOW, Ref(NS, f"w{index}"), spec)
        self.spec_changed[f"w{index}"] = self.world.now()

    def _new_event(self) -> None:
        random = self.script
        self.serial += 1
        index = random.randrange(self.course.windows)
        spec = self._window_spec(index)
        if random.random() < 0.2:
            calendar = random.choice(list(self.calendars.values()))
            title, length = f"deny {CANARY}", random.choice((30, 120, 600))
        else:
            calendar = self.calendars[Ref(NS, spec["calendars"][0]["calendarRef"]["name"])]
            title, length = f"w{index} {CANARY}", random.choice((20, 60, 180, 480))
        start = self.world.now() + timedelta(minutes=random.choice((-30, 2, 10, 60, 300, 1500)))
        start += timedelta(minutes=random.randrange(60))
        uid = f"e{self.serial}"
        if self.course.seasons and random.random() < 0.2:
            self._new_series(calendar, uid, start, timedelta(minutes=length), title)
            return
        calendar.put(
            Entry(
                uid=uid,
                logical=uid,
                original="",
                start=start,
                end=start + timedelta(minutes=length),
                title=title,
            )
        )

    def _new_series(
        self, calendar: SimCalendar, uid: str, start: datetime, lasts: timedelta, title: str
    ) -> None:
        """Five days in a row at one time of a zone's day, whatever its clocks do between."""
        local = start.astimezone(ZoneInfo(self.script.choice(ZONES)))
        for day in range(5):
            # As in a calendar: the wall clock goes on by a day, and the instant follows it.
            begins = (local + timedelta(days=day)).astimezone(UTC)
            calendar.put(
                Entry(
                    uid=f"{uid}.{day}",
                    logical=f"{uid}.{day}",
                    original=begins.isoformat(),
                    start=begins,
                    end=begins + lasts,
                    title=title,
                    series=uid,
                )
            )

    def _split(self) -> None:
        """This and all following events of a series become another series."""
        found = self._some_event()
        if found is None or not found[1].series:
            return
        calendar, first = found
        self.serial += 1
        series = f"e{self.serial}"
        following = [
            entry
            for entry in calendar.entries.values()
            if entry.series == first.series and entry.start >= first.start
        ]
        for number, entry in enumerate(following):
            calendar.remove(entry.uid)
            calendar.put(replace(entry, uid=f"{series}.{number}", series=series))

    def _some_event(self) -> tuple[SimCalendar, Entry] | None:
        calendar = self.script.choice(list(self.calendars.values()))
        soon = [
            entry
            for entry in calendar.entries.values()
            if abs(entry.start - self.world.now()) < timedelta(hours=12)
        ]
        return (calendar, self.script.choice(soon)) if soon else None

    async def _act(self) -> None:
        random = self.script
        edits: list[tuple[float, Any]] = [
            (6, self._new_event),
            (3, self._move),
            (1.5, self._remove),
            (0.7, self._rename),
            (1.5, self._rekey),
            (1.5, self._foreign),
        ]
        if self.course.seasons:
            edits.append((1.5, self._split))
        if self.course.faults:
            edits += [
                (1.5, self._outage),
                (2.0, self._heal),
                (0.5, self._freeze),
                (2.0, self._suspend),
                (0.3, self._recreate),
                (0.3, self._lose_status),
                (0.6, self._jump),
            ]
        total = sum(weight for weight, _ in edits) + (3.0 if self.course.faults else 0.0)
        pick = random.uniform(0, total)
        for weight, edit in edits:
            if pick < weight:
                edit()
                return
            pick -= weight
        await self._controllers()

    def _move(self) -> None:
        found = self._some_event()
        if found is None:
            return
        calendar, entry = found
        shift = timedelta(minutes=self.script.choice((-240, -60, -15, 15, 60, 240, 1500)))
        longer = timedelta(minutes=self.script.choice((0, 0, -10, 60)))
        end = max(entry.end + shift + longer, entry.start + shift + timedelta(minutes=5))
        calendar.put(replace(entry, start=entry.start + shift, end=end))

    def _remove(self) -> None:
        found = self._some_event()
        if found is not None:
            found[0].remove(found[1].uid)

    def _rename(self) -> None:
        found = self._some_event()
        if found is None:
            return
        calendar, entry = found
        title = f"nothing {CANARY}" if entry.title.startswith("w") else entry.title
        calendar.put(replace(entry, title=title))

    def _rekey(self) -> None:
        """A series edited whole: another uid at the same time, best while its run is going on."""
        now = self.world.now()
        going_on = [
            (calendar, entry)
            for calendar in self.calendars.values()
            for entry in calendar.entries.values()
            if entry.start <= now < entry.end and entry.title.startswith("w")
        ]
        found = self.script.choice(going_on) if going_on else self._some_event()
        if found is None:
            return
        calendar, entry = found
        calendar.remove(entry.uid)
        self.serial += 1
        calendar.put(replace(entry, uid=f"e{self.serial}", series=""))

    def _foreign(self) -> None:
        pool = self.pools[Ref(NS, "p0")]
        pool.foreign = self.script.choice((0, 0, 8, 16, 24, 30))

    def _outage(self) -> None:
        names = [*(c.name for c in self.calendars.values()), "store", "a0", "a1"]
        names += [str(ref) for ref in self.pools]
        self.world.down.add(self.script.choice(names))
        self._trouble()
        if self.course.seasons:  # with few actions an hour, nobody else would end it for long
            self.loop.call_later(self.script.uniform(60, 3600), self._heal)

    def _heal(self) -> None:
        self.world.down.clear()
        for pool in self.pools.values():
            pool.frozen = None
        self._trouble()

    def _freeze(self) -> None:
        pool = self.script.choice(list(self.pools.values()))
        pool.frozen = pool.told
        self._trouble()

    def _suspend(self) -> None:
        index = self.script.randrange(self.course.windows)
        self._apply_window(index, suspend=self.script.random() < 0.7)

    def _recreate(self) -> None:
        index = self.script.randrange(self.course.windows)
        self.store.delete(Key(Kind.TRAINING_WINDOW, Ref(NS, f"w{index}")))
        self.lost_status[f"w{index}"] = self.world.now()
        again = self.script.uniform(0, 600)
        self.loop.call_later(again, lambda: self._apply_window(index))

    def _lose_status(self) -> None:
        key = Key(Kind.TRAINING_WINDOW, Ref(NS, f"w{self.script.randrange(self.course.windows)}"))
        if key in self.store.objects:
            self.lost_status[key.ref.name] = self.world.now()
            self.store.wipe_status(key)

    def _jump(self) -> None:
        jump = self.script.choice((0, 0, 3600, -3600, 20, -20))
        self.clock.jump = timedelta(seconds=jump)
        self._trouble()

    def _trouble(self) -> None:
        self.troubled_at = self.world.now()

    # --- controllers

    def _start_controller(self) -> None:
        lease = SimLease(held=True)
        metrics = Metrics()
        engine = Engine(
            clock=self.clock,
            store=self.store,
            lease=lease,
            sources=SimSources(self),
            teller=Teller(self.recorder, metrics),
            metrics=metrics,
            random=Random(self.course.seed + self.world.calls),
        )
        context = copy_context()
        context.run(ACTOR.set, lease)
        task = asyncio.create_task(engine.run(), context=context)
        task.add_done_callback(self._ended_by_itself)
        self.controller = Controller(engine, lease, task, self.world.now())
        self._trouble()

    async def _stop_controller(self) -> None:
        controller, self.controller = self.controller, None
        if controller is None:
            return
        controller.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await controller.task

    async def _controllers(self) -> None:
        """Kill, restart, or let another one take over."""
        self._trouble()
        pick = self.script.random()
        if self.controller is None:
            self._start_controller()
        elif pick < 0.4:
            # At a random port call, before or after its effect: any await point of the engine.
            self.world.kill.clear()
            self.world.kill_at = self.world.calls + self.script.randrange(1, 60)
            try:
                async with asyncio.timeout(600):
                    await self.world.kill.wait()
            except TimeoutError:
                pass
            self.world.kill_at = None
            await self._stop_controller()
            if self.script.random() < 0.7:
                self._start_controller()
        elif pick < 0.7:
            await self._stop_controller()
            await asyncio.sleep(self.script.choice((1, 60, 7200)))
            self._start_controller()
        else:
            old = self.controller
            old.lease.set(held=False)  # its writes under way land while the new one acts
            self._start_controller()
            await asyncio.sleep(self.script.uniform(0, 30))
            old.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await old.task
        self._trouble()

    # --- invariants

    async def _watch(self) -> None:
        """Look for occurrences that nobody ended."""
        while True:
            await asyncio.sleep(self.course.pace.checks)
            for calendar in self.calendars.values():
                calendar.tidy()
            try:
                self._check_ended()
            except Violated as violated:
                self.violations.append(violated)

    def _events_told(self, ref: Ref) -> None:
        calendar = self.calendars[ref]
        if calendar.told is not None and calendar.told_at is not None:
            self.events_told[ref].add(calendar.told_at, calendar.told)

    def _sample_told(self, ref: Ref) -> None:
        if self.pools[ref].told is not None:
            self.samples_told[ref].add(self.world.now(), self.pools[ref].told)

    def _ended_by_itself(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.violations.append(Violated(f"the controller ended by itself: {error!r}"))

    def _check_trigger(self, airflow: SimAirflow, run_id: str, conf: Any) -> None:
        self.triggers += 1
        origin = conf["trainingWindow"]
        assert origin["installation"] == INSTALLATION
        try:
            self._check_window(origin)
            self._check_room(airflow, run_id, origin)
            self._check_rights(airflow, run_id, origin)
            self._check_freshness(origin)
        except Violated as violated:
            # Raised in the controller's own task it would only be a failed request to it.
            self.violations.append(violated)

    def _check_rights(self, airflow: SimAirflow, run_id: str, origin: Any) -> None:
        """The lease is held, the intent is written, and the spec lets it start (R9, R17)."""
        name, now = origin["name"], self.world.now()
        actor = ACTOR.get()
        if actor is not None and not actor.held:
            raise Violated(f"{name}: started without the lease")
        stored = self.store.objects.get(Key(Kind.TRAINING_WINDOW, Ref(NS, name)))
        settled = now - self.lost_status.get(name, EPOCH) > SLACK
        if stored is None or not settled or now - self.spec_changed.get(name, EPOCH) < SLACK:
            return
        lines = stored.status.get("occurrences", ())
        if not any(line.get("dagRunId") == run_id for line in lines):
            raise Violated(f"{name}: started without a written intent")
        if stored.spec.get("suspend"):
            raise Violated(f"{name}: started while suspended")
        if stored.spec["concurrencyPolicy"] == "Allow":
            return
        for other, sim in list(airflow.live.items()):
            airflow.step(other)
            mine = sim.conf["trainingWindow"]["name"] == name and other != run_id
            if mine and not sim.run.state.is_over and not sim.late:
                raise Violated(f"{name}: started while another run of it was active")

    def _check_freshness(self, origin: Any) -> None:
        """The calendars were asked just before, and answered not too long ago (R9)."""
        now = self.world.now()
        for entry in self._window_spec(int(origin["name"][1:]))["calendars"]:
            calendar = self.calendars[Ref(NS, entry["calendarRef"]["name"])]
            asked, told = calendar.asked_at, calendar.told_at
            failed = asked is not None and (told is None or told < asked)
            if not failed and (asked is None or now - asked > SLACK + FRESH):
                raise Violated(f"{origin['name']}: started without a fresh look at {calendar.name}")
            if (
                calendar.told_at is None
                or now - calendar.told_at > timedelta(seconds=self.course.pace.staleness) + SLACK
            ):
                raise Violated(f"{origin['name']}: started on a stale {calendar.name}")

    def _check_window(self, origin: Any) -> None:
        name, now = origin["name"], self.clock.now()
        if self.world.now() - self.spec_changed.get(name, EPOCH) < SLACK:
            return
        spec = self._window_spec(int(name[1:]))
        if not self._may_start(spec, origin, now):
            raise Violated(f"{name}: started {origin['occurrence']} at {now} outside its window")

    def _may_start(self, spec: dict[str, Any], origin: Any, now: datetime) -> bool:
        return (
            self._is_triggered(spec, origin, now)
            and self._is_allowed(spec, now)
            and not self._is_denied(spec, now)
        )

    def _is_triggered(self, spec: dict[str, Any], origin: Any, now: datetime) -> bool:
        if origin["entry"] == "season":
            season = SEASONS[int(origin["name"][1:])]
            day = season.open_on(now)
            if day is not None:
                self.season_starts[season, day.date()] = now
            return day is not None
        if origin["entry"] != "train":
            inline = next(w for w in spec["windows"] if w["name"] == origin["entry"])
            return self._inside(inline, spec, now)
        entry = spec["calendars"][0]
        first = timedelta(seconds=entry["startOffsetSeconds"])
        last = timedelta(seconds=entry["endOffsetSeconds"])
        pattern = entry["match"]["summary"]
        for events in self.events_told[Ref(NS, entry["calendarRef"]["name"])].lately(
            self.world.now()
        ):
            for event in events:
                if event.key == origin["occurrence"] and fnmatch.fnmatch(event.summary, pattern):
                    start, end = event.span.start + first, event.span.end + last
                    if start <= now < end:
                        return True
        return False

    def _inside(self, inline: dict[str, Any], spec: dict[str, Any], now: datetime) -> bool:
        around = Span(now - timedelta(days=2), now + timedelta(days=2))
        duration = timedelta(seconds=inline["durationSeconds"])
        return any(
            now in span
            for _, span in instances(inline["schedule"], duration, spec["timeZone"], around)
        )

    def _is_allowed(self, spec: dict[str, Any], now: datetime) -> bool:
        allows = [w for w in spec["windows"] if w["effect"] == "Allow"]
        return not allows or any(self._inside(allow, spec, now) for allow in allows)

    def _is_denied(self, spec: dict[str, Any], now: datetime) -> bool:
        """Denied in every snapshot of the last minute: no excuse is left."""
        entry = spec["calendars"][1]
        ref, pattern = Ref(NS, entry["calendarRef"]["name"]), entry["match"]["summary"]
        return all(
            any(now in event.span and fnmatch.fnmatch(event.summary, pattern) for event in events)
            for events in self.events_told[ref].lately(self.world.now())
        )

    def _check_room(self, airflow: SimAirflow, run_id: str, origin: Any) -> None:
        if not origin.get("pool"):
            return
        namespace, _, name = origin["pool"].partition("/")
        ref = Ref(namespace, name)
        pool = self.pools[ref]
        if pool.told is None or self.clock.now() - pool.told[0].time > self.sample_age + SLACK:
            raise Violated(f"{origin['name']}: started on a stale sample of {ref}")
        shortest = None
        for sample, ours in self.samples_told[ref].lately(self.world.now()):
            unseen = 0
            for flow in self.airflows.values():
                for other, sim in list(flow.live.items()):
                    mine = sim.conf["trainingWindow"]
                    if other == run_id or mine.get("pool") != origin["pool"] or sim.late:
                        continue
                    flow.step(other)
                    if not sim.run.state.is_over:
                        unseen += max(0, mine["gpus"] - ours.get(other, 0))
            short = origin["gpus"] - (sample.fit(1) - unseen)
            shortest = short if shortest is None else min(shortest, short)
        if shortest is not None and shortest > 0:
            raise Violated(f"{origin['name']}: promised {shortest} GPUs too many in {ref}")

    def _check_ended(self) -> None:
        """Nothing may stay open after its window while all is well."""
        now = self.world.now()
        calm = now - self.troubled_at > timedelta(minutes=20) and not self.world.down
        if self.controller is None or not calm or self.clock.jump:
            return
        for key, stored in self.store.objects.items():
            if key.kind is not Kind.TRAINING_WINDOW:
                continue
            for line in stored.status.get("occurrences", ()):
                if line["state"] not in {"Planned", "Waiting", "Intended"}:
                    continue
                end = datetime.fromisoformat(line["windowEnd"])
                if now - end > timedelta(minutes=15):
                    raise Violated(f"{key}: {line['id']} is still {line['state']} after {end}")

    def _check_end(self) -> None:
        hours = self.course.days * 24 + 0.5
        if self.store.windows_written > WRITES_PER_HOUR * hours * self.course.windows:
            raise Violated(f"{self.store.windows_written} status writes in {hours:.0f} h")
        logical: dict[tuple[str, str], set[str]] = {}
        for airflow in self.airflows.values():
            airflow.step_all()
            for run_id, times in airflow.times_ran.items():
                if times > 1:
                    raise Violated(f"{run_id} ran {times} times")
            for run_id, sim in airflow.runs.items():
                if sim.run.state is RunState.QUEUED or run_id not in airflow.times_ran:
                    continue
                origin = sim.conf["trainingWindow"]
                if origin["entry"] != "train" or origin["name"] in self.lost_status:
                    continue
                event = self._logical(origin["occurrence"])
                if event is not None:
                    logical.setdefault((origin["name"], event), set()).add(run_id)
        for (name, event), runs in logical.items():
            if len(runs) > 1:
                raise Violated(f"{name}: event {event} ran {len(runs)} times: {sorted(runs)}")

    def _logical(self, key: str) -> str | None:
        for calendar in self.calendars.values():
            if key in calendar.logical_of:
                return calendar.logical_of[key]
        return None
