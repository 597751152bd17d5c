"""What one replay came to, in the measures that two policies can be compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from slackwater.backtest.cluster import Rules
from slackwater.backtest.population import NO_RUNS, Runs
from slackwater.backtest.simulate import Outcome, simulate
from slackwater.backtest.trace import Loads, Trace

SHORT: Final = 30
"""Minutes that a foreground job takes at most to count as short."""
MISSES: Final = 0.01
"""Share of runs that may miss their deadline at equal service."""
TAX: Final = 0.01
"""Extra foreground queueing, as a share of the foreground's work, at equal service."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """The trace by itself, in a best-effort queue: what every policy is held against.

    Attributes:
        outcome: of the replay without training.
        work: GPU-minutes of the foreground in the time that is judged.
        queued: GPU-minutes that it waited.
        demand: GPUs used or waited for, by minute.
    """

    outcome: Outcome
    work: float
    queued: float
    demand: Loads


def base_of(trace: Trace) -> Base:
    """Replay a trace without training."""
    outcome = simulate(trace, NO_RUNS, Rules(), None)
    judged = slice(trace.begins, trace.ends)
    return Base(
        outcome,
        float(outcome.foreground[judged].sum()),
        float(outcome.queued[judged].sum()),
        outcome.foreground + outcome.queued,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What a policy did in the time that is judged; times in minutes, shares 0 to 1.

    Attributes:
        utilization: (foreground + training finished in time) ÷ capacity, in GPU-hours. The
            foreground is what it is without training, so that delaying it earns nothing.
        tax: extra GPU-hours that the foreground queued ÷ GPU-hours that it was served.
        misses: share of the runs that did not finish by their deadline.
        runs: how many were judged.
        wait: mean wait of a foreground job; 0 for a measured load.
        wait_p95: its 95th percentile.
        wait_short: mean wait of jobs of half an hour at most.
        contention: share of minutes in which the foreground waits for GPUs.
        finish: median time from a run's release to its end.
        preemptions: how often training was pushed out, in the whole replay.
        wasted: GPU-hours that were done twice for it.
        busy: GPUs in use, by any work, ÷ capacity.
    """

    utilization: float
    tax: float
    misses: float
    runs: int
    wait: float
    wait_p95: float
    wait_short: float
    contention: float
    finish: float
    preemptions: int
    wasted: float
    busy: float

    def serves(self, tax: float = TAX, misses: float = MISSES) -> bool:
        """Whether the service was good enough."""
        return self.tax <= tax and self.misses <= misses


def judged_runs(trace: Trace, runs: Runs) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which runs count: those that were released and due in the time that is judged."""
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = (runs.release >= trace.begins) & (
        runs.deadline <= trace.ends
    )
    return found


def measure(trace: Trace, runs: Runs, outcome: Outcome, base: Base) -> Measures:
    """Reduce a replay to figures."""
    low, high = trace.begins, trace.ends
    judged = slice(low, high)
    room = trace.capacity * trace.judged
    counted = judged_runs(trace, runs)
    late = (outcome.ended < 0) | (outcome.ended > runs.deadline)
    in_time = float((runs.duration * runs.gpus)[counted & ~late].sum())
    finish = np.where(outcome.ended < 0, high, outcome.ended) - runs.release
    jobs = trace.jobs
    started = np.where(outcome.started < 0, high, outcome.started)
    inside = (jobs.submit >= low) & (jobs.submit < high)
    waits = (started - jobs.submit)[inside]
    short = waits[jobs.duration[inside] <= SHORT]
    busy = outcome.foreground[judged].sum() + outcome.training[judged].sum()
    return Measures(
        utilization=(base.work + in_time) / room,
        tax=(float(outcome.queued[judged].sum()) - base.queued) / max(1.0, base.work),
        misses=float(late[counted].mean()) if counted.any() else 0.0,
        runs=int(counted.sum()),
        wait=float(waits.mean()) if len(waits) else 0.0,
        wait_p95=float(np.quantile(waits, 0.95)) if len(waits) else 0.0,
        wait_short=float(short.mean()) if len(short) else 0.0,
        contention=float((outcome.queued[judged] > 0).mean()),
        finish=float(np.median(finish[counted])) if counted.any() else 0.0,
        preemptions=outcome.preemptions,
        wasted=outcome.wasted / 60,
        busy=float(busy) / room,
    )
