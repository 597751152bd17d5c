"""How many decisions one core takes in a second, and how long a thousand rivals take to allot."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from bench.figure import Figure
from slackwater.core.allot import Pool, allot
from slackwater.core.ask import Ask
from slackwater.core.decide import decide
from slackwater.core.occurrence import lay_out
from slackwater.core.run import DagFacts
from slackwater.core.sample import Room, Sample
from slackwater.core.seen import AirflowView, PoolView, Seen
from slackwater.core.span import Span
from slackwater.core.spec import (
    Dag,
    Effect,
    GpuAsk,
    Identity,
    InlineEntry,
    PoolRules,
    Ref,
    TrainingWindow,
)
from slackwater.core.status import Status

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)


def _window(hour: int) -> tuple[Identity, TrainingWindow, Seen]:
    pool = Ref("research", "h100")
    spec = TrainingWindow(
        dag=Dag(airflow=Ref("research", "default"), dag_id="train"),
        windows=(
            InlineEntry(
                name="nights",
                effect=Effect.TRIGGER,
                schedule=f"0 {hour} * * *",
                duration=timedelta(hours=8),
            ),
        ),
        gpu=GpuAsk(pool=pool, count=16, per_pod=8),
    )
    horizon = Span(NOW - timedelta(hours=48), NOW + timedelta(days=35))
    facts = DagFacts(problem=None, checked_at=NOW)
    seen = Seen(
        layout=lay_out(spec, {}, horizon),
        airflow=AirflowView(ref=spec.dag.airflow, facts=facts),
        up_since=NOW - timedelta(days=3),
        pool=PoolView(ref=pool, rules=PoolRules(ref=pool), sample=_sample(busy=True)),
    )
    identity = Identity(
        installation="bench", ref=Ref("research", "nightly"), created=NOW - timedelta(days=1)
    )
    return identity, spec, seen


def _sample(*, busy: bool) -> Sample:
    free = 1 if busy else 8
    rooms = tuple(Room(f"n{i}", 8, free) for i in range(64))
    return Sample(time=NOW, capacity=512, rooms=rooms, used=512 - 64 * free)


def decisions_per_second(hour: int, rounds: int = 4000) -> float:
    """Decisions on one window in one second of one core; idle or open by the hour it opens."""
    identity, spec, seen = _window(hour)
    status = decide(identity, spec, Status(), seen, NOW).status
    began = time.process_time()
    for _ in range(rounds):
        decide(identity, spec, status, seen, NOW)
    return rounds / (time.process_time() - began)


def seconds_to_allot(rivals: int) -> float:
    """Time to answer that many rivals of one pool of 64 nodes."""
    pool = Pool(rules=PoolRules(ref=Ref("research", "h100")), sample=_sample(busy=False))
    asks = [
        Ask(
            owner=Ref("research", f"w{i}"),
            occurrence=f"o{i}",
            count=1 + i % 16,
            per_pod=1,
            priority=i % 3,
            latest_start=NOW + timedelta(minutes=i),
            window_start=NOW,
            duration=timedelta(hours=1),
        )
        for i in range(rivals)
    ]
    began = time.process_time()
    allot(pool, asks, NOW)
    return time.process_time() - began


def figures() -> list[Figure]:
    """Decisions in a second, and a pool's longest answer."""
    allotted = min(seconds_to_allot(1000) for _ in range(3))
    return [
        Figure("decide, window far off", decisions_per_second(12), "/s", "at least 20,000"),
        Figure("decide, window open", decisions_per_second(20), "/s", "at least 20,000"),
        Figure("allot a pool to 1,000 rivals", 1000 * allotted, "ms", "at most 50"),
    ]
