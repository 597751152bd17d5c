"""How long the forecast of a pool and the off-peak plan of a thousand asks take on one core."""

from __future__ import annotations

import math
import random
import time
from datetime import UTC, datetime, timedelta

from bench.figure import Figure
from slackwater.core.forecast import STEP, Forecaster
from slackwater.core.plan import Wish, outlook, plan, steps_ahead
from slackwater.core.span import Span
from slackwater.core.spec import Ref

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CAPACITY = 1024
WEEKS = 5


def _learned() -> tuple[Forecaster, float]:
    """A forecaster that has learned five weeks, and the seconds that took."""
    steps = WEEKS * 336
    dice = random.Random(1)
    loads = [500 + 200 * math.sin(n / 48 * 6.283) + dice.gauss(0, 30) for n in range(steps)]
    found = Forecaster()
    began = time.process_time()
    for number, load in enumerate(loads):
        found.learn(NOW - (steps - number) * STEP, load)
    return found, time.process_time() - began


def _wishes(count: int) -> list[Wish]:
    dice = random.Random(2)
    return [
        Wish(
            owner=Ref("research", f"w{number}"),
            count=dice.randint(1, 32),
            pieces=(Span(NOW, NOW + timedelta(hours=24)),),
            latest_start=NOW + timedelta(hours=dice.uniform(12, 24)),
            window_start=NOW,
            duration=timedelta(hours=dice.uniform(0.5, 8)),
        )
        for number in range(count)
    ]


def seconds_to_plan(forecaster: Forecaster, count: int) -> float:
    """Forecast, outlook and plan of so many asks."""
    wishes = _wishes(count)
    began = time.process_time()
    forecast = forecaster.forecast(NOW, 600.0, steps_ahead(wishes, NOW))
    plan(wishes, outlook(forecast, (), NOW), forecast.start, CAPACITY, NOW)
    return time.process_time() - began


def figures() -> list[Figure]:
    """A start's learning, and a round of planning."""
    forecaster, learned = _learned()
    forecaster.forecast(NOW, 600.0, 96)
    planned = min(seconds_to_plan(forecaster, 1000) for _ in range(5))
    return [
        Figure("learn five weeks of a pool's load", 1000 * learned, "ms", "once at a start"),
        Figure("plan 1,000 off-peak asks", 1000 * planned, "ms", "at most 100"),
    ]
