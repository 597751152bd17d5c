"""The schemas of `status`, for the CRDs and their readers; `slackwater.api.status` fills them.

Bounds are wide and nothing is an enum that may grow: a status that the API server refuses could
never be written again. Unlike specs these are read by hand, not by pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from slackwater.api.field import Instant
from slackwater.core.ledger import State
from slackwater.core.status import CONDITION_TYPES
from slackwater.wire import WireModel

MESSAGE_LIMIT: Final = 4096
CLOSEST_LIMIT: Final = 256
VERSION_LIMIT: Final = 64
URL_LIMIT: Final = 4096
OCCURRENCES_LIMIT: Final = 5000
_BY_TYPE: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
_BY_ID: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["id"],
}

_Word = Annotated[str, Field(min_length=1, max_length=128)]
_Count = Annotated[int, Field(ge=0)]


class ConditionStatus(WireModel):
    """One check and its result."""

    type: Annotated[_Word, Field(description="Which check this is.")]
    status: Annotated[
        Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")
    ]
    reason: Annotated[_Word, Field(description="Why, in one word from a closed list.")]
    message: Annotated[
        str, Field(max_length=MESSAGE_LIMIT, description="Why, in one sentence for people.")
    ]
    observed_generation: Annotated[
        _Count, Field(description="The generation of spec that was checked.")
    ]
    last_transition_time: Annotated[
        Instant, Field(description="When the status of this condition last changed.")
    ]


def _conditions(*types: str) -> object:
    return Field(
        max_length=16,
        description=f"The checks and their results: {', '.join(types)}.",
        json_schema_extra=_BY_TYPE,
    )


class WaitedStatus(WireModel):
    """Time that one condition held an occurrence back."""

    condition: Annotated[_Word, Field(description="The condition that was not met.")]
    reason: Annotated[_Word, Field(description="Why it was not met.")]
    seconds: Annotated[_Count, Field(description="For how many seconds in all.")]


class OccurrenceStatus(WireModel):
    """One event that wants one run, and what became of it."""

    id: Annotated[_Word, Field(description="Identity of the event, the same after it was moved.")]
    entry: Annotated[
        _Word, Field(description="Name of the entry of calendars or windows that it belongs to.")
    ]
    series: Annotated[
        _Word | None, Field(description="What all events of one repeating event share.")
    ] = None
    original_start: Annotated[
        str | None,
        Field(max_length=128, description="Start of the event as first written."),
    ] = None
    state: Annotated[_Word, Field(description=f"Where it stands: {', '.join(State)}.")]
    reason: Annotated[_Word, Field(description="Why, in one word from a closed list.")]
    condition: Annotated[
        _Word | None, Field(description="While it waits: the condition that is not met.")
    ] = None
    since: Annotated[Instant | None, Field(description="When the reason began to hold.")] = None
    window_start: Annotated[
        Instant | None, Field(description="The earliest time at which its run may start.")
    ] = None
    window_end: Annotated[
        Instant | None, Field(description="The end of the last time in which its run may start.")
    ] = None
    planned_start: Annotated[
        Instant | None,
        Field(description="With startPolicy OffPeak, when it is planned to start."),
    ] = None
    intent_time: Annotated[
        Instant | None,
        Field(description="When the intent to start was recorded, before Airflow was asked."),
    ] = None
    dag_run_id: Annotated[
        str | None, Field(max_length=250, description="Id of the run in Airflow.")
    ] = None
    dag_run_url: Annotated[
        str | None,
        Field(
            alias="dagRunURL",
            max_length=URL_LIMIT,
            description="Where the run stands in Airflow's user interface.",
        ),
    ] = None
    trigger_time: Annotated[
        Instant | None, Field(description="When Airflow had accepted the run.")
    ] = None
    start_time: Annotated[Instant | None, Field(description="When the run began to run.")] = None
    end_time: Annotated[
        Instant | None,
        Field(
            description="When the run ended, or the occurrence was missed, skipped or superseded."
        ),
    ] = None
    cancel_time: Annotated[
        Instant | None, Field(description="When the run is to be cancelled, once that is known.")
    ] = None
    promise: Annotated[
        _Count | None,
        Field(
            description="GPUs kept for the run that do not yet show in the pool's numbers; 0 when "
            "left out."
        ),
    ] = None
    waited: Annotated[
        tuple[WaitedStatus, ...],
        Field(max_length=128, description="What held it back while its window was open."),
    ] = ()
    closest: Annotated[
        str | None,
        Field(
            max_length=CLOSEST_LIMIT,
            description='The best moment while it waited, such as "03:40 14 of 16 GPUs".',
        ),
    ] = None
    absent: Annotated[
        _Count | None,
        Field(
            description="How many complete readings of the calendar in a row lack its event; 0 "
            "when left out."
        ),
    ] = None
    appeared_time: Annotated[
        Instant | None,
        Field(description="When its event came into the calendar, if that was seen."),
    ] = None
    vanished_time: Annotated[
        Instant | None, Field(description="Since when its event is missing in the calendar.")
    ] = None


class TrainingWindowStatus(WireModel):
    """What Slackwater did and will do, and why."""

    observed_generation: Annotated[
        _Count | None, Field(description="The generation of spec that all of this is about.")
    ] = None
    conditions: Annotated[tuple[ConditionStatus, ...], _conditions(*CONDITION_TYPES)] = ()
    message: Annotated[
        str | None,
        Field(
            max_length=MESSAGE_LIMIT, description="Why it is or is not running, in one sentence."
        ),
    ] = None
    active: Annotated[
        _Count | None, Field(description="How many runs are starting, queued or running.")
    ] = None
    next_window_start: Annotated[
        Instant | None, Field(description="Start of the window that is open or comes next.")
    ] = None
    next_window_end: Annotated[Instant | None, Field(description="End of that window.")] = None
    last_schedule_time: Annotated[
        Instant | None, Field(description="When the last run was started.")
    ] = None
    last_successful_time: Annotated[
        Instant | None, Field(description="When the last successful run ended.")
    ] = None
    last_missed_time: Annotated[
        Instant | None, Field(description="When the last occurrence was missed.")
    ] = None
    expected_duration_seconds: Annotated[
        _Count | None, Field(description="How long a run is expected to take.")
    ] = None
    occurrences: Annotated[
        tuple[OccurrenceStatus, ...],
        Field(
            max_length=OCCURRENCES_LIMIT,
            description="Every occurrence from 12 hours before its window until 48 hours after "
            "it, then the last spec.historyLimit of them; missed ones too.",
            json_schema_extra=_BY_ID,
        ),
    ] = ()


class CalendarStatus(WireModel):
    """How reading the calendar goes."""

    conditions: Annotated[tuple[ConditionStatus, ...], _conditions("Ready")] = ()
    last_change_time: Annotated[
        Instant | None, Field(description="When its content last changed.")
    ] = None
    blocks_at: Annotated[
        Instant | None,
        Field(
            description="Set while the calendar cannot be read: from then on no run starts that "
            "depends on it."
        ),
    ] = None
    event_count: Annotated[
        _Count | None,
        Field(description="Events from 48 hours ago to 35 days ahead, repeating ones one by one."),
    ] = None


class GPUPoolStatus(WireModel):
    """The pool's numbers as last read, at most a minute old."""

    conditions: Annotated[tuple[ConditionStatus, ...], _conditions("Ready", "DataFresh")] = ()
    capacity: Annotated[_Count | None, Field(description="GPUs on all nodes of the pool.")] = None
    free: Annotated[
        _Count | None, Field(description="GPUs on usable nodes that no pod asks for.")
    ] = None
    promised: Annotated[
        _Count | None,
        Field(description="GPUs kept for runs that do not yet show in the pool's numbers."),
    ] = None
    utilization_percent: Annotated[
        float | None, Field(ge=0, le=100, description="Mean utilisation of the pool's GPUs.")
    ] = None
    sample_time: Annotated[Instant | None, Field(description="When the numbers were measured.")] = (
        None
    )


class AirflowInstanceStatus(WireModel):
    """How talking to Airflow goes."""

    conditions: Annotated[tuple[ConditionStatus, ...], _conditions("Ready")] = ()
    version: Annotated[
        str | None, Field(max_length=VERSION_LIMIT, description="Version that the server tells.")
    ] = None
