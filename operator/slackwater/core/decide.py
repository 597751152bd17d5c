"""The one decision: what a TrainingWindow does now, what it says, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from slackwater.core.action import Action, Decision, Lookup, Post
from slackwater.core.conf import BadConf
from slackwater.core.early import early_conf_gate
from slackwater.core.finish import QUEUE_PATIENCE, steer
from slackwater.core.fit import start_deadline
from slackwater.core.follow import INTENT_VALID, RETRY_LOST, cleared
from slackwater.core.identity import run_id
from slackwater.core.keep import AHEAD, OVERRIDE_ENTRY, Book, forget, gather, noted
from slackwater.core.ledger import Line, State, linked
from slackwater.core.lineage import Lineage
from slackwater.core.note import note_of
from slackwater.core.occurrence import Occurrence
from slackwater.core.planned import planned_start
from slackwater.core.report import Waiting, report
from slackwater.core.run import Absent
from slackwater.core.run_conf import conf_of
from slackwater.core.seen import Seen
from slackwater.core.span import Span
from slackwater.core.spec import Identity, Overlap, TrainingWindow
from slackwater.core.start import (
    Considered,
    Gate,
    consider,
    trouble_with,
)
from slackwater.core.status import Status
from slackwater.core.words import Reason


def decide(
    identity: Identity, spec: TrainingWindow, status: Status, seen: Seen, now: datetime
) -> Decision:
    """Look once at a TrainingWindow.

    Pure and level-triggered: the same inputs give the same decision, whatever happened before, so
    a restart, a lost timer or a repeated call changes nothing (R4, R9).

    Args:
        identity: which TrainingWindow.
        spec: what its user wants.
        status: what was last recorded, the ledger above all.
        seen: what calendars, pool and Airflow look like.
        now: the present.

    Returns:
        The new status, what to do once it is written, the ask for the pool's queue, and the next
        instant at which something can change by itself.
    """
    return _Look(identity, spec, status, seen, now).decide()


# What keeps one occurrence from starting and says nothing about those behind it.
_OWN_FAULTS: Final = frozenset(
    {
        Reason.WONT_FINISH,
        Reason.CROSSES_DENY,
        Reason.MISSES_DEADLINE,
        Reason.INVALID_CONF,
        Reason.REJECTED,
    }
)


class _Open(NamedTuple):
    line: Line
    occurrence: Occurrence
    piece: Span


@dataclass(slots=True)
class _Look:
    identity: Identity
    spec: TrainingWindow
    status: Status
    seen: Seen
    now: datetime
    again: list[datetime | None] = field(default_factory=list)
    gaps: dict[str, Mapping[str, object]] = field(default_factory=dict)

    def decide(self) -> Decision:
        book = gather(self.identity, self.spec, self.status.lines, self.seen, self.now)
        actions: list[Action] = [Lookup(identifier) for identifier in book.lookups]
        lines: dict[str, Line] = {}
        for line in book.lines:
            steered = steer(
                self._counted(line), book.occurrences.get(line.id), self.spec, self.seen, self.now
            )
            lines[line.id] = steered.line
            if steered.post:
                lines[line.id] = self._post(steered.line, book.occurrences.get(line.id), actions)
            elif steered.action is not None:
                actions.append(steered.action)
        self._settle(lines, book)
        waiting, considered = self._start(lines, book, actions)
        for line in lines.values():
            lines[line.id] = linked(line, self.spec.dag.dag_id, self.seen.airflow.url)
        kept = forget(lines.values(), self.spec.history_limit, self.now)
        status = report(
            self.identity,
            self.spec,
            self.status,
            kept,
            self.seen,
            waiting,
            self.now,
            early=self._early(lines, book),
        )
        return Decision(
            status=status,
            actions=tuple(actions),
            ask=considered.ask if considered else None,
            pending=bool(considered and (considered.pending or considered.refresh)),
            gaps=self.gaps,
            wake_at=self._wake(lines, book, waiting),
        )

    def _counted(self, line: Line) -> Line:
        """The line with what of its promise the pool's numbers do not show yet."""
        if self.seen.pool is None or line.dag_run_id is None or not line.state.is_active:
            return line
        unseen = self.seen.pool.unseen.get(line.dag_run_id)
        return line if unseen is None or unseen == line.promise else replace(line, promise=unseen)

    def _post(self, line: Line, occurrence: Occurrence | None, actions: list[Action]) -> Line:
        """Carry out a valid intent, or give it up where its conf cannot be made any more."""
        assert line.dag_run_id is not None
        assert line.intent_time is not None
        piece = occurrence.piece_at(self.now) if occurrence else None
        if occurrence is None or piece is None:
            return line
        try:
            conf = conf_of(self.identity, self.spec, self.seen, occurrence, piece)
        except BadConf:
            return cleared(line, Reason.INVALID_CONF, self.now)
        note = note_of(self.identity, self.spec, self.seen, occurrence, piece, self.now)
        until = min(line.intent_time + INTENT_VALID, piece.end)
        actions.append(Post(line.dag_run_id, conf, note, until))
        return line

    def _settle(self, lines: dict[str, Line], book: Book) -> None:
        """Skip, supersede and miss what is not started, by state alone."""
        started = [
            line for line in lines.values() if line.state.is_active and line.intent_time is not None
        ]
        for line in list(lines.values()):
            if not line.state.is_unstarted:
                continue
            occurrence = book.occurrences.get(line.id)
            ended = self._unstarted_end(line, occurrence, started)
            if ended is not None:
                lines[line.id] = ended

    def _unstarted_end(
        self, line: Line, occurrence: Occurrence | None, started: list[Line]
    ) -> Line | None:
        if line.id in self.seen.override.skip:
            return self._ended(line, State.SKIPPED, Reason.SKIPPED_BY_USER)
        if occurrence is None:
            if line.window is not None and line.window.end <= self.now and self.seen.layout:
                return self._ended(line, State.MISSED, self._missed_unseen(line, line.window))
            return None
        if self.spec.overlap is Overlap.ONCE and any(
            other.id != line.id
            and other.intent_time is not None
            and occurrence.piece_at(other.intent_time) is not None
            for other in started
        ):
            return self._ended(line, State.SUPERSEDED, Reason.OVERLAP_ONCE)
        deadline = start_deadline(self.spec, occurrence)
        if deadline is None:
            if occurrence.interval.end <= self.now:
                return self._ended(line, State.MISSED, Reason.EMPTY_WINDOW)
            return noted(line, State.PLANNED, Reason.EMPTY_WINDOW, "WindowOpen", self.now)
        if self.now < deadline:
            return None
        return self._ended(line, State.MISSED, self._missed_for(line, occurrence, deadline))

    def _missed_unseen(self, line: Line, window: Span) -> Reason:
        if window.end <= self.seen.up_since:
            return Reason.CONTROLLER_DOWN
        planned = line.reason in {Reason.AHEAD, Reason.EMPTY_WINDOW}
        return Reason.EVENT_VANISHED if planned else line.reason

    def _missed_for(self, line: Line, occurrence: Occurrence, deadline: datetime) -> Reason:
        if deadline <= self.seen.up_since:
            return Reason.CONTROLLER_DOWN
        if line.state is State.WAITING and line.reason is not Reason.AHEAD:
            return line.reason
        if deadline < occurrence.pieces[-1].end:
            return Reason.DEADLINE_EXCEEDED
        if line.reason in {Reason.AHEAD, Reason.EMPTY_WINDOW}:
            return Reason.CONTROLLER_DOWN
        return line.reason

    def _ended(self, line: Line, state: State, reason: Reason) -> Line:
        ended = noted(line, state, reason, "WindowOpen", self.now)
        return replace(ended, state=state, reason=reason, end_time=self.now, promise=0)

    def _early(self, lines: dict[str, Line], book: Book) -> Gate | None:
        """What will hold back an occurrence that is still ahead, as far as its conf can tell."""
        ahead = (
            book.occurrences[line.id]
            for line in lines.values()
            if line.state is State.PLANNED and line.id in book.occurrences
        )
        return early_conf_gate(self.identity, self.spec, self.seen, ahead)

    def _open(self, lines: dict[str, Line], book: Book) -> list[_Open]:
        found = []
        for line in lines.values():
            occurrence = book.occurrences.get(line.id)
            if occurrence is None or not line.state.is_unstarted:
                continue
            piece = occurrence.piece_at(self.now)
            if piece is not None:
                found.append(_Open(line, occurrence, piece))
        # What a person asked for goes first: it may be allowed past what holds the others back.
        found.sort(key=lambda o: (o.line.entry != OVERRIDE_ENTRY, o.piece.start, o.line.id))
        return found

    def _start(
        self, lines: dict[str, Line], book: Book, actions: list[Action]
    ) -> tuple[Waiting | None, Considered | None]:
        """Consider the open occurrences in turn; behind one that may start soon the others wait."""
        first: Considered | None = None
        waiting: Waiting | None = None
        open_lines = self._open(lines, book)
        active = any(line.state.is_active for line in lines.values())
        lineage = Lineage(self.spec, lines.values())
        for line, occurrence, piece in open_lines:
            if first is not None or lineage.may_run(line, occurrence):
                lines[line.id] = noted(
                    line, State.WAITING, Reason.PREVIOUS_RUN_ACTIVE, "DagReady", self.now
                )
                continue
            found = consider(
                self.identity,
                self.spec,
                self.seen,
                occurrence,
                piece,
                another_active=active,
                now=self.now,
            )
            if found.gate is not None:
                held = noted(line, State.WAITING, found.gate.reason, found.gate.condition, self.now)
                lines[line.id] = replace(
                    held,
                    closest=self._closest(held, found),
                    planned_start=planned_start(held, found.gate.gaps),
                )
                self.again.append(found.gate.again_at)
                self.gaps[line.id] = found.gate.gaps
                if found.gate.reason in _OWN_FAULTS:
                    waiting = waiting or Waiting(lines[line.id], found.gate)
                    continue
                waiting = Waiting(lines[line.id], found.gate)
            elif found.refresh:
                actions.append(found.refresh)
            elif not found.pending:
                lines[line.id] = self._intend(line, piece)
            first = found
        opened = {o.line.id for o in open_lines}
        for line in lines.values():
            if line.state.is_unstarted and line.id not in opened:
                lines[line.id] = self._shut(line, book.occurrences.get(line.id))
        return waiting, first

    def _shut(self, line: Line, occurrence: Occurrence | None) -> Line:
        """An occurrence with a piece ahead is planned, whatever held it back before."""
        if occurrence is None or not occurrence.pieces:
            return line
        return noted(line, State.PLANNED, Reason.AHEAD, "WindowOpen", self.now)

    def _intend(self, line: Line, piece: Span) -> Line:
        ready = noted(line, State.INTENDED, Reason.STARTING, "WindowOpen", self.now)
        return replace(
            ready,
            window=line.window or piece,
            intent_time=self.now,
            dag_run_id=run_id(self.identity, line.id),
            trigger_time=None,
            start_time=None,
            end_time=None,
            cancel_time=None,
            promise=self.spec.gpu.count if self.spec.gpu else 0,
        )

    def _closest(self, line: Line, considered: Considered) -> str | None:
        """The best moment so far of an occurrence that waits for GPUs."""
        gate = considered.gate
        if gate is None or "free" not in gate.gaps or self.seen.pool is None:
            return line.closest
        verdict = self.seen.pool.verdict
        if verdict is None or self.spec.gpu is None:
            return line.closest
        free = max(0, verdict.free - verdict.promised)
        # A status may have been edited by hand, so what stands there may be anything.
        before = (line.closest or "").split()[1:2]
        if before and before[0].isdecimal() and free <= int(before[0]):
            return line.closest
        at = self.now.replace(microsecond=0).isoformat().replace("+00:00", "Z")
        return f"{at} {free} of {self.spec.gpu.count} GPUs"

    def _wake(self, lines: dict[str, Line], book: Book, waiting: Waiting | None) -> datetime | None:
        """The next instant at which this decision could differ with nothing new heard (R4)."""
        if not self.status.lines and trouble_with(self.spec, self.seen):
            return None
        # Occurrences may enter the horizon without any news, from an inline schedule.
        following = self.now + AHEAD if book.following is None else book.following - AHEAD
        times: list[datetime | None] = [following, *self.again]
        for occurrence in book.occurrences.values():
            line = lines.get(occurrence.key)
            if occurrence.interval.end <= self.now or (line is not None and line.state.is_final):
                continue
            times.extend((occurrence.interval.start, occurrence.interval.end))
            times.append(start_deadline(self.spec, occurrence))
            for piece in occurrence.pieces:
                times.extend((piece.start, piece.end))
        busy = waiting is not None
        for line in lines.values():
            if line.state is State.INTENDED and line.intent_time is not None:
                times.append(line.intent_time + INTENT_VALID)
                known = self.seen.airflow.runs.get(line.dag_run_id or "")
                if isinstance(known, Absent) and known.met is not None:
                    times.append(known.at + RETRY_LOST)
            if line.state.is_active:
                busy = True
                times.append(line.cancel_time)
                if line.state is State.TRIGGERED and line.trigger_time is not None:
                    times.append(line.trigger_time + QUEUE_PATIENCE)
            elif not line.state.is_final and line.window is not None:
                times.extend((line.window.start, line.window.end))
        if busy and self.seen.layout is not None:
            times.extend(edge.span.start for edge in self.seen.layout.denies)
        times.extend(view.blocks_at for view in self.seen.calendars.values())
        now = self.now
        return min([time for time in times if time is not None and time > now], default=None)
