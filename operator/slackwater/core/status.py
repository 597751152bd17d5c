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
        for condition in self.conditions:
            if condition.type == kind:
                return condition
        return None


def settled(
    before: Condition | None,
    kind: str,
    status: Truth,
    reason: Reason,
    message: str,
    generation: int,
    now: datetime,
) -> Condition:
    """A condition that keeps the time of its last transition while its value stands."""
    if before is None or before.status is not status:
        changed = now.replace(microsecond=0)
    else:
        changed = before.last_transition_time
        if (
            before.reason is reason
            and before.message == message
            and before.observed_generation == generation
        ):
            return before
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=changed,
    )
