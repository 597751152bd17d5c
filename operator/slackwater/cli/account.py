"""What became of one occurrence, in a paragraph: from its line of the ledger and the layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from string import Formatter
from typing import Final

from slackwater.cli.reading import Moment, instant_of, write_length, write_span
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.report import sentence
from slackwater.core.span import Span
from slackwater.core.spec import TrainingWindow
from slackwater.core.status import Status
from slackwater.core.window import OUTSIDE_ALLOW
from slackwater.core.words import WORDS, Reason
from slackwater.core.zone import zone

_CLOSEST: Final = re.compile(r"(?P<at>\S+) (?P<gpus>\d+ of \d+)( GPUs)?")
_WORD: Final = re.compile(r"[A-Z]{2,}s?(?![a-z])|[A-Z][a-z]*")
_NAMES: Final = {"Dag": "DAG", "Airflow": "Airflow", "Prometheus": "Prometheus"}
_NOW: Final = (
    frozenset({State.RUNNING, State.TRIGGERED, State.INTENDED}),
    frozenset({State.WAITING}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One occurrence and what is known of it.

    Attributes:
        spec: of its TrainingWindow.
        line: what the ledger has; None where it has nothing.
        occurrence: what the calendars say now; None where they cannot be read or lack it.
        layout: everything the calendars say now.
        now: the present, up to which an open wait is counted.
    """

    spec: TrainingWindow
    line: Line | None
    occurrence: Occurrence | None
    layout: Layout | None
    now: datetime

    @property
    def key(self) -> str:
        """Its id."""
        return self._either().id

    @property
    def entry(self) -> str:
        """The Trigger entry that it belongs to."""
        return self._either().entry

    @property
    def span(self) -> Span | None:
        """When it is; once it is over, when it was, wherever its event is now."""
        recorded = None if self.line is None else self.line.window
        if self.occurrence is None or (recorded is not None and self.state.is_final):
            return recorded
        return self.occurrence.interval

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._either().state

    def _either(self) -> Line:
        if self.line is not None:
            return self.line
        assert self.occurrence is not None
        return Line(id=self.occurrence.key, entry=self.occurrence.entry)

    # --- what took its time

    def waited(self) -> tuple[Waited, ...]:
        """What held it back, the longest first; a wait that lasts counts up to now."""
        if self.line is None:
            return ()
        account = {(w.condition, w.reason): w.seconds for w in self.line.waited}
        if self.line.state is State.WAITING and self.line.since is not None:
            key = (self.line.condition or "WindowOpen", self.line.reason)
            lasts = max(0, round((self.now - self.line.since).total_seconds()))
            account[key] = account.get(key, 0) + lasts
        found = (Waited(c, r, s) for (c, r), s in account.items() if s)
        return tuple(sorted(found, key=lambda w: -w.seconds))

    def cut(self) -> tuple[tuple[str, timedelta], ...]:
        """Time that each Deny entry, or no Allow (`OUTSIDE_ALLOW`), took; the longest first."""
        span, occurrence = self.span, self.occurrence
        if span is None or occurrence is None or not occurrence.interval.overlaps(span):
            return ()
        taken: dict[str, timedelta] = {}
        for cut in occurrence.cuts:
            taken[cut.entry] = taken.get(cut.entry, timedelta()) + cut.span.length
        return tuple(sorted(taken.items(), key=lambda item: (-item[1], item[0])))

    # --- in words

    def paragraph(self, said: str | None = None) -> str:
        """All of it: state, reason, what held it back, and its run.

        Args:
            said: a sentence that the reader has seen already.
        """
        parts = [self._lead(said), self._held_back(), self._run()]
        return " ".join(part for part in parts if part)

    def sentence(self) -> str | None:
        """The reason's sentence; None where the ledger does not hold what it needs."""
        if self.line is None:
            return None
        gaps = self._gaps(self.line)
        needed = {name for _, name, _, _ in Formatter().parse(WORDS[self.line.reason].sentence)}
        if any(name is not None and gaps.get(name) is None for name in needed):
            return None
        return sentence(self.line.reason, gaps, self.spec.time_zone)

    def _gaps(self, line: Line) -> dict[str, object]:
        window, deadline = line.window, self.spec.starting_deadline
        gaps: dict[str, object] = {
            "dag": self.spec.dag.dag_id,
            "start": window.start if window else None,
            "until": window.end if window else None,
            "deadline": window.start + deadline if window and deadline is not None else None,
            "what": f"Airflow {self.spec.dag.airflow}",
        }
        if line.state.has_started or line.state is State.INTENDED:
            gaps["since"] = line.start_time or line.trigger_time or line.since
        if line.reason is Reason.DENY_STARTED:
            gaps["entry"] = self._denied_by(line)
        return gaps

    def _denied_by(self, line: Line) -> str | None:
        """The Deny that cancelled its run."""
        at = line.cancel_time
        if at is None or self.layout is None:
            return None
        return next((edge.entry for edge in self.layout.denies if at in edge.span), None)

    def _lead(self, said: str | None) -> str:
        if self.line is None:
            return self._unrecorded()
        state, text = self.line.state.value, self.sentence()
        if text is None:
            # The wait itself follows with its length; without one, its name has to do.
            waits = any(w.reason is self.line.reason for w in self.waited())
            return f"{state}." if waits else f"{state}: {phrase(self.line.reason)}."
        if text == said:
            return f"{state}."
        return text if text.lower().startswith(state.lower()) else f"{state}. {text}"

    def _unrecorded(self) -> str:
        assert self.occurrence is not None
        if not self.occurrence.pieces:
            return sentence(Reason.EMPTY_WINDOW, {}, self.spec.time_zone)
        if self.occurrence.pieces[-1].end <= self.now:
            return "Nothing is recorded of it."
        gaps: Mapping[str, object] = {"start": self.occurrence.pieces[0].start}
        return sentence(Reason.AHEAD, gaps, self.spec.time_zone)

    def _held_back(self) -> str:
        parts = list(self._waits())
        for entry, length in self.cut():
            if entry == OUTSIDE_ALLOW:
                parts.append(f"{write_length(length)} outside Allow")
            elif any(e.name == entry for e in self.spec.entries):
                parts.append(f"{write_length(length)} denied by `{entry}`")
        return f"{', '.join(parts)}." if parts else ""

    def _waits(self) -> Iterator[str]:
        closest = self._closest()
        for waited in self.waited():
            text = f"{write_length(timedelta(seconds=waited.seconds))} {phrase(waited.reason)}"
            if closest and waited.condition == "CapacityAvailable":
                text, closest = f"{text} (closest {closest})", None
            yield text
        if closest:
            yield f"closest {closest} GPUs"

    def _closest(self) -> str | None:
        """The best moment, as `03:40: 14 of 16`."""
        found = _CLOSEST.fullmatch(self.line.closest or "") if self.line else None
        if found is None:
            return None
        try:
            at = datetime.fromisoformat(found["at"])
        except ValueError:
            at = None
        local = at.astimezone(zone(self.spec.time_zone)) if at is not None and at.tzinfo else None
        return f"{local:%H:%M}: {found['gpus']}" if local else f"{found['at']}: {found['gpus']}"

    def _run(self) -> str:
        line = self.line
        if line is None or line.dag_run_id is None or line.trigger_time is None:
            return ""
        began = line.start_time or line.trigger_time
        where = zone(self.spec.time_zone)
        if line.end_time is None or line.end_time <= began:
            return f"Run {line.dag_run_id}."
        ran = Span(began, line.end_time)
        return f"Run {line.dag_run_id}: {write_span(ran, where)} ({write_length(ran.length)})."

    def remedies(self) -> tuple[str, ...]:
        """What would have changed it, what mattered most first."""
        reasons = [] if self.line is None else [self.line.reason]
        if self.line is None and self.occurrence is not None and not self.occurrence.pieces:
            reasons.append(Reason.EMPTY_WINDOW)
        reasons += [waited.reason for waited in self.waited()]
        return remedies(reasons)


