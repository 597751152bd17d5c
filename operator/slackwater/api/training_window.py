"""`TrainingWindow`: calendars and schedules that say when one Airflow DAG may run."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from slackwater.api.entries import CalendarEntry, InlineWindow
from slackwater.api.field import (
    DAY,
    DISTINCT_NAMES,
    LIST_MAP,
    Rule,
    cel,
    demand,
)
from slackwater.core.spec import Concurrency, Effect, Ending, Overlap, StartPolicy
from slackwater.wire import ObjectRef, WireModel, ZoneName

_WHOLE_PODS: Final = Rule(
    "self.count % self.perPod == 0",
    "count must be a multiple of perPod, since every pod takes perPod GPUs: raise count to the "
    "next multiple or correct perPod",
)
_BELOW: Final = Rule(
    "!has(self.maxUtilizationPercent) || self.hysteresisPercent < self.maxUtilizationPercent",
    "hysteresisPercent must be smaller than maxUtilizationPercent, else no pool is ever quiet "
    "enough: lower hysteresisPercent",
)


class Gpu(WireModel):
    """The GPUs that a run needs, and how quiet their pool must be."""

    rules = (_WHOLE_PODS, _BELOW)

    pool_ref: Annotated[
        ObjectRef,
        Field(
            description="The GPUPool that the DAG's pods run on. One of another namespace must "
            "name this namespace in its spec.grants."
        ),
    ]
    count: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="GPUs that one run needs in all, over all of its pods.",
        ),
    ]
    per_pod: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="GPUs that each pod of the run needs on one node. Free GPUs count only in "
            "whole pods: 16 free GPUs on nine nodes cannot hold two pods of 8.",
        ),
    ] = 1
    max_utilization_percent: Annotated[
        float | None,
        Field(
            ge=1,
            le=100,
            description="If set, a run starts only while the mean utilisation of the pool's GPUs "
            "is below this percentage. Left out: utilisation does not matter.",
        ),
    ] = None
    hysteresis_percent: Annotated[
        float,
        Field(
            ge=0,
            le=50,
            description="Once the pool was too busy, its utilisation must fall this many points "
            "below maxUtilizationPercent before it counts as quiet again.",
        ),
    ] = 5.0
    for_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=DAY,
            description="How long the utilisation must have been below maxUtilizationPercent "
            "without a break. Has no effect without maxUtilizationPercent.",
        ),
    ] = 300

    @model_validator(mode="after")
    def _numbers_fit_together(self) -> Self:
        demand(self.count % self.per_pod == 0, _WHOLE_PODS)
        limit = self.max_utilization_percent
        demand(limit is None or self.hysteresis_percent < limit, _BELOW)
        return self


SAME_DAG: Final = Rule(
    "self == oldSelf",
    "dagId cannot be changed: create another TrainingWindow for the other DAG",
)
SAME_AIRFLOW: Final = Rule(
    "self == oldSelf",
    "airflowRef cannot be changed: create another TrainingWindow for the other AirflowInstance",
)


class Dag(WireModel):
    """The Airflow DAG to run."""

    airflow_ref: Annotated[
        ObjectRef,
        Field(
            description="The AirflowInstance that has the DAG. Cannot be changed. One of another "
            "namespace must name this namespace in its spec.grants.",
            json_schema_extra=cel(SAME_AIRFLOW),
        ),
    ]
    dag_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=250,
            # Airflow's own, but for names of dots alone: they would mean another path in URLs.
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
            description="Id of the DAG in Airflow. Cannot be changed.",
            json_schema_extra=cel(SAME_DAG),
        ),
    ]
    conf: dict[str, Any] = Field(
        default_factory=dict,
        description="Configuration of the run: any JSON object. Anywhere in it, an object with "
        'the single key $cel, such as {"$cel": "window.end"}, is replaced by the value of that '
        "CEL expression over event, window, gpu and run. The key trainingWindow is kept for "
        "Slackwater itself.",
    )


_TRIGGER: Final = Rule(
    "(has(self.calendars) && self.calendars.exists(c, c.effect == 'Trigger')) || "
    "(has(self.windows) && self.windows.exists(w, w.effect == 'Trigger'))",
    "no entry of calendars or windows has effect Trigger, so nothing would ever run: set the "
    "effect of one entry to Trigger",
)
_NAMES: Final = Rule(
    "!has(self.calendars) || !has(self.windows) || "
    "self.calendars.all(c, !self.windows.exists(w, w.name == c.name))",
    "an entry of calendars and an entry of windows have the same name: rename one of them",
)


_NEEDS_POOL: Final = Rule(
    "self.startPolicy != 'OffPeak' || has(self.gpu)",
    "startPolicy OffPeak plans by the load of a GPU pool: set gpu, or startPolicy to Earliest",
)


class TrainingWindowSpec(WireModel):
    """What is wanted: when the DAG may run, on which GPUs, and what ends a run."""

    rules = (_TRIGGER, _NAMES, _NEEDS_POOL)

    dag: Annotated[Dag, Field(description="The Airflow DAG to run.")]
    calendars: Annotated[
        tuple[CalendarEntry, ...],
        Field(
            max_length=32,
            description="Calendars whose events trigger, allow or deny runs. Where an event "
            "matches several Trigger entries, the first one counts.",
            json_schema_extra=LIST_MAP,
        ),
        DISTINCT_NAMES,
    ] = ()
    windows: Annotated[
        tuple[InlineWindow, ...],
        Field(
            max_length=32,
            description="Times that trigger, allow or deny runs, written here without a calendar.",
            json_schema_extra=LIST_MAP,
        ),
        DISTINCT_NAMES,
    ] = ()
    time_zone: Annotated[
        ZoneName,
        Field(
            description="Time zone by its IANA name, such as Europe/Berlin: for `windows`, and for "
            "floating and all-day events of calendars that have no time zone of their own."
        ),
    ] = "UTC"
    gpu: Annotated[
        Gpu | None,
        Field(
            description="The GPUs that a run needs. Left out: runs start without a look at GPUs."
        ),
    ] = None
    suspend: Annotated[
        bool,
        Field(description="True: nothing starts and queued runs are deleted; running ones go on."),
    ] = False
    overlap: Annotated[
        Overlap,
        Field(
            description="What a start does to other occurrences that are open at the same time. "
            "Each: every one gets its run. Once: the others become Superseded."
        ),
    ] = Overlap.EACH
    start_policy: Annotated[
        StartPolicy,
        Field(
            description="When inside its window a run starts. Earliest: as soon as everything "
            "allows it. OffPeak: at the quietest moment that the pool's forecast, reservations and "
            "other runs leave before the latest start."
        ),
    ] = StartPolicy.EARLIEST
    concurrency_policy: Annotated[
        Concurrency,
        Field(
            description="Whether runs of this TrainingWindow may overlap. Forbid: the next run "
            "waits for the end of the one before. Allow: it does not."
        ),
    ] = Concurrency.FORBID
    priority: Annotated[
        int,
        Field(
            ge=-1_000_000,
            le=1_000_000,
            description="Place in the queue of the GPU pool: higher goes first. Capped by "
            "maxPriority of the pool's grant.",
        ),
    ] = 0
    starting_deadline_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=31 * DAY,
            description="How long after its window begins a run may still start. Left out: "
            "until the window ends.",
        ),
    ] = None
    expected_duration_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=31 * DAY,
            description="How long a run takes. A run that would end too late is not started. Left "
            "out: learned from successful runs of the last 30 days, once there are five.",
        ),
    ] = None
    on_window_end: Annotated[
        Ending,
        Field(
            description="What the end of its window does to a run in flight. Finish: the run goes "
            "on. Cancel: it is cancelled after overrunSeconds."
        ),
    ] = Ending.FINISH
    overrun_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=7 * DAY,
            description="With onWindowEnd Cancel, how long a run may go on after its window. At "
            "most 7 days.",
        ),
    ] = 0
    on_event_cancelled: Annotated[
        Ending,
        Field(
            description="What the deletion of its event does to a run in flight: Finish or Cancel."
        ),
    ] = Ending.FINISH
    history_limit: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="How many past occurrences status keeps beyond the last 48 hours.",
        ),
    ] = 20

    @model_validator(mode="after")
    def _entries_fit_together(self) -> Self:
        effects = [e.effect for e in self.calendars] + [w.effect for w in self.windows]
        demand(Effect.TRIGGER in effects, _TRIGGER)
        names = {entry.name for entry in self.calendars}
        demand(names.isdisjoint(entry.name for entry in self.windows), _NAMES)
        demand(self.start_policy is StartPolicy.EARLIEST or self.gpu is not None, _NEEDS_POOL)
        return self


class TrainingWindow(WireModel):
    """Runs an Airflow DAG when the team's calendar says so and the GPUs are free."""

    spec: Annotated[
        TrainingWindowSpec,
        Field(description="When the DAG may run, on which GPUs, and what ends a run."),
    ]
