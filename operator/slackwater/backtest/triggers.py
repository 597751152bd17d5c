"""Other ways to say when a run is submitted: by the clock, by learned hours, by sensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from slackwater.backtest.population import LONGEST, Runs
from slackwater.backtest.simulate import STEP, View
from slackwater.backtest.trace import DAY, HOUR, WEEK, Loads, Minutes, Trace
from slackwater.core.plan import Job, place

BUFFER: Final = 3 * HOUR
"""How long before its latest start a sensor gives up waiting, as the plan's margin."""
_KNUTH: Final = 2_654_435_761


def hashed(runs: Runs) -> Minutes:
    """Cron with a minute of its own for each DAG, spread over the hours that leave the longest its time."""
    slack = runs.deadline - runs.release
    spread = np.clip(slack - LONGEST - HOUR, 0, DAY)
    share = (runs.dag * _KNUTH % 2**32) / 2**32
    found: Minutes = runs.release + (share * spread).astype(np.int64)
    return found


def valley(runs: Runs, trace: Trace, demand: Loads) -> Minutes:
    """The calendar alone: each day's runs laid into the valleys of the learned hours, largest first.

    Args:
        runs: to place.
        trace: the time before it is judged is what is learned from.
        demand: of the foreground, by minute.
    """
    load = by_hour(demand[: max(trace.begins, DAY)], trace.length)[::STEP].copy()
    length = np.maximum(1, -(-runs.expected // STEP))
    first = runs.release // STEP
    last = np.maximum(first, (runs.deadline - runs.expected) // STEP)
    order = np.lexsort((-runs.usual * runs.gpus, runs.release // DAY))
    rows = np.stack((runs.gpus, length, first, last), axis=1)[order].tolist()
    starts = place(load, [Job(gpus, steps, ((low, high),)) for gpus, steps, low, high in rows])
    found = np.zeros(len(runs), dtype=np.int64)
    found[order] = np.array(starts, dtype=np.int64) * STEP
    return np.maximum(found, runs.release)


def by_hour(learned: Loads, length: int) -> Loads:
    """Mean load of each hour, weekdays and weekends apart, for every minute of a trace."""
    past = _cell(np.arange(len(learned)))
    sums = np.bincount(past, weights=learned, minlength=48)
    counts = np.bincount(past, minlength=48)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), learned.mean())
    found: Loads = means[_cell(np.arange(length))]
    return found


def _cell(minute: Minutes) -> Minutes:
    weekend = minute % WEEK // DAY >= 5
    found: Minutes = weekend * 24 + minute % DAY // HOUR
    return found


class Sensors:
    """One sensor a run: it starts as soon as the pool's load is below a threshold.

    Args:
        runs: all of them.
        capacity: GPUs of the pool.
        threshold: share of the capacity.
        accounted: what was released before counts, and the run itself must fit below.
    """

    every = 5
    always = False

    def __init__(self, runs: Runs, capacity: int, threshold: float, *, accounted: bool) -> None:
        self._level = threshold * capacity
        self._accounted = accounted
        self._gpus = runs.gpus.tolist()
        self._latest = (runs.deadline - runs.expected - BUFFER).tolist()
        self._held: list[int] = []

    @property
    def holds(self) -> bool:
        """Whether any sensor waits."""
        return bool(self._held)

    def take(self, run: int) -> None:
        """A sensor begins to poll."""
        self._held.append(run)

    def release(self, now: int, view: View) -> Sequence[int]:
        """Whose sensor is satisfied, or out of time."""
        cluster = view.cluster
        load = cluster.foreground + cluster.training_running + cluster.training_waiting
        if not self._accounted:
            load = cluster.capacity - cluster.free
        chosen, kept = [], []
        for run in sorted(self._held, key=lambda one: (self._latest[one], one)):
            quiet = load < self._level
            if self._accounted:
                quiet = load + self._gpus[run] <= self._level
            if quiet or now >= self._latest[run]:
                chosen.append(run)
                load += self._gpus[run] * self._accounted
            else:
                kept.append(run)
        self._held = kept
        return chosen
