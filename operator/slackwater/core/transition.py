"""What changed between two statuses, for Kubernetes Events and metrics (R12), and what is only wording (R16)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from slackwater.core.ledger import Line, State
from slackwater.core.status import Condition, Status
from slackwater.core.words import Reason


@dataclass(frozen=True, slots=True)
class LineChange:
    """An occurrence has another state or reason than before; `before` is None for a new line."""

    before: Line | None
    line: Line

    @property
    def entered(self) -> bool:
        """Its state is another one, not only the reason."""
        return self.before is None or self.before.state is not self.line.state


@dataclass(frozen=True, slots=True)
class ConditionChange:
    """A condition has another value or reason than before."""

    before: Condition | None
    condition: Condition


@dataclass(frozen=True, slots=True)
class Transitions:
    """Everything worth telling between two statuses."""

    lines: tuple[LineChange, ...]
    conditions: tuple[ConditionChange, ...]
    moved_after_start: tuple[Line, ...]


def transitions(old: Status, new: Status) -> Transitions:
    """Compare two statuses of one TrainingWindow."""
    before = {line.id: line for line in old.lines}
    lines = tuple(
        LineChange(before.get(line.id), line)
        for line in new.lines
        if line.id not in before
        or (before[line.id].state, before[line.id].reason) != (line.state, line.reason)
    )
    conditions = tuple(
        ConditionChange(past, condition)
        for condition in new.conditions
        if (past := old.condition(condition.type)) is None
        or (past.status, past.reason) != (condition.status, condition.reason)
    )
    moved = tuple(
        line
        for line in new.lines
        if line.trigger_time is not None
        and line.window is not None
        and (past_line := before.get(line.id)) is not None
        and past_line.window is not None
        and past_line.trigger_time is not None
        and past_line.window.start <= line.trigger_time < line.window.start
    )
    return Transitions(lines, conditions, moved)


def outline(status: Status) -> Status:
    """The status without live wording: two statuses of one outline need not both be written."""
    return replace(
        status,
        message="",
        conditions=tuple(replace(condition, message="") for condition in status.conditions),
        lines=tuple(
            replace(line, closest=None, planned_start=None)
            if line.closest is not None or line.planned_start is not None
            else line
            for line in status.lines
        ),
    )


def is_quiet(change: LineChange) -> bool:
    """A new line that is merely planned says nothing that the status does not say."""
    return change.line.state is State.PLANNED and change.line.reason in {
        Reason.AHEAD,
        Reason.EMPTY_WINDOW,
    }
