"""How likely a pool has room for a run, half-hour after half-hour (R5, by the forecast).

The forecast's quantiles are read as courses that the load may take: in the course of a quantile
the load stands at that quantile all the time. The chance of room at an instant is the share of
courses that leave enough GPUs, and the expected wait the mean, over the courses, of the time until
one does. Load that is high stays high for a while, so this is nearer to the truth than to throw
the dice anew each half-hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slackwater.core.forecast import STEP, FloatArray, Forecast
from slackwater.core.plan import Holding, outlook
from slackwater.core.reserve import Reservations
from slackwater.core.spec import Ref

COURSES: Final = tuple((number + 0.5) / 20 for number in range(20))
"""Quantiles that count as equally likely courses of the load."""
MOST_WAIT: Final = timedelta(hours=24)
"""A wait that is not over by then counts as this long."""
BUSIER: Final = 0.01
"""Share of the pool by which a half-hour must be above the usual load to count as busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another ask of the pool: whose, how many GPUs, and from when to when it is expected to run."""

    owner: Ref
    count: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What is known of a pool's time to come.

    Attributes:
        forecast: of the foreground; it reaches `MOST_WAIT` and a run's length beyond `until`.
        places: GPUs that pods of the run's size can take when the usable nodes are empty.
        now: the present, inside the forecast's first step.
        until: end of the time of interest; the usual load is its mean until then.
        holdings: runs of ours that go on.
        others: asks of other TrainingWindows.
        reservations: announced demand.
        used_by: GPUs that pods use now, by namespace.
    """

    forecast: Forecast
    places: int
    now: datetime
    until: datetime
    holdings: Sequence[Holding] = ()
    others: Sequence[Other] = ()
    reservations: Reservations = field(default_factory=Reservations)
    used_by: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """What a start at one instant may expect, and what it costs others.

    Attributes:
        chance: of room at that instant, 0 to 1.
        wait: expected until there is room, at most `MOST_WAIT`.
        busy_gpu_hours: what the run takes while the pool is expected above its usual load.
        delayed: asks of others that would have had room and that the run takes it from.
        load_percent: expected peak load of the pool while it runs, itself left out.
    """

    chance: float
    wait: timedelta = timedelta()
    busy_gpu_hours: float = 0.0
    delayed: int = 0
    load_percent: int = 0


def kept_from(
    reservations: Reservations, used_by: dict[str, int], namespace: str, now: datetime
) -> list[Holding]:
    """Reservations as GPUs that are taken, but for those of the namespace itself."""
    found = []
    for one in reservations.known:
        kept = one.gpus - sum(used_by.get(name, 0) for name in one.namespaces)
        if kept > 0 and one.span.end > now and namespace not in one.namespaces:
            found.append(Holding(kept, one.span.start, one.span.end))
    return found


class Rooms:
    """The room that a pool is expected to have for one kind of run.

    Args:
        ahead: the pool.
        namespace: of the TrainingWindow.
        count: GPUs of a run.
        length: of a run.
    """

    def __init__(self, ahead: Ahead, namespace: str, count: int, length: timedelta) -> None:
        self._ahead, self._count, self._length = ahead, count, length
        self._start = ahead.forecast.start
        runs = [*ahead.holdings, *(Holding(o.count, o.start, o.end) for o in ahead.others)]
        steps = len(ahead.forecast)
        self._limit = np.array(
            [ahead.places - count - self._kept(namespace, step) for step in range(steps)],
            dtype=np.float64,
        )
        self._fits: NDArray[np.bool_] = np.stack(
            # GPUs are whole: a forecast of 7.6 means 8.
            [np.rint(outlook(ahead.forecast, runs, ahead.now, q)) <= self._limit for q in COURSES]
        )
        self._waits = _waits(self._fits)
        kept = kept_from(ahead.reservations, ahead.used_by, namespace, ahead.now)
        self.load: FloatArray = outlook(ahead.forecast, [*runs, *kept], ahead.now, 0.5)
        within = max(1, -((self._start - ahead.until) // STEP))
        self.usual = float(self.load[:within].mean())
        busy = self.load > self.usual + BUSIER * ahead.places
        self._busy_hours = np.concatenate(([0.0], np.cumsum(busy * (STEP / timedelta(hours=1)))))

    def _kept(self, namespace: str, step: int) -> int:
        at = self._start + step * STEP
        reserved = self._ahead.reservations
        return reserved.highest(namespace, at, at + self._length + STEP, self._ahead.used_by).gpus

    def at(self, start: datetime) -> Odds:
        """What a start at this instant may expect."""
        step = self._step(start)
        last = min(len(self.load), max(step + 1, -((self._start - start - self._length) // STEP)))
        return Odds(
            chance=float(self._fits[:, step].mean()),
            wait=min(MOST_WAIT, float(self._waits[:, step].mean()) * STEP),
            busy_gpu_hours=self._count * (self._busy(start + self._length) - self._busy(start)),
            delayed=len(self.delayed(start)),
            load_percent=round(100 * float(self.load[step:last].max()) / self._ahead.places)
            if self._ahead.places > 0
            else 0,
        )

    def delayed(self, start: datetime) -> tuple[Other, ...]:
        """Others that have room when they are to start, but not beside a run that starts then."""
        return tuple(
            other
            for other in self._ahead.others
            if start <= other.start < start + self._length
            and self._room(other.start) >= 0 > self._room(other.start) - self._count
        )

    def beside(self, start: datetime) -> tuple[Other, ...]:
        """Others that are to start in the same half-hour."""
        step = self._step(start)
        return tuple(o for o in self._ahead.others if self._step(o.start) == step)

    def would_fit_without(self, others: Iterable[Other], start: datetime) -> bool:
        """Whether the run would more likely than not have room, were these not there."""
        step = self._step(start)
        freed = sum(other.count for other in others)
        return bool(self.load[step] - freed <= self._limit[step])

    def _room(self, at: datetime) -> float:
        return float(self._ahead.places - self.load[self._step(at)])

    def _busy(self, at: datetime) -> float:
        place = (at - self._start) / STEP
        return float(np.interp(place, np.arange(len(self._busy_hours)), self._busy_hours))

    def _step(self, at: datetime) -> int:
        return int(min(max(0, (at - self._start) // STEP), len(self._limit) - 1))


def _waits(fits: NDArray[np.bool_]) -> FloatArray:
    """Steps until there is room, per course (rows) and step; as long as a wait counts where never."""
    most = MOST_WAIT // STEP
    found = np.full(fits.shape, float(most))
    waits = np.full(len(fits), float(most))
    for step in range(fits.shape[1] - 1, -1, -1):
        waits = np.where(fits[:, step], 0.0, np.minimum(waits + 1, most))
        found[:, step] = waits
    return found
