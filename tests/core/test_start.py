"""Whether an open occurrence may start, and if not, the first thing that holds it back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from slackwater.core.action import Refresh
from slackwater.core.identity import run_id
from slackwater.core.ledger import State
from slackwater.core.run import Absent, DagFacts, Denied, RunState
from slackwater.core.seen import Override, Trouble
from slackwater.core.span import Span
from slackwater.core.spec import (
    CalendarEntry,
    Concurrency,
    Dag,
    Effect,
    Ending,
    Match,
    PoolGrant,
    Privacy,
    StopPolicy,
)
from slackwater.core.words import Reason
from tests.core.builders import (
    AIRFLOW,
    CANARY,
    DAG,
    HOUR,
    IDENTITY,
    MINUTE,
    OUTLOOK,
    SECOND,
    TEAM,
    Scene,
    actions_of,
    ask,
    clock,
    deny,
    event,
    gpu,
    manual,
    promise,
    rules,
    sample,
    spec,
    started,
    trigger,
)

ID = run_id(IDENTITY, "e1")


def scene(**changes) -> Scene:
    return Scene(events=[event("e1", 10, 14)], **changes)


def held_by(found: Scene, hour: float = 10.5) -> Reason | None:
    """What holds `e1` back, None where it starts."""
    found.settle(hour)
    line = found.line()
    return None if line.state is State.INTENDED else line.reason


def test_an_open_window_with_nothing_in_the_way_starts():
    found = scene()
    assert held_by(found) is None
    assert found.line().dag_run_id == ID
    assert found.line().intent_time == clock(10.5)


def test_before_its_window_and_after_it_nothing_starts():
    found = scene()
    found.settle(9.999)
    assert found.line().state is State.PLANNED
    late = scene()
    late.runs[ID] = Absent(clock(14))
    late.settle(14)
    assert late.lines == {}


# --- configuration and authority (R14)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": Trouble(Reason.INVALID_SPEC, {"detail": "x"})},
        {"calendar_refused": Trouble(Reason.CALENDAR_NOT_GRANTED, {"ref": TEAM, "namespace": "n"})},
        {"airflow_refused": Trouble(Reason.DAG_NOT_GRANTED, {"ref": AIRFLOW})},
        {"pool_refused": Trouble(Reason.POOL_NOT_FOUND, {"ref": "p"}), "spec": spec(gpu=gpu())},
        {"grant": PoolGrant(max_gpus=4), "spec": spec(gpu=gpu(8))},
    ],
    ids=["spec", "calendar", "airflow", "pool", "grant"],
)
def test_without_good_configuration_nothing_starts_and_ready_says_why(changes):
    found = scene(**changes)
    found.settle(10.5)
    assert not any(line.state.is_active for line in found.lines.values())
    truth, reason, message = found.condition("Ready")
    assert truth == "False"
    trouble = next((t for t in changes.values() if isinstance(t, Trouble)), None)
    assert reason is (trouble.reason if trouble else Reason.EXCEEDS_GRANT)
    assert found.status.message == message


def test_an_intent_is_not_carried_out_once_the_grant_is_gone():
    found = scene()
    found.settle(10.5)
    found.airflow_refused = Trouble(Reason.DAG_NOT_GRANTED, {"ref": AIRFLOW})
    found.look(clock(10.5) + SECOND)
    assert found.posts == []
    found.runs[ID] = Absent(clock(10.5) + SECOND)
    found.look(clock(10.5) + 2 * SECOND)
    assert found.line().state is State.WAITING


def test_ready_is_never_false_for_waiting():
    found = scene(spec=spec(gpu=gpu(8)), free=(0, 0))
    assert held_by(found) is Reason.WAITING_FOR_GPUS
    assert found.condition("Ready")[0] == "True"


def test_suspended_windows_wait():
    assert held_by(scene(spec=spec(suspend=True))) is Reason.SUSPENDED


# --- calendars


def test_an_unread_calendar_holds_back_with_its_own_fault():
    two = spec(trigger(), deny(calendar=OUTLOOK))
    found = scene(spec=two)
    found.look(9)
    found.unread, found.calendar_fault = True, Reason.UNAUTHORIZED
    found.look(10.5)
    assert found.condition("CalendarsSynced")[:2] == ("False", Reason.UNAUTHORIZED)
    assert found.line().state is State.PLANNED
    found.calendar_fault = None
    found.look(10.6)
    assert found.condition("CalendarsSynced")[:2] == ("Unknown", Reason.NOT_READ_YET)


def test_the_last_snapshot_carries_starts_until_it_is_too_old():
    found = scene(read_at=clock(10), tried_at=clock(10.9), calendar_fault=Reason.UNREACHABLE)
    assert held_by(found, 10.903) is None
    late = scene(read_at=clock(10), tried_at=clock(11), calendar_fault=Reason.UNREACHABLE)
    late.look(11)
    assert late.line().reason is Reason.STALE


def test_when_a_failing_calendar_grows_too_old_somebody_looks():
    found = scene(read_at=clock(5), tried_at=clock(5.1), calendar_fault=Reason.UNREACHABLE)
    assert found.look(5.2).wake_at == clock(6)
    assert found.look(6).status.condition("CalendarsSynced").reason is Reason.STALE


def test_a_calendar_read_more_than_15_seconds_ago_is_read_once_more_before_a_start():
    now = clock(10.5)
    found = scene(read_at=now - 15 * SECOND)
    decision = found.look(now)
    assert actions_of(decision, Refresh) == [Refresh((TEAM,), dag=False)]
    assert decision.pending
    assert found.line().state is not State.INTENDED
    found.read_at = now
    found.look(now + SECOND)
    assert found.line().state is State.INTENDED


def test_all_calendars_that_are_due_are_read_together():
    two = spec(trigger(), deny(calendar=OUTLOOK))
    found = scene(spec=two, read_at=clock(10.4))
    assert actions_of(found.look(10.5), Refresh) == [Refresh((OUTLOOK, TEAM), dag=False)]


def test_a_failed_look_is_a_look_too():
    now = clock(10.5)
    found = scene(read_at=now - HOUR / 2, tried_at=now - SECOND)
    assert not actions_of(found.look(now), Refresh)
    assert found.line().state is State.INTENDED


def test_where_the_rate_limit_forbids_a_look_the_last_snapshot_counts():
    now = clock(10.5)
    found = scene(read_at=now - HOUR / 2, retry_at=now + MINUTE)
    assert not actions_of(found.look(now), Refresh)
    assert found.line().state is State.INTENDED


def test_a_look_of_a_clock_that_has_jumped_back_since_is_no_fresh_look():
    found = scene(read_at=clock(11.5))
    assert actions_of(found.look(10.5), Refresh)


def test_a_request_past_the_calendar_needs_no_fresh_calendar():
    found = Scene(override=Override(trigger=clock(10)), allow_override=True)
    found.read_at = clock(9.5)
    assert found.look(10).actions == ()
    assert found.line(manual(clock(10))).state is State.INTENDED


# --- runs of its own


def test_forbid_waits_for_the_run_before_and_allow_does_not():
    for policy, reason in (
        (Concurrency.FORBID, Reason.PREVIOUS_RUN_ACTIVE),
        (Concurrency.ALLOW, None),
    ):
        found = scene(spec=spec(concurrency=policy))
        found.with_lines(started("before", entry="other", window=Span(clock(4), clock(5))))
        assert held_by(found) is reason


# --- the DAG


@pytest.mark.parametrize(
    "problem", [Reason.DAG_PAUSED, Reason.DAG_NOT_FOUND, Reason.SCHEDULER_UNHEALTHY]
)
def test_a_dag_that_cannot_run_holds_back_and_is_said_early(problem):
    facts = DagFacts(problem=problem, checked_at=clock(5))
    found = scene(facts=facts)
    found.look(5)
    assert found.condition("DagReady")[:2] == ("False", problem)
    assert held_by(found) is problem


def test_a_server_that_cannot_be_asked_holds_back():
    trouble = Trouble(Reason.UNREACHABLE, {"what": "Airflow x"})
    assert held_by(scene(airflow_fault=trouble)) is Reason.UNREACHABLE


def test_a_dag_that_was_never_looked_at_holds_back():
    found = scene()
    seen = found.seen(clock(10.5))
    from slackwater.core.decide import decide

    blind = replace(seen, airflow=replace(seen.airflow, facts=None))
    status = decide(IDENTITY, found.spec, found.status, blind, clock(10.5)).status
    assert status.lines[0].reason is Reason.NOT_READ_YET


def test_a_held_airflow_holds_back():
    found = scene(airflow_stop=StopPolicy.HOLD)
    assert held_by(found) is Reason.HELD
    assert found.status.message == "AirflowInstance research/default is held by its stopPolicy."


def test_facts_older_than_30_seconds_are_read_once_more():
    now = clock(10.5)
    found = scene(facts_at=now - 30 * SECOND)
    assert actions_of(found.look(now), Refresh) == [Refresh((), dag=True)]
    found.facts_at = now
    found.look(now)
    assert found.line().state is State.INTENDED


def test_conf_that_cannot_be_made_holds_back_and_never_shows_the_event():
    dag = Dag(airflow=AIRFLOW, dag_id=DAG, conf={"x": {"$cel": "event.parameters.lr"}})
    found = scene(spec=spec(dag=dag), privacy=Privacy.DETAILS)
    assert held_by(found) is Reason.INVALID_CONF
    assert CANARY not in repr(found.status)


def test_conf_that_the_dags_params_refuse_is_not_posted():
    dag = Dag(airflow=AIRFLOW, dag_id=DAG, conf={"lr": 99})
    schema = {"lr": {"value": 1, "schema": {"type": "integer", "maximum": 10}}}
    facts = DagFacts(problem=None, checked_at=clock(10.5), params_schema=schema)
    found = scene(spec=spec(dag=dag), facts=facts)
    assert held_by(found) is Reason.INVALID_CONF
    assert "lr must be at most 10" in found.status.message


def test_a_refused_run_is_left_alone_for_a_minute():
    now = clock(10.5)
    found = scene()
    found.runs[ID] = Denied(now, Reason.REJECTED, "why")
    found.look(now + 59 * SECOND)
    assert found.line().reason is Reason.REJECTED
    assert found.decision.wake_at == now + MINUTE
    assert "why" in found.status.message
    found.look(now + MINUTE)
    assert found.line().state is State.INTENDED


def test_starts_are_spread_by_the_rate_of_the_server():
    now = clock(10.5)
    found = scene(slot_at=now + 20 * SECOND)
    assert held_by(found) is Reason.START_RATE_LIMITED
    assert found.decision.wake_at == now + 20 * SECOND
    assert "6 starts a minute" in found.status.message
    found.settle(now + 20 * SECOND)
    assert found.line().state is State.INTENDED


# --- fit in time (R8)

LONG = {"expected_duration": 5 * HOUR}
PAPER = CalendarEntry(
    name="paper", calendar=TEAM, effect=Effect.DEADLINE, match=Match(summary="deadline*")
)


def test_a_run_that_would_be_cancelled_at_the_windows_end_is_not_started():
    assert held_by(scene(spec=spec(**LONG, on_window_end=Ending.CANCEL))) is Reason.WONT_FINISH
    assert held_by(scene(spec=spec(**LONG, on_window_end=Ending.FINISH))) is None
    overrun = spec(**LONG, on_window_end=Ending.CANCEL, overrun=2 * HOUR)
    assert held_by(scene(spec=overrun)) is None


def test_a_run_of_unknown_length_is_started():
    assert held_by(scene(spec=spec(on_window_end=Ending.CANCEL)), 13.9) is None


def test_a_learned_length_counts_as_a_configured_one():
    found = scene(spec=spec(on_window_end=Ending.CANCEL), duration=5 * HOUR)
    assert held_by(found) is Reason.WONT_FINISH
    assert found.status.expected_duration == 5 * HOUR


def test_a_run_that_would_cross_a_cancelling_deny_is_not_started():
    for ending, reason in ((Ending.CANCEL, Reason.CROSSES_DENY), (Ending.FINISH, None)):
        found = scene(spec=spec(trigger(), deny(when_running=ending), **LONG))
        found.events.append(event("d", 15, 16, summary="deny"))
        assert held_by(found) is reason


def test_a_run_that_would_miss_a_deadline_is_not_started():
    found = scene(spec=spec(trigger(), PAPER, **LONG))
    found.events.append(event("p", 15, 16, summary="deadline"))
    assert held_by(found) is Reason.MISSES_DEADLINE
    assert "`paper`" in found.status.message


def test_a_run_that_just_ends_in_time_is_started():
    exact = spec(expected_duration=timedelta(hours=3.5), on_window_end=Ending.CANCEL)
    assert held_by(scene(spec=exact)) is None


# --- GPUs


def asking(**changes) -> Scene:
    fields = {"spec": spec(gpu=gpu(8))}
    return scene(**fields | changes)


def test_an_ask_waits_for_the_pools_answer():
    found = asking()
    decision = found.look(10.5)
    assert decision.pending
    assert decision.ask is not None
    assert (decision.ask.count, decision.ask.window_start) == (8, clock(10))
    found.answer(10.5)
    found.look(10.5)
    assert found.line().state is State.INTENDED
    assert found.line().promise == 8


def test_the_answer_to_another_ask_is_no_answer():
    found = asking()
    found.look(10.5)
    found.answer(10.5)
    found.spec = replace(found.spec, gpu=gpu(9))
    assert found.look(10.5).pending


def test_the_priority_is_capped_by_the_grant():
    found = asking(spec=spec(gpu=gpu(8), priority=500), grant=PoolGrant(max_priority=7))
    assert found.look(10.5).ask.priority == 7


def test_without_room_it_waits_and_says_what_is_free():
    found = asking(free=(4, 5), promises=(promise("x", 8, unseen=8),))
    assert held_by(found) is Reason.WAITING_FOR_GPUS
    assert found.status.message == (
        "Waiting for 8 GPUs in research/h100 since 10:30: 9 free, 8 of them promised to 1 other run; "
        "place 1 of 1; with 1 GPU now."
    )
    assert found.condition("CapacityAvailable")[2] == found.status.message


def test_behind_others_it_waits_for_its_turn():
    found = asking(rivals=(ask("giant", 16, priority=9),), free=(8, 7))
    assert held_by(found) is Reason.WAITING_FOR_TURN
    assert "; place 2 of 2; " in found.status.message


def test_a_held_pool_holds_back_whatever_it_answered_before():
    found = asking()
    found.look(10.5)
    found.answer(10.5)
    found.rules = rules(stop_policy=StopPolicy.HOLD)
    found.look(10.5)
    assert (found.line().state, found.line().reason) == (State.WAITING, Reason.HELD)
    assert found.status.message == "GPUPool research/h100 is held by its stopPolicy."


def test_once_a_deadline_has_passed_it_does_not_hold_back_any_more():
    found = scene(spec=spec(trigger(), PAPER, **LONG))
    found.events.append(event("p", 13, 17, summary="deadline"))
    assert held_by(found) is Reason.MISSES_DEADLINE
    assert found.decision.wake_at <= clock(13)
    assert held_by(found, 13) is None


def test_more_than_the_pool_has_is_said_before_the_window():
    found = asking(spec=spec(gpu=gpu(800)))
    found.look(5)
    assert found.condition("CapacityAvailable")[1] is Reason.EXCEEDS_CAPACITY


@pytest.mark.parametrize(
    "fault", [Reason.NO_DATA, Reason.NOT_A_NUMBER, Reason.TOO_MANY_SERIES, Reason.PARTIAL_RESPONSE]
)
def test_a_pool_that_cannot_be_read_holds_back_with_its_reason(fault):
    assert held_by(asking(pool_fault=fault)) is fault


def test_an_old_sample_holds_back_and_somebody_looks_when_it_gets_old():
    taken = clock(10.5)
    found = asking(sample=sample(taken, 0, utilization=0.5, coverage=1.0))
    assert held_by(found) is Reason.WAITING_FOR_GPUS
    wake = found.decision.wake_at
    assert taken + 2 * MINUTE < wake < taken + 2 * MINUTE + SECOND
    found.settle(wake)
    assert found.line().reason is Reason.STALE_SAMPLE


def test_when_waiting_has_made_a_run_too_late_it_says_so():
    made = spec(gpu=gpu(8), expected_duration=HOUR, on_window_end=Ending.CANCEL)
    found = asking(spec=made, sample=sample(clock(13), 0), rules=rules(max_sample_age=9 * HOUR))
    assert held_by(found, 12.9) is Reason.WAITING_FOR_GPUS
    assert clock(13) < found.decision.wake_at < clock(13) + SECOND
    found.settle(found.decision.wake_at)
    assert found.line().reason is Reason.WONT_FINISH


def test_low_coverage_holds_back_and_says_how_low():
    found = asking(sample=sample(clock(10.5), 8, coverage=0.5))
    assert held_by(found) is Reason.LOW_COVERAGE
    assert found.status.message == "Only 50 % of the GPUs of research/h100 report."


QUIET = gpu(8, max_utilization_percent=50.0, hold_for=5 * MINUTE)


def quiet_scene(*percents, **changes) -> Scene:
    now = clock(10.5)
    history = tuple(
        (now - (len(percents) - 1 - i) * MINUTE, p / 100) for i, p in enumerate(percents)
    )
    taken = sample(now, 8, utilization=percents[-1] / 100 if percents else None, coverage=1.0)
    return asking(spec=spec(gpu=QUIET), history=history, **{"sample": taken} | changes)


def test_a_busy_pool_holds_back():
    found = quiet_scene(*[10] * 9, 60)
    assert held_by(found) is Reason.TOO_BUSY
    assert "research/h100 is at 60 %, asked for below 50 %" in found.status.message


def test_a_pool_must_be_quiet_for_long_enough():
    found = quiet_scene(60, 10, 10, 10)
    assert held_by(found) is Reason.NOT_QUIET_LONG_ENOUGH
    assert found.decision.wake_at <= clock(10.5) + 3 * MINUTE
    assert held_by(quiet_scene(*[10] * 6)) is None


def test_a_pool_that_does_not_measure_its_load_cannot_be_called_quiet():
    found = quiet_scene()
    assert held_by(found) is Reason.NO_DATA
    assert " - " not in found.status.message


def test_a_request_goes_past_the_pools_numbers_only_where_its_grant_allows():
    key = manual(clock(10))
    found = Scene(spec=spec(gpu=gpu(8)), free=(0, 0), override=Override(trigger=clock(10)))
    found.allow_override = True
    found.settle(10)
    assert found.line(key).reason is Reason.WAITING_FOR_GPUS
    found.grant = PoolGrant(allow_override=True)
    found.settle(10)
    assert found.line(key).state is State.INTENDED
    assert found.line(key).promise == 8


def test_a_request_is_not_kept_waiting_by_the_occurrence_that_waits_for_gpus():
    found = asking(free=(0, 0), grant=PoolGrant(allow_override=True))
    assert held_by(found) is Reason.WAITING_FOR_GPUS
    found.override = Override(trigger=clock(10.6))
    found.settle(10.6)
    assert found.line(manual(clock(10.6))).state is State.INTENDED


# --- several at once


def test_behind_the_first_open_occurrence_the_others_wait():
    found = scene()
    found.events.append(event("e2", 10.1, 13))
    found.settle(10.5)
    assert found.line().state is State.INTENDED
    assert found.line("e2").reason is Reason.PREVIOUS_RUN_ACTIVE
    found.start(10.5)
    found.hear(11, state=RunState.SUCCESS)
    found.settle(11.1)
    assert found.line("e2").state is State.INTENDED


def test_an_occurrence_that_cannot_fit_does_not_keep_a_later_one_waiting():
    found = scene(spec=spec(expected_duration=2 * HOUR, on_window_end=Ending.CANCEL))
    found.events = [event("e1", 10, 11), event("e2", 10.2, 15)]
    found.settle(10.5)
    assert found.line().reason is Reason.WONT_FINISH
    assert found.line("e2").state is State.INTENDED


def test_an_event_whose_parameters_are_bad_does_not_keep_another_waiting():
    dag = Dag(airflow=AIRFLOW, dag_id=DAG, conf={"x": {"$cel": "event.parameters.lr"}})
    found = scene(spec=spec(dag=dag), privacy=Privacy.DETAILS)
    found.events.append(event("e2", 10.1, 13, description="lr=1"))
    found.settle(10.5)
    assert found.line().reason is Reason.INVALID_CONF
    assert found.line("e2").state is State.INTENDED


def test_a_refusal_of_one_run_is_tried_again_though_another_waits_too():
    found = asking(free=(0, 0))
    found.events.append(event("e2", 10.1, 13))
    found.runs[ID] = Denied(clock(10.5), Reason.REJECTED, "why")
    found.settle(10.5)
    assert found.line().reason is Reason.REJECTED
    assert found.line("e2").reason is Reason.WAITING_FOR_GPUS
    assert found.condition("CapacityAvailable")[1] is Reason.WAITING_FOR_GPUS
    assert found.decision.wake_at <= clock(10.5) + MINUTE


@pytest.mark.parametrize("hand", ["", "soon", "03:40 x of y", "1 2 3", "99999999999999999999 1 of"])
def test_a_best_moment_that_was_edited_by_hand_does_no_harm(hand):
    found = asking(free=(4, 0))
    found.look(9)
    found.with_lines(replace(found.line(), closest=hand))
    assert held_by(found) is Reason.WAITING_FOR_GPUS
    assert "4 of 8 GPUs" in found.line().closest


def test_the_best_moment_while_waiting_is_kept():
    found = asking()
    for hour, free in ((10.1, (2, 0)), (10.2, (3, 3)), (10.3, (1, 0)), (10.4, (3, 3))):
        found.free = free
        assert held_by(found, hour) is Reason.WAITING_FOR_GPUS
    assert found.line().closest == "2026-06-01T10:12:00Z 6 of 8 GPUs"
