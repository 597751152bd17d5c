"""Everything the engine knows: the objects, their followers, and who refers to whom."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from slackwater.api.airflow_instance import AirflowInstanceSpec
from slackwater.api.calendar import CalendarSpec
from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.api.read import (
    read_airflow_instance,
    read_calendar,
    read_gpu_pool,
    read_training_window,
)
from slackwater.api.status import from_wire
from slackwater.calendars.registry import PROVIDERS
from slackwater.core.identity import run_prefix
from slackwater.core.run import Known
from slackwater.core.seen import Trouble
from slackwater.core.spec import Identity, Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.ports import Airflow, CalendarSource, Clock, Key, Kind, PoolSource, Stored
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.calendar_follower import CalendarFollower, CalendarSettings
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.records import Sources, Supporting, WindowRecord, read_override

Follower = CalendarFollower | PoolFollower | AirflowFollower


class World:
    """Objects, followers and references.

    Args:
        clock: the present.
        random: for spreading polls.
        sources: makes adapters.
        touched: called with a TrainingWindow that should be looked at.
        poked: called with a Calendar, GPUPool or AirflowInstance that should be looked at now.
        published: called with one whose status may have changed.
        closing: called with an adapter that is not used any more.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        sources: Sources,
        touched: Callable[[Ref], None],
        poked: Callable[[Key], None],
        published: Callable[[Key], None],
        closing: Callable[[CalendarSource | PoolSource | Airflow], None],
    ) -> None:
        self.clock, self._random, self._sources = clock, random, sources
        self._touched, self._poked, self._published = touched, poked, published
        self._closing = closing
        self.installation = ""
        self.pages: str | None = None  # where people open this installation's own pages
        self.windows: dict[Ref, WindowRecord] = {}
        self.calendars: dict[Ref, Supporting[CalendarSpec]] = {}
        self.pools: dict[Ref, Supporting[GPUPoolSpec]] = {}
        self.airflows: dict[Ref, Supporting[AirflowInstanceSpec]] = {}
        self.following: dict[Key, Follower] = {}
        self.users: dict[Key, set[Ref]] = defaultdict(set)
        self._reserving: dict[Key, set[Ref]] = defaultdict(set)  # pools, by calendar
        self.listed = False

    # --- objects come and go

    def admit(self, stored: Stored) -> None:
        """Take in a new or changed object.

        An echo of a status that we wrote says nothing new, and may come after a later write of
        ours: taking it in would turn the ledger back.
        """
        if self._is_echo(stored):
            return
        match stored.key.kind:
            case Kind.TRAINING_WINDOW:
                self._admit_window(stored)
            case Kind.CALENDAR:
                self._admit_calendar(stored)
            case Kind.GPU_POOL:
                self._admit_pool(stored)
            case Kind.AIRFLOW_INSTANCE:
                self._admit_airflow(stored)
        if stored.key.kind is not Kind.TRAINING_WINDOW:
            self._published(stored.key)
            self.touch_users(stored.key)

    def _is_echo(self, stored: Stored) -> bool:
        ref = stored.key.ref
        if stored.key.kind is Kind.TRAINING_WINDOW:
            record = self.windows.get(ref)
            return record is not None and stored.resource_version in record.ours
        held = self._supporting(stored.key.kind).get(ref)
        return held is not None and stored.resource_version in held.ours

    def drop(self, key: Key) -> WindowRecord | None:
        """Forget a deleted object; gives the record of a TrainingWindow."""
        if key.kind is Kind.TRAINING_WINDOW:
            record = self.windows.pop(key.ref, None)
            for users in self.users.values():
                users.discard(key.ref)
            return record
        follower = self.following.pop(key, None)
        self._supporting(key.kind).pop(key.ref, None)
        if follower is not None:
            self.close(follower)
        self.touch_users(key)
        return None

    def secrets_changed(self, namespace: str) -> None:
        """Build anew every adapter of the namespace: one of its secrets is another."""
        for kind in (Kind.CALENDAR, Kind.GPU_POOL, Kind.AIRFLOW_INSTANCE):
            for ref in [ref for ref in self._supporting(kind) if ref.namespace == namespace]:
                follower = self.following.get(Key(kind, ref))
                if isinstance(follower, CalendarFollower):
                    follower.renew(partial(self._readmit, kind, ref))
                else:
                    self._readmit(kind, ref)

    def _readmit(self, kind: Kind, ref: Ref) -> None:
        held = self._supporting(kind).pop(ref, None)
        if held is not None:
            self.admit(held.stored)

    def _supporting(self, kind: Kind) -> dict[Ref, Supporting[Any]]:
        found: dict[Kind, dict[Ref, Supporting[Any]]] = {
            Kind.CALENDAR: self.calendars,
            Kind.GPU_POOL: self.pools,
            Kind.AIRFLOW_INSTANCE: self.airflows,
        }
        return found[kind]

    def touch_users(self, key: Key) -> None:
        """Have every TrainingWindow that refers to an object looked at."""
        for ref in sorted(self.users.get(key, ())):
            self._touched(ref)

    def _admit_window(self, stored: Stored) -> None:
        ref = stored.key.ref
        record = self.windows.get(ref)
        if record is not None and record.stored.uid != stored.uid:
            record = None
        fresh = record is None
        if record is None:
            record = self.windows[ref] = WindowRecord(stored=stored, since=self.clock.now())
        if fresh or record.stored.generation != stored.generation or record.spec is None:
            self._parse_window(record, stored)
        if fresh or dict(stored.status) != dict(record.stored.status):
            record.status = from_wire(stored.status)
            record.unwritten = False
        record.stored = stored
        record.override = read_override(stored.annotations)
        self._touched(ref)

    def _parse_window(self, record: WindowRecord, stored: Stored) -> None:
        ref = stored.key.ref
        try:
            spec = read_training_window(ref.namespace, stored.spec)
        except ConfigError as error:
            record.config = Trouble(error.reason, error.gaps)
            return  # the last good spec goes on steering what runs
        record.config, record.spec, record.layout = None, spec, None
        for users in self.users.values():
            users.discard(ref)
        for entry in spec.calendars:
            self.users[Key(Kind.CALENDAR, entry.calendar)].add(ref)
        if spec.gpu is not None:
            self.users[Key(Kind.GPU_POOL, spec.gpu.pool)].add(ref)
        self.users[Key(Kind.AIRFLOW_INSTANCE, spec.dag.airflow)].add(ref)

    def _admit_calendar(self, stored: Stored) -> None:
        key, ref = stored.key, stored.key.ref
        before = self.calendars.get(ref)
        follower = self.following.get(key)
        if not isinstance(follower, CalendarFollower):
            follower = CalendarFollower(ref, self.clock, self._random, lambda: self._news(key))
            self.following[key] = follower
        if before is not None and before.stored.generation == stored.generation:
            before.stored = stored
            return
        self.close(follower)
        try:
            spec = read_calendar(stored.spec, files=self._sources.files)
            settings = _calendar_settings(spec)
            follower.configure(self._sources.calendar(key, spec), settings)
            follower.trouble = None
            self.calendars[ref] = Supporting(stored, spec)
        except ConfigError as error:
            follower.source = None
            follower.trouble = Trouble(error.reason, error.gaps)
            self.calendars[ref] = Supporting(stored, None)
        self._poked(key)

    def _admit_pool(self, stored: Stored) -> None:
        key, ref = stored.key, stored.key.ref
        before = self.pools.get(ref)
        follower = self.following.get(key)
        if not isinstance(follower, PoolFollower):
            follower = PoolFollower(ref, self.clock, self._random, lambda: self._news(key))
            self.following[key] = follower
        if before is not None and before.stored.generation == stored.generation:
            before.stored = stored
            return
        try:
            spec, rules = read_gpu_pool(ref, stored.spec)
            interval = timedelta(seconds=spec.sample_interval_seconds)
            source = follower.source
            if before is None or before.spec is None or _origin(before.spec) != _origin(spec):
                self.close(follower)
                source = self._sources.pool(key, spec)
            follower.configure(source, rules, interval)
            follower.trouble = None
            for pools in self._reserving.values():
                pools.discard(ref)
            for rule in rules.reservations:
                self._reserving[Key(Kind.CALENDAR, rule.calendar)].add(ref)
            self.pools[ref] = Supporting(stored, spec)
        except ConfigError as error:
            self.close(follower)
            follower.source = None
            follower.trouble = Trouble(error.reason, error.gaps)
            self.pools[ref] = Supporting(stored, None)
        self._poked(key)

    def _admit_airflow(self, stored: Stored) -> None:
        key, ref = stored.key, stored.key.ref
        before = self.airflows.get(ref)
        follower = self.following.get(key)
        if not isinstance(follower, AirflowFollower):
            follower = AirflowFollower(
                ref,
                self.clock,
                self._random,
                run_prefix(self.installation),
                lambda run_id, known: self._run_news(key, run_id, known),
                lambda dag_id: self._facts_news(key, dag_id),
                lambda: self._news(key),
            )
            self.following[key] = follower
        if before is not None and before.stored.generation == stored.generation:
            before.stored = stored
            return
        try:
            spec = read_airflow_instance(stored.spec)
            airflow = follower.airflow
            if (
                before is None
                or before.spec is None
                or ((before.spec.url, before.spec.auth) != (spec.url, spec.auth))
            ):
                self.close(follower)
                airflow = self._sources.airflow(key, spec)
            interval = timedelta(seconds=spec.poll_interval_seconds)
            follower.configure(airflow, interval, spec.max_starts_per_minute)
            follower.trouble = None
            self.airflows[ref] = Supporting(stored, spec)
        except ConfigError as error:
            self.close(follower)
            follower.airflow = None
            follower.trouble = Trouble(error.reason, error.gaps)
            self.airflows[ref] = Supporting(stored, None)
        self._poked(key)

    def close(self, follower: Follower) -> None:
        """Let a follower's adapter go."""
        adapter = follower.airflow if isinstance(follower, AirflowFollower) else follower.source
        if adapter is not None:
            self._closing(adapter)

    # --- news

    def _news(self, key: Key) -> None:
        self._published(key)
        self.touch_users(key)
        for pool in sorted(self._reserving.get(key, ())):
            self._published(Key(Kind.GPU_POOL, pool))  # what it reserves may be another

    def _facts_news(self, key: Key, dag_id: str) -> None:
        """Touch those who start the DAG, not all who use its server: they may be thousands."""
        for ref in sorted(self.users.get(key, ())):
            record = self.windows.get(ref)
            if record is not None and record.spec is not None and record.spec.dag.dag_id == dag_id:
                self._touched(ref)

    def _run_news(self, key: Key, run_id: str, known: Known) -> None:
        follower = self.airflow(key.ref)
        owner = follower.owners.get(run_id) if follower else None
        if owner in self.windows:
            self._touched(owner)
            return
        origin = getattr(getattr(known, "run", None), "origin", {})
        owner = Ref(str(origin.get("namespace", "")), str(origin.get("name", "")))
        if owner in self.windows:
            self._touched(owner)

    # --- pools that share nodes

    def overlap(self, ref: Ref) -> Trouble | None:
        """Which older pool has a node of this one too: their promises would not add up (R6)."""
        mine, follower = self.pools.get(ref), self.pool(ref)
        if mine is None or mine.spec is None or follower is None or follower.sample is None:
            return None
        nodes = {room.node for room in follower.sample.rooms}
        for other_ref, other in sorted(self.pools.items()):
            other_follower = self.pool(other_ref)
            if other.spec is None or other_follower is None or other_follower.sample is None:
                continue
            older = (other.stored.created, other_ref) < (mine.stored.created, ref)
            if not older or _metered_by(other.spec) != _metered_by(mine.spec):
                continue
            shared = nodes.intersection(room.node for room in other_follower.sample.rooms)
            if shared:
                return Trouble(Reason.OVERLAPS, {"node": min(shared), "other": other_ref})
        return None

    # --- looking things up

    def identity(self, record: WindowRecord) -> Identity:
        """Which TrainingWindow a record is."""
        stored = record.stored
        return Identity(
            installation=self.installation,
            ref=stored.key.ref,
            created=stored.created,
            generation=stored.generation,
            pages=self.pages,
        )

    def calendar(self, ref: Ref) -> CalendarFollower | None:
        """The follower of a Calendar."""
        follower = self.following.get(Key(Kind.CALENDAR, ref))
        return follower if isinstance(follower, CalendarFollower) else None

    def pool(self, ref: Ref) -> PoolFollower | None:
        """The follower of a GPUPool."""
        follower = self.following.get(Key(Kind.GPU_POOL, ref))
        return follower if isinstance(follower, PoolFollower) else None

    def airflow(self, ref: Ref) -> AirflowFollower | None:
        """The follower of an AirflowInstance."""
        follower = self.following.get(Key(Kind.AIRFLOW_INSTANCE, ref))
        return follower if isinstance(follower, AirflowFollower) else None


def _calendar_settings(spec: CalendarSpec) -> CalendarSettings:
    provider = PROVIDERS[spec.provider.name]
    refresh = provider.default_refresh
    if spec.refresh_interval_seconds is not None:
        refresh = timedelta(seconds=spec.refresh_interval_seconds)
    staleness = timedelta(seconds=spec.max_staleness_seconds)
    return CalendarSettings(refresh, staleness, spec.privacy, provider.fields[spec.privacy])


def _metered_by(spec: GPUPoolSpec) -> tuple[str, str] | object:
    """Where a pool's nodes are known from; a static pool has none that another could share."""
    prometheus = spec.source.prometheus
    return object() if prometheus is None else (prometheus.server_address, spec.resource)


def _origin(spec: GPUPoolSpec) -> str:
    """What of a pool's spec its source is made from."""
    fields = {"source", "node_selector", "nodes", "tolerations", "resource"}
    counted = sorted({name for one in spec.reservations for name in one.namespaces})
    return json.dumps([spec.model_dump(mode="json", include=fields), counted], sort_keys=True)
