"""Telling people and machines what happened: Kubernetes Events and counters (R12)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from slackwater.core.ledger import Line, State
from slackwater.core.report import sentence
from slackwater.core.status import Status, Truth
from slackwater.core.transition import ConditionChange, is_quiet, transitions
from slackwater.core.words import WORDS, Reason
from slackwater.ports import Key, Recorder
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.records import WindowRecord

TOLD_LATELY: Final = timedelta(minutes=10)
PLAN_MOVED: Final = timedelta(hours=1)
# Conditions that waiting lines speak for, or that say nothing beyond the status.
_SILENT: Final = frozenset({"WindowOpen", "CapacityAvailable"})


class Teller:
    """Says each transition once, after the status that holds it was written."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder, self._metrics = recorder, metrics
        self._told: dict[Key, dict[str, datetime]] = {}  # planned starts, by occurrence

    def tell(
        self,
        record: WindowRecord,
        before: Status,
        after: Status,
        gaps: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Record what changed between two statuses of a TrainingWindow.

        Args:
            record: the TrainingWindow.
            before: what stood until now.
            after: what stands now.
            gaps: what the sentences of waiting lines need, by the line's id.
        """
        found = transitions(before, after)
        key = record.stored.key
        said: set[Reason] = set()
        for change in found.lines:
            if change.entered:
                self._metrics.entered(key.ref, change.line, change.before)
            if is_quiet(change) or _is_told_by_ready(change.line, after):
                continue
            self._tell_line(record, change.line, gaps.get(change.line.id, {}))
            if change.line.condition:  # told with the line that waits for it
                said.add(change.line.reason)
        is_open = (condition := after.condition("WindowOpen")) is not None and (
            condition.status is Truth.TRUE
        )
        for condition_change in found.conditions:
            if condition_change.condition.reason not in said:
                self._tell_condition(key, condition_change, is_open=is_open)
        self._tell_plans(record, before, after)
        for line in found.moved_after_start:
            self._record(key, Reason.ALREADY_RAN, self._say(record, line, Reason.ALREADY_RAN))

    def _tell_plans(self, record: WindowRecord, before: Status, after: Status) -> None:
        """Say when a planned start is more than an hour from where it was last said to be."""
        key, zone = record.stored.key, record.spec.time_zone if record.spec else "UTC"
        told = self._told.pop(key, {})
        at_first = {line.id: line.planned_start for line in before.lines}
        waiting: dict[str, datetime] = {}
        for line in after.lines:
            if line.planned_start is None or line.state is not State.WAITING:
                continue
            past = told.get(line.id) or at_first.get(line.id) or line.planned_start
            waiting[line.id] = past
            if abs(line.planned_start - past) > PLAN_MOVED:
                waiting[line.id] = line.planned_start
                gaps = {"planned_before": past, "planned_start": line.planned_start}
                note = sentence(Reason.PLAN_MOVED, gaps, zone)
                self._record(key, Reason.PLAN_MOVED, f"{line.entry}: {note}")
        if waiting:
            self._told[key] = waiting

    def _tell_line(self, record: WindowRecord, line: Line, gaps: Mapping[str, object]) -> None:
        note = self._say(record, line, line.reason, gaps)
        self._record(
            record.stored.key, line.reason, f"{line.entry}: {note}" if line.entry else note
        )

    def _tell_condition(self, key: Key, change: ConditionChange, *, is_open: bool) -> None:
        condition = change.condition
        if condition.type in _SILENT or condition.status is Truth.UNKNOWN:
            return
        warning = WORDS[condition.reason].warning
        first = change.before is None or change.before.status is Truth.UNKNOWN
        if condition.status is Truth.TRUE and first and not warning:
            return
        if condition.type != "Ready" and not is_open and not warning:
            return
        self._record(key, condition.reason, condition.message)

    def record(self, key: Key, reason: Reason, note: str) -> None:
        """Say something about another object."""
        self._record(key, reason, note)

    def _record(self, key: Key, reason: Reason, note: str) -> None:
        word = WORDS[reason]
        text = note
        if word.warning and word.remedy:
            end = "" if note.endswith((".", "!", "?")) else "."  # a detail may be no sentence
            text = f"{note}{end} {word.remedy}"
        self._recorder.record(
            key, warning=word.warning, reason=reason.value, action="Reconcile", note=text
        )

    @staticmethod
    def _say(
        record: WindowRecord,
        line: Line,
        reason: Reason,
        gaps: Mapping[str, object] = MappingProxyType({}),
    ) -> str:
        spec = record.spec
        known: dict[str, object] = {
            "dag": spec.dag.dag_id if spec else "",
            "since": line.start_time or line.trigger_time or line.since,
            "until": line.window.end if line.window else None,
            "start": line.window.start if line.window else None,
            "deadline": line.end_time,
            "entry": line.entry,
        }
        return sentence(reason, known | dict(gaps), spec.time_zone if spec else "UTC")

    def forget(self, key: Key) -> None:
        """An object is gone: its series go with it."""
        self._told.pop(key, None)
        self._metrics.forget(key)


def _is_told_by_ready(line: Line, status: Status) -> bool:
    """A line that waits for the configuration, just after Ready has told what is wrong with it."""
    ready = status.condition("Ready")
    if line.condition != "Ready" or line.since is None or ready is None:
        return False
    return line.since - ready.last_transition_time < TOLD_LATELY
