"""What suggestions are made from: calendars, the pool and the other asks for it, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from slackwater.cli.laid_out import Laid, ask, laid_out
from slackwater.cli.opened import Opened
from slackwater.cli.quiet_starts import read_reservations, with_planned
from slackwater.cli.suggest_text import Advice, Present
from slackwater.core.allot import exceeds
from slackwater.core.ask import Promise, promises_of
from slackwater.core.bottleneck import bottlenecks, start_of
from slackwater.core.forecast import STEP
from slackwater.core.occurrence import Occurrence
from slackwater.core.plan import UNKNOWN, Holding
from slackwater.core.room import MOST_WAIT, Ahead, Other, Rooms
from slackwater.core.sample import Sample
from slackwater.core.seen import Trouble
from slackwater.core.span import Span
from slackwater.core.spec import GpuAsk, TrainingWindow
from slackwater.core.suggest import Wanted, suggest, suitable
from slackwater.core.words import Reason
from slackwater.ports import Kind
from slackwater.runtime.off_peak import OffPeak
from slackwater.runtime.records import WindowRecord


async def advise(found: Opened, record: WindowRecord, within: Span) -> Advice | tuple[Trouble, ...]:
    """Better times for a TrainingWindow, or why nothing can be said."""
    spec, ref = record.spec, record.stored.key.ref
    refused = await _refusal(found, record)
    if refused is not None:
        return (refused,)
    rivals = [] if spec is None or spec.gpu is None else _rivals(found, record, spec.gpu)
    records = [record, *rivals]
    laid = await laid_out(found, records, {one.stored.key.ref: within for one in records})
    mine = laid[0]
    if spec is None or mine.layout is None:
        return mine.troubles
    planned = await with_planned(found, laid)
    length = length_of(record)
    forecast_known, rooms = True, None
    if spec.gpu is not None:
        answer = await _rooms(found, spec, spec.gpu, records, planned, within, length or UNKNOWN)
        if isinstance(answer, Trouble):
            return (answer,)
        rooms, forecast_known = answer
    wanted = Wanted(
        spec=spec,
        layout=mine.layout,
        within=within,
        length=length or UNKNOWN,
        known=length is not None,
        rooms=rooms,
    )
    done = {line.id for line in record.status.lines if not line.state.is_unstarted}
    waiting = [one for one in mine.occurrences if one.key not in done]
    return Advice(
        ref=ref,
        wanted=wanted,
        suggestions=suggest(wanted),
        bottlenecks=bottlenecks(wanted, waiting, tuple(suitable(wanted))),
        present=tuple(_present(wanted, planned[0], one) for one in waiting),
        forecast_known=forecast_known,
    )


def length_of(record: WindowRecord) -> timedelta | None:
    """How long a run is expected to take: as configured, else as the operator has learned."""
    configured = record.spec.expected_duration if record.spec else None
    return configured or record.status.expected_duration


def _present(wanted: Wanted, laid: Laid, occurrence: Occurrence) -> Present:
    """What an occurrence may expect as it stands: at its planned start, else at its first."""
    start = start_of(occurrence, wanted.within.start)
    if (planned := laid.planned.get(occurrence.key)) is not None:
        start = planned.start
    odds = None if start is None or wanted.rooms is None else wanted.rooms.at(start)
    return Present(occurrence=occurrence, start=start, odds=odds)


async def _refusal(found: Opened, record: WindowRecord) -> Trouble | None:
    """Why the pool is not for this TrainingWindow."""
    seen, spec = await found.seen(record), record.spec
    if seen is None or seen.pool is None or spec is None or spec.gpu is None:
        return None
    if seen.pool.refused is not None:
        return seen.pool.refused
    limit = seen.pool.grant.max_gpus
    if limit is not None and spec.gpu.count > limit:
        gaps = {"count": spec.gpu.count, "ref": seen.pool.ref, "limit": limit}
        return Trouble(Reason.EXCEEDS_GRANT, gaps)
    return None


def _rivals(found: Opened, record: WindowRecord, gpu: GpuAsk) -> list[WindowRecord]:
    """The other TrainingWindows of the pool that may start runs."""
    return [
        other
        for other in found.windows()
        if other is not record
        and other.spec is not None
        and other.spec.gpu is not None
        and other.spec.gpu.pool == gpu.pool
        and not other.spec.suspend
    ]


async def _rooms(
    found: Opened,
    spec: TrainingWindow,
    gpu: GpuAsk,
    records: Sequence[WindowRecord],
    laid: Sequence[Laid],
    within: Span,
    length: timedelta,
) -> tuple[Rooms, bool] | Trouble:
    """What room the pool is expected to have, and whether anything of its past is known."""
    follower = found.world.pool(gpu.pool)
    source = follower.source if follower else None
    if follower is None or source is None:
        return Trouble(Reason.POOL_NOT_FOUND, {"ref": gpu.pool})
    now, what = within.start, f"{Kind.GPU_POOL} {gpu.pool}"
    end = within.end + MOST_WAIT + length
    sample, reserved = await asyncio.gather(
        ask(source.sample, what),
        read_reservations(found, follower.rules.reservations, Span(now, end)),
    )
    if isinstance(sample, Trouble):
        return sample
    if reserved is None:
        calendar = follower.rules.reservations[0].calendar
        return Trouble(Reason.RESERVATIONS_UNKNOWN, {"pool": gpu.pool, "calendar": calendar})
    if exceeds(sample, gpu.count, gpu.per_pod):
        asked = {"count": gpu.count, "per_pod": gpu.per_pod, "pool": gpu.pool}
        return Trouble(Reason.EXCEEDS_CAPACITY, asked | {"capacity": sample.capacity})
    promises = [one for record in records for one in _promises(record, now)]
    load = OffPeak(gpu.pool, found.clock)
    load.want(records[0].stored.key.ref, spec.time_zone)
    await load.look_back(source)
    known = load.has_learned or not follower.rules.metered
    shown = sum(promise.count - promise.unseen for promise in promises)
    load.observe(sample.time, max(0, sample.used + sample.waiting - shown))
    ahead = Ahead(
        forecast=load.forecast((end - now) // STEP + 3),
        places=_places(sample, gpu),
        now=now,
        until=within.end,
        holdings=[Holding(one.count, now, one.ends) for one in promises],
        others=tuple(_others(records, laid, now)),
        reservations=reserved,
        used_by=dict(sample.used_by),
    )
    return Rooms(ahead, records[0].stored.key.ref.namespace, gpu.count, length), known


def _places(sample: Sample, gpu: GpuAsk) -> int:
    return min(sample.capacity, sample.fit_when_empty(gpu.per_pod))


def _promises(record: WindowRecord, now: datetime) -> Sequence[Promise]:
    if record.spec is None or record.spec.gpu is None:
        return ()
    return promises_of(
        record.stored.key.ref,
        record.status.lines,
        gpus=record.spec.gpu.count,
        duration=length_of(record),
        now=now,
    )


def _others(records: Sequence[WindowRecord], laid: Sequence[Laid], now: datetime) -> list[Other]:
    """Every ask of the others that the calendars announce, at its planned or first start."""
    found = []
    for record, window in list(zip(records, laid, strict=True))[1:]:
        spec = window.spec
        if spec is None or spec.gpu is None:
            continue
        done = {line.id for line in record.status.lines if not line.state.is_unstarted}
        for occurrence in window.occurrences:
            planned = window.planned.get(occurrence.key)
            start = planned.start if planned is not None else start_of(occurrence, now)
            if start is None or occurrence.key in done:
                continue
            end = start + (length_of(record) or UNKNOWN)
            found.append(Other(owner=window.ref, count=spec.gpu.count, start=start, end=end))
    return sorted(found, key=lambda one: (one.start, one.owner, one.end))
