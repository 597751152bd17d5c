"""Everything `decide` may look at, gathered by the engine: data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from slackwater.core.allot import Verdict
from slackwater.core.event import Snapshot
from slackwater.core.occurrence import Layout
from slackwater.core.run import DagFacts, Known
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import PoolGrant, PoolRules, Privacy, Ref, StopPolicy
from slackwater.core.words import Reason


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something cannot be used, with what its sentence needs."""

    reason: Reason
    gaps: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarView:
    """One Calendar as its users see it.

    Attributes:
        ref: which one.
        refused: it does not exist or does not let us in.
        snapshot: the last complete one.
        checked_at: the last successful look, changed or not.
        tried_at: the last attempt, successful or not.
        retry_at: no look is allowed before this (rate limit, back-off).
        fault: why the last attempt failed, None after a success.
        blocks_at: from then on the snapshot is too old to start anything.
        recent: keys seen in either of the last two complete looks of one configuration; None
            until there were two (R10).
        appeared: when each event came into the calendar, of those seen to come in the last 48 h;
            None until two looks could be compared.
        blind: times without a successful look that were longer than usual.
        privacy: of the calendar.
        fields: attributes of `Event` that it gives; None where nothing is known of it.
    """

    ref: Ref
    refused: Trouble | None = None
    snapshot: Snapshot | None = None
    checked_at: datetime | None = None
    tried_at: datetime | None = None
    retry_at: datetime | None = None
    fault: Reason | None = None
    blocks_at: datetime | None = None
    recent: frozenset[str] | None = None
    appeared: Mapping[str, datetime] | None = None
    blind: tuple[Span, ...] = ()
    privacy: Privacy = Privacy.BASIC
    fields: frozenset[str] | None = None

    def usable(self, now: datetime) -> bool:
        """True while its snapshot may carry a start."""
        return (
            self.refused is None
            and self.snapshot is not None
            and self.blocks_at is not None
            and now < self.blocks_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """The GPUPool of a TrainingWindow."""

    ref: Ref
    refused: Trouble | None = None
    rules: PoolRules | None = None
    grant: PoolGrant = field(default_factory=PoolGrant)
    sample: Sample | None = None
    fault: Reason | None = None
    history: tuple[tuple[datetime, float], ...] = ()
    verdict: Verdict | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)
    """What the pool's numbers do not show yet of each run's promise, by run id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowView:
    """The AirflowInstance of a TrainingWindow, its DAG and the runs of ours in it.

    Attributes:
        ref: which one.
        refused: it does not exist, or does not let this namespace trigger this DAG.
        url: of the server, as people open it; empty where it is not known.
        stop_policy: of the instance.
        allow_override: the grant lets an override go past the calendar.
        facts: the last preflight of the DAG.
        fault: why Airflow cannot be asked now.
        runs: what is known of run ids, as far as anything is.
        duration: learned, None when unknown.
        slot_at: when the next start is allowed by maxStartsPerMinute; None means now.
        starts_per_minute: that limit.
    """

    ref: Ref
    refused: Trouble | None = None
    url: str = ""
    stop_policy: StopPolicy = StopPolicy.NONE
    allow_override: bool = False
    facts: DagFacts | None = None
    fault: Trouble | None = None
    runs: Mapping[str, Known] = field(default_factory=dict)
    duration: timedelta | None = None
    slot_at: datetime | None = None
    starts_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a person asked for by annotation (R15)."""

    trigger: datetime | None = None
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one TrainingWindow sees.

    `layout` is None until every calendar with a Trigger, Allow or Deny entry was read once.
    `up_since` is when this controller began to act.
    """

    layout: Layout | None
    airflow: AirflowView
    up_since: datetime
    calendars: Mapping[Ref, CalendarView] = field(default_factory=dict)
    pool: PoolView | None = None
    config: Trouble | None = None
    override: Override = field(default_factory=Override)
