"""The queue of one pool as statuses and the pool's numbers tell it, for `slackwater queue`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from slackwater.api.status import pool_from_wire
from slackwater.cli.laid_out import Laid, ask, laid_out
from slackwater.cli.opened import Opened
from slackwater.cli.quiet_starts import read_reservations
from slackwater.core.allot import Pool, Verdict, allot
from slackwater.core.ask import Ask, Promise, promises_of
from slackwater.core.fit import latest_finish, latest_start
from slackwater.core.ledger import Line, State
from slackwater.core.plan import MOST_AHEAD
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Room, Sample
from slackwater.core.seen import Trouble
from slackwater.core.span import Span
from slackwater.core.spec import PoolRules, Ref, TrainingWindow
from slackwater.core.words import Reason
from slackwater.runtime.records import WindowRecord

_AROUND: Final = timedelta(days=1)
# The pool is not quiet enough for the ask, whatever its place would be.
_NOT_QUIET: Final = frozenset({Reason.TOO_BUSY, Reason.NOT_QUIET_LONG_ENOUGH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """One TrainingWindow that waits for the pool.

    Attributes:
        ask: what it wants.
        line: its line of the ledger.
        verdict: what the pool would answer now; None where the ask stands in no queue.
    """

    ask: Ask
    line: Line
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A pool and everybody who waits for it or holds something of it.

    Attributes:
        ref: the pool.
        rules: of its spec.
        now: the present.
        sample: its numbers; None where nobody knows them.
        trouble: why they were not read just now; they are those of the status then.
        waiting: in the order in which the pool serves them.
        aside: those that stand in no queue: planned for later, or waiting for a quiet pool.
        runs: what runs hold, the oldest first.
    """

    ref: Ref
    rules: PoolRules
    now: datetime
    sample: Sample | None = None
    trouble: Trouble | None = None
    waiting: tuple[Waiter, ...] = ()
    aside: tuple[Waiter, ...] = ()
    runs: tuple[Promise, ...] = field(default=())


async def queued(found: Opened, ref: Ref) -> Queue:
    """The queue of a pool that exists and whose spec is good."""
    now = found.clock.now()
    follower = found.world.pool(ref)
    assert follower is not None, "the world follows every pool it has"
    assert follower.source is not None, "its spec is good"
    read = await ask(follower.source.sample, f"GPUPool {ref}")
    trouble = read if isinstance(read, Trouble) else None
    sample = _of_status(found, ref, now) if isinstance(read, Trouble) else read
    reserved = await read_reservations(
        found, follower.rules.reservations, Span(now, now + MOST_AHEAD)
    )
    records = [
        record
        for record in found.windows()
        if record.spec is not None and record.spec.gpu is not None and record.spec.gpu.pool == ref
    ]
    runs = sorted(
        (run for record in records for run in _runs(record, sample, now)),
        key=lambda run: (run.since, run.run_id),
    )
    waiters = await _waiters(found, records, now)
    standing = [one for one in waiters if _stands(one)]
    verdicts = allot(
        Pool(
            rules=follower.rules,
            sample=sample,
            promises=tuple(runs),
            reservations=reserved or Reservations(),
        ),
        [one.ask for one in standing],
        now,
    )
    return Queue(
        ref=ref,
        rules=follower.rules,
        now=now,
        sample=sample,
        trouble=trouble,
        waiting=tuple(
            replace(one, verdict=verdicts[one.ask.owner])
            for one in sorted(standing, key=lambda one: one.ask.rank)
        ),
        aside=tuple(
            sorted((one for one in waiters if not _stands(one)), key=lambda one: one.ask.rank)
        ),
        runs=tuple(runs),
    )


def _stands(waiter: Waiter) -> bool:
    return waiter.line.reason is not Reason.OFF_PEAK and waiter.line.reason not in _NOT_QUIET


def _of_status(found: Opened, ref: Ref, now: datetime) -> Sample | None:
    """The numbers that the operator wrote last; None where it wrote none.

    Which nodes they are on is not known: as if all were on one.
    """
    status = pool_from_wire(found.world.pools[ref].stored.status)
    if status.capacity is None or status.free is None:
        return None
    return Sample(
        time=now if status.sample_time is None else status.sample_time,
        capacity=status.capacity,
        rooms=(Room("", status.capacity, status.free),),
        used=status.capacity - status.free,
    )


def _runs(record: WindowRecord, sample: Sample | None, now: datetime) -> Sequence[Promise]:
    spec = record.spec
    assert spec is not None
    assert spec.gpu is not None
    promises = promises_of(
        record.stored.key.ref,
        record.status.lines,
        gpus=spec.gpu.count,
        per_pod=spec.gpu.per_pod,
        duration=_duration(record, spec),
        now=now,
    )
    shown = {run.run_id: None if sample is None else sample.shown(run.run_id) for run in promises}
    return tuple(
        run
        if (seen := shown[run.run_id]) is None
        else replace(run, unseen=max(0, run.count - seen))
        for run in promises
    )


def _duration(record: WindowRecord, spec: TrainingWindow) -> timedelta | None:
    return spec.expected_duration or record.status.expected_duration


async def _waiters(
    found: Opened, records: Sequence[WindowRecord], now: datetime
) -> tuple[Waiter, ...]:
    """What the operator said waits for the pool and nothing else: one line of each window."""
    held: dict[Ref, tuple[WindowRecord, Line]] = {}
    for record in records:
        for line in record.status.lines:
            if line.state is State.WAITING and line.condition == "CapacityAvailable":
                held.setdefault(record.stored.key.ref, (record, line))
    around = Span((now - _AROUND).astimezone(UTC), (now + _AROUND).astimezone(UTC))
    laid = await laid_out(
        found, [record for record, _ in held.values()], dict.fromkeys(held, around)
    )
    return tuple([await _waiter(found, *held[window.ref], window, now) for window in laid])


async def _waiter(
    found: Opened, record: WindowRecord, line: Line, laid: Laid, now: datetime
) -> Waiter:
    spec = record.spec
    assert spec is not None
    assert spec.gpu is not None
    seen = await found.seen(record)
    limit = seen.pool.grant.max_priority if seen is not None and seen.pool is not None else 0
    duration = _duration(record, spec)
    window = line.window or Span(now, now + _AROUND)
    began, latest = window.start, window.end
    pieces: tuple[Span, ...] = (window,)
    occurrence = next((o for o in laid.occurrences if o.key == line.id), None)
    piece = next((p for p in occurrence.pieces if now in p), None) if occurrence else None
    if occurrence is not None and piece is not None and laid.layout is not None:
        finish = None
        if duration is not None:
            finish = latest_finish(spec, laid.layout, occurrence, piece, now)
        latest = latest_start(spec, occurrence, piece, finish, duration)
        began, pieces = piece.start, (piece,)
    elif spec.starting_deadline is not None:
        latest = min(latest, began + spec.starting_deadline)
    return Waiter(
        line=line,
        ask=Ask(
            owner=record.stored.key.ref,
            occurrence=line.id,
            count=spec.gpu.count,
            per_pod=spec.gpu.per_pod,
            priority=min(spec.priority, limit),
            latest_start=latest,
            window_start=began,
            duration=duration,
            pieces=pieces,
        ),
    )