def remedies(reasons: Iterable[Reason]) -> tuple[str, ...]:
    """The remedies of these reasons, each once, in their order."""
    return tuple(dict.fromkeys(w.remedy for w in map(WORDS.__getitem__, reasons) if w.remedy))


def phrase(reason: Reason) -> str:
    """A reason's own name as words, for an account of waiting.

    >>> phrase(Reason.WAITING_FOR_GPUS), phrase(Reason.DAG_PAUSED)
    ('waiting for GPUs', 'DAG paused')
    """
    words = _WORD.findall(reason.value)
    return " ".join(
        _NAMES.get(word, word if len(word) > 1 and word[:2].isupper() else word.lower())
        for word in words
    )


# --- which occurrence --------------------------------------------------------------------------


def accounts(
    spec: TrainingWindow, status: Status, layout: Layout | None, now: datetime
) -> tuple[Account, ...]:
    """Every occurrence that the ledger or the calendars know."""
    laid = {o.key: o for o in layout.occurrences} if layout is not None else {}
    recorded = {line.id for line in status.lines}
    plain = Account(spec=spec, line=None, occurrence=None, layout=layout, now=now)
    return (
        *(replace(plain, line=line, occurrence=laid.get(line.id)) for line in status.lines),
        *(replace(plain, occurrence=o) for key, o in laid.items() if key not in recorded),
    )


def at_present(found: Iterable[Account], now: datetime) -> Account | None:
    """The one that matters now: in flight, else waiting, else open, else next, else the last."""
    known = [account for account in found if account.span is not None]
    for states in _NOW:
        for account in known:
            if account.state in states:
                return account
    is_open = [a for a in known if a.span is not None and now in a.span]
    ahead = [a for a in known if a.span is not None and a.span.start > now]
    past = [a for a in known if a.span is not None and a.span.end <= now]
    if is_open:
        return min(is_open, key=_order)
    unfinished = [account for account in ahead if not account.state.is_final]
    if unfinished:
        return min(unfinished, key=_order)
    return max(past or ahead, key=_order, default=None)


def nearest(found: Iterable[Account], at: Moment, time_zone: str) -> Account | None:
    """The one whose time contains `at`, or is nearest to it; of a date, one that begins that day."""
    where = zone(time_zone)
    if isinstance(at, datetime):
        start = end = at
    else:
        start = instant_of(at, where)
        end = instant_of(date.fromordinal(at.toordinal() + 1), where)

    def distance(account: Account) -> tuple[bool, timedelta, bool, tuple[datetime, str]]:
        span = account.span
        assert span is not None
        outside = not (start <= span.start < end) if start < end else start not in span
        away = max(span.start - end, start - span.end, timedelta())
        # Of two that are as near, one that is on record says more.
        return (outside, away, account.line is None, _order(account))

    return min((a for a in found if a.span is not None), key=distance, default=None)


def _order(account: Account) -> tuple[datetime, str]:
    assert account.span is not None
    return account.span.start, account.key
