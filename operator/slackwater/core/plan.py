"""The rolling off-peak plan of one pool: every waiting ask at its quietest feasible start (R18).

Asks are placed one after the other, the largest first, each where the predicted peak while it
runs (the foreground's forecast, announced reservations, runs of ours, what is placed already) is
lowest; of starts that are as good, the earliest. The plan is a wish and no promise: an ask whose
moment has come waits for room like any other (R5, R7), and from its margin before the latest
start on it does so whatever the forecast says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

import numpy as np

from slackwater.core.ask import Ask, Promise
from slackwater.core.forecast import STEP, FloatArray, Forecast
from slackwater.core.planned import Planned
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import Ref

LEVEL: Final = 0.8
"""The quantile of the forecast that the plan is made against."""
MOST_AHEAD: Final = timedelta(days=7)
"""No further ahead than this is planned."""
MARGIN: Final = timedelta(hours=3)
"""The most that is kept before the latest start, for a queue that is longer than predicted."""
MARGIN_SHARE: Final = 8
"""... and no more than one part in so many of the time from the window's start to the latest start."""
UNKNOWN: Final = timedelta(hours=4)
"""How long an ask of unknown duration is taken to load the pool."""
SLACK: Final = 0.005
"""Share of the capacity by which one start must be quieter than an earlier one to be preferred."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One ask, as the plan sees it.

    Attributes:
        owner: whose it is.
        count: GPUs.
        pieces: when a start is allowed, sorted.
        latest_start: no start makes sense after this.
        window_start: when the window opened, to reckon the margin from.
        duration: expected, None when unknown.
        priority: higher is placed first.
        due_by: from then on it waits for room, whatever the plan: its latest start less a margin.
        length: half-hours that it is taken to last.
        claim: sorts wishes in the order in which they are placed.
        steps: of each piece its start, and its first and last half-hour since 1970 to start in.
    """

    owner: Ref
    count: int
    pieces: tuple[Span, ...]
    latest_start: datetime
    window_start: datetime
    duration: timedelta | None = None
    priority: int = 0
    due_by: datetime = field(init=False)
    length: int = field(init=False, repr=False)
    claim: tuple[int, int, int, datetime, Ref] = field(init=False, repr=False)
    steps: tuple[tuple[datetime, int, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A wish is placed again and again while it waits: what never changes is reckoned once.
        due_by = self.latest_start - margin(self.window_start, self.latest_start)
        length = max(1, -(-(self.duration or UNKNOWN) // STEP))
        claim = (-self.priority, -self.count * length, -self.count, self.latest_start, self.owner)
        steps = tuple(
            (
                piece.start,
                -((_EPOCH - piece.start) // STEP),
                min((due_by - _EPOCH) // STEP, (piece.end - _EPOCH - timedelta.resolution) // STEP),
            )
            for piece in self.pieces
            if piece.start <= due_by
        )
        object.__setattr__(self, "due_by", due_by)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "claim", claim)
        object.__setattr__(self, "steps", steps)


@dataclass(frozen=True, slots=True)
class Holding:
    """GPUs that something will hold from `start` until `end`; None: it is not known how long."""

    count: int
    start: datetime
    end: datetime | None


class Job(NamedTuple):
    """An ask in steps of the plan.

    Attributes:
        gpus: how many.
        length: steps that it lasts, at least 1.
        ranges: (first, last) steps at which it may start, both included; empty means now.
    """

    gpus: int
    length: int
    ranges: Sequence[tuple[int, int]]


class Foresight(Protocol):
    """Whatever can say how a pool's foreground goes on: a `Forecaster`."""

    def forecast(self, now: datetime, live: float | None, steps: int) -> Forecast:
        """How the load goes on, for so many half-hours from the one that holds `now`."""


def plan_asks(
    asks: Sequence[Ask],
    promises: Iterable[Promise],
    reservations: Reservations,
    sample: Sample,
    foresight: Foresight,
    live: float | None,
    now: datetime,
) -> dict[Ref, Planned]:
    """When each off-peak ask of a pool is to start (R18).

    Args:
        asks: all of the pool, also those that start as early as they can.
        promises: runs of ours, whether their pods show yet or not.
        reservations: announced demand.
        sample: of the pool.
        foresight: of the foreground.
        live: GPUs that others use or wait for now; None where it is not known.
        now: the present.
    """
    wishes = [wish_of(ask) for ask in asks if ask.off_peak]
    holdings = [Holding(one.count, now, one.ends) for one in promises]
    for ask in asks:
        if not ask.off_peak:
            ends = None if ask.duration is None else now + ask.duration
            holdings.append(Holding(ask.count, now, ends))
    for one in reservations.known:
        used = sum(sample.used_by.get(name, 0) for name in one.namespaces)
        if one.gpus > used and one.span.end > now:
            holdings.append(Holding(one.gpus - used, one.span.start, one.span.end))
    return plan_wishes(wishes, holdings, sample.capacity, foresight, live, now)


def plan_wishes(
    wishes: Sequence[Wish],
    holdings: Iterable[Holding],
    capacity: int,
    foresight: Foresight,
    live: float | None,
    now: datetime,
) -> dict[Ref, Planned]:
    """The same, where asks and what holds GPUs are known as the plan sees them."""
    forecast = foresight.forecast(now, live, steps_ahead(wishes, now))
    load = outlook(forecast, holdings, now)
    return plan(wishes, load, forecast.start, capacity, now)


def wish_of(ask: Ask) -> Wish:
    """An ask, as the plan sees it."""
    return Wish(
        owner=ask.owner,
        count=ask.count,
        pieces=ask.pieces,
        latest_start=ask.latest_start,
        window_start=ask.window_start,
        duration=ask.duration,
        priority=ask.priority,
    )


def margin(window_start: datetime, latest_start: datetime) -> timedelta:
    """How long before its latest start an ask stops waiting for a quieter moment."""
    return max(timedelta(), min(MARGIN, (latest_start - window_start) / MARGIN_SHARE))


def place(load: FloatArray, jobs: Sequence[Job], slack: float = 0.0) -> list[int]:
    """The plan itself, in steps: each job, in the order given, where the peak is lowest.

    Jobs that are alike and follow each other go to one start together, as many as leave its peak
    within `slack` of the lowest: one by one they would have gone there too.

    Args:
        load: GPUs in each step before any of the jobs; what is placed is added to it. Beyond its
            end nothing is known and nothing planned.
        jobs: in order of their claim.
        slack: GPUs by which a later start must be lower to be taken.

    Returns:
        The step of each start.
    """
    steps = len(load)
    # Beyond the end nothing is asked, so that what is left there stands for the rest.
    longest = max((job.length for job in jobs), default=0)
    padded = np.concatenate((load, np.zeros(longest)))
    starts: list[int] = []
    before: Job | None = None
    start, room = 0, 0
    for job in jobs:
        if room <= 0 or job != before:
            start, room = _quietest(padded, steps, job, slack)
            before = job
        room -= 1
        padded[start : start + job.length] += job.gpus
        starts.append(start)
    load[:] = padded[:steps]
    return starts


def _quietest(padded: FloatArray, steps: int, job: Job, slack: float) -> tuple[int, int]:
    """Where the peak is lowest, and how many like it may go there before another start is better."""
    gpus, length, ranges = job
    best, start, there = np.inf, 0, np.inf
    for first, last in ranges:
        stop = min(last, steps - 1)
        if stop < first:
            continue
        # The highest of each `length` values in a row, by doubling.
        peaks = padded[first : stop + length]
        width = 1
        while width < length:
            by = min(width, length - width)
            peaks = np.maximum(peaks[:-by], peaks[by:])
            width += by
        low = float(peaks.min())
        if low + slack < best:
            found = int((peaks <= low + slack).argmax())
            best, start, there = low, first + found, float(peaks[found])
    if not np.isfinite(best) or gpus <= 0:
        return start, 1
    return start, max(1, int((best + slack - there) // gpus) + 1)


def outlook(
    forecast: Forecast, holdings: Iterable[Holding], now: datetime, level: float = LEVEL
) -> FloatArray:
    """GPUs that will be taken in each step of the forecast before anything is planned.

    Args:
        forecast: of the foreground.
        holdings: runs of ours, asks that wait for room and reservations.
        now: a holding whose end is past goes on, nobody knows how long.
        level: quantile of the forecast.
    """
    load = forecast.quantile(level)
    load[0] = forecast.median[0]
    for holding in holdings:
        first = max(0, (holding.start - forecast.start) // STEP)
        last: int | None = None
        if holding.end is not None and holding.end > now:
            last = -((forecast.start - holding.end) // STEP)  # rounded up
        # What may end at any time makes no later start any better than an earlier one.
        load[first:last] += holding.count
    return load


def steps_ahead(wishes: Iterable[Wish], now: datetime) -> int:
    """How many steps a forecast must have for these asks."""
    farthest = max((wish.latest_start + (wish.duration or UNKNOWN) for wish in wishes), default=now)
    return int(min(MOST_AHEAD, max(STEP, farthest - now)) // STEP) + 2


def plan(
    wishes: Iterable[Wish],
    load: FloatArray,
    start: datetime,
    capacity: int,
    now: datetime,
) -> dict[Ref, Planned]:
    """When each ask is to start.

    Args:
        wishes: all that wait off-peak in this pool.
        load: of `outlook`; it is changed.
        start: of its first step.
        capacity: GPUs of the pool, for the percentages.
        now: the present, inside the first step.
    """
    ordered = sorted(wishes, key=attrgetter("claim"))
    before, present = load.copy(), float(load[0])
    number = (start - _EPOCH) // STEP
    starts = place(load, [_job(wish, number, now) for wish in ordered], capacity * SLACK)
    present_percent = _percent(present, capacity)
    percents: dict[tuple[int, int], int] = {}
    found: dict[Ref, Planned] = {}
    for wish, step in zip(ordered, starts, strict=True):
        key = (step, wish.length)
        if key not in percents:
            peak = float(before[step : step + wish.length].max()) if step < len(before) else present
            percents[key] = _percent(peak, capacity)
        found[wish.owner] = Planned(
            start=now if step == 0 else start + step * STEP,
            due_by=wish.due_by,
            latest_start=wish.latest_start,
            expected_percent=percents[key],
            present_percent=present_percent,
        )
    return found


def _job(wish: Wish, start: int, now: datetime) -> Job:
    """A wish in steps from `start`, a number of half-hours since 1970."""
    ranges: list[tuple[int, int]] = []
    for opens, first, last in wish.steps:
        final = last - start
        begin = 0 if opens <= now else first - start
        # A piece that is over by now has no step left; the one that holds `now` is step 0.
        if begin <= final:
            ranges.append((begin, final))
    return Job(wish.count, wish.length, ranges)


def _percent(gpus: float, capacity: int) -> int:
    return round(100 * gpus / capacity) if capacity > 0 else 0
