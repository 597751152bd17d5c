"""The most training at which a policy still gives equal service: U*."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slackwater.backtest.bound import NAME as BOUND
from slackwater.backtest.bound import bound
from slackwater.backtest.metrics import Base, Measures
from slackwater.backtest.policies import POLICIES, Case
from slackwater.backtest.population import Release, population
from slackwater.backtest.trace import HOUR, Trace

GRID: Final = 0.01
"""Step of the training load that is searched, as a share of the capacity."""


@dataclass(frozen=True, slots=True)
class Service:
    """What counts as equal service: extra foreground queueing, and missed deadlines, as shares."""

    tax: float = 0.01
    misses: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How training comes, its amount aside."""

    release: Release = Release.MIDNIGHT
    slack: int = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a search for U*.

    Attributes:
        share: training offered, as a share of the capacity; 0 where none is served well.
        measures: at that share.
    """

    share: float
    measures: Measures


def measured(
    name: str, trace: Trace, base: Base, share: float, seed: int, training: Training
) -> Measures:
    """One policy at one load."""
    runs = population(trace, share, seed, release=training.release, slack=training.slack)
    if name == BOUND:
        return bound(trace, runs, base)
    return POLICIES[name].measures(Case(trace, runs, base))


class Search:
    """U* of policies on one trace; what was replayed once is remembered.

    Args:
        trace: the foreground.
        base: it by itself.
        training: how it comes.
        known: what earlier sessions measured, by (policy, seed, step of the grid).
        tell: called with each new measure.
    """

    def __init__(
        self,
        trace: Trace,
        base: Base,
        training: Training,
        known: dict[tuple[str, int, int], Measures] | None = None,
        tell: Callable[[str, int, int, Measures], None] | None = None,
    ) -> None:
        self._trace, self._base, self._training = trace, base, training
        self._known = {} if known is None else known
        self._tell = tell

    def at(self, name: str, seed: int, step: int) -> Measures:
        """One policy at so many hundredths of the capacity."""
        key = (name, seed, step)
        if key not in self._known:
            found = measured(name, self._trace, self._base, step * GRID, seed, self._training)
            self._known[key] = found
            if self._tell is not None:
                self._tell(name, seed, step, found)
        return self._known[key]

    def best(self, name: str, seed: int, service: Service) -> Found:
        """The largest load on the grid that is served well, taking service to fall as load grows."""
        spare = 1 - self._base.work / self._trace.capacity / self._trace.judged
        low, high = 0, math.ceil(spare / GRID) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.at(name, seed, middle).serves(service.tax, service.misses):
                low = middle
            else:
                high = middle
        return Found(low * GRID, self.at(name, seed, low))
