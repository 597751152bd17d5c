"""One look at one TrainingWindow: observe, decide, write, act."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from slackwater.api.status import to_wire
from slackwater.core.action import Cancel as CancelAction
from slackwater.core.action import Decision, Refresh, Withdraw
from slackwater.core.ask import promises_of
from slackwater.core.decide import decide
from slackwater.core.keep import AHEAD
from slackwater.core.ledger import RELEASE_AFTER_CANCEL, State
from slackwater.core.report import unreadable
from slackwater.core.seen import Seen
from slackwater.core.spec import Ref, StartPolicy, TrainingWindow
from slackwater.core.start import FACTS_VALID
from slackwater.core.status import Status, Truth
from slackwater.core.transition import outline
from slackwater.core.words import Reason
from slackwater.ports import Clock, Key, Kind, Lease, Store
from slackwater.runtime.alarm import Alarm
from slackwater.runtime.carry_out import carry_out
from slackwater.runtime.observe import observe
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.records import WindowRecord
from slackwater.runtime.tell import Teller
from slackwater.runtime.workqueue import WorkQueue
from slackwater.runtime.world import World

LIVE_WORDING: Final = timedelta(seconds=60)  # how often live numbers may be renewed (R16)
LOOK_AGAIN: Final = timedelta(seconds=5)  # after asking Airflow to end or delete a run
# So long a status waits for the first reading of what it needs: until then it would say that
# nothing is known, and after each restart that would be two writes for every window (R16).
FIRST_READING: Final = timedelta(seconds=15)
LOOKS_AT_ONCE: Final = 5  # at one window in a row, before others have their turn
# How often a DAG is checked before its window (R12): after a quarter of the time that is left.
FACTS_AHEAD: Final = timedelta(minutes=10)
FACTS_SHARE: Final = 4


class _Looked(NamedTuple):
    """What came of one look: whether what it did is to be looked at, and no answer is awaited."""

    again: bool
    settled: bool


class Reconciler:
    """Looks at TrainingWindows.

    Args:
        world: all objects and followers.
        clock: the present.
        store: where status goes.
        lease: whether writes are ours to do.
        teller: says what changed.
        queue: keys to look at.
        alarm: when to look again.
        refresh: has a Calendar or AirflowInstance looked at now for a TrainingWindow.
        pool_changed: a pool's book changed.
    """

    def __init__(
        self,
        *,
        world: World,
        clock: Clock,
        store: Store,
        lease: Lease,
        teller: Teller,
        queue: WorkQueue[Key],
        alarm: Alarm[Key],
        refresh: Callable[[Key, Ref | None], None],
        pool_changed: Callable[[PoolFollower], None],
    ) -> None:
        self._world, self._clock, self._store, self._lease = world, clock, store, lease
        self._teller, self._queue, self._alarm = teller, queue, alarm
        self._refresh, self._pool_changed = refresh, pool_changed
        self._labels: dict[str, tuple[datetime, dict[str, str]]] = {}

    async def look_at(self, record: WindowRecord, up_since: datetime) -> bool:
        """Look until nothing follows by itself: intent, POST and what came of it go in one go.

        So the next POST of a server is ready while the one before is under way.

        Returns:
            True where nothing is left undone; False where an answer is awaited.

        Raises:
            SlackwaterError: it should be tried again.
        """
        key = record.stored.key
        for _ in range(LOOKS_AT_ONCE):
            if self._world.windows.get(key.ref) is not record:
                return True  # deleted, or made anew: that is news of its own
            labels = await self.labels_of(key.ref.namespace)
            self._queue.caught_up(key)
            looked = await self._look(record, labels, up_since)
            if not looked.again:
                return looked.settled
        self._queue.add(key)
        return False

    async def _look(
        self, record: WindowRecord, labels: dict[str, str], up_since: datetime
    ) -> _Looked:
        key, spec = record.stored.key, record.spec
        now = self._clock.now()
        if spec is None:
            assert record.config is not None
            identity = self._world.identity(record)
            await self._settle(record, unreadable(identity, record.status, record.config, now))
            return _Looked(again=False, settled=True)
        seen = observe(self._world, record, spec, labels=labels, up_since=up_since)
        decision = decide(self._world.identity(record), spec, record.status, seen, now)
        intends = _intends_anew(record.status, decision.status)
        self._want_facts(spec, seen, decision.status)
        self._line_up(record, spec, decision)
        later: datetime | None = None
        acts = any(not isinstance(action, Refresh) for action in decision.actions)
        first_read = max(up_since, record.since) + FIRST_READING
        if not acts and now < first_read and _is_unread(decision.status):
            later = first_read
        elif acts or not decision.pending:
            later = await self._settle(record, decision.status, decision.gaps)
        # Set before acting: an action may take long or fail, and the timer must stand anyway.
        ahead = self._check_ahead(decision.status, now)
        check = now + ahead if ahead is not None else None
        wake = [at for at in (decision.wake_at, later, check) if at]
        self._alarm.set(key, min(wake, default=None))
        posted = await self._act(key, record, spec, decision)
        return _Looked(again=posted or intends, settled=not decision.pending)

    async def labels_of(self, namespace: str) -> dict[str, str]:
        """Labels of a namespace, at most a minute old."""
        known, now = self._labels.get(namespace), self._clock.now()
        if known is not None and now - known[0] < timedelta(minutes=1):
            return known[1]
        labels = dict(await self._store.namespace_labels(namespace))
        self._labels[namespace] = (now, labels)
        return labels

    # --- looking ahead

    def _want_facts(self, spec: TrainingWindow, seen: Seen, status: Status) -> None:
        """Have the DAG checked once, and again while a window is near (R12)."""
        follower = self._world.airflow(spec.dag.airflow)
        if follower is None or seen.airflow.refused is not None:
            return
        now, facts = self._clock.now(), seen.airflow.facts
        open_now = any(line.state is State.WAITING for line in status.lines)
        ahead = self._check_ahead(status, now)
        if spec.expected_duration is None and ahead is not None:
            follower.want_durations(spec.dag.dag_id)
        # The answer to the last question came a little after it.
        due = ahead is not None and (facts is None or now - facts.checked_at >= ahead - FACTS_VALID)
        if (facts is None or due or open_now) and follower.want_facts(spec.dag.dag_id):
            self._refresh(Key(Kind.AIRFLOW_INSTANCE, follower.ref), None)

    @staticmethod
    def _check_ahead(status: Status, now: datetime) -> timedelta | None:
        """How old facts may be; None while no window is near."""
        starts = [
            line.window.start
            for line in status.lines
            if line.window is not None
            and line.window.start <= now + AHEAD
            and not line.state.is_final
        ]
        return max(FACTS_AHEAD, (min(starts) - now) / FACTS_SHARE) if starts else None

    # --- the pool's book

    def _line_up(self, record: WindowRecord, spec: TrainingWindow, decision: Decision) -> None:
        """Queue the ask; or, before an intent is written, make it a promise."""
        follower = self._world.pool(spec.gpu.pool) if spec.gpu else None
        if follower is None or spec.gpu is None:
            return
        ref = record.stored.key.ref
        lines = decision.status.lines
        is_open = decision.ask is not None or any(
            line.state is State.WAITING or line.state.is_active for line in lines
        )
        follower.off_peak.want(
            ref, spec.time_zone if spec.start_policy is StartPolicy.OFF_PEAK else None
        )
        if follower.watch(ref, watching=is_open):
            self._refresh(Key(Kind.GPU_POOL, follower.ref), None)
        intended = _newly_intended(record.status, decision.status)
        if intended and decision.ask is not None:
            promises = promises_of(
                ref,
                lines,
                gpus=spec.gpu.count,
                per_pod=spec.gpu.per_pod,
                duration=decision.ask.duration,
                now=self._clock.now(),
            )
            for promise in promises:
                if promise.run_id in intended:
                    follower.consume(ref, promise)
        elif follower.put(ref, decision.ask):
            self._pool_changed(follower)

    def hold(self, ref: Ref) -> None:
        """Bring the pool's promises in step with the ledger of one TrainingWindow (R6)."""
        record = self._world.windows.get(ref)
        spec = record.spec if record else None
        follower = self._world.pool(spec.gpu.pool) if spec and spec.gpu else None
        if record is None or spec is None or spec.gpu is None or follower is None:
            return
        now, status = self._clock.now(), record.writing or record.status
        promises = promises_of(
            ref,
            status.lines,
            gpus=spec.gpu.count,
            per_pod=spec.gpu.per_pod,
            duration=status.expected_duration,
            now=now,
        )
        if follower.promise(ref, promises):
            self._pool_changed(follower)
        released = [
            line.end_time + RELEASE_AFTER_CANCEL
            for line in status.lines
            if line.state is State.CANCELLED and line.end_time and line.holds(now)
        ]
        if released:
            self._alarm.soonest(record.stored.key, min(released))

    # --- status

    async def _settle(
        self,
        record: WindowRecord,
        status: Status,
        gaps: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
    ) -> datetime | None:
        """Write the status where it changed; give the instant of a renewal that has to wait (R16).

        `gaps` is what the sentences of its waiting lines need.
        """
        now, before = self._clock.now(), record.status  # an echo may overtake the reply
        if status == before and not record.unwritten:
            self.hold(record.stored.key.ref)
            return None
        if record.written_at is not None and outline(status) == outline(before):
            due = record.written_at + LIVE_WORDING
            if now < due:
                record.status, record.unwritten = status, True
                return due
        wire = to_wire(status)
        if wire != record.stored.status:
            stored = record.stored
            record.writing = status
            try:
                version = await self._store.write_status(stored.key, wire, stored.resource_version)
            except BaseException:
                record.writing = None
                self.hold(stored.key.ref)  # a promise made for an intent that is not written
                raise
            record.writing = None
            record.written_at = now
            record.wrote(wire, version)
        record.status, record.unwritten = status, False
        self.hold(record.stored.key.ref)
        self._teller.tell(record, before, status, gaps)
        return None

    # --- acting

    async def _act(
        self, key: Key, record: WindowRecord, spec: TrainingWindow, decision: Decision
    ) -> bool:
        """Carry out the actions; True where a look at what came of them should follow at once."""
        follower = self._world.airflow(spec.dag.airflow)
        if follower is None:
            return False
        posted = False
        for action in decision.actions:
            if isinstance(action, Refresh):
                for ref in action.calendars:
                    self._refresh(Key(Kind.CALENDAR, ref), key.ref)
                if action.dag:
                    follower.want_facts(spec.dag.dag_id)
                    self._refresh(Key(Kind.AIRFLOW_INSTANCE, follower.ref), key.ref)
                continue
            await carry_out(
                action,
                spec.dag.dag_id,
                key.ref,
                follower,
                lease=self._lease,
                clock=self._clock,
            )
            if isinstance(action, Withdraw | CancelAction):
                # Its effect is news of the run; if there is none, do not ask again at once.
                self._alarm.soonest(key, self._clock.now() + LOOK_AGAIN)
            else:
                posted = True
        for line in record.status.lines:
            if line.dag_run_id is None:
                continue
            if line.state.is_active:
                follower.track(line.dag_run_id, spec.dag.dag_id, key.ref)
            elif line.state.is_final:
                follower.untrack(line.dag_run_id)
        if follower.busy and follower.fault is None:
            # Until now the server may have been idle, and its next look far away.
            soon = follower.due_within(follower.interval)
            self._alarm.soonest(Key(Kind.AIRFLOW_INSTANCE, follower.ref), soon)
        return posted


def _intends_anew(before: Status, after: Status) -> bool:
    """Whether an intent is new, so that its POST follows as soon as it is written.

    An older one may be waiting, after a POST that failed: that has its time in `wake_at`.
    """
    old = {line.intent_time for line in before.lines if line.state is State.INTENDED}
    return any(line.state is State.INTENDED and line.intent_time not in old for line in after.lines)


def _is_unread(status: Status) -> bool:
    """Whether it says of a usable configuration that something was not read yet."""
    said = {condition.type: condition for condition in status.conditions}
    return said["Ready"].status is Truth.TRUE and any(
        said[kind].reason is Reason.NOT_READ_YET for kind in ("CalendarsSynced", "DagReady")
    )


def _newly_intended(old: Status, new: Status) -> set[str]:
    before = {line.id for line in old.lines if line.state is State.INTENDED}
    return {
        line.dag_run_id
        for line in new.lines
        if line.state is State.INTENDED and line.id not in before and line.dag_run_id
    }
