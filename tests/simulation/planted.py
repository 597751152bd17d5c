"""Faults planted into the product, one at a time: the simulation must catch every one of them.

Each is a function that breaks one rule with `monkeypatch`, and the voyage (seed and days) on which
it is known to show. A fault that no voyage catches would mean that the invariants prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slackwater.core import allot as allot_module
from slackwater.core import decide as decide_module
from slackwater.core import finish, keep, occurrence, report, schedule, start
from slackwater.core.lineage import Lineage
from slackwater.core.sample import Room, Sample
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.errors import Ambiguous, PoolError, Refused
from slackwater.runtime import carry_out as carry_out_module
from slackwater.runtime import engine as engine_module
from slackwater.runtime import world as world_module
from slackwater.runtime.alarm import Alarm
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.reconcile import Reconciler

from .harbour import CANARY, SimLease, SimPool, World
from .voyage import Voyage

Patch = pytest.MonkeyPatch
Planted = Callable[[Patch], None]


def intent_after_post(patch: Patch) -> None:
    """The intent is not written before the POST (R9)."""
    settle = Reconciler._settle

    async def later(self: Any, record: Any, status: Any) -> Any:
        if any(line.state.value == "Intended" for line in status.lines):
            record.status = status
            return None
        return await settle(self, record, status)

    patch.setattr(Reconciler, "_settle", later)


def promise_dropped_at_restart(patch: Patch) -> None:
    """A new controller takes what is recorded as promised for nothing (R6)."""
    read = world_module.from_wire

    def forgetful(wire: Any) -> Any:
        status = read(wire)
        return replace(status, lines=tuple(replace(x, promise=0) for x in status.lines))

    patch.setattr(world_module, "from_wire", forgetful)
    _restless(patch)


def _restless(patch: Patch) -> None:
    """Controllers come and go all the time, so that what only a restart shows, shows soon."""
    act = Voyage._act

    async def often(self: Voyage) -> None:
        if self.script.random() < 0.4:
            await self._controllers()
        else:
            await act(self)

    patch.setattr(Voyage, "_act", often)


def _lossy(patch: Patch) -> None:
    """What goes wrong now and then goes wrong often."""
    chance = World.chance
    patch.setattr(World, "chance", lambda self, p: chance(self, min(0.4, 15 * p)))


def promise_never_made(patch: Patch) -> None:
    """Only what the pool's numbers show counts (R6)."""
    patch.setattr(PoolFollower, "consume", lambda self, owner, promise: self.put(owner, None))
    patch.setattr(PoolFollower, "promise", lambda self, owner, promises: False)


def no_data_read_as_idle(patch: Patch) -> None:
    """A pool that cannot be read looks empty (R5; KEDA#3065)."""
    take = SimPool.sample

    async def optimistic(self: SimPool) -> Sample:
        try:
            return await take(self)
        except PoolError:
            room = Room("n", self.gpus, self.gpus)
            return Sample(time=self.world.clock.now(), capacity=self.gpus, rooms=(room,), used=0)

    patch.setattr(SimPool, "sample", optimistic)


def stale_sample_accepted(patch: Patch) -> None:
    """A frozen exporter is believed (R5)."""

    def credulous(rules: Any, sample: Sample | None, now: Any) -> Reason | None:
        return Reason.NOT_READ_YET if sample is None else None

    for module in (allot_module, start):
        patch.setattr(module, "stale_or_thin", credulous)


def alarm_never_rings(patch: Patch) -> None:
    """The heap of wake-ups stands still (R4)."""
    patch.setattr(Alarm, "_ring_due", lambda self: 30.0)


def deny_ignored(patch: Patch) -> None:
    """Denied time is not cut out (R3)."""
    cut = occurrence.cut
    patch.setattr(occurrence, "cut", lambda interval, allows, denies: cut(interval, allows, ()))


def allow_ignored(patch: Patch) -> None:
    """Time outside every Allow is not cut out (R3)."""
    cut = occurrence.cut
    patch.setattr(occurrence, "cut", lambda interval, allows, denies: cut(interval, None, denies))


def offsets_ignored(patch: Patch) -> None:
    """A window is the bare event."""
    patch.setattr(Span, "shifted", lambda self, start, end: self)


def lost_reply_read_as_refusal(patch: Patch) -> None:
    """A time-out of the POST counts as not done (R9; airflow#66905)."""
    post = carry_out_module._post

    async def hasty(action: Any, dag_id: str, follower: Any, lease: Any, clock: Any) -> None:
        trigger = follower.airflow.trigger

        async def refused(*args: Any) -> Any:
            try:
                return await trigger(*args)
            except Ambiguous as lost:
                raise Refused(Reason.REJECTED) from lost

        follower.airflow.trigger = refused
        try:
            await post(action, dag_id, follower, lease, clock)
        finally:
            follower.airflow.trigger = trigger

    patch.setattr(carry_out_module, "_post", hasty)
    _lossy(patch)


def no_second_look_at_the_calendar(patch: Patch) -> None:
    """A start rests on the last poll (R9)."""
    patch.setattr(start, "_to_refresh", lambda *args, **kwargs: None)


