"""Whether an open occurrence may start now, and if not, the first thing that holds it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from slackwater.core.action import Refresh
from slackwater.core.allot import exceeds, stale_or_thin
from slackwater.core.ask import Ask
from slackwater.core.fit import Finish, lasting, latest_finish, latest_start
from slackwater.core.follow import RETRY_DENIED
from slackwater.core.gaps import fault_gaps, pool_gaps, sample_gaps, verdict_gaps
from slackwater.core.identity import run_id
from slackwater.core.keep import OVERRIDE_ENTRY
from slackwater.core.occurrence import Occurrence
from slackwater.core.quiet import quiet
from slackwater.core.run import Absent, Denied, Known
from slackwater.core.run_conf import conf_fault
from slackwater.core.seen import CalendarView, PoolView, Seen
from slackwater.core.span import Span
from slackwater.core.spec import (
    Concurrency,
    GpuAsk,
    Identity,
    Ref,
    StartPolicy,
    StopPolicy,
    TrainingWindow,
)
from slackwater.core.words import Reason

FRESH: Final = timedelta(seconds=15)
FACTS_VALID: Final = timedelta(seconds=30)
_JUST_AFTER: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Gate:
    """What holds a start back: the condition it belongs to, its reason and when to look again."""

    condition: str
    reason: Reason
    gaps: Mapping[str, object] = field(default_factory=dict)
    again_at: datetime | None = None


class Considered(NamedTuple):
    """What became of one wish to start.

    Exactly one of these holds: `gate` says what is in the way; `pending`, that the pool has not
    answered `ask` yet; `refresh`, that something is to be read once more; or, with none of them,
    the run may start.
    """

    gate: Gate | None = None
    ask: Ask | None = None
    pending: bool = False
    refresh: Refresh | None = None


def trouble_with(spec: TrainingWindow, seen: Seen) -> Gate | None:
    """What makes the configuration unusable, whatever the time: the Ready condition."""
    if seen.config is not None:
        return Gate("Ready", seen.config.reason, seen.config.gaps)
    closed = [view for view in seen.calendars.values() if view.refused is not None]
    refused = min(closed, key=_by_ref).refused if closed else seen.airflow.refused
    if refused is None and seen.pool is not None:
        refused = seen.pool.refused
    if refused is not None:
        return Gate("Ready", refused.reason, refused.gaps)
    if spec.gpu is None or seen.pool is None:
        return None
    limit = seen.pool.grant.max_gpus
    if limit is not None and spec.gpu.count > limit:
        gaps = {"count": spec.gpu.count, "ref": seen.pool.ref, "limit": limit}
        return Gate("Ready", Reason.EXCEEDS_GRANT, gaps)
    return None


def _by_ref(view: CalendarView) -> Ref:
    return view.ref


def calendar_gate(seen: Seen, now: datetime) -> Gate | None:
    """The first calendar whose snapshot cannot carry a start."""
    doubtful = [view for view in seen.calendars.values() if not view.usable(now)]
    if doubtful:
        view = min(doubtful, key=_by_ref)
        if view.snapshot is None or view.refused is not None:
            # What is refused to us is not ours to know; the Ready condition says why.
            fault = view.fault if view.refused is None else None
            gaps = fault_gaps(f"Calendar {view.ref}")
            return Gate("CalendarsSynced", fault or Reason.NOT_READ_YET, gaps)
        since = {"ref": view.ref, "since": view.checked_at}
        return Gate("CalendarsSynced", Reason.STALE, since)
    if seen.layout is None:
        return Gate("CalendarsSynced", Reason.NOT_READ_YET, {"what": "The calendar"})
    return None


def dag_gate(spec: TrainingWindow, seen: Seen) -> Gate | None:
    """Why Airflow would not run the DAG now, as far as it can be known before the POST."""
    airflow = seen.airflow
    facts = airflow.facts
    if (
        facts is not None
        and facts.problem is None
        and airflow.fault is None
        and airflow.stop_policy is StopPolicy.NONE
    ):
        return None
    gaps: dict[str, object] = {"dag": spec.dag.dag_id, "what": f"Airflow {airflow.ref}"}
    if airflow.stop_policy is not StopPolicy.NONE:
        return Gate("DagReady", Reason.HELD, {"what": f"AirflowInstance {airflow.ref}"})
    if airflow.fault is not None:
        return Gate("DagReady", airflow.fault.reason, gaps | dict(airflow.fault.gaps))
    if facts is None:
        return Gate("DagReady", Reason.NOT_READ_YET, gaps | {"what": f"DAG {spec.dag.dag_id}"})
    assert facts.problem is not None
    return Gate("DagReady", facts.problem, gaps | {"detail": facts.detail})


def consider(
    identity: Identity,
    spec: TrainingWindow,
    seen: Seen,
    occurrence: Occurrence,
    piece: Span,
    *,
    another_active: bool,
    now: datetime,
) -> Considered:
    """Judge one occurrence that is open now; the first thing in the way is the answer."""
    gate = _before_the_pool(
        identity, spec, seen, occurrence, piece, another_active=another_active, now=now
    )
    if gate is not None:
        return Considered(gate)
    wrong = conf_fault(identity, spec, seen, occurrence, piece)
    if wrong is not None:
        return Considered(Gate("DagReady", Reason.INVALID_CONF, {"detail": wrong}))
    ask: Ask | None = None
    if spec.gpu is not None and seen.pool is not None:
        answer = _room(identity, spec, spec.gpu, seen, seen.pool, occurrence, piece, now)
        if answer.gate is not None or answer.pending:
            return answer
        ask = answer.ask
    slot = seen.airflow.slot_at
    if slot is not None and slot > now:
        gaps = {"what": f"Airflow {seen.airflow.ref}", "limit": seen.airflow.starts_per_minute}
        return Considered(Gate("DagReady", Reason.START_RATE_LIMITED, gaps, slot), ask)
    refresh = _to_refresh(seen, now, calendars=occurrence.entry != OVERRIDE_ENTRY)
    return Considered(ask=ask, refresh=refresh)


def _before_the_pool(
    identity: Identity,
    spec: TrainingWindow,
    seen: Seen,
    occurrence: Occurrence,
    piece: Span,
    *,
    another_active: bool,
    now: datetime,
) -> Gate | None:
    gate = trouble_with(spec, seen)
    if gate is not None:
        return gate
    if spec.suspend:
        return Gate("Suspended", Reason.SUSPENDED)
    past_calendar = occurrence.entry == OVERRIDE_ENTRY and seen.airflow.allow_override
    if not past_calendar:
        gate = calendar_gate(seen, now)
        if gate is not None:
            return gate
    if another_active and spec.concurrency is Concurrency.FORBID:
        return Gate("DagReady", Reason.PREVIOUS_RUN_ACTIVE)
    gate = dag_gate(spec, seen)
    if gate is not None:
        return gate
    refused = _refused(seen.airflow.runs.get(run_id(identity, occurrence.key)))
    if refused is not None and refused.at + RETRY_DENIED > now:
        gaps = {
            "dag": spec.dag.dag_id,
            "detail": refused.detail,
            "what": f"Airflow {seen.airflow.ref}",
        }
        return Gate("DagReady", refused.reason, gaps, refused.at + RETRY_DENIED)
    return _fit_gate(spec, seen, occurrence, piece, now)


def _refused(known: Known | None) -> Denied | None:
    """What the last POST of a run came to, where it came to nothing."""
    match known:
        case Denied():
            return known
        case Absent(at=at, met=met) if met is not None:
            return Denied(at, met)
        case _:
            return None


def expected(spec: TrainingWindow, seen: Seen) -> timedelta | None:
    """How long a run is expected to take: as configured, else as learned, else unknown."""
    return spec.expected_duration or seen.airflow.duration


def _fit_gate(
    spec: TrainingWindow, seen: Seen, occurrence: Occurrence, piece: Span, now: datetime
) -> Gate | None:
    duration = expected(spec, seen)
    if duration is None or seen.layout is None:
        return None
    finish = latest_finish(spec, seen.layout, occurrence, piece, now)
    if finish is None or now + duration <= finish.at:
        return None
    gaps = {"duration": lasting(duration), "latest": finish.at, "entry": finish.entry}
    return Gate("WindowOpen", finish.reason, gaps, finish.at)


def _room(
    identity: Identity,
    spec: TrainingWindow,
    gpu: GpuAsk,
    seen: Seen,
    pool: PoolView,
    occurrence: Occurrence,
    piece: Span,
    now: datetime,
) -> Considered:
    if pool.rules is None:
        return Considered(Gate("CapacityAvailable", Reason.NOT_READ_YET, pool_gaps(gpu, pool)))
    if pool.rules.stop_policy is not StopPolicy.NONE:
        return Considered(Gate("CapacityAvailable", Reason.HELD, pool_gaps(gpu, pool)))
    duration = expected(spec, seen)
    finish: Finish | None = None
    if duration is not None and seen.layout is not None:
        finish = latest_finish(spec, seen.layout, occurrence, piece, now)
    ask = Ask(
        owner=identity.ref,
        occurrence=occurrence.key,
        count=gpu.count,
        per_pod=gpu.per_pod,
        priority=min(spec.priority, pool.grant.max_priority),
        latest_start=latest_start(spec, occurrence, piece, finish, duration),
        window_start=piece.start,
        duration=duration,
        pieces=(piece,),
        off_peak=spec.start_policy is StartPolicy.OFF_PEAK,
        unconditional=occurrence.entry == OVERRIDE_ENTRY and pool.grant.allow_override,
    )
    if not ask.unconditional:
        gate = _quiet_gate(gpu, pool, now)
        if gate is not None:
            return Considered(gate)
    verdict = pool.verdict
    if verdict is None or verdict.ask != ask:
        return Considered(ask=ask, pending=True)
    if not verdict.admitted:
        gaps = verdict_gaps(verdict, gpu, pool)
        again = min(filter(None, (_stale_at(pool, now), ask.latest_start + _JUST_AFTER)))
        return Considered(Gate("CapacityAvailable", verdict.reason, gaps, again), ask)
    return Considered(ask=ask)


def _quiet_gate(gpu: GpuAsk, pool: PoolView, now: datetime) -> Gate | None:
    """The pool cannot be read, is too busy, or not quiet for long enough."""
    assert pool.rules is not None
    reason = pool.fault or stale_or_thin(pool.rules, pool.sample, now)
    if reason is None and gpu.max_utilization_percent is None:
        return None
    gaps = pool_gaps(gpu, pool)
    if reason is not None:
        return Gate("CapacityAvailable", reason, gaps | sample_gaps(pool), _stale_at(pool, now))
    assert gpu.max_utilization_percent is not None
    if pool.sample is None or pool.sample.utilization is None:
        return Gate("CapacityAvailable", Reason.NO_DATA, gaps, _stale_at(pool, now))
    state = quiet(
        pool.history,
        limit_percent=gpu.max_utilization_percent,
        hysteresis_percent=gpu.hysteresis_percent,
        longest_gap=pool.rules.max_sample_age,
        now=now,
    )
    ready = state.ready_at(gpu.hold_for)
    stale = _stale_at(pool, now)
    if ready is None:
        return Gate("CapacityAvailable", Reason.TOO_BUSY, gaps | sample_gaps(pool), stale)
    if ready > now:
        again = min(filter(None, (ready, stale)))
        return Gate(
            "CapacityAvailable", Reason.NOT_QUIET_LONG_ENOUGH, gaps | {"until": ready}, again
        )
    return None


def _stale_at(pool: PoolView, now: datetime) -> datetime | None:
    """When the pool's numbers will be too old, if no newer ones come."""
    if pool.sample is None or pool.rules is None:
        return None
    times = (pool.sample.time, *(at for at, _ in pool.history[-1:]))
    limits = (at + pool.rules.max_sample_age + _JUST_AFTER for at in times)
    return min((limit for limit in limits if limit > now), default=None)


