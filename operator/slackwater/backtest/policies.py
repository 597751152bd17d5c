"""Every policy that is compared, by the name that people give on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from slackwater.backtest.cluster import Discipline, Rules
from slackwater.backtest.metrics import Base, Measures, measure
from slackwater.backtest.ours import Clairvoyant, Slackwater
from slackwater.backtest.population import Runs
from slackwater.backtest.simulate import Outcome, Trigger, simulate
from slackwater.backtest.trace import Minutes, Trace
from slackwater.backtest.triggers import Sensors, hashed, valley
from slackwater.core.spec import StartPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What a policy is tried on.

    Attributes:
        trace: the foreground.
        runs: the training.
        base: the foreground by itself.
    """

    trace: Trace
    runs: Runs
    base: Base


Times: TypeAlias = Callable[[Case], Minutes]
Make: TypeAlias = Callable[[Case], Trigger]


_BEST_EFFORT: Final = Rules()


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to start training.

    Attributes:
        name: on the command line.
        title: in tables.
        rules: of the pool's queue.
        times: when runs are submitted, where that is known beforehand.
        trigger: who decides, where it is not.
        ours: whether it is what Slackwater does.
        reference: it knows or may do what no policy of its kind could: a yardstick.
    """

    name: str
    title: str
    rules: Rules = _BEST_EFFORT
    times: Times | None = None
    trigger: Make | None = None
    ours: bool = False
    reference: bool = False

    def replay(self, case: Case) -> Outcome:
        """Run it."""
        trigger = self.trigger(case) if self.trigger else None
        times = self.times(case) if self.times else None
        return simulate(case.trace, case.runs, self.rules, trigger, times)

    def measures(self, case: Case) -> Measures:
        """Run it, and what it came to."""
        return measure(case.trace, case.runs, self.replay(case), case.base)


_LOW_PRIORITY: Final = Rules(Discipline.EASY, low_priority=True)
_PREEMPTIBLE: Final = Rules(low_priority=True, preempt=True)


def _cron(case: Case) -> Minutes:
    return case.runs.release


def _hashed(case: Case) -> Minutes:
    return hashed(case.runs)


def _valley(case: Case) -> Minutes:
    return valley(case.runs, case.trace, case.base.demand)


def _naive(case: Case) -> Trigger:
    return Sensors(case.runs, case.trace.capacity, 0.7, accounted=False)


def _accounted(case: Case) -> Trigger:
    return Sensors(case.runs, case.trace.capacity, 0.95, accounted=True)


def _earliest(case: Case) -> Trigger:
    return Slackwater(case.runs, case.trace.capacity, StartPolicy.EARLIEST)


def _off_peak(case: Case) -> Trigger:
    return Slackwater(case.runs, case.trace.capacity, StartPolicy.OFF_PEAK)


def _clairvoyant(case: Case) -> Trigger:
    knows = Clairvoyant(case.base.demand)
    return Slackwater(case.runs, case.trace.capacity, StartPolicy.OFF_PEAK, knows)


CRON: Final = "cron"
OFF_PEAK: Final = "off-peak"
POLICIES: Final = {
    one.name: one
    for one in (
        Policy("cron-strict", "cron, strict FIFO", Rules(Discipline.STRICT), times=_cron),
        Policy(CRON, "cron, best-effort FIFO", times=_cron),
        Policy("cron-easy", "cron, EASY", Rules(Discipline.EASY), times=_cron),
        Policy("cron-easy-low", "cron, EASY + low priority", _LOW_PRIORITY, times=_cron),
        Policy("hashed", "hashed cron", times=_hashed),
        Policy("hashed-easy-low", "hashed cron, EASY + low priority", _LOW_PRIORITY, times=_hashed),
        Policy("valley", "calendar-only valley plan", times=_valley),
        Policy("naive", "naive sensors, below 70 %", trigger=_naive),
        Policy("accounted", "accounted load gate, 5 % kept", trigger=_accounted),
        Policy("earliest", "Slackwater Earliest", trigger=_earliest, ours=True),
        Policy(OFF_PEAK, "Slackwater OffPeak", trigger=_off_peak, ours=True),
        Policy(
            "off-peak-easy-low",
            "Slackwater OffPeak, EASY + low priority",
            _LOW_PRIORITY,
            trigger=_off_peak,
            ours=True,
        ),
        Policy("clairvoyant", "OffPeak that knows the load", trigger=_clairvoyant, reference=True),
        Policy(
            "preempt", "cron, preemptive low priority", _PREEMPTIBLE, times=_cron, reference=True
        ),
        Policy(
            "off-peak-preempt",
            "Slackwater OffPeak, preemptive low priority",
            _PREEMPTIBLE,
            trigger=_off_peak,
            reference=True,
        ),
    )
}
"""In the order of tables; the bound stands beside them."""
STATIC: Final = ("cron-strict", CRON, "cron-easy", "hashed", "valley")
"""Schedules that look at nothing: the best of them is what a plan must beat."""
