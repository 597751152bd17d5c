"""Gathering what one TrainingWindow sees (`core.seen.Seen`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from slackwater.api.grants import airflow_grant, calendar_allows, pool_grant
from slackwater.core.event import Event
from slackwater.core.match import missing
from slackwater.core.occurrence import Layout, lay_out
from slackwater.core.seen import AirflowView, CalendarView, PoolView, Seen, Trouble
from slackwater.core.spec import Effect, PoolGrant, Ref, TrainingWindow
from slackwater.core.words import Reason
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.calendar_follower import horizon_at
from slackwater.runtime.records import WindowRecord
from slackwater.runtime.world import World


def observe(
    world: World,
    record: WindowRecord,
    spec: TrainingWindow,
    *,
    labels: Mapping[str, str],
    up_since: datetime,
) -> Seen:
    """Everything `decide` may look at, from caches alone.

    Args:
        world: all objects and followers.
        record: the TrainingWindow.
        spec: its spec, the last good one where the present one cannot be read.
        labels: of its namespace.
        up_since: when this controller began to act.
    """
    namespace = record.stored.key.ref.namespace
    calendars = {
        entry.calendar: _calendar(world, entry.calendar, namespace, labels)
        for entry in spec.calendars
    }
    config = record.config or _misuse(spec, calendars)
    return Seen(
        layout=_layout(world, record, spec, calendars),
        airflow=_airflow(world, record, spec, namespace, labels),
        up_since=up_since,
        calendars=calendars,
        pool=_pool(world, record, spec, namespace, labels),
        config=config,
        override=record.override,
    )


def _calendar(world: World, ref: Ref, namespace: str, labels: Mapping[str, str]) -> CalendarView:
    follower, supporting = world.calendar(ref), world.calendars.get(ref)
    if follower is None or supporting is None:
        return CalendarView(ref=ref, refused=Trouble(Reason.CALENDAR_NOT_FOUND, {"ref": ref}))
    refused: Trouble | None = None
    if supporting.spec is not None and not calendar_allows(
        supporting.spec, ref.namespace, namespace, labels
    ):
        gaps = {"ref": ref, "namespace": namespace}
        refused = Trouble(Reason.CALENDAR_NOT_GRANTED, gaps)
    return follower.view(refused)


def _misuse(spec: TrainingWindow, calendars: Mapping[Ref, CalendarView]) -> Trouble | None:
    """Entries that their calendar cannot serve: by its privacy level, or at all (R2, R13)."""
    for index, entry in enumerate(spec.calendars):
        view = calendars[entry.calendar]
        if view.refused is not None or view.fields is None:
            continue
        path = f"spec.calendars[{index}]"
        if entry.effect is Effect.TRIGGER and "key" not in view.fields:
            return Trouble(Reason.FREE_BUSY_CANNOT_TRIGGER, {"field": f"{path}.effect"})
        found = missing(entry.match, view.fields)
        if found is not None:
            return unavailable(f"{path}.match.{found[0]}", found[1], view)
    return None


def unavailable(field: str, needs: str, view: CalendarView) -> Trouble:
    """A field of a spec needs what a calendar does not give."""
    gaps = {"field": field, "needs": needs, "ref": view.ref, "privacy": view.privacy}
    return Trouble(Reason.FIELD_UNAVAILABLE, gaps)


def _layout(
    world: World, record: WindowRecord, spec: TrainingWindow, calendars: Mapping[Ref, CalendarView]
) -> Layout | None:
    """The layout, made anew only when a snapshot, the spec or the horizon is another."""
    events: dict[Ref, tuple[Event, ...]] = {}
    for ref, view in calendars.items():
        if view.refused is not None or view.snapshot is None:
            return None
        events[ref] = view.snapshot.events
    horizon = horizon_at(world.clock.now())
    made_of = (horizon, *events.values())
    fresh = len(made_of) != len(record.layout_of) or any(
        new is not old and (isinstance(new, tuple) or new != old)
        for new, old in zip(made_of, record.layout_of, strict=False)
    )
    if record.layout is None or fresh:
        record.layout = lay_out(spec, events, horizon)
        record.layout_of = made_of
    return record.layout


def _airflow(
    world: World,
    record: WindowRecord,
    spec: TrainingWindow,
    namespace: str,
    labels: Mapping[str, str],
) -> AirflowView:
    ref, dag_id = spec.dag.airflow, spec.dag.dag_id
    follower, supporting = world.airflow(ref), world.airflows.get(ref)
    if follower is None or supporting is None:
        return AirflowView(ref=ref, refused=Trouble(Reason.AIRFLOW_NOT_FOUND, {"ref": ref}))
    if supporting.spec is None:
        return AirflowView(ref=ref, refused=follower.trouble, runs=follower.runs)
    grant = airflow_grant(supporting.spec, ref.namespace, namespace, labels)
    gaps = {"ref": ref, "namespace": namespace, "dag": dag_id}
    refused: Trouble | None = None
    if grant is None:
        refused = Trouble(Reason.AIRFLOW_NOT_GRANTED, gaps)
    elif not grant.allows(dag_id):
        refused = Trouble(Reason.DAG_NOT_GRANTED, gaps)
    elif supporting.spec.require_gpu_pool and spec.gpu is None:
        refused = Trouble(Reason.POOL_REQUIRED, gaps)
    return AirflowView(
        ref=ref,
        refused=refused,
        url=supporting.spec.url,
        stop_policy=supporting.spec.stop_policy,
        allow_override=grant is not None and grant.allows_override(dag_id),
        facts=follower.facts(dag_id),
        fault=follower.fault,
        runs=follower.runs,
        duration=_duration(follower, record, dag_id),
        slot_at=follower.slot_at(),
        starts_per_minute=follower.starts_per_minute,
    )


def _duration(follower: AirflowFollower, record: WindowRecord, dag_id: str) -> timedelta | None:
    """How long runs are expected to take: until Airflow was asked, what stands in the status."""
    found = follower.durations(dag_id)
    return record.status.expected_duration if found is None else found.p90


def _pool(
    world: World,
    record: WindowRecord,
    spec: TrainingWindow,
    namespace: str,
    labels: Mapping[str, str],
) -> PoolView | None:
    if spec.gpu is None:
        return None
    ref = spec.gpu.pool
    follower, supporting = world.pool(ref), world.pools.get(ref)
    if follower is None or supporting is None:
        return PoolView(ref=ref, refused=Trouble(Reason.POOL_NOT_FOUND, {"ref": ref}))
    if supporting.spec is None:
        return PoolView(ref=ref, refused=follower.trouble)
    grant = pool_grant(supporting.spec, ref.namespace, namespace, labels)
    refused = follower.trouble or follower.overlap
    if grant is None:
        refused = Trouble(Reason.POOL_NOT_GRANTED, {"ref": ref, "namespace": namespace})
    return PoolView(
        ref=ref,
        refused=refused,
        rules=follower.rules,
        grant=grant or PoolGrant(),
        sample=follower.sample,
        fault=follower.fault,
        history=tuple(follower.history) if spec.gpu.max_utilization_percent is not None else (),
        verdict=follower.verdict(record.stored.key.ref),
        unseen=follower.unseen,
    )