def early_capacity(gpu: GpuAsk, pool: PoolView) -> Gate | None:
    """What no waiting can mend: more asked for than the pool has. Known from any sample."""
    if pool.sample is None or not exceeds(pool.sample, gpu.count, gpu.per_pod):
        return None
    gaps = pool_gaps(gpu, pool) | {"capacity": pool.sample.capacity}
    return Gate("CapacityAvailable", Reason.EXCEEDS_CAPACITY, gaps)


def _to_refresh(seen: Seen, now: datetime, *, calendars: bool) -> Refresh | None:
    """What was last looked at too long ago, and may be asked now (R9); None when all is fresh."""
    stale = [
        ref
        for ref, view in seen.calendars.items()
        if calendars
        and not _looked_lately(view, now)
        and (view.retry_at is None or view.retry_at <= now)
    ]
    facts = seen.airflow.facts
    dag = facts is not None and facts.checked_at <= now - FACTS_VALID
    return Refresh(tuple(sorted(stale)), dag) if stale or dag else None


def _looked_lately(view: CalendarView, now: datetime) -> bool:
    """Whether the calendar was read, or its reading failed, just before.

    A look that lies ahead is one of before our clock jumped back.
    """
    looks = (view.checked_at, view.tried_at)
    return any(at is not None and now - FRESH < at <= now for at in looks)
