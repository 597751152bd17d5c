"""The engine: news and timers in, decisions out (design §4).

One loop takes in what the store says; one task follows each Calendar, GPUPool and AirflowInstance;
a few workers look at the objects whose keys are in the work queue.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from random import Random
from typing import Final

from slackwater.core.reserve import Reservations
from slackwater.core.spec import Ref
from slackwater.errors import AirflowError, Conflict, Gone, SlackwaterError
from slackwater.ports import (
    Airflow,
    CalendarSource,
    Change,
    Changed,
    Clock,
    Deleted,
    Key,
    Kind,
    Lease,
    Listed,
    PoolSource,
    SecretsChanged,
    Store,
)
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.alarm import Alarm
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.orphans import Orphans
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.reconcile import Reconciler
from slackwater.runtime.records import Sources
from slackwater.runtime.reserving import Reserving
from slackwater.runtime.supporting import Publisher
from slackwater.runtime.tell import Teller
from slackwater.runtime.workqueue import WorkQueue
from slackwater.runtime.world import World

LOG: Final = logging.getLogger("slackwater.engine")
WORKERS: Final = 8
WITHOUT_LEASE: Final = timedelta(seconds=5)


class Engine:
    """Acts for all TrainingWindows of a store while its lease is held.

    Args:
        clock: the present.
        store: objects and their status.
        lease: whether this process may act.
        sources: makes the adapters that objects describe.
        teller: says what happened, as Events and metrics.
        metrics: how long looks take.
        random: spreads polls and jitters back-off; seeded in simulations.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        lease: Lease,
        sources: Sources,
        teller: Teller,
        metrics: Metrics,
        random: Random,
    ) -> None:
        self.clock, self._store, self._lease = clock, store, lease
        self._teller, self._metrics = teller, metrics
        self.queue: WorkQueue[Key] = WorkQueue(random)
        self.alarm: Alarm[Key] = Alarm(clock, self._ring, self._clock_jumped)
        self.world = World(
            clock=clock,
            random=random,
            sources=sources,
            touched=self._touch,
            poked=self._poke,
            published=self.queue.add,
            closing=self._close_later,
        )
        self._reconciler = Reconciler(
            world=self.world,
            clock=clock,
            store=store,
            lease=lease,
            teller=teller,
            queue=self.queue,
            alarm=self.alarm,
            refresh=self._refresh,
            pool_changed=self._pool_changed,
        )
        self._publisher = Publisher(self.world, store, teller)
        self._orphans = Orphans(self.world)
        self._reserving = Reserving(self.world)
        self._pokes: dict[Key, asyncio.Event] = {}
        self._following: dict[Key, asyncio.Task[None]] = {}
        self._looking: set[Key] = set()
        # After a failure: until then news of dependencies make nobody look; the alarm rings.
        self._resting: dict[Key, datetime] = {}
        self._asked: dict[Key, set[Ref]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._listed = asyncio.Event()
        self.up_since: datetime | None = None

    # --- life

    async def run(self) -> None:
        """Act until cancelled. Raises what ends one of its own tasks; the caller gives up then."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self.world.installation = await self._installation()
                group.create_task(self._take_in())
                group.create_task(self.alarm.run())
                await self._listed.wait()
                await self._lease.wait_held()
                self.up_since = self.clock.now()
                for ref in self.world.windows:
                    self._touch(ref)
                for key in self.world.following:
                    self.queue.add(key)
                for _ in range(WORKERS):
                    group.create_task(self._work(self.up_since))
        finally:
            for follower in self.world.following.values():
                self.world.close(follower)
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _installation(self) -> str:
        wait = 1.0
        while True:
            try:
                return await self._store.installation()
            except SlackwaterError as error:
                LOG.warning("cannot learn the installation's id yet: %s", error)
                await asyncio.sleep(wait)
                wait = min(60.0, wait * 2)

    @property
    def ready(self) -> bool:
        """Every object was given once."""
        return self._listed.is_set()

    def _close_later(self, adapter: CalendarSource | PoolSource | Airflow) -> None:
        task = asyncio.get_running_loop().create_task(_close(adapter))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # --- news and timers

    async def _take_in(self) -> None:
        async for change in self._store.changes():
            self._accept(change)
            # Thousands come at once at the start; the lease must be renewed meanwhile.
            await asyncio.sleep(0)

    def _accept(self, change: Change) -> None:
        match change:
            case Changed(object=stored):
                self._resting.pop(stored.key, None)
                self.world.admit(stored)
                self._follow_all()
                if stored.key.kind is Kind.TRAINING_WINDOW:
                    self._reconciler.hold(stored.key.ref)
                elif stored.key.kind is Kind.GPU_POOL:
                    for ref in self.world.users.get(stored.key, ()):
                        self._reconciler.hold(ref)
            case Deleted(key=key):
                self._forget(key)
            case Listed():
                self.world.listed = True
                self._listed.set()
                self._see_to_orphans()
            case SecretsChanged(namespace=namespace):
                self.world.secrets_changed(namespace)
                self._follow_all()

    def _forget(self, key: Key) -> None:
        record = self.world.drop(key)
        self.alarm.set(key, None)
        self.queue.forget(key)
        self._resting.pop(key, None)
        self._teller.forget(key)
        if key.kind is not Kind.TRAINING_WINDOW:
            self._pokes.pop(key, None)
            task = self._following.pop(key, None)
            if task is not None:
                task.cancel()
            return
        if record is None or record.spec is None:
            return
        pool = self.world.pool(record.spec.gpu.pool) if record.spec.gpu else None
        # Its runs are looked up before its promises go: they may still be there (R6, R17).
        self._see_to_orphans()
        if pool is not None:
            pool.put(key.ref, None)
            pool.promise(key.ref, ())
            pool.watch(key.ref, watching=False)
            pool.off_peak.want(key.ref, None)
            self._pool_changed(pool)
        self._poke(Key(Kind.AIRFLOW_INSTANCE, record.spec.dag.airflow))

    def _see_to_orphans(self) -> None:
        self._orphans.look(self._pool_changed)

    def _ring(self, key: Key) -> None:
        self._resting.pop(key, None)
        follower = self.world.following.get(key)
        if follower is None:
            self.queue.add(key)
        elif follower.next_at is None or follower.next_at <= self.clock.now():
            self._poke(key)
        else:  # no look is due, only its status, which could not or might not be written yet
            self.alarm.set(key, follower.next_at)
            self.queue.add(key)

    def _clock_jumped(self, by: timedelta) -> None:
        """Every instant that was reckoned from the wall clock is off: look at everything (R4)."""
        LOG.warning("the wall clock jumped by %.0f s", by.total_seconds())
        for key, follower in self.world.following.items():
            follower.clock_jumped(by)
            self._poke(key)
        self._resting.clear()
        for ref in self.world.windows:
            self._touch(ref)

    def _touch(self, ref: Ref) -> None:
        key = Key(Kind.TRAINING_WINDOW, ref)
        rests_until = self._resting.get(key)
        if rests_until is None or not self.clock.now() < rests_until:
            self.queue.add(key)

    def _poke(self, key: Key) -> None:
        poke = self._pokes.get(key)
        if poke is not None:
            poke.set()

    def _pool_changed(self, follower: PoolFollower) -> None:
        self.queue.add(Key(Kind.GPU_POOL, follower.ref))

    # --- followers

    def _refresh(self, key: Key, user: Ref | None) -> None:
        """Look at a dependency now; `user` is looked at afterwards. A look under way serves too."""
        if user is not None:
            self._asked.setdefault(key, set()).add(user)
        if user is None or key not in self._looking:
            self._poke(key)

    def _follow_all(self) -> None:
        assert self._group is not None
        for key in self.world.following:
            if key not in self._following:
                poke = self._pokes[key] = asyncio.Event()
                poke.set()
                self._following[key] = self._group.create_task(self._follow(key, poke))

    async def _follow(self, key: Key, poke: asyncio.Event) -> None:
        failures = 0
        while True:
            await poke.wait()
            poke.clear()
            follower = self.world.following[key]
            self._looking.add(key)
            began = self.clock.monotonic()
            try:
                await follower.look()
            except Exception:
                LOG.exception("%s: unexpected failure; it is tried again", key)
                follower.next_at = self.clock.now() + self.queue.rest_after(failures)
                failures += 1
            else:
                failures = 0
            finally:
                self._looking.discard(key)
            self.alarm.set(key, follower.next_at)
            result = "error" if follower.fault is not None else "success"
            self._metrics.requests.labels(key.kind, result).observe(self.clock.monotonic() - began)
            for ref in sorted(self._asked.pop(key, ())):
                self._touch(ref)
            if isinstance(follower, PoolFollower):
                self._compare_nodes(follower)
                for ref in sorted(follower.watchers):
                    self._touch(ref)
            elif isinstance(follower, AirflowFollower):
                await self._tend(follower)
            self.queue.add(key)

    def _compare_nodes(self, follower: PoolFollower) -> None:
        overlap = self.world.overlap(follower.ref)
        if overlap != follower.overlap:
            follower.overlap = overlap
            self.world.touch_users(Key(Kind.GPU_POOL, follower.ref))

    async def _tend(self, follower: AirflowFollower) -> None:
        """See to runs of ours without an owner; a pool may have waited for this list of runs."""
        if not self.world.listed:
            return
        self._see_to_orphans()
        for pool in list(self.world.pools):
            pool_follower = self.world.pool(pool)
            if pool_follower is not None and not pool_follower.runs_known:
                self._pool_changed(pool_follower)
        if not self._may_act:
            return
        try:
            await self._orphans.delete_queued(follower)
        except SlackwaterError as error:
            LOG.warning("a queued run without an owner could not be deleted: %s", error)

    # --- work

    @property
    def _may_act(self) -> bool:
        """Without the lease caches stay warm and nothing is written."""
        return self._lease.held

    async def _work(self, up_since: datetime) -> None:
        while True:
            key = await self.queue.get()
            await asyncio.sleep(0)  # most looks wait for nothing: let the others have a turn
            began = self.clock.monotonic()
            try:
                if not self._may_act:  # should the lease come back, what was left must be seen to
                    self.alarm.soonest(key, self.clock.now() + WITHOUT_LEASE)
                elif await self._work_on(key, up_since):
                    self.queue.succeeded(key)
            except Gone:
                self.queue.succeeded(key)
            except Conflict:
                self._again(key)  # the store gives the newer object; look again even if not
            except SlackwaterError as error:
                self._resting[key] = self._again(key)
                # What an Airflow says or does not say is told by its follower and by the status.
                level = logging.DEBUG if isinstance(error, AirflowError) else logging.WARNING
                LOG.log(level, "%s: %s", key, error)
            except Exception:
                self._resting[key] = self._again(key)
                LOG.exception("%s: unexpected failure; it is tried again", key)
            finally:
                self.queue.done(key)
                self._metrics.looks.labels(key.kind).observe(self.clock.monotonic() - began)

    def _again(self, key: Key) -> datetime:
        """Have the alarm ring after the back-off; give the instant."""
        self._metrics.failures.labels(key.kind).inc()
        until = self.clock.now() + self.queue.failed(key)
        self.alarm.soonest(key, until)
        return until

    async def _work_on(self, key: Key, up_since: datetime) -> bool:
        """Do it; False where an answer is awaited, so that it cannot count as a success yet."""
        if key.kind is Kind.TRAINING_WINDOW:
            record = self.world.windows.get(key.ref)
            return record is None or await self._reconciler.look_at(record, up_since)
        if key.kind is Kind.GPU_POOL:
            follower = self.world.pool(key.ref)
            if follower is not None:
                if follower.rules.reservations:
                    labels = await self._reconciler.labels_of(key.ref.namespace)
                    follower.reserve(self._reserving.of(follower.rules, labels))
                elif follower.reservations != Reservations():
                    follower.reserve(Reservations())
                self._answer(follower)
        due = await self._publisher.publish(key)
        if due is not None and key in self._pokes:
            self.alarm.soonest(key, due)
        return True

    def _answer(self, follower: PoolFollower) -> None:
        known = self._orphans.runs_known(follower.ref)
        if known is not follower.runs_known:
            follower.runs_known = known
            follower.redo()
        for owner in sorted(follower.answer()):
            self._touch(owner)


async def _close(adapter: CalendarSource | PoolSource | Airflow) -> None:
    try:
        await adapter.aclose()
    except Exception:
        LOG.exception("an adapter did not close well")
