"""What one pool's foreground does, as learned, and the off-peak plan made from it (R18)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from slackwater.core.ask import Ask, Promise
from slackwater.core.planned import REPLAN, Planned
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Sample
from slackwater.core.spec import Ref
from slackwater.errors import SlackwaterError
from slackwater.ports import Clock, PoolSource

if TYPE_CHECKING:
    from slackwater.core.forecast import Forecast, Forecaster

LOG: Final = logging.getLogger("slackwater.off_peak")
STEP: Final = timedelta(minutes=30)
LEARNED: Final = timedelta(days=35)
ASK_AGAIN: Final = timedelta(minutes=10)
"""After a history could not be had."""
CHUNK: Final = 48
"""Steps that are learned before others have a turn."""
HELD: Final = timedelta(hours=4)
"""A history with fewer points than half-hours holds its value for so long."""


class OffPeak:
    """Learns the foreground's load of a pool once anybody there starts off-peak, and plans.

    Nothing here ever waits for anything: without a history the plan keeps to what was seen.

    Args:
        ref: the GPUPool, for the log.
        clock: the present.
    """

    def __init__(self, ref: Ref, clock: Clock) -> None:
        self._ref, self._clock = ref, clock
        self._zones: dict[Ref, str] = {}
        self._points: deque[tuple[datetime, float]] = deque(maxlen=LEARNED // STEP)
        self._past: tuple[tuple[datetime, float], ...] = ()
        self._asked_at: datetime | None = None
        self._has_past = False
        self._forecaster: Forecaster | None = None
        self._step: datetime | None = None
        self._sum, self._count = 0.0, 0
        self._live: float | None = None
        self._plan: dict[Ref, Planned] = {}
        self._plan_of: tuple[object, ...] = ()
        self._planned_at: datetime | None = None

    # --- who wants it

    def want(self, owner: Ref, zone: str | None) -> None:
        """A TrainingWindow starts off-peak by the hours of `zone`, or (None) does not."""
        before = self.zone
        if zone is None:
            self._zones.pop(owner, None)
        else:
            self._zones[owner] = zone
        if self.zone != before:
            self._forecaster = None  # seasons follow the wall clock of most

    @property
    def wanted(self) -> bool:
        """Whether anybody in the pool starts off-peak."""
        return bool(self._zones)

    @property
    def zone(self) -> str:
        """The zone of most of them, the first by name where several are as many."""
        votes = Counter(self._zones.values())
        return min(votes, key=lambda name: (-votes[name], name), default="UTC")

    # --- learning

    def forget(self) -> None:
        """The pool is another, or the clock jumped: what was learned says nothing any more."""
        self._points.clear()
        self._past, self._has_past, self._asked_at = (), False, None
        self._forecaster, self._step = None, None
        self._sum, self._count, self._live = 0.0, 0, None
        self._plan, self._plan_of, self._planned_at = {}, (), None

    async def look_back(self, source: PoolSource) -> None:
        """Ask once for what happened before we looked; a failure is tried again later."""
        now = self._clock.now()
        if not self.wanted or self._has_past:
            return
        if self._asked_at is not None and timedelta() <= now - self._asked_at < ASK_AGAIN:
            return
        self._asked_at = now
        try:
            past = await source.demand_since(now - LEARNED)
        except SlackwaterError as error:
            LOG.warning("GPUPool %s: no history of its load: %s", self._ref, error.reason.value)
            return
        self._past, self._has_past = past, True
        await self._teach()
        self._planned_at = None

    async def _teach(self) -> None:
        """Learn what is known, with turns for others: five weeks take half a second."""
        from slackwater.core.forecast import Forecaster

        self._forecaster = None
        zone, past = self.zone, self._past
        found = Forecaster(zone)
        for number, (step, load) in enumerate(self._history()):
            found.learn(step, load)
            if number % CHUNK == 0:
                await asyncio.sleep(0)
        if past is self._past and zone == self.zone:
            found.learn_all(self._points)  # what came meanwhile; the rest is known
            self._forecaster = found

    def _history(self) -> list[tuple[datetime, float]]:
        first = self._points[0][0] if self._points else None
        earlier = [one for one in _held(self._past) if first is None or one[0] < first]
        return [*earlier, *self._points]

    def observe(self, at: datetime, foreground: float) -> None:
        """Take in one sample: GPUs that others use or wait for."""
        if not self.wanted:
            return
        self._live = foreground
        step = at - (at - _EPOCH) % STEP
        if self._step is not None and step > self._step and self._count:
            self._learn(self._step, self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if self._step is None or step > self._step:
            self._step = step
        self._sum, self._count = self._sum + foreground, self._count + 1

    def _learn(self, step: datetime, load: float) -> None:
        self._points.append((step, load))
        if self._forecaster is not None:
            self._forecaster.learn(step, load)

    def _learned(self) -> Forecaster:
        from slackwater.core.forecast import Forecaster

        if self._forecaster is None:
            self._forecaster = Forecaster(self.zone)
            self._forecaster.learn_all(self._history())
        return self._forecaster

    def forecast(self, steps: int) -> Forecast:
        """How the foreground goes on, as far as it was learned, in so many half-hours from now."""
        return self._learned().forecast(self._clock.now(), self._live, steps)

    @property
    def has_learned(self) -> bool:
        """Whether anything is known of the past."""
        return bool(self._past or self._points)

    # --- planning

    def plan(
        self,
        asks: Iterable[Ask],
        promises: tuple[Promise, ...],
        reservations: Reservations,
        sample: Sample | None,
    ) -> Mapping[Ref, Planned]:
        """When each off-peak ask is to start; made anew when something changed, or is old.

        Args:
            asks: all of the pool, also those that start as early as they can.
            promises: made from the pool.
            reservations: announced demand.
            sample: of the pool; without one nothing is planned anew.
        """
        everyone = tuple(sorted(asks, key=lambda ask: ask.owner))
        if not any(ask.off_peak for ask in everyone):
            self._plan, self._plan_of, self._planned_at = {}, (), None
            return self._plan
        if sample is None:
            return self._plan
        now = self._clock.now()
        made_of = (
            everyone,
            tuple((promise.run_id, promise.count, promise.ends) for promise in promises),
            reservations,
            sample.capacity,
        )
        age = None if self._planned_at is None else now - self._planned_at
        if age is None or not timedelta() <= age < REPLAN or made_of != self._plan_of:
            self._plan = self._made(everyone, promises, reservations, sample, now)
            self._plan_of, self._planned_at = made_of, now
        return self._plan

    def _made(
        self,
        everyone: tuple[Ask, ...],
        promises: tuple[Promise, ...],
        reservations: Reservations,
        sample: Sample,
        now: datetime,
    ) -> dict[Ref, Planned]:
        from slackwater.core.plan import plan_asks

        return plan_asks(everyone, promises, reservations, sample, self._learned(), self._live, now)


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _held(points: Iterable[tuple[datetime, float]]) -> Iterable[tuple[datetime, float]]:
    """A history with a point for each half-hour: the last value holds for a while."""
    before: tuple[datetime, float] | None = None
    for at, value in points:
        if before is not None and at - before[0] <= HELD:
            missing = before[0] + STEP
            while missing < at:
                yield missing, before[1]
                missing += STEP
        yield at, value
        before = (at, value)
