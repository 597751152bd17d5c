"""Daily training DAGs, drawn from the trace's own jobs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from slackwater.backtest.trace import DAY, HOUR, Minutes, Trace

SHORTEST: Final = 30
LONGEST: Final = 8 * HOUR
PART: Final = 16
"""No DAG asks for more than one part in so many of the pool."""
LEARNED: Final = 1.13
"""What `expectedDurationSeconds` is learned to be: the 90th percentile of durations that vary by 10 %."""
_FEWEST: Final = 50


class Release(StrEnum):
    """When a day's data are ready."""

    MIDNIGHT = "midnight"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """DAG runs, columns of one length.

    Attributes:
        release: minute from which it may start.
        duration: minutes that it really takes.
        gpus: how many it holds.
        deadline: minute by which it is to be finished.
        dag: number of its DAG.
        usual: minutes that its DAG takes on average; nobody knows `duration` in advance.
    """

    release: Minutes
    duration: Minutes
    gpus: Minutes
    deadline: Minutes
    dag: Minutes
    usual: Minutes

    def __len__(self) -> int:
        return len(self.release)

    @property
    def expected(self) -> Minutes:
        """What each is expected to take: what the product would have learned."""
        found: Minutes = np.ceil(self.usual * LEARNED).astype(np.int64)
        return found


NO_RUNS: Final = Runs(*(np.zeros(0, dtype=np.int64) for _ in range(6)))


def population(
    trace: Trace,
    share: float,
    seed: int,
    *,
    release: Release = Release.MIDNIGHT,
    slack: int = 24 * HOUR,
) -> Runs:
    """Every run of as many daily DAGs as offer `share` of the pool's GPU-hours.

    Args:
        trace: its jobs of half an hour to eight hours are what DAGs are drawn from; a measured
            load has no jobs, then durations and sizes are made up.
        share: of the capacity, 0 to 1.
        seed: of everything drawn here.
        release: when data are ready.
        slack: minutes from release to deadline.
    """
    dice = np.random.default_rng(seed)
    largest = max(1, trace.capacity // PART)
    models = _models(trace, largest)
    need, total = share * trace.capacity * DAY, 0
    drawn: list[tuple[int, int]] = []
    while total < need:
        duration, gpus = models[dice.integers(len(models))].tolist()
        drawn.append((duration, gpus))
        total += duration * gpus
    if not drawn:
        return NO_RUNS
    count = len(drawn)
    usual, gpus_of = np.array(drawn, dtype=np.int64).T
    offset = np.zeros(count, dtype=np.int64)
    if release is Release.UNIFORM:
        offset = dice.integers(0, DAY, count)
    columns: list[tuple[Minutes, ...]] = []
    for day in range(trace.length // DAY):
        varied = np.clip(dice.normal(1.0, 0.1, count), 0.7, 1.5)
        begins = day * DAY + offset
        duration_of = np.maximum(1, (usual * varied).astype(np.int64))
        columns.append((begins, duration_of, gpus_of, begins + slack, np.arange(count), usual))
    found = [np.concatenate(one) for one in zip(*columns, strict=True)]
    whole = found[3] < trace.length
    order = np.argsort(found[0][whole], kind="stable")
    return Runs(*(one[whole][order] for one in found))


def _models(trace: Trace, largest: int) -> Minutes:
    """Pairs (duration, GPUs) to draw from."""
    jobs = trace.jobs
    fit = (jobs.duration >= SHORTEST) & (jobs.duration <= LONGEST) & (jobs.gpus <= largest)
    if int(fit.sum()) >= _FEWEST:
        return np.stack((jobs.duration[fit], jobs.gpus[fit]), axis=1)
    dice = np.random.default_rng(0)
    duration = np.clip(np.exp(dice.normal(np.log(110), 0.8, 4096)), SHORTEST, LONGEST)
    gpus = np.minimum(
        dice.choice((1, 2, 4, 8, 16, 32), 4096, p=(0.3, 0.1, 0.2, 0.25, 0.1, 0.05)), largest
    )
    return np.stack((duration.astype(np.int64), gpus.astype(np.int64)), axis=1)
