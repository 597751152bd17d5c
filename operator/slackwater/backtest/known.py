"""How the public traces of `docs/offpeak/traces.md` are replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from slackwater.backtest.formats import read, span_of
from slackwater.backtest.trace import (
    DAY,
    WEEK,
    Jobs,
    Trace,
    cut,
    led_in,
    of_demand,
    of_jobs,
    own_use,
)


def philly(jobs: Jobs, capacity: int | None = None) -> Trace:
    """Eleven weeks and a lead of one: the first two of the file are thin; judged after four."""
    part = cut(jobs, 2 * WEEK, 14 * WEEK)
    return of_jobs("Philly", part, capacity or 900, length=12 * WEEK, begins=4 * WEEK)


def venus(jobs: Jobs, capacity: int | None = None) -> Trace:
    """Twenty days; its first week is also put in front, and judged is what neither of the two holds."""
    part = led_in(jobs, 7)
    return of_jobs("Helios Venus", part, capacity or 968, length=30 * DAY, begins=17 * DAY)


KNOWN: Final[dict[str, Callable[[Jobs, int | None], Trace]]] = {
    "philly_jobs": philly,
    "helios_venus_jobs": venus,
}


def load(path: Path, capacity: int | None = None, utilization: float | None = None) -> Trace:
    """A trace file on a pool.

    Args:
        path: of the file; those of `KNOWN` are cut as stands there.
        capacity: GPUs of the pool.
        utilization: share of the pool that the foreground uses, where no capacity is given.

    Raises:
        ConfigError: with the line, if the file cannot be used.
    """
    found = read(path)
    stem = path.name.split(".")[0]
    if found.demand is not None:
        mean = float(found.demand.mean())
        gpus = capacity or max(1, round(mean / (utilization or USUAL)))
        return of_demand(stem, found.demand, gpus)
    if stem in KNOWN:
        trace = KNOWN[stem](found.jobs, capacity)
        if capacity is not None or utilization is None:
            return trace
        use = own_use(trace.jobs, trace.length, trace.begins)
        return KNOWN[stem](found.jobs, max(1, round(use / utilization)))
    first, last = span_of(found.jobs)
    jobs = cut(found.jobs, first, last)
    length = last - first
    begins = int(jobs.submit[0]) // DAY * DAY
    if length < 8 * WEEK:
        jobs, length = led_in(jobs, 7), length + WEEK
        begins += WEEK
    begins += max(0, min(2 * WEEK, (length - begins) // 3 // DAY * DAY))
    gpus = capacity or max(1, round(own_use(jobs, length, begins) / (utilization or USUAL)))
    return of_jobs(stem, jobs, gpus, length=length, begins=begins)


USUAL: Final = 0.65
"""Share of the pool that a foreground uses where nothing else is said."""
