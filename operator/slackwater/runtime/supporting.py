"""The status of Calendars, GPUPools and AirflowInstances (R12, R16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from slackwater.api.status import (
    AirflowStatus,
    CalendarStatus,
    PoolStatus,
    conditions_from_wire,
)
from slackwater.core.allot import Pool, unusable
from slackwater.core.event import Warned
from slackwater.core.gaps import sample_gaps
from slackwater.core.seen import PoolView, Trouble
from slackwater.core.status import Condition, Truth, settled
from slackwater.core.words import Reason, say
from slackwater.ports import Key, Kind, Store, Stored
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.calendar_follower import CalendarFollower
from slackwater.runtime.observe import unavailable
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.records import Supporting
from slackwater.runtime.tell import Teller
from slackwater.runtime.world import World

LIVE: Final = timedelta(seconds=60)
# What moves all the time: written at most once a minute, and never for its own sake alone in
# a Calendar, whose `blocksAt` only matters once readings fail.
_LIVE: Final = {
    Kind.CALENDAR: ("blocksAt", "eventCount", "lastChangeTime"),
    Kind.GPU_POOL: ("capacity", "free", "promised", "utilizationPercent", "sampleTime"),
    Kind.AIRFLOW_INSTANCE: (),
}


class Publisher:
    """Writes the status of what TrainingWindows depend on, where it changed."""

    def __init__(self, world: World, store: Store, teller: Teller) -> None:
        self._world, self._store, self._teller = world, store, teller
        self._written_at: dict[Key, datetime] = {}

    async def publish(self, key: Key) -> datetime | None:
        """Write if due; give the instant at which a live renewal is. Raises SlackwaterError."""
        follower, held = self._world.following.get(key), self._held(key)
        if follower is None or held is None:
            return None
        stored = held.stored
        now = self._world.clock.now()
        conditions = self._conditions(follower, stored, now)
        if stored.status and any(c.reason is Reason.NOT_READ_YET for c in conditions):
            return None  # after a restart: what it said stands until the first look is over
        wire = self._wire(follower, conditions)
        before = dict(stored.status)
        if wire == before:
            return None
        if _still(wire, key.kind) == _still(before, key.kind):
            due = self._written_at.get(key, now - LIVE) + LIVE
            if now < due:
                return due
            if key.kind is Kind.GPU_POOL and _same_numbers(wire, before):
                return None
        version = await self._store.write_status(key, wire, stored.resource_version)
        self._written_at[key] = now
        held.wrote(wire, version)
        self._tell(key, conditions_from_wire(before), conditions)
        return None

    def _held(self, key: Key) -> Supporting[Any] | None:
        match key.kind:
            case Kind.CALENDAR:
                return self._world.calendars.get(key.ref)
            case Kind.GPU_POOL:
                return self._world.pools.get(key.ref)
            case _:
                return self._world.airflows.get(key.ref)

    # --- conditions

    def _conditions(
        self,
        follower: CalendarFollower | PoolFollower | AirflowFollower,
        stored: Stored,
        now: datetime,
    ) -> tuple[Condition, ...]:
        what = f"{stored.key.kind} {stored.key.ref}"
        old = conditions_from_wire(stored.status)

        def condition(kind: str, trouble: Trouble | None, good: Reason) -> Condition:
            reason = trouble.reason if trouble else good
            gaps: Mapping[str, object] = trouble.gaps if trouble else {}
            waiting = reason is Reason.NOT_READ_YET
            truth = Truth.UNKNOWN if waiting else Truth.FALSE if trouble else Truth.TRUE
            text = say(reason, **({"what": what} | dict(gaps)))
            past = next((c for c in old if c.type == kind), None)
            return settled(past, kind, truth, reason, text, stored.generation, now)

        match follower:
            case CalendarFollower():
                trouble = follower.trouble or follower.failure
                if trouble is None and follower.snapshot is None:
                    trouble = Trouble(Reason.NOT_READ_YET)
                if trouble is None and (warning := _warning(follower, old)) is not None:
                    said = condition("Ready", None, Reason.SYNCED)
                    text = say(warning.reason, count=warning.count, ref=follower.ref)
                    return (replace(said, reason=warning.reason, message=text),)
                return (condition("Ready", trouble, Reason.SYNCED),)
            case PoolFollower():
                view = Pool(
                    rules=follower.rules,
                    sample=follower.sample,
                    fault=follower.fault,
                    reservations=follower.reservations,
                )
                reason = unusable(view, now)
                numbers = sample_gaps(PoolView(ref=follower.ref, sample=follower.sample))
                names = {"pool": follower.ref, "calendar": follower.reservations.unread}
                data = Trouble(reason, numbers | names) if reason else None
                data = follower.failure or data  # it knows which secret, query or address it was
                trouble = follower.trouble or follower.overlap or self._misuse(follower)
                ready = condition("Ready", trouble, Reason.ACCEPTED)
                if trouble is None and follower.reservations.unreadable:
                    reason = Reason.MATCH_UNREADABLE
                    text = say(reason, count=follower.reservations.unreadable)
                    ready = replace(ready, reason=reason, message=text)
                return (
                    ready,
                    condition("DataFresh", follower.trouble or data, Reason.FRESH),
                )
            case AirflowFollower():
                trouble = follower.trouble or follower.fault
                if trouble is None and follower.version is None:
                    trouble = Trouble(Reason.NOT_READ_YET)
                return (condition("Ready", trouble, Reason.ACCEPTED),)

    def _misuse(self, follower: PoolFollower) -> Trouble | None:
        """A reservation that looks at what its calendar does not give (R13)."""
        reservations = follower.reservations
        calendar = self._world.calendar(reservations.unread) if reservations.unread else None
        if reservations.misuse is None or calendar is None:
            return None
        index, field, needs = reservations.misuse
        return unavailable(f"spec.reservations[{index}].{field}", needs, calendar.view(None))

    @staticmethod
    def _wire(
        follower: CalendarFollower | PoolFollower | AirflowFollower,
        conditions: tuple[Condition, ...],
    ) -> dict[str, Any]:
        match follower:
            case CalendarFollower():
                return CalendarStatus(
                    conditions=conditions,
                    last_change_time=follower.changed_at,
                    blocks_at=follower.blocks_at if follower.fault else None,
                    event_count=follower.snapshot.count if follower.snapshot else None,
                ).to_wire()
            case PoolFollower():
                sample = follower.sample
                return PoolStatus(
                    conditions=conditions,
                    capacity=sample.capacity if sample else None,
                    free=sample.fit(1) if sample else None,
                    promised=sum(promise.unseen for promise in follower.promises),
                    utilization_percent=None
                    if sample is None or sample.utilization is None
                    else sample.utilization * 100,
                    sample_time=sample.time if sample else None,
                ).to_wire()
            case AirflowFollower():
                return AirflowStatus(conditions=conditions, version=follower.version).to_wire()

    def _tell(self, key: Key, old: tuple[Condition, ...], new: tuple[Condition, ...]) -> None:
        before = {condition.type: condition for condition in old}
        said: set[tuple[Reason, str]] = set()
        for condition in new:
            past = before.get(condition.type)
            changed = past is None or (past.status, past.reason) != (
                condition.status,
                condition.reason,
            )
            is_news = condition.status is Truth.FALSE or (
                past is not None and past.status is Truth.FALSE
            )
            words = (condition.reason, condition.message)
            if changed and is_news and condition.status is not Truth.UNKNOWN and words not in said:
                said.add(words)  # two conditions may fail for one reason
                self._teller.record(key, condition.reason, condition.message)


def _warning(follower: CalendarFollower, old: tuple[Condition, ...]) -> Warned | None:
    """What the last reading warns of.

    A first reading cannot tell whether identities are stable: what was found before a restart
    stands until a second one can.
    """
    assert follower.snapshot is not None
    if follower.snapshot.warnings:
        return follower.snapshot.warnings[0]
    unstable = any(condition.reason is Reason.UNSTABLE_UIDS for condition in old)
    return Warned(Reason.UNSTABLE_UIDS, 0) if unstable and not follower.compared else None


def _still(wire: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if name not in _LIVE[kind]}


def _same_numbers(wire: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Only the time of the sample differs: not worth a write."""
    names = ("capacity", "free", "promised", "utilizationPercent")
    return all(wire.get(name) == before.get(name) for name in names)
