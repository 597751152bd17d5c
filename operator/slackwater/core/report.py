"""Conditions and the one sentence: what a TrainingWindow says of itself (R12, R16)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from slackwater.core.ledger import Line, State
from slackwater.core.occurrence import Occurrence
from slackwater.core.seen import Seen, Trouble
from slackwater.core.span import Span
from slackwater.core.spec import Identity, StopPolicy, TrainingWindow
from slackwater.core.start import (
    Gate,
    calendar_gate,
    dag_gate,
    early_capacity,
    expected,
    trouble_with,
)
from slackwater.core.status import CONDITION_TYPES, Condition, Status, Truth, settled
from slackwater.core.words import Reason, say
from slackwater.core.zone import zone

_CLOCKS: Final = {
    "since": "%H:%M",
    "planned_start": "%a %H:%M",
    "planned_before": "%a %H:%M",
    "latest_start": "%a %H:%M",
}
_UNKNOWN: Final = frozenset({Reason.NOT_READ_YET})


@dataclass(frozen=True, slots=True)
class Waiting:
    """The line that waits now and what holds it back."""

    line: Line
    gate: Gate


def sentence(reason: Reason, gaps: Mapping[str, object], time_zone: str) -> str:
    """The sentence of a reason with its instants in a zone, for people.

    An instant of the gap `since` is a clock time, one of the off-peak plan names its weekday, any
    other its date.
    """
    return _sentence(reason, tuple(gaps.items()), time_zone)


@lru_cache(maxsize=16_384)
def _sentence(reason: Reason, gaps: tuple[tuple[str, object], ...], time_zone: str) -> str:
    local = zone(time_zone)
    worded = {
        name: value.astimezone(local).strftime(_CLOCKS.get(name, "%Y-%m-%d %H:%M"))
        if isinstance(value, datetime)
        else value
        for name, value in gaps
    }
    return say(reason, **worded)


def report(
    identity: Identity,
    spec: TrainingWindow,
    before: Status,
    seen: Seen,
    waiting: Waiting | None,
    now: datetime,
) -> Status:
    """The status around the ledger that `before` already holds anew."""
    return _Report(identity, spec, before, seen, waiting, now).status()


def unreadable(identity: Identity, before: Status, trouble: Trouble, now: datetime) -> Status:
    """The status of a TrainingWindow whose spec could never be read: it says why, and no more."""
    text = say(trouble.reason, **trouble.gaps)
    past = before.condition("Ready")
    ready = settled(past, "Ready", Truth.FALSE, trouble.reason, text, identity.generation, now)
    return replace(
        before,
        observed_generation=identity.generation,
        conditions=(ready,),
        message=text,
        next_window_start=None,
        next_window_end=None,
    )


class _Report:
    def __init__(
        self,
        identity: Identity,
        spec: TrainingWindow,
        before: Status,
        seen: Seen,
        waiting: Waiting | None,
        now: datetime,
    ) -> None:
        self.identity, self.spec, self.before = identity, spec, before
        self.seen, self.waiting, self.now = seen, waiting, now
        self.trouble = trouble_with(spec, seen)
        self.lines = {line.id: line for line in before.lines}
        self.window = self.next_window()

    def status(self) -> Status:
        lines = self.before.lines
        return replace(
            self.before,
            observed_generation=self.identity.generation,
            conditions=self.conditions(),
            message=self.message(),
            next_window_start=self.window.start if self.window else None,
            next_window_end=self.window.end if self.window else None,
            last_schedule_time=_latest(
                self.before.last_schedule_time,
                (line.trigger_time for line in lines if line.trigger_time),
            ),
            last_successful_time=_latest(
                self.before.last_successful_time,
                (x.end_time for x in lines if x.state is State.SUCCEEDED and x.end_time),
            ),
            last_missed_time=_latest(
                self.before.last_missed_time,
                (x.end_time for x in lines if x.state is State.MISSED and x.end_time),
            ),
            expected_duration=expected(self.spec, self.seen),
        )

    # --- conditions

    def conditions(self) -> tuple[Condition, ...]:
        made = {
            "Ready": self.ready(),
            "CalendarsSynced": self.calendars_synced(),
            "WindowOpen": self.window_open(),
            "CapacityAvailable": self.capacity_available(),
            "DagReady": self.dag_ready(),
        }
        return tuple(made[kind] for kind in CONDITION_TYPES)

    def condition(
        self, kind: str, truth: Truth, reason: Reason, gaps: Mapping[str, object] | None = None
    ) -> Condition:
        return settled(
            self.before.condition(kind),
            kind,
            truth,
            reason,
            self.say(reason, gaps or {}),
            self.identity.generation,
            self.now,
        )

    def failing(self, kind: str, gate: Gate) -> Condition:
        truth = Truth.UNKNOWN if gate.reason in _UNKNOWN else Truth.FALSE
        return self.condition(kind, truth, gate.reason, gate.gaps)

    def ready(self) -> Condition:
        if self.trouble is not None:
            return self.failing("Ready", self.trouble)
        return self.condition("Ready", Truth.TRUE, Reason.ACCEPTED)

    def calendars_synced(self) -> Condition:
        gate = calendar_gate(self.seen, self.now)
        if gate is not None:
            return self.failing("CalendarsSynced", gate)
        layout = self.seen.layout
        if layout is not None and layout.unreadable:
            gaps = {"count": layout.unreadable}
            return self.condition("CalendarsSynced", Truth.TRUE, Reason.MATCH_UNREADABLE, gaps)
        if layout is not None and layout.untrusted:
            gaps = {"count": layout.untrusted}
            return self.condition("CalendarsSynced", Truth.TRUE, Reason.UNTRUSTED_ORGANIZER, gaps)
        return self.condition("CalendarsSynced", Truth.TRUE, Reason.SYNCED)

    def window_open(self) -> Condition:
        if self.window is None:
            return self.condition("WindowOpen", Truth.FALSE, Reason.NONE_AHEAD)
        if self.now in self.window:
            gaps = {"until": self.window.end}
            return self.condition("WindowOpen", Truth.TRUE, Reason.OPEN, gaps)
        gaps = {"start": self.window.start}
        return self.condition("WindowOpen", Truth.FALSE, Reason.CLOSED, gaps)

    def capacity_available(self) -> Condition:
        kind, gpu, pool = "CapacityAvailable", self.spec.gpu, self.seen.pool
        if gpu is None or pool is None:
            return self.condition(kind, Truth.TRUE, Reason.NOT_ASKED)
        if self.waiting is not None and self.waiting.gate.condition == kind:
            gaps = dict(self.waiting.gate.gaps) | {"since": self.waiting.line.since}
            return self.failing(kind, Gate(kind, self.waiting.gate.reason, gaps))
        early = early_capacity(gpu, pool)
        if early is not None:
            return self.failing(kind, early)
        if any(line.state.is_active for line in self.before.lines):
            gaps = {"pool": pool.ref, "count": gpu.count, "free": gpu.count}
            return self.condition(kind, Truth.TRUE, Reason.ENOUGH, gaps)
        return self.condition(
            kind, Truth.UNKNOWN, Reason.NOT_READ_YET, {"what": f"Room in {pool.ref}"}
        )

    def dag_ready(self) -> Condition:
        gate = dag_gate(self.spec, self.seen)
        if self.waiting is not None and self.waiting.gate.condition == "DagReady":
            gate = gate or self.waiting.gate
        if gate is not None:
            gaps = dict(gate.gaps)
            if self.waiting is not None:
                gaps.setdefault("since", self.waiting.line.since)
            return self.failing("DagReady", Gate("DagReady", gate.reason, gaps))
        gaps = {"dag": self.spec.dag.dag_id}
        facts = self.seen.airflow.facts
        if facts is not None and facts.own_schedule:
            return self.condition("DagReady", Truth.TRUE, Reason.DAG_HAS_SCHEDULE, gaps)
        return self.condition("DagReady", Truth.TRUE, Reason.DAG_USABLE, gaps)

    # --- the sentence

    def message(self) -> str:
        if self.trouble is not None:
            return self.say(self.trouble.reason, self.trouble.gaps)
        for state in (State.RUNNING, State.TRIGGERED, State.INTENDED):
            for line in self.before.lines:
                if line.state is state:
                    return self.say(line.reason, self.line_gaps(line))
        if self.waiting is not None:
            gaps = {"since": self.waiting.line.since} | dict(self.waiting.gate.gaps)
            return self.say(self.waiting.gate.reason, gaps)
        if self.spec.suspend:
            return self.say(Reason.SUSPENDED, {})
        gate = calendar_gate(self.seen, self.now)
        if gate is not None:
            return self.say(gate.reason, gate.gaps)
        for line in self.before.lines:
            if line.reason is Reason.EVENT_VANISHED and not line.state.is_final:
                return self.say(line.reason, {})
        if self.window is None:
            return self.say(Reason.NONE_AHEAD, {})
        if self.now in self.window:
            return self.say(Reason.OPEN, {"until": self.window.end})
        return self.say(Reason.CLOSED, {"start": self.window.start})

    def line_gaps(self, line: Line) -> dict[str, object]:
        return {
            "dag": self.spec.dag.dag_id,
            "since": line.start_time or line.since,
            "until": line.window.end if line.window else None,
            "entry": self.denying(line) if line.reason is Reason.DENY_STARTED else line.entry,
            "what": self.stopping(),
        }

    def stopping(self) -> str:
        """Whose stopPolicy holds or ends runs."""
        pool = self.seen.pool
        if self.seen.airflow.stop_policy is StopPolicy.NONE and pool is not None:
            return f"GPUPool {pool.ref}"
        return f"AirflowInstance {self.seen.airflow.ref}"

    def denying(self, line: Line) -> str:
        """The Deny entry that ends a run, by name."""
        at = line.cancel_time or self.now
        for edge in self.seen.layout.denies if self.seen.layout else ():
            if at in edge.span:
                return edge.entry
        return line.entry

    def say(self, reason: Reason, gaps: Mapping[str, object]) -> str:
        return sentence(reason, gaps, self.spec.time_zone)

    # --- the next window

    def next_window(self) -> Span | None:
        """The piece that is open or comes next and has not been used yet."""
        best: Span | None = None
        for piece in self.pieces():
            if piece.end > self.now and (best is None or piece < best):
                best = piece
        return best

    def pieces(self) -> Iterator[Span]:
        if self.seen.layout is None:
            return
        nearest: Span | None = None
        for occurrence in self.seen.layout.occurrences:
            if nearest is not None and occurrence.interval.start >= nearest.start:
                return  # sorted by start: nothing earlier follows
            for piece in self.unused(occurrence):
                if piece.end > self.now and (nearest is None or piece.start < nearest.start):
                    nearest = piece
                yield piece

    def unused(self, occurrence: Occurrence) -> tuple[Span, ...]:
        line = self.lines.get(occurrence.key)
        if line is not None and (line.state.is_final or line.state.is_active):
            return ()
        return occurrence.pieces


def _latest(before: datetime | None, times: Iterator[datetime]) -> datetime | None:
    newest = max(times, default=None)
    if newest is None:
        return before
    return newest if before is None else max(before, newest)
