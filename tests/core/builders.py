"""Builders of specs, seen things and statuses, and a small world for `decide`, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from slackwater.core.action import Action, Decision, Post, Refresh
from slackwater.core.allot import Pool, Verdict, allot
from slackwater.core.ask import Ask, Promise
from slackwater.core.decide import decide
from slackwater.core.event import Event, Snapshot
from slackwater.core.identity import run_id
from slackwater.core.keep import OVERRIDE_ENTRY
from slackwater.core.ledger import Line, State
from slackwater.core.occurrence import Layout, lay_out
from slackwater.core.run import DagFacts, Known, Run, RunState
from slackwater.core.run import Seen as SeenRun
from slackwater.core.sample import Room, Sample
from slackwater.core.seen import AirflowView, CalendarView, Override, PoolView, Seen, Trouble
from slackwater.core.span import Span
from slackwater.core.spec import (
    CalendarEntry,
    Dag,
    Effect,
    GpuAsk,
    Identity,
    InlineEntry,
    Match,
    PoolGrant,
    PoolRules,
    Privacy,
    Ref,
    StopPolicy,
    TrainingWindow,
)
from slackwater.core.status import Status
from slackwater.core.words import Reason

DAY = datetime(2026, 6, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NS = "research"
OWNER, TEAM, OUTLOOK = Ref(NS, "nightly"), Ref(NS, "team"), Ref(NS, "outlook")
POOL, AIRFLOW = Ref(NS, "h100"), Ref(NS, "default")
DAG = "train_llm"
CANARY = "kanarienvogel"
IDENTITY = Identity(installation="test", ref=OWNER, created=DAY - timedelta(days=30))


def clock(hours: float | datetime) -> datetime:
    """An instant, in hours of the day on which everything happens."""
    return hours if isinstance(hours, datetime) else DAY + hours * HOUR


def hours(start: float, end: float) -> Span:
    return Span(clock(start), clock(end))


# --- specs


def event(key: str, start: float, end: float, **changes: Any) -> Event:
    span = hours(start, end)
    fields: dict[str, Any] = {
        "key": key,
        "series": f"series of {key}",
        "original_start": "",
        "span": span,
        "summary": f"train: {CANARY}",
        "description": CANARY,
        "categories": (CANARY,),
        "organizer": f"{CANARY}@example.com",
    }
    return Event(**{**fields, **changes})


def trigger(name: str = "train", calendar: Ref = TEAM, **changes: Any) -> CalendarEntry:
    fields = {"match": Match(summary="train*")} | changes
    return CalendarEntry(name=name, calendar=calendar, effect=Effect.TRIGGER, **fields)


def deny(name: str = "reserved", calendar: Ref = TEAM, **changes: Any) -> CalendarEntry:
    fields = {"match": Match(summary="deny*")} | changes
    return CalendarEntry(name=name, calendar=calendar, effect=Effect.DENY, **fields)


def inline(name: str, start: float, end: float, effect: Effect = Effect.TRIGGER) -> InlineEntry:
    return InlineEntry(name=name, effect=effect, fixed=hours(start, end))


def spec(*entries: CalendarEntry | InlineEntry, **changes: Any) -> TrainingWindow:
    entries = entries or (trigger(),)
    fields = {
        "dag": Dag(airflow=AIRFLOW, dag_id=DAG),
        "calendars": tuple(e for e in entries if isinstance(e, CalendarEntry)),
        "windows": tuple(e for e in entries if isinstance(e, InlineEntry)),
    }
    return TrainingWindow(**{**fields, **changes})


def gpu(count: int = 8, **changes: Any) -> GpuAsk:
    return GpuAsk(pool=POOL, count=count, **changes)


# --- pools


def sample(at: datetime, *free: int, each: int = 8, **changes: Any) -> Sample:
    """A pool of nodes of `each` GPUs with so many free on each."""
    rooms = tuple(Room(f"n{i}", each, left) for i, left in enumerate(free))
    fields = {
        "time": at,
        "capacity": each * len(free),
        "rooms": rooms,
        "used": sum(each - left for left in free),
    }
    return Sample(**{**fields, **changes})


def rules(**changes: Any) -> PoolRules:
    return PoolRules(ref=POOL, **changes)


def ask(name: str, count: int, **changes: Any) -> Ask:
    fields: dict[str, Any] = {
        "owner": Ref(NS, name),
        "occurrence": name,
        "count": count,
        "per_pod": 1,
        "priority": 0,
        "latest_start": clock(24),
        "window_start": clock(0),
    }
    return Ask(**{**fields, **changes})


def promise(name: str, count: int, **changes: Any) -> Promise:
    fields: dict[str, Any] = {
        "run_id": name,
        "owner": Ref(NS, name),
        "count": count,
        "unseen": 0,
        "since": clock(0),
    }
    return Promise(**{**fields, **changes})


# --- runs


def run_of(key: str, state: RunState = RunState.QUEUED, **changes: Any) -> Run:
    """A run of ours for the occurrence of this key."""
    fields: dict[str, Any] = {
        "dag_id": DAG,
        "run_id": run_id(IDENTITY, key),
        "state": state,
        "origin": {
            "installation": IDENTITY.installation,
            "namespace": OWNER.namespace,
            "name": OWNER.name,
        },
    }
    return Run(**{**fields, **changes})


def line(key: str = "e1", state: State = State.PLANNED, **changes: Any) -> Line:
    """A line of the entry `train` with its window from 10 to 14."""
    fields: dict[str, Any] = {
        "id": key,
        "entry": "train",
        "series": f"series of {key}",
        "state": state,
        "since": clock(0),
        "window": hours(10, 14),
    }
    return Line(**{**fields, **changes})


def started(key: str = "e1", state: State = State.RUNNING, **changes: Any) -> Line:
    """A line with a run that was intended, triggered and began at 10."""
    reasons = {State.INTENDED: Reason.STARTING, State.TRIGGERED: Reason.TRIGGERED}
    fields: dict[str, Any] = {
        "reason": reasons.get(state, Reason.RUNNING),
        "since": clock(10),
        "intent_time": clock(10),
        "dag_run_id": run_id(IDENTITY, key),
        "promise": 8,
    }
    if state is not State.INTENDED:
        fields["trigger_time"] = clock(10)
    if state is State.RUNNING:
        fields["start_time"] = clock(10)
    return line(key, state, **{**fields, **changes})


# --- a small world


@dataclass
class Scene:
    """What one TrainingWindow sees, with knobs; `look` decides and keeps the status.

    Calendars are read at every look unless `read_at` says when they last were. `answer` has the
    pool answer the ask of the last decision.
    """

    spec: TrainingWindow = field(default_factory=spec)
    ahead: timedelta = timedelta(days=35)
    events: list[Event] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)  # of the calendar `OUTLOOK`
    runs: dict[str, Known] = field(default_factory=dict)
    status: Status = field(default_factory=Status)
    identity: Identity = IDENTITY
    up_since: datetime = DAY - timedelta(days=20)
    read_at: datetime | None = None
    tried_at: datetime | None = None
    retry_at: datetime | None = None
    recent: frozenset[str] | None = None
    blind: tuple[Span, ...] = ()
    blocks_after: timedelta = HOUR
    calendar_fault: Reason | None = None
    unread: bool = False
    calendar_refused: Trouble | None = None
    privacy: Privacy = Privacy.BASIC
    facts: DagFacts | None = None
    facts_at: datetime | None = None
    airflow_fault: Trouble | None = None
    airflow_stop: StopPolicy = StopPolicy.NONE
    airflow_url: str = ""
    airflow_refused: Trouble | None = None
    allow_override: bool = False
    duration: timedelta | None = None
    slot_at: datetime | None = None
    rules: PoolRules = field(default_factory=rules)
    grant: PoolGrant = field(default_factory=PoolGrant)
    free: tuple[int, ...] = (8, 8)
    sample: Sample | None = None
    pool_fault: Reason | None = None
    pool_refused: Trouble | None = None
    promises: tuple[Promise, ...] = ()
    history: tuple[tuple[datetime, float], ...] = ()
    verdict: Verdict | None = None
    rivals: tuple[Ask, ...] = ()
    override: Override = field(default_factory=Override)
    config: Trouble | None = None
    posts: list[str] = field(default_factory=list)
    decision: Decision | None = None

    # what is seen

    def layout(self, now: datetime) -> Layout | None:
        if self.unread or self.calendar_refused:
            return None
        found = {TEAM: self._inside(self.events, now), OUTLOOK: self._inside(self.others, now)}
        return lay_out(self.spec, found, self.horizon(now))

    def horizon(self, now: datetime) -> Span:
        return Span(now - timedelta(hours=48), now + self.ahead)

    def _inside(self, events: Iterable[Event], now: datetime) -> tuple[Event, ...]:
        """What a provider gives: the events that overlap the horizon."""
        return tuple(e for e in events if e.span.overlaps(self.horizon(now)))

    def _calendar(self, ref: Ref, now: datetime) -> CalendarView:
        read_at = self.read_at or now
        inside = self._inside(self.events if ref == TEAM else self.others, now)
        snapshot = Snapshot(self.horizon(now), inside, read_at)
        recent = self.recent
        if recent is None:
            recent = frozenset(e.key for e in inside)
        return CalendarView(
            ref=ref,
            refused=self.calendar_refused,
            snapshot=None if self.unread else snapshot,
            checked_at=None if self.unread else read_at,
            tried_at=self.tried_at or read_at,
            retry_at=self.retry_at,
            fault=self.calendar_fault,
            blocks_at=None if self.unread else read_at + self.blocks_after,
            recent=None if self.unread else recent,
            blind=self.blind,
            privacy=self.privacy,
        )

    def seen(self, now: datetime) -> Seen:
        facts = self.facts or DagFacts(problem=None, checked_at=self.facts_at or now)
        pool: PoolView | None = None
        if self.spec.gpu is not None:
            pool = PoolView(
                ref=POOL,
                refused=self.pool_refused,
                rules=self.rules,
                grant=self.grant,
                sample=self.now_sampled(now),
                fault=self.pool_fault,
                history=self.history,
                verdict=self.verdict,
                unseen={p.run_id: p.unseen for p in self.promises},
            )
        calendars = [entry.calendar for entry in self.spec.calendars]
        return Seen(
            layout=self.layout(now),
            airflow=AirflowView(
                ref=AIRFLOW,
                refused=self.airflow_refused,
                url=self.airflow_url,
                stop_policy=self.airflow_stop,
                allow_override=self.allow_override,
                facts=facts,
                fault=self.airflow_fault,
                runs=dict(self.runs),
                duration=self.duration,
                slot_at=self.slot_at,
                starts_per_minute=6 if self.slot_at else None,
            ),
            up_since=self.up_since,
            calendars={ref: self._calendar(ref, now) for ref in calendars},
            pool=pool,
            config=self.config,
            override=self.override,
        )

    def now_sampled(self, now: datetime) -> Sample | None:
        if self.pool_fault is not None:
            return self.sample
        return self.sample or sample(now, *self.free, utilization=0.1, coverage=1.0)

    # looking

    def look(self, hour: float | datetime) -> Decision:
        """Decide once and keep the status."""
        now = clock(hour)
        self.decision = decide(self.identity, self.spec, self.status, self.seen(now), now)
        self.status = self.decision.status
        self.posts += [a.run_id for a in self.decision.actions if isinstance(a, Post)]
        return self.decision

    def answer(self, hour: float | datetime) -> None:
        """Have the pool answer the ask of the last decision beside those of `rivals`."""
        now = clock(hour)
        assert self.decision is not None
        own = self.decision.ask
        pool = Pool(
            rules=self.rules,
            sample=self.now_sampled(now),
            fault=self.pool_fault,
            promises=self.promises,
        )
        asks = [*self.rivals, *([own] if own else [])]
        self.verdict = allot(pool, asks, now).get(self.identity.ref)

    def settle(self, hour: float | datetime) -> Decision:
        """Look until nothing is pending: the pool answers, calendars and the DAG are read."""
        self.verdict = None
        for _ in range(6):
            decision = self.look(hour)
            if not decision.pending:
                return decision
            if any(isinstance(action, Refresh) for action in decision.actions):
                self.read_at = self.facts_at = None
            else:
                self.answer(hour)
        raise AssertionError("it never settles")

    def start(self, hour: float | datetime, key: str = "e1") -> Line:
        """Settle, write the intent, post, and have Airflow queue the run."""
        if key not in self.lines or self.line(key).state is not State.INTENDED:
            self.settle(hour)
        assert self.line(key).state is State.INTENDED, self.status.message
        self.verdict = None
        self.look(hour)
        return self.hear(hour, key)

    def hear(
        self,
        hour: float | datetime,
        key: str = "e1",
        state: RunState = RunState.QUEUED,
        **changes: Any,
    ) -> Line:
        """Airflow says how the run of `key` does, and the line follows."""
        fields: dict[str, Any] = {"queued_at": clock(hour)}
        before = self.runs.get(run_id(IDENTITY, key))
        if isinstance(before, SeenRun):
            fields = {"queued_at": before.run.queued_at, "start_date": before.run.start_date}
        if state is not RunState.QUEUED and fields.get("start_date") is None:
            fields["start_date"] = clock(hour)
        if state.is_over:
            fields["end_date"] = clock(hour)
        self.runs[run_id(IDENTITY, key)] = SeenRun(
            run_of(key, state, **{**fields, **changes}), clock(hour)
        )
        self.look(hour)
        return self.line(key)

    def line(self, key: str = "e1") -> Line:
        found = self.lines.get(key)
        assert found is not None, f"no line {key} in {sorted(self.lines)}"
        return found

    @property
    def lines(self) -> dict[str, Line]:
        return {line.id: line for line in self.status.lines}

    def condition(self, kind: str) -> tuple[str, Reason, str]:
        found = self.status.condition(kind)
        assert found is not None
        return found.status.value, found.reason, found.message

    def with_lines(self, *lines: Line) -> Scene:
        self.status = replace(self.status, lines=lines)
        return self


def actions_of(decision: Decision, kind: type[Action]) -> list[Any]:
    return [action for action in decision.actions if isinstance(action, kind)]


def waited(line: Line) -> Mapping[Reason, int]:
    found: dict[Reason, int] = {}
    for part in line.waited:
        found[part.reason] = found.get(part.reason, 0) + part.seconds
    return found


def manual(at: datetime) -> str:
    """Key of the occurrence that a person's request stands for."""
    from slackwater.core.identity import inline_key

    return inline_key(OVERRIDE_ENTRY, at.isoformat())


def keys(events: Iterable[Event]) -> frozenset[str]:
    return frozenset(event.key for event in events)
