"""Status, from the core to the wire and back (design §2).

Written by hand, since it runs at every decision. Reading never fails: a status may come from a
newer version or from a hand that edited it, and what cannot be read is left out. That is safe,
because a run that the ledger does not know is looked up by its id (R2, R9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from slackwater.api.field import parse_instant
from slackwater.api.observed import CLOSEST_LIMIT, MESSAGE_LIMIT, VERSION_LIMIT
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.span import Span
from slackwater.core.status import Condition, Status, Truth
from slackwater.core.words import Reason

_Word = TypeVar("_Word", bound=StrEnum)

# The largest number that is believed; sums of times stay far from the end of the calendar.
_MOST: Final = 10**9
# What a line says whose reason this version does not know.
_USUAL: Final = {
    State.PLANNED: Reason.AHEAD,
    State.WAITING: Reason.REFRESHING,
    State.INTENDED: Reason.STARTING,
    State.TRIGGERED: Reason.TRIGGERED,
    State.RUNNING: Reason.RUNNING,
    State.SUCCEEDED: Reason.SUCCEEDED,
    State.FAILED: Reason.FAILED,
    State.CANCELLED: Reason.WINDOW_ENDED,
    State.MISSED: Reason.WINDOW_ENDED,
    State.SKIPPED: Reason.SKIPPED_BY_USER,
    State.SUPERSEDED: Reason.REPLACED,
}


def write_instant(at: datetime) -> str:
    """RFC 3339 with Z, to the millisecond where there is one; finer parts are cut off."""
    whole = at.astimezone(UTC)
    spec = "milliseconds" if whole.microsecond >= 1000 else "seconds"
    return f"{whole.replace(tzinfo=None).isoformat(timespec=spec)}Z"


def to_wire(status: Status) -> dict[str, Any]:
    """The status of a TrainingWindow; `from_wire` gives it back, but for parts of milliseconds."""
    wire: dict[str, Any] = {"observedGeneration": status.observed_generation}
    _put_conditions(wire, status.conditions)
    if status.message:
        wire["message"] = status.message[:MESSAGE_LIMIT]
    wire["active"] = sum(line.state.is_active for line in status.lines)
    _put_instant(wire, "nextWindowStart", status.next_window_start)
    _put_instant(wire, "nextWindowEnd", status.next_window_end)
    _put_instant(wire, "lastScheduleTime", status.last_schedule_time)
    _put_instant(wire, "lastSuccessfulTime", status.last_successful_time)
    _put_instant(wire, "lastMissedTime", status.last_missed_time)
    if status.expected_duration is not None:
        wire["expectedDurationSeconds"] = int(status.expected_duration.total_seconds())
    if status.lines:
        wire["occurrences"] = [_line_to_wire(line) for line in status.lines]
    return wire


def _line_to_wire(line: Line) -> dict[str, Any]:
    wire: dict[str, Any] = {"id": line.id, "entry": line.entry}
    if line.series:
        wire["series"] = line.series
    if line.original_start:
        wire["originalStart"] = line.original_start
    wire["state"] = line.state.value
    wire["reason"] = line.reason.value
    if line.condition:
        wire["condition"] = line.condition
    _put_instant(wire, "since", line.since)
    if line.window is not None:
        wire["windowStart"] = write_instant(line.window.start)
        wire["windowEnd"] = write_instant(line.window.end)
    _put_instant(wire, "plannedStart", line.planned_start)
    _put_instant(wire, "intentTime", line.intent_time)
    if line.dag_run_id is not None:
        wire["dagRunId"] = line.dag_run_id
    if line.run_url is not None:
        wire["dagRunURL"] = line.run_url
    _put_instant(wire, "triggerTime", line.trigger_time)
    _put_instant(wire, "startTime", line.start_time)
    _put_instant(wire, "endTime", line.end_time)
    _put_instant(wire, "cancelTime", line.cancel_time)
    if line.promise:
        wire["promise"] = line.promise
    if line.waited:
        wire["waited"] = [
            {"condition": w.condition, "reason": w.reason.value, "seconds": w.seconds}
            for w in line.waited
        ]
    if line.closest is not None:
        wire["closest"] = line.closest[:CLOSEST_LIMIT]
    if line.absent:
        wire["absent"] = line.absent
    _put_instant(wire, "appearedTime", line.appeared)
    _put_instant(wire, "vanishedTime", line.vanished)
    return wire


def from_wire(wire: Mapping[str, Any]) -> Status:
    """The status that a TrainingWindow holds, as far as it can be read; never raises."""
    seconds = _number(wire.get("expectedDurationSeconds"))
    lines = (_line_from_wire(item) for item in _mappings(wire.get("occurrences")))
    return Status(
        observed_generation=_number(wire.get("observedGeneration")) or 0,
        conditions=conditions_from_wire(wire),
        message=_text(wire.get("message")) or "",
        next_window_start=_instant(wire.get("nextWindowStart")),
        next_window_end=_instant(wire.get("nextWindowEnd")),
        last_schedule_time=_instant(wire.get("lastScheduleTime")),
        last_successful_time=_instant(wire.get("lastSuccessfulTime")),
        last_missed_time=_instant(wire.get("lastMissedTime")),
        expected_duration=None if seconds is None else timedelta(seconds=seconds),
        lines=tuple(line for line in lines if line is not None),
    )


def conditions_from_wire(wire: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The readable conditions of any resource's status, for `core.status.settled`."""
    found = (_condition_from_wire(item) for item in _mappings(wire.get("conditions")))
    return tuple(condition for condition in found if condition is not None)