def staleness_ignored(patch: Patch) -> None:
    """A calendar that has been out for hours still starts runs."""
    patch.setattr(start.CalendarView, "usable", lambda self, now: self.snapshot is not None)


def lease_ignored(patch: Patch) -> None:
    """A controller that has lost its lease goes on acting."""
    patch.setattr(engine_module.Engine, "_may_act", property(lambda self: True))
    post = carry_out_module._post

    async def usurp(action: Any, dag_id: str, follower: Any, lease: Any, clock: Any) -> None:
        await post(action, dag_id, follower, SimLease(held=True), clock)

    patch.setattr(carry_out_module, "_post", usurp)

    async def handed_over(self: Voyage) -> None:
        """Another one takes over, and the one before goes on for a while."""
        before = self.controller
        if before is not None:
            before.lease.set(held=False)
        self._start_controller()
        await asyncio.sleep(self.script.uniform(0, 600))
        if before is not None:
            before.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await before.task

    patch.setattr(Voyage, "_controllers", handed_over)
    _restless(patch)


def edited_series_runs_again(patch: Patch) -> None:
    """A new UID is a new event (R2)."""
    patch.setattr(Lineage, "has_run", lambda *args: False)


def ended_and_revived_for_ever(patch: Patch) -> None:
    """A missed occurrence with open pieces is planned again, and missed again (R16)."""
    patch.setattr(keep, "start_deadline", lambda spec, occurrence: occurrence.interval.end)


def suspend_ignored(patch: Patch) -> None:
    """A suspended window starts (R17)."""
    before = start._before_the_pool

    def blind(identity: Any, spec: Any, *args: Any, **kwargs: Any) -> Any:
        return before(identity, replace(spec, suspend=False), *args, **kwargs)

    patch.setattr(start, "_before_the_pool", blind)
    why = finish._why_not_start
    patch.setattr(
        finish,
        "_why_not_start",
        lambda line, occ, spec, *rest: why(line, occ, replace(spec, suspend=False), *rest),
    )


def title_in_the_message(patch: Patch) -> None:
    """What the event is called is told to everybody (R13)."""
    say = report._Report.message
    patch.setattr(report._Report, "message", lambda self: say(self) + CANARY)


def forbid_ignored(patch: Patch) -> None:
    """Runs of one TrainingWindow overlap although it forbids that."""
    consider = start.consider

    def lax(*args: Any, another_active: bool, **kwargs: Any) -> Any:
        return consider(*args, another_active=False, **kwargs)

    patch.setattr(decide_module, "consider", lax)


def second_of_two_times(patch: Patch) -> None:
    """A start that clocks show twice opens at the second of the two (R1)."""
    patch.setattr(
        schedule, "instant", lambda wall, where: wall.replace(tzinfo=where, fold=1).astimezone(UTC)
    )


def gap_by_the_offset_before(patch: Patch) -> None:
    """A start that clocks skip opens as much later as they skip, and not right after it (R1)."""
    patch.setattr(
        schedule, "instant", lambda wall, where: wall.replace(tzinfo=where, fold=0).astimezone(UTC)
    )


def offset_of_the_winter(patch: Patch) -> None:
    """Schedules are read in UTC, by the offset that the zone has in winter (R1)."""
    winter = datetime(2026, 1, 15, tzinfo=UTC)

    def fixed(wall: datetime, where: Any) -> datetime:
        offset = winter.astimezone(where).utcoffset()
        return wall.replace(tzinfo=UTC) - (offset or timedelta())

    patch.setattr(schedule, "instant", fixed)


# Each fault with the Monday of the week in which it shows.
SEASON_FAULTS: tuple[tuple[Planted, datetime], ...] = (
    (second_of_two_times, datetime(2026, 10, 19, tzinfo=UTC)),
    (gap_by_the_offset_before, datetime(2026, 3, 23, tzinfo=UTC)),
    (offset_of_the_winter, datetime(2026, 10, 19, tzinfo=UTC)),
)

# Each fault with the first seed and the length in days of the voyages that are sailed to find it.
FAULTS: tuple[tuple[Planted, int, float], ...] = (
    (intent_after_post, 100, 0.1),
    (promise_dropped_at_restart, 104, 0.1),
    (promise_never_made, 105, 0.1),
    (no_data_read_as_idle, 109, 0.1),
    (stale_sample_accepted, 104, 0.1),
    (alarm_never_rings, 100, 0.1),
    (deny_ignored, 100, 0.1),
    (allow_ignored, 109, 0.1),
    (offsets_ignored, 100, 0.1),
    (lost_reply_read_as_refusal, 102, 0.1),
    (no_second_look_at_the_calendar, 100, 0.1),
    (staleness_ignored, 121, 0.25),
    (lease_ignored, 100, 0.1),
    (edited_series_runs_again, 110, 0.1),
    (ended_and_revived_for_ever, 103, 0.1),
    (suspend_ignored, 103, 0.1),
    (title_in_the_message, 100, 0.1),
    (forbid_ignored, 103, 0.1),
)
