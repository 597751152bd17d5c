"""What holds for every decision, on random nights full of edits and faults (R4, R9, R12, R13, R16)."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from random import Random

import pytest

from slackwater.api.status import from_wire, to_wire
from slackwater.core.action import Cancel, Decision, Lookup, Post, Refresh, Withdraw
from slackwater.core.decide import decide
from slackwater.core.identity import run_id
from slackwater.core.keep import BEHIND, OVERRIDE_ENTRY
from slackwater.core.ledger import State
from slackwater.core.run import Absent, DagFacts, Denied, InDoubt, RunState
from slackwater.core.run import Seen as SeenRun
from slackwater.core.seen import Override, Seen, Trouble
from slackwater.core.spec import (
    CalendarEntry,
    Concurrency,
    Effect,
    Ending,
    InlineEntry,
    Match,
    Overlap,
    PoolGrant,
    StopPolicy,
)
from slackwater.core.status import Status
from slackwater.core.words import Reason
from tests.core.builders import (
    AIRFLOW,
    CANARY,
    HOUR,
    IDENTITY,
    MINUTE,
    NS,
    OUTLOOK,
    SECOND,
    TEAM,
    Scene,
    ask,
    clock,
    event,
    gpu,
    hours,
    run_of,
    sample,
    spec,
)

SEEDS = range(8)
STEPS = 60
GAP = re.compile(r"(^|[\s`])-([\s`.,:%]|$)")
FAULTS = [Reason.NO_DATA, Reason.UNREACHABLE, Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND]
FAULTS += [Reason.MALFORMED, Reason.LIMIT_EXCEEDED, Reason.THROTTLED, Reason.TOO_MANY_SERIES]
PROBLEMS = [
    Reason.DAG_PAUSED,
    Reason.DAG_NOT_FOUND,
    Reason.DAG_STALE,
    Reason.DAG_HAS_IMPORT_ERRORS,
    Reason.SCHEDULER_UNHEALTHY,
    Reason.AIRFLOW_UNSUPPORTED,
]


class Night:
    """A scene that lives: events are edited, faults come and go, runs begin and end."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = clock(self.random.choice([-3, 0, 8]))
        self.scene = Scene(spec=self.made(), up_since=self.now, ahead=60 * HOUR)
        self.serial = 0
        self.said: set[Reason] = set()
        for _ in range(4):
            self.new_event()

    def made(self):
        random = self.random
        ending = [Ending.FINISH, Ending.CANCEL]
        entries = [
            CalendarEntry(
                name="train",
                calendar=TEAM,
                effect=Effect.TRIGGER,
                match=Match(summary="train*"),
                end_offset=random.choice([0, -10, 60]) * MINUTE,
            ),
            CalendarEntry(
                name="reserved",
                calendar=random.choice([TEAM, OUTLOOK]),
                effect=Effect.DENY,
                match=Match(summary="deny*"),
                when_running=random.choice(ending),
            ),
            CalendarEntry(
                name="paper", calendar=TEAM, effect=Effect.DEADLINE, match=Match(summary="paper*")
            ),
            InlineEntry(
                name="nights", effect=Effect.TRIGGER, schedule="0 */5 * * *", duration=2 * HOUR
            ),
        ]
        if random.random() < 0.3:
            entries.append(InlineEntry(name="ok", effect=Effect.ALLOW, fixed=hours(-9, 30)))
        return spec(
            *entries,
            gpu=random.choice(
                [None, gpu(8), gpu(8, per_pod=8), gpu(4, max_utilization_percent=50.0)]
            ),
            overlap=random.choice(list(Overlap)),
            concurrency=random.choice(list(Concurrency)),
            on_window_end=random.choice(ending),
            on_event_cancelled=random.choice(ending),
            overrun=random.choice([0, 20]) * MINUTE,
            expected_duration=random.choice([None, HOUR, 5 * HOUR]),
            starting_deadline=random.choice([None, HOUR]),
            history_limit=3,
            time_zone=random.choice(["UTC", "Asia/Kathmandu"]),
        )

    # --- what happens

    def hour(self) -> float:
        return (self.now - clock(0)) / HOUR

    def new_event(self) -> None:
        random = self.random
        self.serial += 1
        start = self.hour() + random.choice([-3, -1, 0, 0.2, 1, 3, 20])
        title = random.choice(["train", "train", "train", "deny", "paper"])
        made = event(
            f"e{self.serial}",
            start,
            start + random.choice([0.3, 1, 3, 8]),
            summary=f"{title} {CANARY}",
            series=f"s{self.serial % 3}",
        )
        calendar = self.scene.others if title == "deny" and random.random() < 0.5 else None
        (self.scene.events if calendar is None else calendar).append(made)

    def edit(self) -> None:
        random, found = self.random, self.scene.events
        pick = random.randrange(6)
        if pick == 0 or not found:
            self.new_event()
            return
        index = random.randrange(len(found))
        if pick == 1:
            shift = random.choice([-2, -0.5, 0.5, 2, 30]) * HOUR
            span = found[index].span.shifted(shift, shift)
            assert span is not None
            found[index] = found[index].at(span)
        elif pick == 2:
            self.gone = found.pop(index)
            before = frozenset(e.key for e in found) | {self.gone.key}
            self.scene.recent = before if random.random() < 0.5 else None
        elif pick == 3:
            found[index] = replace(found[index], key=f"{found[index].key}x")
        elif pick == 4:
            self.scene.recent = None
        else:
            found[index] = replace(found[index], summary=None)

    def knobs(self) -> None:
        random, scene = self.random, self.scene
        now = self.now
        scene.blind = ()

        def rarely(value, usual=None, p=0.06):
            return value if random.random() < p else usual

        scene.calendar_fault = rarely(random.choice(FAULTS))
        scene.unread = bool(rarely(True, p=0.03))
        scene.read_at = rarely(now - random.choice([20, 2000, 4000]) * SECOND, p=0.2)
        scene.tried_at = rarely(now, p=0.5)
        scene.pool_fault = rarely(random.choice(FAULTS))
        scene.free = random.choice([(8, 8), (8, 0), (3, 3), (0, 0)])
        old = random.choice([0, 0, 0, 500]) * SECOND
        scene.sample = sample(
            now - old,
            *scene.free,
            utilization=random.choice([None, 0.2, 0.7]),
            coverage=random.choice([None, 1.0, 1.0, 0.3]),
        )
        scene.history = tuple((now - i * MINUTE, random.choice([0.1, 0.1, 0.6])) for i in (3, 2, 1))
        scene.rules = replace(
            scene.rules,
            max_concurrent_runs=rarely(1, p=0.1),
            stop_policy=rarely(random.choice(list(StopPolicy)), StopPolicy.NONE),
        )
        scene.rivals = (ask("giant", 16, priority=9),) if random.random() < 0.2 else ()
        problem = rarely(random.choice(PROBLEMS))
        scene.facts = DagFacts(
            problem=problem,
            checked_at=now - rarely(60, 0, 0.2) * SECOND,
            own_schedule=bool(rarely(True)),
        )
        trouble = Trouble(random.choice(FAULTS[1:]), {"what": "Airflow", "ref": "a/b", "key": "k"})
        scene.airflow_fault = rarely(trouble)
        scene.airflow_stop = rarely(random.choice(list(StopPolicy)), StopPolicy.NONE)
        refusal = {"ref": AIRFLOW, "namespace": NS, "dag": "d"}
        scene.airflow_refused = rarely(Trouble(Reason.DAG_NOT_GRANTED, refusal), p=0.03)
        scene.calendar_refused = rarely(
            Trouble(Reason.CALENDAR_NOT_GRANTED, {"ref": TEAM, "namespace": NS}), p=0.03
        )
        scene.grant = rarely(PoolGrant(max_gpus=2, allow_override=True), PoolGrant(), 0.03)
        scene.allow_override = random.random() < 0.5
        scene.slot_at = rarely(now + 20 * SECOND, p=0.1)
        if random.random() < 0.05:
            scene.spec = replace(scene.spec, suspend=not scene.spec.suspend)
        if random.random() < 0.05:
            scene.override = Override(trigger=now)
        if random.random() < 0.05 and scene.lines:
            scene.override = replace(
                scene.override, skip=frozenset({random.choice(sorted(scene.lines))})
            )

    def airflow(self, decision: Decision) -> None:
        """What became of the actions, and of the runs meanwhile."""
        runs, random, now = self.scene.runs, self.random, self.now
        for action in decision.actions:
            if isinstance(action, Refresh):
                continue
            known = runs.get(action.run_id)
            lives = isinstance(known, SeenRun) and not known.run.state.is_over
            if isinstance(action, Post) and not lives:
                queued = run_of("x", run_id=action.run_id, queued_at=now)
                denied = Denied(now, random.choice([Reason.REJECTED, Reason.INVALID_CONF]), "no")
                outcomes = [SeenRun(queued, now)] * 4 + [InDoubt(now), Absent(now), denied]
                runs[action.run_id] = random.choice(outcomes)
            elif isinstance(action, Lookup):
                foreign = run_of("x", run_id=action.run_id, origin={})
                ours = run_of("x", RunState.RUNNING, run_id=action.run_id, start_date=now)
                unknown = [Absent(now)] * 8 + [SeenRun(foreign, now), SeenRun(ours, now)]
                runs[action.run_id] = random.choice(unknown)
            elif isinstance(action, Withdraw) and random.random() < 0.7:
                runs[action.run_id] = Absent(now)
            elif isinstance(action, Cancel) and isinstance(known, SeenRun):
                over = replace(known.run, state=RunState.FAILED, end_date=now)
                runs[action.run_id] = SeenRun(over, now)
        for identifier, known in list(runs.items()):
            if not isinstance(known, SeenRun) or known.run.state.is_over or random.random() < 0.7:
                continue
            if known.run.state is RunState.QUEUED:
                run = replace(known.run, state=RunState.RUNNING, start_date=now)
            else:
                state = random.choice([RunState.SUCCESS, RunState.FAILED])
                run = replace(known.run, state=state, end_date=now)
            runs[identifier] = Absent(now) if random.random() < 0.1 else SeenRun(run, now)

    def live(self) -> None:
        step = self.random.choice([1, 20, 40, 120, 900, 3600, 20_000]) * SECOND
        self.now += step
        if self.random.random() < 0.4:
            self.edit()
        self.knobs()
        decision = self.scene.look(self.now)
        if decision.pending and self.random.random() < 0.8:
            if not any(isinstance(a, Refresh) for a in decision.actions):
                self.scene.answer(self.now)
            decision = self.scene.look(self.now)
        if intended(decision.status) and self.random.random() < 0.7:
            decision = self.scene.look(self.now)
        self.airflow(decision)


