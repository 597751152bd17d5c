"""Loads of pools to try the forecast on: made from a seed, or of public traces where they are."""

from __future__ import annotations

import csv
import gzip
import heapq
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DAY = 48
WEEK = 7 * DAY
TRACES = Path(os.environ.get("TRACES", ".build/traces"))


def synthetic(weeks: int = 8) -> dict[str, NDArray[np.float64]]:
    """Half-hourly loads in GPUs, each of another kind."""
    rng = np.random.default_rng(20261123)
    steps = weeks * WEEK
    number = np.arange(steps)
    hour, weekday = number % DAY / 2, number // DAY % 7
    slow = _autoregressive(rng, steps, 0.96)
    wave = np.sin(number / DAY * 2 * np.pi)
    bell = np.clip(np.sin((hour - 7) / 17 * np.pi), 0, 1) * (hour >= 7)
    weekend = np.where(weekday >= 5, 0.4, 1.0)
    tall = np.repeat(np.clip(rng.normal(1, 0.15, steps // DAY), 0.4, 1.5), DAY)
    noise = rng.normal(0, 1, steps)
    return {
        "random walk": np.abs(2000 + np.cumsum(10 * noise)),
        "white noise": np.maximum(0, 500 + 60 * noise),
        "autoregressive": np.maximum(0, 600 + 25 * slow),
        "daily wave": 400 + 200 * wave + 30 * noise,
        "daily wave on slow drift": np.maximum(0, 600 + 100 * wave + 25 * slow),
        "office hours": np.where((hour >= 8) & (hour < 20) & (weekday < 5), 300, 60) + 8 * noise,
        "inference": 85 + 255 * bell * weekend * tall * (1 + 0.03 * slow),
        "flat": np.full(steps, 128.0),
        "doubled half-way": (400 + 150 * wave + 25 * noise) * np.where(number < steps / 2, 1, 2),
    }


def walks(count: int, weeks: int = 7) -> list[NDArray[np.float64]]:
    """Independent random walks."""
    return [
        np.abs(2000 + np.cumsum(np.random.default_rng(100 + seed).normal(0, 10, weeks * WEEK)))
        for seed in range(count)
    ]


def traced() -> dict[str, NDArray[np.float64]]:
    """Demand of the traces' jobs on a pool that starts whatever fits, half-hourly; {} without them."""
    found = {}
    for name, capacity, skipped in (("philly", 900, 14), ("helios_venus", 968, 3)):
        path = TRACES / f"{name}_jobs.csv.gz"
        if path.exists():
            found[name] = _demand(path, capacity, skipped)
    return found


def _demand(path: Path, capacity: int, skipped: int) -> NDArray[np.float64]:
    """GPUs running or waiting, from so many days on."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        jobs = sorted(
            (int(row["submit_s"]) // 60, max(1, -(-int(row["duration_s"]) // 60)), int(row["gpus"]))
            for row in csv.DictReader(file)
        )
    jobs = [job for job in jobs if job[2] <= capacity]
    last = min(jobs[-1][0], (skipped + 63) * 1440) // 1440 * 1440
    load = np.zeros(last)
    ends: list[tuple[int, int]] = []
    queue: list[tuple[int, int]] = []
    free, waiting, place = capacity, 0, 0
    for minute in range(last):
        changed = False
        while ends and ends[0][0] <= minute:
            free += heapq.heappop(ends)[1]
            changed = True
        while place < len(jobs) and jobs[place][0] <= minute:
            queue.append(jobs[place][1:])
            waiting += jobs[place][2]
            place += 1
            changed = True
        if changed and queue:
            left = []
            for lasts, gpus in queue:
                if gpus <= free:
                    free -= gpus
                    waiting -= gpus
                    heapq.heappush(ends, (minute + lasts, gpus))
                else:
                    left.append((lasts, gpus))
            queue = left
        load[minute] = capacity - free + waiting
    half_hours: NDArray[np.float64] = load[skipped * 1440 :].reshape(-1, 30).mean(axis=1)
    return half_hours


def _autoregressive(rng: np.random.Generator, steps: int, kept: float) -> NDArray[np.float64]:
    found = np.zeros(steps)
    shocks = rng.normal(0, 1, steps)
    for step in range(1, steps):
        found[step] = kept * found[step - 1] + shocks[step]
    return found
