"""What the users' four resources mean, as plain data (see `slackwater.api` for the wire)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from slackwater.core.event import Busy
from slackwater.core.span import Span

EXPRESSION_KEY: Final = "$cel"
"""What marks an expression in a conf."""


class Effect(StrEnum):
    """What the events of an entry do to a TrainingWindow."""

    TRIGGER = "Trigger"
    ALLOW = "Allow"
    DENY = "Deny"
    DEADLINE = "Deadline"


class Ending(StrEnum):
    """What an edge in time does to a run in flight."""

    FINISH = "Finish"
    CANCEL = "Cancel"


class Overlap(StrEnum):
    """What a start does to the other occurrences open at that time."""

    EACH = "Each"
    ONCE = "Once"


class StartPolicy(StrEnum):
    """When inside its window a run starts."""

    EARLIEST = "Earliest"
    OFF_PEAK = "OffPeak"


class Concurrency(StrEnum):
    """Whether runs of one TrainingWindow may overlap."""

    FORBID = "Forbid"
    ALLOW = "Allow"


class StopPolicy(StrEnum):
    """What the owner of a pool or an Airflow makes of all its users (Kueue's words)."""

    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"


class Privacy(StrEnum):
    """How much of a calendar is read and may flow on (R13)."""

    FREE_BUSY = "FreeBusy"
    BASIC = "Basic"
    DETAILS = "Details"


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """An object by namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which events an entry means: all given criteria must hold, none means every event."""

    summary: str | None = None
    categories: tuple[str, ...] = ()
    busy: tuple[Busy, ...] = ()
    organizers: tuple[str, ...] = ()
    expression: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry:
    """An element of `spec.calendars`."""

    name: str
    calendar: Ref
    effect: Effect
    match: Match = field(default_factory=Match)
    start_offset: timedelta = timedelta()
    end_offset: timedelta = timedelta()
    when_running: Ending = Ending.FINISH


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineEntry:
    """An element of `spec.windows`: a cron schedule with a duration, or one fixed span."""

    name: str
    effect: Effect
    schedule: str | None = None
    duration: timedelta | None = None
    fixed: Span | None = None
    when_running: Ending = Ending.FINISH


Entry = CalendarEntry | InlineEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAsk:
    """`spec.gpu`."""

    pool: Ref
    count: int
    per_pod: int = 1
    max_utilization_percent: float | None = None
    hysteresis_percent: float = 5.0
    hold_for: timedelta = timedelta(seconds=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag:
    """`spec.dag`.

    Attributes:
        airflow: which AirflowInstance.
        dag_id: of the DAG.
        conf: JSON with `{"$cel": expression}` anywhere in it.
        templated: whether the conf has an expression, so that each run has a conf of its own.
    """

    airflow: Ref
    dag_id: str
    conf: dict[str, Any] = field(default_factory=dict)
    templated: bool = field(init=False, default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "templated", has_expression(self.conf))


def has_expression(conf: Any) -> bool:
    """Whether a conf, or a part of one, has an expression anywhere in it."""
    if isinstance(conf, dict):
        return EXPRESSION_KEY in conf or any(map(has_expression, conf.values()))
    return isinstance(conf, list | tuple) and any(map(has_expression, conf))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWindow:
    """`spec` of a TrainingWindow."""

    dag: Dag
    calendars: tuple[CalendarEntry, ...] = ()
    windows: tuple[InlineEntry, ...] = ()
    time_zone: str = "UTC"
    suspend: bool = False
    overlap: Overlap = Overlap.EACH
    start_policy: StartPolicy = StartPolicy.EARLIEST
    gpu: GpuAsk | None = None
    starting_deadline: timedelta | None = None
    expected_duration: timedelta | None = None
    concurrency: Concurrency = Concurrency.FORBID
    on_window_end: Ending = Ending.FINISH
    overrun: timedelta = timedelta()
    on_event_cancelled: Ending = Ending.FINISH
    priority: int = 0
    history_limit: int = 20

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries in the order in which the first match counts."""
        return (*self.calendars, *self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which TrainingWindow this is, for run ids and messages.

    `pages` is where people open this installation's own pages, None where nothing is known of it.
    """

    installation: str
    ref: Ref
    created: datetime
    generation: int = 1
    pages: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGrant:
    """What a pool allows one namespace (the best grant that selects it)."""

    max_gpus: int | None = None
    max_priority: int = 100
    allow_override: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRule:
    """Which events of a calendar keep GPUs of a pool for others.

    `gpus` is a number, or a CEL expression over `event` that gives one.
    """

    name: str
    calendar: Ref
    gpus: int | str
    match: Match = field(default_factory=Match)
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """What the core needs of a GPUPool's spec."""

    ref: Ref
    stop_policy: StopPolicy = StopPolicy.NONE
    max_sample_age: timedelta = timedelta(seconds=120)
    min_coverage_percent: float = 90.0
    max_concurrent_runs: int | None = None
    reservations: tuple[ReservationRule, ...] = ()
    metered: bool = True  # False for a static pool: only our own promises count
