"""Telling people and machines what happened: Kubernetes Events and counters (R12)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from slackwater.core.ledger import Line, State
from slackwater.core.report import sentence
from slackwater.core.status import Status, Truth
from slackwater.core.transition import ConditionChange, LineChange, is_quiet, transitions
from slackwater.core.words import WORDS, Reason
from slackwater.ports import Key, Recorder
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.records import WindowRecord

PLAN_MOVED: Final = timedelta(hours=1)
# Conditions that waiting lines speak for, or that say nothing beyond the status.
_SILENT: Final = frozenset({"WindowOpen", "CapacityAvailable"})


class Teller:
    """Says each transition once, after the status that holds it was written."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder, self._metrics = recorder, metrics
        self._told: dict[Key, dict[str, datetime]] = {}  # planned starts, by occurrence

    def tell(self, record: WindowRecord, before: Status, after: Status) -> None:
        """Record what changed between two statuses of a TrainingWindow."""
        found = transitions(before, after)
        zone = record.spec.time_zone if record.spec else "UTC"
        for change in found.lines:
            self._tell_line(record, change, after, zone)
        is_open = (condition := after.condition("WindowOpen")) is not None and (
            condition.status is Truth.TRUE
        )
        for condition_change in found.conditions:
            self._tell_condition(record.stored.key, condition_change, is_open=is_open)
        self._tell_plans(record, before, after, zone)
        for line in found.moved_after_start:
            self._record(
                record.stored.key,
                Reason.ALREADY_RAN,
                self._say(line, Reason.ALREADY_RAN, zone, record),
            )

    def _tell_plans(self, record: WindowRecord, before: Status, after: Status, zone: str) -> None:
        """Say when a planned start is more than an hour from where it was last said to be."""
        key = record.stored.key
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

    def _tell_line(
        self, record: WindowRecord, change: LineChange, after: Status, zone: str
    ) -> None:
        line, key = change.line, record.stored.key
        if change.entered:
            self._metrics.entered(key.ref, line, change.before)
        if is_quiet(change):
            return
        waiting = line.state in {State.WAITING, State.PLANNED}
        note = after.message if waiting else self._say(line, line.reason, zone, record)
        self._record(key, line.reason, f"{line.entry}: {note}" if line.entry else note)

    def _tell_condition(self, key: Key, change: ConditionChange, *, is_open: bool) -> None:
        condition = change.condition
        if condition.type in _SILENT or condition.status is Truth.UNKNOWN:
            return
        good_news_only = change.before is None or change.before.status is Truth.UNKNOWN
        if condition.status is Truth.TRUE and good_news_only:
            return
        if condition.type != "Ready" and not is_open and not WORDS[condition.reason].warning:
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
    def _say(line: Line, reason: Reason, zone: str, record: WindowRecord) -> str:
        gaps: dict[str, object] = {
            "dag": record.spec.dag.dag_id if record.spec else "",
            "since": line.start_time or line.trigger_time or line.since,
            "until": line.window.end if line.window else None,
            "start": line.window.start if line.window else None,
            "deadline": line.end_time,
            "entry": line.entry,
        }
        return sentence(reason, gaps, zone)

    def forget(self, key: Key) -> None:
        """An object is gone: its series go with it."""
        self._told.pop(key, None)
        self._metrics.forget(key)
