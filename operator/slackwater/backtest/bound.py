"""What no policy can exceed: training that can be cut, moved and shrunk at will, all known ahead."""

from __future__ import annotations

from typing import Final

import numpy as np

from slackwater.backtest.metrics import Base, Measures, judged_runs
from slackwater.backtest.population import Runs
from slackwater.backtest.trace import Trace

NAME: Final = "bound"
TITLE: Final = "malleable upper bound"
STEP: Final = 10


def bound(trace: Trace, runs: Runs, base: Base) -> Measures:
    """Earliest deadline first on what the foreground leaves, GPU by GPU, at no cost to it.

    Each run may use any number of GPUs up to its own at any moment. Gangs, ends that nobody knew
    and preemption cost nothing here, so it bounds every policy that leaves the foreground alone.
    """
    steps = trace.length // STEP
    served = base.outcome.foreground[: steps * STEP]
    idle = (trace.capacity - served).reshape(steps, STEP).sum(axis=1).tolist()
    order = np.lexsort((runs.release, runs.deadline)).tolist()
    release, deadline = runs.release.tolist(), runs.deadline.tolist()
    most = (runs.gpus * STEP).tolist()
    left = (runs.gpus * runs.duration).astype(float).tolist()
    ended = [-1] * len(runs)
    coming = sorted(order, key=lambda run: release[run])
    place = {run: number for number, run in enumerate(order)}
    active: list[int] = []
    came = 0
    for step in range(steps):
        now = step * STEP
        fresh = False
        while came < len(coming) and release[coming[came]] <= now:
            active.append(coming[came])
            came, fresh = came + 1, True
        if fresh:
            active.sort(key=place.__getitem__)
        room = idle[step]
        over = False
        for run in active:
            if room <= 0:
                break
            part = min(room, most[run], left[run])
            left[run] -= part
            room -= part
            if left[run] <= 0:
                ended[run], over = now + STEP, True
        if over or fresh:
            active = [run for run in active if left[run] > 0 and deadline[run] > now]
    counted = judged_runs(trace, runs)
    ends = np.array(ended, dtype=np.int64).reshape(-1)
    late = (ends < 0) | (ends > runs.deadline)
    work = float((runs.duration * runs.gpus)[counted & ~late].sum())
    finish = np.where(ends < 0, trace.ends, ends) - runs.release
    share = (base.work + work) / (trace.capacity * trace.judged)
    return Measures(
        utilization=share,
        tax=0.0,
        misses=float(late[counted].mean()) if counted.any() else 0.0,
        runs=int(counted.sum()),
        wait=0.0,
        wait_p95=0.0,
        wait_short=0.0,
        contention=0.0,
        finish=float(np.median(finish[counted])) if counted.any() else 0.0,
        preemptions=0,
        wasted=0.0,
        busy=share,
    )
