"""A TrainingWindow's status: its conditions, its sentence and its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from slackwater.core.ledger import Line
from slackwater.core.words import Reason


class Truth(StrEnum):
    """`status` of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A Kubernetes condition."""

    type: str
    status: Truth
    reason: Reason
    message: str
    observed_generation: int
    last_transition_time: datetime


CONDITION_TYPES: Final = ("Ready", "CalendarsSynced", "WindowOpen", "CapacityAvailable", "DagReady")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`status` of a TrainingWindow: absolute times only, no ages (R16)."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    next_window_start: datetime | None = None
    next_window_end: datetime | None = None
    last_schedule_time: datetime | None = None
    last_successful_time: datetime | None = None
    last_missed_time: datetime | None = None
    expected_duration: timedelta | None = None
    lines: tuple[Line, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if there is one yet."""
        return next((c for c in self.conditions if c.type == kind), None)


def settled(old: tuple[Condition, ...], new: Condition) -> Condition:
    """`new`, keeping the old transition time while the status value stands."""
    before = next((c for c in old if c.type == new.type), None)
    if before is None or before.status != new.status:
        return new
    return Condition(
        type=new.type,
        status=new.status,
        reason=new.reason,
        message=new.message,
        observed_generation=new.observed_generation,
        last_transition_time=before.last_transition_time,
    )