def _condition_from_wire(item: Mapping[str, Any]) -> Condition | None:
    kind = _text(item.get("type"))
    truth = _member(Truth, item.get("status"))
    reason = _member(Reason, item.get("reason"))
    changed = _instant(item.get("lastTransitionTime"))
    if not kind or truth is None or reason is None or changed is None:
        return None
    return Condition(
        type=kind,
        status=truth,
        reason=reason,
        message=_text(item.get("message")) or "",
        observed_generation=_number(item.get("observedGeneration")) or 0,
        last_transition_time=changed,
    )


def _line_from_wire(item: Mapping[str, Any]) -> Line | None:
    key, entry = _text(item.get("id")), _text(item.get("entry"))
    state = _member(State, item.get("state"))
    if not key or not entry or state is None:
        return None
    return Line(
        id=key,
        entry=entry,
        series=_text(item.get("series")) or "",
        original_start=_text(item.get("originalStart")) or "",
        state=state,
        reason=_member(Reason, item.get("reason")) or _USUAL[state],
        condition=_text(item.get("condition")) or "",
        since=_instant(item.get("since")),
        window=_span(item.get("windowStart"), item.get("windowEnd")),
        planned_start=_instant(item.get("plannedStart")),
        intent_time=_instant(item.get("intentTime")),
        dag_run_id=_text(item.get("dagRunId")),
        run_url=_text(item.get("dagRunURL")),
        trigger_time=_instant(item.get("triggerTime")),
        start_time=_instant(item.get("startTime")),
        end_time=_instant(item.get("endTime")),
        cancel_time=_instant(item.get("cancelTime")),
        promise=_number(item.get("promise")) or 0,
        waited=tuple(w for w in map(_waited, _mappings(item.get("waited"))) if w is not None),
        closest=_text(item.get("closest")),
        absent=_number(item.get("absent")) or 0,
        appeared=_instant(item.get("appearedTime")),
        vanished=_instant(item.get("vanishedTime")),
    )


def _waited(item: Mapping[str, Any]) -> Waited | None:
    condition, reason = _text(item.get("condition")), _member(Reason, item.get("reason"))
    seconds = _number(item.get("seconds"))
    if not condition or reason is None or seconds is None:
        return None
    return Waited(condition, reason, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarStatus:
    """`status` of a Calendar."""

    conditions: tuple[Condition, ...] = ()
    last_change_time: datetime | None = None
    blocks_at: datetime | None = None
    event_count: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the store holds it."""
        wire: dict[str, Any] = {}
        _put_conditions(wire, self.conditions)
        _put_instant(wire, "lastChangeTime", self.last_change_time)
        _put_instant(wire, "blocksAt", self.blocks_at)
        _put_count(wire, "eventCount", self.event_count)
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """`status` of a GPUPool; counts are GPUs."""

    conditions: tuple[Condition, ...] = ()
    capacity: int | None = None
    free: int | None = None
    promised: int | None = None
    utilization_percent: float | None = None
    sample_time: datetime | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the store holds it."""
        wire: dict[str, Any] = {}
        _put_conditions(wire, self.conditions)
        _put_count(wire, "capacity", self.capacity)
        _put_count(wire, "free", self.free)
        _put_count(wire, "promised", self.promised)
        if self.utilization_percent is not None:
            wire["utilizationPercent"] = round(min(100.0, max(0.0, self.utilization_percent)), 1)
        _put_instant(wire, "sampleTime", self.sample_time)
        return wire


def pool_from_wire(wire: Mapping[str, Any]) -> PoolStatus:
    """A pool's numbers as the store holds them; what cannot be read is not there."""
    return PoolStatus(
        conditions=conditions_from_wire(wire),
        capacity=_number(wire.get("capacity")),
        free=_number(wire.get("free")),
        promised=_number(wire.get("promised")),
        sample_time=_instant(wire.get("sampleTime")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowStatus:
    """`status` of an AirflowInstance."""

    conditions: tuple[Condition, ...] = ()
    version: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the store holds it."""
        wire: dict[str, Any] = {}
        _put_conditions(wire, self.conditions)
        if self.version:
            wire["version"] = self.version[:VERSION_LIMIT]
        return wire


def _put_conditions(wire: dict[str, Any], conditions: Iterable[Condition]) -> None:
    found = [
        {
            "type": condition.type,
            "status": condition.status.value,
            "reason": condition.reason.value,
            "message": condition.message[:MESSAGE_LIMIT],
            "observedGeneration": condition.observed_generation,
            "lastTransitionTime": write_instant(condition.last_transition_time),
        }
        for condition in conditions
    ]
    if found:
        wire["conditions"] = found


def _put_instant(wire: dict[str, Any], field: str, at: datetime | None) -> None:
    if at is not None:
        wire[field] = write_instant(at)


def _put_count(wire: dict[str, Any], field: str, count: int | None) -> None:
    if count is not None:
        wire[field] = max(0, count)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    readable = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if isinstance(value, int) and readable else None


def _instant(value: object) -> datetime | None:
    try:
        return parse_instant(value)
    except ValueError:
        return None


def _span(start: object, end: object) -> Span | None:
    first, last = _instant(start), _instant(end)
    return Span(first, last) if first is not None and last is not None and first < last else None


def _member(words: type[_Word], value: object) -> _Word | None:
    try:
        return words(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
