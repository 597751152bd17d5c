"""How long a DAG's runs take, learned from those that succeeded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slackwater.core.span import Span, union

LEARNED_FROM: Final = timedelta(days=30)
"""How far back runs count."""
FEWEST: Final = 5
"""With fewer runs nothing is known."""


@dataclass(frozen=True, slots=True)
class Durations:
    """What the successful runs of a DAG took.

    Attributes:
        runs: how many were looked at.
        median: half of them took no longer.
        p90: nine of ten took no longer; None with fewer runs than `FEWEST`, as `median` is.
    """

    runs: int = 0
    median: timedelta | None = None
    p90: timedelta | None = None


def learned(task_times: Iterable[timedelta]) -> Durations:
    """Durations of runs, each a value that was really seen, in whole seconds rounded up.

    >>> minutes = [timedelta(minutes=m) for m in (50, 60, 55, 70, 300)]
    >>> learned(minutes).median, learned(minutes).p90
    (datetime.timedelta(seconds=3600), datetime.timedelta(seconds=18000))
    """
    found = sorted(time for time in task_times if time > timedelta())
    if len(found) < FEWEST:
        return Durations(len(found))
    return Durations(len(found), _rank(found, 50), _rank(found, 90))


def _rank(ordered: list[timedelta], percent: int) -> timedelta:
    """The nearest rank: the smallest value that so many of a hundred do not exceed."""
    value = ordered[math.ceil(len(ordered) * percent / 100) - 1]
    return timedelta(seconds=math.ceil(value.total_seconds()))


def task_time(tasks: Iterable[Span]) -> timedelta:
    """How long at least one task of a run was at work: waiting between tasks is no work."""
    return sum((span.length for span in union(tasks)), timedelta())
