"""Conditions and the one sentence: what a TrainingWindow says of itself (R12, R16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from slackwater.core.follow import ENDINGS
from slackwater.core.gaps import Phrase
from slackwater.core.ledger import Line, State
from slackwater.core.prospect import prospect
from slackwater.core.seen import Seen, Trouble
from slackwater.core.spec import Identity, StopPolicy, TrainingWindow
from slackwater.core.start import (
    Gate,
    calendar_gate,
    dag_gate,
    early_capacity,
    expected,
    trouble_with,
)
from slackwater.core.status import Condition, Status, Truth, settled
from slackwater.core.words import Reason, say
from slackwater.core.zone import zone

_CLOCKS: Final = {
    "since": "%H:%M",
    "planned_start": "%a %H:%M",
    "planned_before": "%a %H:%M",
    "latest_start": "%a %H:%M",
}
_UNKNOWN: Final = frozenset({Reason.NOT_READ_YET})
_LOST: Final = frozenset({Reason.DAG_NOT_FOUND, Reason.DAG_STALE})


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
    if not gaps:
        return say(reason)
    return _sentence(reason, tuple(gaps.items()), time_zone)


@lru_cache(maxsize=16_384)
def _sentence(reason: Reason, gaps: tuple[tuple[str, object], ...], time_zone: str) -> str:
    local = zone(time_zone)
    worded = {name: _worded(name, value, local) for name, value in gaps}
    return say(reason, **worded)


def _worded(name: str, value: object, local: tzinfo) -> object:
    if isinstance(value, Phrase):
        return value.told(local)
    if isinstance(value, datetime):
        return value.astimezone(local).strftime(_CLOCKS.get(name, "%Y-%m-%d %H:%M"))
    return value


def report(
    identity: Identity,
    spec: TrainingWindow,
    before: Status,
    lines: tuple[Line, ...],
    seen: Seen,
    waiting: Waiting | None,
    now: datetime,
    *,
    early: Gate | None = None,
) -> Status:
    """The status around the new `lines`; `before` is the one that stood until now.

    `early` will hold back an occurrence that has not opened yet.
    """
    return _Report(identity, spec, before, lines, seen, waiting, now, early).status()


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
        lines: tuple[Line, ...],
        seen: Seen,
        waiting: Waiting | None,
        now: datetime,
        early: Gate | None,
    ) -> None:
        self.identity, self.spec, self.before, self.lines = identity, spec, before, lines
        self.seen, self.waiting, self.now, self.early = seen, waiting, now, early
        self.past = {condition.type: condition for condition in before.conditions}
        self.trouble = trouble_with(spec, seen)
        self.calendars = calendar_gate(seen, now)
        self.prospect = prospect(seen.layout, lines, now)

    def status(self) -> Status:
        before, window = self.before, self.prospect.following
        times = Times(
            before.last_schedule_time, before.last_successful_time, before.last_missed_time
        )
        for line in self.lines:
            times.note(line)
        is_open = self.window_open()
        return Status(
            observed_generation=self.identity.generation,
            conditions=(
                self.ready(),
                self.calendars_synced(),
                is_open,
                self.capacity_available(),
                self.dag_ready(),
            ),
            message=self.message(is_open),
            next_window_start=window.start if window else None,
            next_window_end=window.end if window else None,
            last_schedule_time=times.scheduled,
            last_successful_time=times.successful,
            last_missed_time=times.missed,
            expected_duration=expected(self.spec, self.seen),
            lines=self.lines,
        )

    # --- conditions

    def condition(
        self, kind: str, truth: Truth, reason: Reason, gaps: Mapping[str, object] | None = None
    ) -> Condition:
        return settled(
            self.past.get(kind),
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
        if self.calendars is not None:
            return self.failing("CalendarsSynced", self.calendars)
        layout = self.seen.layout
        if layout is not None and layout.unreadable:
            gaps = {"count": layout.unreadable}
            return self.condition("CalendarsSynced", Truth.TRUE, Reason.MATCH_UNREADABLE, gaps)
        if layout is not None and layout.untrusted:
            gaps = {"count": layout.untrusted}
            return self.condition("CalendarsSynced", Truth.TRUE, Reason.UNTRUSTED_ORGANIZER, gaps)
        return self.condition("CalendarsSynced", Truth.TRUE, Reason.SYNCED)

    def window_open(self) -> Condition:
        kind, found = "WindowOpen", self.prospect
        if found.present is not None:
            return self.condition(kind, Truth.TRUE, Reason.OPEN, {"until": found.present.end})
        if found.emptied and (found.emptied_now or found.following is None):
            return self.condition(kind, Truth.FALSE, Reason.EMPTY_WINDOW)
        if found.following is not None:
            return self.condition(
                kind, Truth.FALSE, Reason.CLOSED, {"start": found.following.start}
            )
        return self.condition(kind, Truth.FALSE, Reason.NONE_AHEAD)

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
        if any(line.state.is_active for line in self.lines):
            gaps = {"pool": pool.ref, "count": gpu.count, "free": gpu.count}
            return self.condition(kind, Truth.TRUE, Reason.ENOUGH, gaps)
        return self.condition(
            kind, Truth.UNKNOWN, Reason.NOT_READ_YET, {"what": f"Room in {pool.ref}"}
        )

    def dag_ready(self) -> Condition:
        gate = dag_gate(self.spec, self.seen)
        if self.waiting is not None and self.waiting.gate.condition == "DagReady":
            gate = gate or self.waiting.gate
        gate = gate or self.early
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

    def message(self, is_open: Condition) -> str:
        if self.trouble is not None:
            return self.say(self.trouble.reason, self.trouble.gaps)
        active = [line for line in self.lines if line.state.is_active]
        for state in (State.RUNNING, State.TRIGGERED, State.INTENDED) if active else ():
            for line in active:
                if line.state is state:
                    reason = Reason.DAG_VANISHED if self.beyond_reach(line) else line.reason
                    return self.say(reason, self.line_gaps(line))
        if self.waiting is not None:
            gaps = {"since": self.waiting.line.since} | dict(self.waiting.gate.gaps)
            return self.say(self.waiting.gate.reason, gaps)
        if self.spec.suspend:
            return self.say(Reason.SUSPENDED, {})
        if self.calendars is not None:
            return self.say(self.calendars.reason, self.calendars.gaps)
        for line in self.lines:
            if line.reason is Reason.EVENT_VANISHED and not line.state.is_final:
                return self.say(line.reason, {})
        if self.early is not None:
            return self.say(self.early.reason, self.early.gaps)
        return is_open.message

    def beyond_reach(self, line: Line) -> bool:
        """Whether a run should have ended, of a DAG that Airflow has lost."""
        facts = self.seen.airflow.facts
        due = line.state is State.RUNNING and line.reason in ENDINGS
        return due and facts is not None and facts.problem in _LOST

    def line_gaps(self, line: Line) -> dict[str, object]:
        return {
            "dag": self.spec.dag.dag_id,
            "since": line.start_time or line.trigger_time or line.since,
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


@dataclass(slots=True)
class Times:
    """The latest of each kind of ending, as the ledger and its forgotten lines know them."""

    scheduled: datetime | None
    successful: datetime | None
    missed: datetime | None

    def note(self, line: Line) -> None:
        """Take in one line."""
        self.scheduled = _later(self.scheduled, line.trigger_time)
        if line.state is State.SUCCEEDED:
            self.successful = _later(self.successful, line.end_time)
        elif line.state is State.MISSED:
            self.missed = _later(self.missed, line.end_time)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
