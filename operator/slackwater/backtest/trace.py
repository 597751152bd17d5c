"""A recorded or made foreground, ready to be replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Minutes: TypeAlias = NDArray[np.int64]
Loads: TypeAlias = NDArray[np.float64]

HOUR: Final = 60
DAY: Final = 1440
WEEK: Final = 7 * DAY


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """Foreground jobs, sorted by `submit`; all of one length.

    Attributes:
        submit: minute of submission.
        duration: minutes that it runs, at least 1.
        gpus: how many it holds, at least 1.
    """

    submit: Minutes
    duration: Minutes
    gpus: Minutes

    def __len__(self) -> int:
        return len(self.submit)

    def where(self, chosen: NDArray[np.bool_]) -> Jobs:
        """Some of them."""
        return Jobs(self.submit[chosen], self.duration[chosen], self.gpus[chosen])


def jobs_of(submit: Minutes, duration: Minutes, gpus: Minutes) -> Jobs:
    """Jobs from columns in any order."""
    order = np.argsort(submit, kind="stable")
    columns = (submit, duration, gpus)
    return Jobs(*(np.ascontiguousarray(one, dtype=np.int64)[order] for one in columns))


NO_JOBS: Final = Jobs(*(np.zeros(0, dtype=np.int64) for _ in range(3)))


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What others ask of a pool, minute by minute.

    Attributes:
        name: for people.
        capacity: GPUs of the pool.
        length: minutes.
        jobs: the foreground as jobs that queue; empty where `demand` is given.
        demand: the foreground as GPUs wanted in each minute, served before everything else.
        begins: first minute that is judged; what is before it teaches and fills the pool.
        left_out: jobs that no pool of this capacity could ever hold.
    """

    name: str
    capacity: int
    length: int
    jobs: Jobs = NO_JOBS
    demand: Loads | None = None
    begins: int = 0
    left_out: int = field(default=0, compare=False)

    @property
    def ends(self) -> int:
        """One past the last minute that is judged: what starts on the last day may be cut off."""
        return max(self.begins + 1, self.length - DAY)

    @property
    def judged(self) -> int:
        """Minutes that are judged."""
        return self.ends - self.begins


def warm_up(length: int) -> int:
    """How much of a trace fills the pool and teaches: a third, in whole days, three weeks at most."""
    return min(3 * WEEK, length // 3 // DAY * DAY)


def of_jobs(
    name: str, jobs: Jobs, capacity: int, *, length: int, begins: int | None = None
) -> Trace:
    """A trace of jobs; those that never fit are left out and counted."""
    fits = (jobs.gpus <= capacity) & (jobs.submit < length)
    too_large = int((jobs.gpus > capacity).sum())
    start = warm_up(length) if begins is None else begins
    return Trace(name, capacity, length, jobs.where(fits), begins=start, left_out=too_large)


def of_demand(name: str, demand: Loads, capacity: int, *, begins: int | None = None) -> Trace:
    """A trace of a measured load."""
    start = warm_up(len(demand)) if begins is None else begins
    return Trace(name, capacity, len(demand), demand=demand, begins=start)


def from_points(name: str, points: Sequence[tuple[datetime, float]], capacity: int) -> Trace | None:
    """A recorded load as a trace; each value holds until the next.

    Args:
        name: of the trace.
        points: (instant, GPUs), oldest first.
        capacity: GPUs of the pool.

    Returns:
        None for less than three days, which say nothing.
    """
    finite = [(at.astimezone(UTC), value) for at, value in points if math.isfinite(value)]
    if len(finite) < 2 or finite[-1][0] - finite[0][0] < timedelta(days=3):
        return None
    first = finite[0][0]
    monday = (first - timedelta(days=first.weekday())).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    place = np.array([(at - monday) // timedelta(minutes=1) for at, _ in finite], dtype=np.int64)
    where = np.maximum(np.searchsorted(place, np.arange(int(place[-1]) + 1), side="right") - 1, 0)
    demand = np.maximum(np.array([value for _, value in finite])[where], 0.0)
    lead = -(-int(place[0]) // DAY) * DAY  # before the first point nothing is known
    length = len(demand)
    return of_demand(name, demand, capacity, begins=lead + warm_up(length - lead))


def cut(jobs: Jobs, first: int, last: int) -> Jobs:
    """Jobs submitted in [first, last), counted from `first`; `first` should be a Monday 00:00."""
    part = jobs.where((jobs.submit >= first) & (jobs.submit < last))
    return replace(part, submit=part.submit - first)


def led_in(jobs: Jobs, days: int) -> Jobs:
    """Jobs with their own first days in front of them, so that a short trace meets a full pool.

    Args:
        jobs: of the trace; the first day of them is that of the first submission.
        days: how many; whole weeks keep weekdays in place.
    """
    if not len(jobs) or not days:
        return jobs
    first = int(jobs.submit[0]) // DAY * DAY
    head = jobs.where(jobs.submit < first + days * DAY)
    return jobs_of(
        np.concatenate((head.submit, jobs.submit + days * DAY)),
        np.concatenate((head.duration, jobs.duration)),
        np.concatenate((head.gpus, jobs.gpus)),
    )


def own_use(jobs: Jobs, length: int, begins: int = 0) -> float:
    """GPUs that the jobs would hold on average from `begins` on, were there always room."""
    ends = np.clip(jobs.submit + jobs.duration, begins, length)
    held = ends - np.clip(jobs.submit, begins, length)
    return float((held * jobs.gpus).sum()) / max(1, length - begins)
