"""The windows file: what the operator tells Airflow, as one JSON document.

The operator (or `slackwater run`) writes it, the Airflow package and the tide table read it. It holds
times, states and GPUs. It holds no title, organiser or description; the parameters of an event stand
in it only where the event's calendar has privacy `Details` (R13).

The format only grows. A reader leaves out what it cannot read and refuses a higher `version`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

VERSION: Final = 1

OPEN_STATES: Final = frozenset({"Waiting", "Intended", "Triggered", "Running"})
"""Occurrences that are happening now."""
ACTIVE_STATES: Final = frozenset({"Intended", "Triggered", "Running"})
"""Occurrences that have a run which is not over."""
FINAL_STATES: Final = frozenset(
    {"Succeeded", "Failed", "Cancelled", "Missed", "Skipped", "Superseded"}
)
"""Occurrences to which nothing more happens."""


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """Time that was taken from a window, and by which Deny entry; "" where no Allow covers it."""

    start: datetime
    end: datetime
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Waited:
    """How long an occurrence was held back, in whole seconds, and by what."""

    reason: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One event of a TrainingWindow, as the operator sees it.

    Attributes:
        id: its key, which is also in the run's conf.
        entry: name of the entry of the TrainingWindow that it belongs to.
        state: such as `Planned`, `Waiting`, `Running`, `Succeeded`, `Missed`.
        reason: why, one CamelCase word.
        start: first instant at which a run may start.
        end: last of them; equals `start` where nothing is left of it.
        pieces: when a run may start, sorted and disjoint, where that is more than one interval.
        run_end: end of the window of its run, which may be later than `end`.
        cancel_time: when its run is or would be cancelled; None where nothing cancels it.
        cuts: what was taken from it.
        planned_start: when its run is planned to start, with `startPolicy: OffPeak`; else None.
        dag_run_id: the run, once there is one.
        trigger_time: when Airflow had accepted the run.
        start_time: when the run began to run.
        end_time: when it ended.
        waited: what held it back.
        parameters: of the event's description; None where they may not be told or are not yet.
        parameters_error: why the description's parameters cannot be read; quotes nothing of it.
    """

    id: str
    entry: str
    state: str
    reason: str
    start: datetime
    end: datetime
    pieces: tuple[tuple[datetime, datetime], ...] = ()
    run_end: datetime | None = None
    cancel_time: datetime | None = None
    cuts: tuple[Cut, ...] = ()
    planned_start: datetime | None = None
    dag_run_id: str | None = None
    trigger_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    waited: tuple[Waited, ...] = ()
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)
    parameters_error: str | None = None

    @property
    def openings(self) -> tuple[tuple[datetime, datetime], ...]:
        """When a run may start: its pieces, or its one interval."""
        if self.pieces:
            return self.pieces
        return ((self.start, self.end),) if self.start < self.end else ()

    @property
    def until(self) -> datetime:
        """End of the window of its run."""
        return self.run_end or self.end

    @property
    def coming_start(self) -> datetime | None:
        """When its run is planned to start; None where none is planned, or it has begun."""
        return self.planned_start if self.state == "Waiting" else None

    def is_open(self, now: datetime) -> bool:
        """Whether a run may start now."""
        return any(start <= now < end for start, end in self.openings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One TrainingWindow.

    Attributes:
        namespace: of the object.
        name: of the object.
        dag_id: the DAG that it triggers.
        airflow: its AirflowInstance, as `namespace/name`.
        time_zone: IANA name.
        suspended: it starts nothing.
        ready: False where its configuration cannot be used.
        message: its one sentence, column WHY.
        pool: its GPUPool, as `namespace/name`; None where no GPUs are asked for.
        gpus: how many are asked for.
        per_pod: GPUs of each pod.
        occurrences: sorted by start.
    """

    namespace: str
    name: str
    dag_id: str
    airflow: str = ""
    time_zone: str = "UTC"
    suspended: bool = False
    ready: bool = True
    message: str = ""
    pool: str | None = None
    gpus: int = 0
    per_pod: int = 1
    occurrences: tuple[Occurrence, ...] = ()

    @property
    def ref(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def next_open(self, now: datetime) -> Occurrence | None:
        """The occurrence that is open, else the next one; one that is over or withdrawn is none."""
        for occurrence in self.occurrences:
            if occurrence.state not in FINAL_STATES and any(
                now < end for _, end in occurrence.openings
            ):
                return occurrence
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One GPUPool.

    Attributes:
        name: `namespace/name`.
        capacity: GPUs; None before the first look.
        free: GPUs that nothing uses.
        promised: GPUs set aside for runs that do not show yet.
        utilization_percent: mean over the pool; None where nothing measures it.
        sample_time: when these were measured.
        message: why its numbers cannot be used; empty where they can.
        load: utilisation of the last day, (end of the quarter of an hour, percent), oldest first.
    """

    name: str
    capacity: int | None = None
    free: int | None = None
    promised: int = 0
    utilization_percent: float | None = None
    sample_time: datetime | None = None
    message: str = ""
    load: tuple[tuple[datetime, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The whole windows file.

    Attributes:
        installation: whose it is; the same word stands in run ids.
        written_at: when it was made.
        windows: sorted by namespace and name.
        pools: sorted by name.
        omitted: occurrences that did not fit into the file.
    """

    installation: str
    written_at: datetime
    windows: tuple[Window, ...] = ()
    pools: tuple[Pool, ...] = ()
    omitted: int = 0

    def window(self, ref: str) -> Window | None:
        """The TrainingWindow `namespace/name`."""
        return next((window for window in self.windows if window.ref == ref), None)

    def triggers(self, dag_id: str) -> bool:
        """Whether any TrainingWindow triggers this DAG."""
        return any(window.dag_id == dag_id for window in self.windows)

    def by_run(self, dag_id: str, run_id: str) -> tuple[Window, Occurrence] | None:
        """The occurrence that a DAG run belongs to."""
        for window in self.windows:
            if window.dag_id == dag_id:
                for occurrence in window.occurrences:
                    if occurrence.dag_run_id == run_id:
                        return window, occurrence
        return None
