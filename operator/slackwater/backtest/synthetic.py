"""Foregrounds made from a seed, of several shapes, for those who have no trace at hand."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from slackwater.backtest.trace import (
    DAY,
    HOUR,
    WEEK,
    Loads,
    Minutes,
    Trace,
    jobs_of,
    of_demand,
    of_jobs,
)

CAPACITY: Final = 512
WEEKS: Final = 6
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
_SHARES: Final = (0.46, 0.12, 0.15, 0.17, 0.06, 0.03, 0.01)


class Shape(StrEnum):
    """What a made foreground looks like."""

    TRAINING = "training"
    """People submit by day; jobs are heavy-tailed, so that the load hardly follows them."""
    INFERENCE = "inference"
    """A measured load that follows the day strongly, and the week."""
    DRIFTING = "drifting"
    """A load that wanders, follows no clock, and surges without notice."""
    OFFICE = "office"
    """Weekdays only, high by day and next to nothing at night."""


def synthetic(
    shape: Shape = Shape.TRAINING,
    seed: int = 0,
    *,
    capacity: int = CAPACITY,
    utilization: float = 0.65,
    weeks: int = WEEKS,
) -> Trace:
    """A trace of so many weeks whose foreground uses this share of the pool on average."""
    dice = np.random.default_rng((seed, 20_240_101))
    length = weeks * WEEK
    begins = min(2 * WEEK, length // 2 // DAY * DAY)
    name = f"synthetic {shape.value}"
    if shape is Shape.TRAINING:
        return _jobs(name, dice, capacity, utilization, length, begins)
    half = length // 30
    at = np.arange(half) * 30
    if shape is Shape.INFERENCE:
        load = (
            1 + 0.55 * np.sin((at / DAY - 0.33) * 2 * np.pi) + 0.15 * np.sin(at / DAY * 4 * np.pi)
        )
        load = load * np.where(at % WEEK // DAY >= 5, 0.75, 1.0) + _noise(dice, half, 0.9, 0.06)
    elif shape is Shape.OFFICE:
        hour = at % DAY / HOUR
        work = (hour >= 8) & (hour < 20) & (at % WEEK // DAY < 5)
        load = np.where(work, 1.0, 0.25) + _noise(dice, half, 0.95, 0.06)
    else:
        load = 1 + _noise(dice, half, 0.998, 0.35)
        for start in dice.integers(0, half, weeks * 2):
            load[start : start + 20] += 0.35
    load = np.maximum(load, 0.02)
    demand = np.minimum(load / load.mean() * utilization, 1.05) * capacity
    return of_demand(name, np.repeat(demand, 30), capacity, begins=begins)


def _noise(dice: np.random.Generator, count: int, stays: float, spread: float) -> Loads:
    """An autoregressive walk about 0 with this standard deviation."""
    shocks = dice.normal(0, spread * np.sqrt(1 - stays**2), count)
    found = np.zeros(count)
    for place in range(1, count):
        found[place] = stays * found[place - 1] + shocks[place]
    return found


def _jobs(
    name: str,
    dice: np.random.Generator,
    capacity: int,
    utilization: float,
    length: int,
    begins: int,
) -> Trace:
    # Draw far too many, then keep as many as the load needs.
    largest = max(1, capacity // 8)
    sizes = np.array([min(size, largest) for size in _SIZES])
    count = 4096
    need = utilization * capacity * length
    columns: list[tuple[Minutes, Minutes]] = []
    total = 0.0
    while total < need:
        duration = np.clip(np.exp(dice.normal(3.6, 2.0, count)), 1, 7 * DAY).astype(np.int64)
        gpus = dice.choice(sizes, count, p=_SHARES).astype(np.int64)
        columns.append((duration, gpus))
        total += float((duration * gpus).sum())
    duration = np.concatenate([one[0] for one in columns])
    gpus = np.concatenate([one[1] for one in columns])
    kept = int(np.searchsorted(np.cumsum(duration * gpus), need)) + 1
    duration, gpus = duration[:kept], gpus[:kept]
    hours = np.arange(length // HOUR)
    of_day, day = hours % 24, hours // 24 % 7
    rate = np.where(day < 5, 1.0, 0.5) * (1 + 0.8 * np.sin((of_day - 9) / 24 * 2 * np.pi))
    hour = dice.choice(hours, kept, p=rate / rate.sum())
    submit = hour * HOUR + dice.integers(0, HOUR, kept)
    return of_jobs(name, jobs_of(submit, duration, gpus), capacity, length=length, begins=begins)
