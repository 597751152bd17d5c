"""Policies side by side on one trace: what `slackwater backtest` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np

from slackwater.backtest.bound import NAME as BOUND
from slackwater.backtest.bound import TITLE as BOUND_TITLE
from slackwater.backtest.bound import bound
from slackwater.backtest.metrics import Measures, base_of, measure
from slackwater.backtest.policies import CRON, OFF_PEAK, POLICIES, Case
from slackwater.backtest.population import Runs, population
from slackwater.backtest.search import Search, Service, Training
from slackwater.backtest.simulate import Outcome
from slackwater.backtest.trace import DAY, HOUR, WEEK, Trace

NAMES: Final = (*POLICIES, BOUND)
DIGITS: Final = 6
"""Decimals of every figure that leaves: the same on every machine."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy.

    Attributes:
        name: of the policy.
        title: for people.
        reference: a yardstick rather than a choice.
        measures: means over the seeds, at the load that was asked for.
        best: U*: utilisation at the largest load with equal service; None where not searched.
        over_cron: how much more than midnight cron that is, as a share.
        share: the training load at U*, as a share of the capacity.
        hours: share of its starts in each hour of the day.
        profile: mean GPUs in use by training in each hour of the week.
    """

    name: str
    title: str
    reference: bool
    measures: dict[str, float]
    best: float | None = None
    over_cron: float | None = None
    share: float | None = None
    hours: tuple[float, ...] = ()
    profile: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of it.

    Attributes:
        trace: its name.
        capacity: GPUs.
        days: that are judged.
        alone: utilisation of the foreground without training.
        left_out: jobs that never fit into the pool.
        training: offered, as a share of the capacity.
        dags: how many that are, by seed.
        slack: hours from release to deadline.
        release: when data are ready.
        seeds: of the populations.
        service: what counts as equal service.
        foreground: its mean use in each hour of the week.
        rows: in the order asked for.
    """

    trace: str
    capacity: int
    days: float
    alone: float
    left_out: int
    training: float
    dags: tuple[int, ...]
    slack: float
    release: str
    seeds: int
    service: Service
    foreground: tuple[float, ...]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """Of one policy."""
        return next((row for row in self.rows if row.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Plain data, rounded."""
        found: dict[str, Any] = _rounded(asdict(self))
        return found


def compare(
    trace: Trace,
    names: Sequence[str],
    *,
    share: float,
    seeds: int,
    training: Training,
    service: Service,
    search: bool,
    tell: Tell,
) -> Comparison:
    """Try every policy on the same trace and the same training.

    Args:
        trace: the foreground.
        names: of the policies.
        share: training to offer, as a share of the capacity.
        seeds: how many populations.
        training: how it comes.
        service: what U* keeps to.
        search: whether to look for U* also.
        tell: called before each piece of work with what it is.
    """
    tell("the foreground alone")
    base = base_of(trace)
    drawn = [
        population(trace, share, seed, release=training.release, slack=training.slack)
        for seed in range(seeds)
    ]
    looking = Search(trace, base, training)
    rows: list[Row] = []
    for name in names:
        cases = [_one(name, Case(trace, runs, base), tell) for runs in drawn]
        row = _row(name, trace, drawn, cases)
        if search:
            found = []
            for seed in range(seeds):
                tell(f"{row.title}: U* with seed {seed}")
                found.append(looking.best(name, seed, service))
            row = _with_best(row, [(one.share, one.measures.utilization) for one in found])
        rows.append(row)
    cron = next((row.best for row in rows if row.name == CRON), None)
    room = trace.capacity * trace.judged
    return Comparison(
        trace=trace.name,
        capacity=trace.capacity,
        days=trace.judged / DAY,
        alone=base.work / room,
        left_out=trace.left_out,
        training=share,
        dags=tuple(int(runs.dag.max(initial=-1)) + 1 for runs in drawn),
        slack=training.slack / HOUR,
        release=training.release.value,
        seeds=seeds,
        service=service,
        foreground=_by_hour(trace, base.outcome.foreground),
        rows=tuple(_over(row, cron) for row in rows),
    )


def pieces_of_work(names: Sequence[str], seeds: int, *, search: bool) -> int:
    """How often `compare` tells."""
    return 1 + len(names) * seeds * (2 if search else 1)


def _one(name: str, case: Case, tell: Tell) -> tuple[Measures, Outcome | None]:
    if name == BOUND:
        tell(BOUND_TITLE)
        return bound(case.trace, case.runs, case.base), None
    tell(POLICIES[name].title)
    outcome = POLICIES[name].replay(case)
    return measure(case.trace, case.runs, outcome, case.base), outcome


def _row(
    name: str,
    trace: Trace,
    drawn: Sequence[Runs],
    cases: Sequence[tuple[Measures, Outcome | None]],
) -> Row:
    means = {
        field.name: float(np.mean([getattr(found, field.name) for found, _ in cases]))
        for field in fields(Measures)
    }
    outcomes = [outcome for _, outcome in cases if outcome is not None]
    hours = np.zeros(24)
    for outcome in outcomes:
        begun = outcome.begun[outcome.begun >= trace.begins]
        hours += np.bincount(begun % DAY // HOUR, minlength=24)
    use = [_by_hour(trace, outcome.training) for outcome in outcomes]
    policy = POLICIES.get(name)
    return Row(
        name=name,
        title=policy.title if policy else BOUND_TITLE,
        reference=policy.reference if policy else True,
        measures=means,
        hours=tuple((hours / max(1.0, hours.sum())).tolist()) if drawn and outcomes else (),
        profile=tuple(np.mean(use, axis=0).tolist()) if use else (),
    )


def _with_best(row: Row, found: Sequence[tuple[float, float]]) -> Row:
    shares, best = np.mean(found, axis=0).tolist()
    return Row(**{**_plain(row), "best": best, "share": shares})


def _over(row: Row, cron: float | None) -> Row:
    if row.best is None or not cron:
        return row
    return Row(**{**_plain(row), "over_cron": row.best / cron - 1})


def _plain(row: Row) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(Row)}


def _by_hour(trace: Trace, level: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, ...]:
    """Mean in each hour of the week, of the time that is judged."""
    minute = np.arange(trace.begins, trace.ends)
    cell = minute % WEEK // HOUR
    sums = np.bincount(cell, weights=level[trace.begins : trace.ends], minlength=168)
    counts = np.bincount(cell, minlength=168)
    return tuple((sums / np.maximum(counts, 1)).tolist())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


USUAL: Final = (CRON, "cron-easy-low", "hashed", "valley", "preempt", "earliest", OFF_PEAK, BOUND)
"""What is compared where nothing is said: always the honest rivals too."""
