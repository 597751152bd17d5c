"""The rolling off-peak plan of one pool: every waiting ask at its quietest feasible start (R18).

Asks are placed one after the other, the largest first, each where the predicted peak while it
runs (the foreground's forecast, announced reservations, runs of ours, what is placed already) is
lowest; of starts that are as good, the earliest. The plan is a wish and no promise: an ask whose
moment has come waits for room like any other (R5, R7), and from its margin before the latest
start on it does so whatever the forecast says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from slackwater.core.forecast import STEP, FloatArray, Forecast
from slackwater.core.planned import Planned
from slackwater.core.span import Span
from slackwater.core.spec import Ref

LEVEL: Final = 0.65
"""The quantile of the forecast that the plan is made against."""
MOST_AHEAD: Final = timedelta(days=7)
"""No further ahead than this is planned."""
MARGIN: Final = timedelta(hours=3)
"""The most that is kept before the latest start, for a queue that is longer than predicted."""
MARGIN_SHARE: Final = 8
"""... and no more than one part in so many of the time from the window's start to the latest start."""
UNKNOWN: Final = timedelta(hours=4)
"""How long a run of unknown duration is taken to load the pool."""
SLACK: Final = 0.005
"""Share of the capacity by which one start must be quieter than an earlier one to be preferred."""


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
    """

    owner: Ref
    count: int
    pieces: tuple[Span, ...]
    latest_start: datetime
    window_start: datetime
    duration: timedelta | None = None
    priority: int = 0

    @property
    def due_by(self) -> datetime:
        """From then on it waits for room, whatever the plan."""
        return self.latest_start - margin(self.window_start, self.latest_start)


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


def margin(window_start: datetime, latest_start: datetime) -> timedelta:
    """How long before its latest start an ask stops waiting for a quieter moment."""
    return max(timedelta(), min(MARGIN, (latest_start - window_start) / MARGIN_SHARE))


def place(load: FloatArray, jobs: Iterable[Job], slack: float = 0.0) -> list[int]:
    """The plan itself, in steps: each job, in the order given, where the peak is lowest.

    Args:
        load: GPUs in each step before any of the jobs; what is placed is added to it. Beyond its
            end nothing is known and nothing planned.
        jobs: in order of their claim.
        slack: GPUs by which a later start must be lower to be taken.

    Returns:
        The step of each start.
    """
    steps = len(load)
    starts: list[int] = []
    for gpus, length, ranges in jobs:
        best, start = np.inf, 0
        for first, last in ranges:
            stop = min(last, steps - 1)
            if stop < first:
                continue
            peaks = _peaks(load[first : stop + length], min(length, steps - first))
            low = peaks[: stop - first + 1].min()
            if low + slack < best:
                best = float(low)
                start = first + int((peaks <= low + slack).argmax())
        load[start : start + length] += gpus
        starts.append(start)
    return starts


def _peaks(load: FloatArray, length: int) -> FloatArray:
    """The highest of each `length` values in a row, by doubling; shorter rows at the end count too."""
    width, peaks = 1, load
    while width < length:
        by = min(width, length - width)
        if by >= len(peaks):
            break
        # Near the end fewer values follow: they stand for the rest.
        wider = peaks.copy()
        np.maximum(peaks[:-by], peaks[by:], out=wider[:-by])
        peaks, width = wider, width + by
    return peaks


def outlook(
    forecast: Forecast, holdings: Iterable[Holding], now: datetime, level: float = LEVEL
) -> FloatArray:
    """GPUs that will be taken in each step of the forecast before anything is planned.

    Args:
        forecast: of the foreground.
        holdings: runs of ours, asks that wait for room and reservations.
        now: holdings of unknown length are counted on from here.
        level: quantile of the forecast.
    """
    load = forecast.quantile(level)
    load[0] = forecast.median[0]
    for holding in holdings:
        first = max(0, (holding.start - forecast.start) // STEP)
        end = holding.end if holding.end is not None and holding.end > now else now + UNKNOWN
        last = -((forecast.start - end) // STEP)  # rounded up
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
    ordered = sorted(wishes, key=_claim)
    before, present = load.copy(), float(load[0])
    starts = place(load, [_job(wish, start, now) for wish in ordered], capacity * SLACK)
    found: dict[Ref, Planned] = {}
    for wish, step in zip(ordered, starts, strict=True):
        length = _length(wish)
        peak = float(before[step : step + length].max()) if step < len(before) else present
        found[wish.owner] = Planned(
            start=max(now, start + step * STEP),
            due_by=wish.due_by,
            latest_start=wish.latest_start,
            expected_percent=_percent(peak, capacity),
            present_percent=_percent(present, capacity),
        )
    return found


def _claim(wish: Wish) -> tuple[int, float, datetime, Ref]:
    work = wish.count * (wish.duration or UNKNOWN).total_seconds()
    return (-wish.priority, -work, wish.latest_start, wish.owner)


def _length(wish: Wish) -> int:
    return max(1, -(-(wish.duration or UNKNOWN) // STEP))


def _job(wish: Wish, start: datetime, now: datetime) -> Job:
    ranges: list[tuple[int, int]] = []
    last = wish.due_by
    for piece in wish.pieces:
        if piece.end <= now or piece.start > last:
            continue
        first = 0 if piece.start <= now else -((start - piece.start) // STEP)
        final = min((last - start) // STEP, (piece.end - start - timedelta.resolution) // STEP)
        if first <= final:
            ranges.append((first, final))
    return Job(wish.count, _length(wish), ranges)


def _percent(gpus: float, capacity: int) -> int:
    return round(100 * gpus / capacity) if capacity > 0 else 0