@dataclass(frozen=True)
class Moment:
    """One step of a night: what was seen and recorded, and what was decided."""

    scene: Scene
    now: datetime
    seen: Seen
    before: Status
    first: Decision

    def again(self, status: Status, at: datetime | None = None) -> Decision:
        return decide(IDENTITY, self.scene.spec, status, self.seen, at or self.now)

    @property
    def intends(self) -> bool:
        """An intent was made just now: the POST and the end of others follow from it."""
        return intended(self.first.status) != intended(self.before)


def intended(status: Status) -> set[object]:
    return {(x.id, x.intent_time) for x in status.lines if x.state is State.INTENDED}


@cache
def moments(seed: int) -> tuple[Moment, ...]:
    night, found = Night(seed), []
    for _ in range(STEPS):
        night.live()
        scene = night.scene
        seen, before = scene.seen(night.now), scene.status
        first = decide(IDENTITY, scene.spec, before, seen, night.now)
        kept = replace(scene, events=[*scene.events], others=[*scene.others], runs=dict(scene.runs))
        found.append(Moment(kept, night.now, seen, before, first))
    return tuple(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_decision_is_pure_and_settles_at_once(seed):
    for moment in moments(seed):
        first = moment.first
        assert moment.again(moment.before) == first
        second = moment.again(first.status)
        if moment.intends:
            third = moment.again(second.status)
            assert (third.status, third.ask) == (second.status, second.ask)
        else:
            assert (second.status, second.ask) == (first.status, first.ask)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_look_lies_ahead_and_until_then_nothing_changes_by_itself(seed):
    for moment in moments(seed):
        first, now = moment.first, moment.now
        assert first.wake_at is None or first.wake_at > now
        if first.pending or moment.intends:
            continue
        until = first.wake_at or now + 30 * HOUR
        for part in (0.3, 1.0):
            at = now + (until - now) * part - SECOND / 1000
            if at <= now:
                continue
            later = moment.again(first.status, at)
            if later.pending or intended(later.status) - intended(first.status):
                continue  # the pool or a calendar is asked anew: news
            kept = {x.id for x in later.status.lines}
            forgotten = [x for x in first.status.lines if x.id not in kept]
            assert all(x.state.is_final and x.end_time <= at - BEHIND for x in forgotten)
            lines = tuple(x for x in first.status.lines if x.id in kept)
            assert later.status == replace(first.status, lines=lines), at


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_entries_and_events_means_nothing(seed):
    for moment in moments(seed):
        scene, first, random = moment.scene, moment.first, Random(seed)
        made = scene.spec
        mixed = replace(
            scene,
            events=random.sample(scene.events, len(scene.events)),
            spec=replace(
                made,
                calendars=tuple(random.sample(made.calendars, len(made.calendars))),
                windows=tuple(random.sample(made.windows, len(made.windows))),
            ),
        )
        seen = mixed.seen(moment.now)
        other = decide(IDENTITY, mixed.spec, moment.before, seen, moment.now)
        assert other.status == first.status
        assert (other.ask, other.wake_at) == (first.ask, first.wake_at)
        assert set(map(str, other.actions)) == set(map(str, first.actions))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_title_is_ever_in_a_status_and_no_sentence_has_a_gap(seed):
    for moment in moments(seed):
        first = moment.first
        assert CANARY not in repr(first)
        assert CANARY not in str(to_wire(first.status))
        for said in [first.status.message, *(c.message for c in first.status.conditions)]:
            assert not GAP.search(said), said
            assert said


@pytest.mark.parametrize("seed", SEEDS)
def test_a_condition_dates_from_when_its_value_flipped(seed):
    for moment in moments(seed):
        for condition in moment.first.status.conditions:
            past = moment.before.condition(condition.type)
            assert condition.last_transition_time <= moment.now
            if past is not None and past.status is condition.status:
                assert condition.last_transition_time == past.last_transition_time
            else:
                assert condition.last_transition_time == moment.now.replace(microsecond=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_status_survives_its_store(seed):
    for moment in moments(seed):
        assert from_wire(to_wire(moment.first.status)) == moment.first.status


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_posted_without_a_recorded_intent_a_window_and_leave(seed):
    for moment in moments(seed):
        scene, now = moment.scene, moment.now
        recorded = {x.dag_run_id for x in moment.before.lines if x.state is State.INTENDED}
        for post in (a for a in moment.first.actions if isinstance(a, Post)):
            assert post.run_id in recorded
            assert not scene.spec.suspend
            assert scene.airflow_stop is StopPolicy.NONE
            assert scene.spec.gpu is None or scene.rules.stop_policy is StopPolicy.NONE
            assert now < post.until <= now + 30 * SECOND
            line = next(x for x in moment.first.status.lines if x.dag_run_id == post.run_id)
            assert moment.seen.layout is not None
            denied = any(now in edge.span for edge in moment.seen.layout.denies)
            assert not denied or (line.entry == OVERRIDE_ENTRY and scene.allow_override)
            known = scene.runs.get(post.run_id)
            assert known is None or isinstance(known, Absent | Denied)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_occurrence_has_one_line_with_a_state_a_reason_and_its_times(seed):
    for moment in moments(seed):
        lines, made = moment.first.status.lines, moment.scene.spec
        assert len({x.id for x in lines}) == len(lines)
        for x in lines:
            assert x.state.is_final == (x.end_time is not None), x
            if x.state.is_active:
                assert x.dag_run_id == run_id(IDENTITY, x.id)
                assert x.intent_time is not None
                assert 0 <= x.promise <= (made.gpu.count if made.gpu else 0)
            elif x.state is not State.CANCELLED:
                assert x.promise == 0, x
            if x.state in {State.TRIGGERED, State.RUNNING}:
                assert x.trigger_time is not None
        kept = {x.id for x in lines}
        assert all(x.state.is_final for x in moment.before.lines if x.id not in kept)


def test_random_nights_reach_every_state_and_most_reasons():
    """Else the properties above would prove little."""
    states: set[State] = set()
    reasons: set[Reason] = set()
    for seed in SEEDS:
        for moment in moments(seed):
            first = moment.first
            states |= {x.state for x in first.status.lines}
            reasons |= {x.reason for x in first.status.lines}
            reasons |= {c.reason for c in first.status.conditions}
    assert states == set(State)
    assert len(reasons) > 50, sorted(reasons)
