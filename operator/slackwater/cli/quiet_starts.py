"""When off-peak TrainingWindows would start, as their pools' loads look now (R18), for `plan`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from slackwater.cli.laid_out import Laid, ask, read_calendar
from slackwater.cli.opened import Opened
from slackwater.core.ask import Ask
from slackwater.core.event import Event, Snapshot
from slackwater.core.fit import latest_finish, latest_start
from slackwater.core.occurrence import Occurrence
from slackwater.core.plan import MOST_AHEAD
from slackwater.core.planned import Planned
from slackwater.core.reserve import Reservations, reservations
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import Ref, ReservationRule, StartPolicy, TrainingWindow
from slackwater.runtime.off_peak import OffPeak


async def with_planned(found: Opened, laid: Sequence[Laid]) -> tuple[Laid, ...]:
    """The same with planned starts of off-peak windows, each of their pools asked once.

    All occurrences that open within a week are planned as if all wanted to start: none knows yet
    which runs will be there. A pool that does not answer plans nothing; `check` says why.
    """
    pools = sorted(
        {
            window.spec.gpu.pool
            for window in laid
            if window.spec is not None and window.spec.gpu is not None and _is_quiet(window)
        }
    )
    answers = await asyncio.gather(*(_of_pool(found, pool, laid) for pool in pools))
    planned = {key: one for answer in answers for key, one in answer.items()}
    return tuple(
        replace(
            window,
            planned={
                occurrence.key: planned[window.ref, occurrence.key]
                for occurrence in window.occurrences
                if (window.ref, occurrence.key) in planned
            },
        )
        for window in laid
    )


def _is_quiet(window: Laid) -> bool:
    spec = window.spec
    return (
        spec is not None
        and spec.start_policy is StartPolicy.OFF_PEAK
        and window.layout is not None
        and not spec.suspend
    )


async def _of_pool(
    found: Opened, pool: Ref, laid: Sequence[Laid]
) -> dict[tuple[Ref, str], Planned]:
    follower = found.world.pool(pool)
    source = follower.source if follower else None
    if follower is None or source is None:
        return {}
    now = found.clock.now()
    sample = await ask(source.sample, f"GPUPool {pool}")
    reserved = await read_reservations(
        found, follower.rules.reservations, Span(now, now + MOST_AHEAD)
    )
    if not isinstance(sample, Sample) or reserved is None:
        return {}
    load = OffPeak(pool, found.clock)
    asks: list[Ask] = []
    keys: dict[Ref, tuple[Ref, str]] = {}
    for window in laid:
        spec = window.spec
        if spec is None or spec.gpu is None or spec.gpu.pool != pool or not _is_quiet(window):
            continue
        load.want(window.ref, spec.time_zone)
        for occurrence in window.occurrences:
            # One TrainingWindow may have several here; each is planned for itself.
            owner = Ref(window.ref.namespace, f"{window.ref.name} {occurrence.key}")
            if (one := _ask(owner, spec, window, occurrence, now)) is not None:
                keys[owner] = (window.ref, occurrence.key)
                asks.append(one)
    await load.look_back(source)
    load.observe(sample.time, sample.used + sample.waiting)
    plan = load.plan(asks, (), reserved, sample)
    return {keys[owner]: one for owner, one in plan.items()}


async def read_reservations(
    found: Opened, rules: Sequence[ReservationRule], within: Span
) -> Reservations | None:
    """What stands reserved in this time; None where a calendar of it cannot be read."""
    events: dict[Ref, tuple[Event, ...]] = {}
    for ref in dict.fromkeys(rule.calendar for rule in rules):
        snapshot = await read_calendar(found, ref, within)
        if not isinstance(snapshot, Snapshot):
            return None
        events[ref] = snapshot.events
    return reservations(rules, events)


def _ask(
    owner: Ref, spec: TrainingWindow, window: Laid, occurrence: Occurrence, now: datetime
) -> Ask | None:
    """What the occurrence will ask for in its open or next piece; None where that is far away."""
    piece = next((p for p in occurrence.pieces if p.end > now), None)
    if piece is None or piece.start >= now + MOST_AHEAD:
        return None
    assert spec.gpu is not None
    assert window.layout is not None
    began = max(now, piece.start)
    finish = latest_finish(spec, window.layout, occurrence, piece, began)
    latest = latest_start(spec, occurrence, piece, finish, spec.expected_duration)
    if latest < began:
        return None
    return Ask(
        owner=owner,
        occurrence=occurrence.key,
        count=spec.gpu.count,
        per_pod=spec.gpu.per_pod,
        priority=spec.priority,
        latest_start=latest,
        window_start=piece.start,
        duration=spec.expected_duration,
        pieces=(piece,),
        off_peak=True,
    )
