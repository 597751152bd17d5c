"""DAG runs as Airflow tells of them, and what we know of a run id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from slackwater.core.words import Reason


class RunState(StrEnum):
    """State of a DAG run; one that this version does not know reads as RUNNING."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """The run has ended."""
        return self in {RunState.SUCCESS, RunState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One DAG run.

    `origin` is the versioned `trainingWindow` object of the run's conf, empty for another's run.
    """

    dag_id: str
    run_id: str
    state: RunState
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    origin: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """Airflow has this run, as of `at`."""

    run: Run
    at: datetime


@dataclass(frozen=True, slots=True)
class Absent:
    """Airflow said at `at` that it has no such run.

    `met` is what a POST just before met, None where none was sent: the next one waits a little.
    """

    at: datetime
    met: Reason | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A write about this run got no clear answer at `at`: read before anything else (R9)."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Denied:
    """Airflow refused to create the run at `at`."""

    at: datetime
    reason: Reason
    detail: str = ""


Known = Seen | Absent | InDoubt | Denied


@dataclass(frozen=True, slots=True, kw_only=True)
class DagFacts:
    """What preflight learned of a DAG.

    Attributes:
        problem: why the DAG cannot be triggered, None when it can.
        detail: what the problem's sentence needs beyond names.
        own_schedule: the DAG also has a schedule of its own.
        params_schema: JSON schema of its params by name, for checking conf before the POST.
        checked_at: when this was read.
    """

    problem: Reason | None
    checked_at: datetime
    detail: str = ""
    own_schedule: bool = False
    params_schema: Mapping[str, Any] = field(default_factory=dict)
