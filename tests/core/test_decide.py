"""The one decision over the whole life of an occurrence, and its silence while idle (R4 to R18)."""

from dataclasses import replace

import pytest

from slackwater.api.status import to_wire
from slackwater.core.action import Cancel, Lookup, Post, Withdraw
from slackwater.core.identity import run_id
from slackwater.core.ledger import State
from slackwater.core.run import Absent, Denied, InDoubt, RunState
from slackwater.core.run import Seen as SeenRun
from slackwater.core.seen import Override, Trouble
from slackwater.core.spec import Concurrency, Effect, Ending, InlineEntry, Overlap, Ref
from slackwater.core.words import Reason
from tests.core.builders import (
    DAY,
    HOUR,
    IDENTITY,
    MINUTE,
    SECOND,
    Scene,
    actions_of,
    clock,
    deny,
    event,
    gpu,
    line,
    run_of,
    spec,
    trigger,
    waited,
)

ID = run_id(IDENTITY, "e1")


def scene(**changes) -> Scene:
    return Scene(events=[event("e1", 10, 14)], **changes)


# --- a life


def test_an_occurrence_goes_from_planned_to_succeeded():
    found = scene(spec=spec(gpu=gpu(8)))
    states = []

    def note(expected: State) -> None:
        assert found.line().state is expected
        states.append((found.line().state, found.line().reason))

    found.look(0)
    note(State.PLANNED)
    found.free = (4, 0)
    found.settle(10)
    note(State.WAITING)
    found.free = (8, 0)
    found.settle(11)
    note(State.INTENDED)
    (post,) = actions_of(found.look(11), Post)
    assert post.run_id == ID == found.line().dag_run_id
    assert post.conf["trainingWindow"]["occurrence"] == "e1"
    assert post.conf["trainingWindow"]["gpus"] == 8
    assert post.conf["trainingWindow"]["installation"] == IDENTITY.installation
    found.hear(11.001)
    note(State.TRIGGERED)
    found.hear(11.1, state=RunState.RUNNING)
    note(State.RUNNING)
    found.hear(12, state=RunState.SUCCESS)
    note(State.SUCCEEDED)
    assert [reason for _, reason in states] == [
        Reason.AHEAD,
        Reason.WAITING_FOR_GPUS,
        Reason.STARTING,
        Reason.TRIGGERED,
        Reason.RUNNING,
        Reason.SUCCEEDED,
    ]
    over = found.line()
    assert (over.intent_time, over.trigger_time) == (clock(11), clock(11.001))
    assert (over.start_time, over.end_time) == (clock(11.1), clock(12))
    assert waited(over) == {Reason.WAITING_FOR_GPUS: 3600}
    assert over.promise == 0
    assert found.status.last_schedule_time == clock(11.001)
    assert found.status.last_successful_time == clock(12)


def test_the_intent_is_recorded_one_decision_before_the_post():
    found = scene()
    assert found.settle(10).actions == ()
    assert found.line().state is State.INTENDED
    assert [type(a) for a in found.look(10).actions] == [Post]


def test_a_run_of_anothers_blocks_the_occurrence_and_is_said():
    found = scene()
    found.settle(10)
    found.runs[ID] = SeenRun(run_of("e1", origin={"installation": "other"}), clock(10))
    found.look(10)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.RUN_ID_CONFLICT)
    found.settle(11)
    assert found.line().state is State.MISSED
    assert found.posts == []


def test_lost_status_finds_its_runs_again_without_a_second_start():
    found = scene(spec=spec(gpu=gpu(8)))
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.status = replace(found.status, lines=())
    found.settle(11)
    assert found.line().state is State.RUNNING
    assert found.line().promise == 8
    assert found.posts == [ID]


def test_a_crash_between_intent_and_post_is_healed_by_posting():
    found = scene()
    found.settle(10)
    found.runs.clear()
    found.up_since = clock(10) + 5 * SECOND
    assert actions_of(found.look(clock(10) + 5 * SECOND), Post)


def test_a_crash_after_the_post_is_healed_by_looking():
    found = scene()
    found.settle(10)
    found.look(10)
    found.runs.clear()
    assert found.look(clock(10) + MINUTE).actions == (Lookup(ID),)
    found.hear(10.1, state=RunState.RUNNING)
    assert found.line().state is State.RUNNING


def test_in_doubt_it_looks_then_posts_again_or_gives_up():
    found = scene()
    found.settle(10)
    found.runs[ID] = InDoubt(clock(10) + SECOND)
    assert found.look(clock(10) + SECOND).actions == (Lookup(ID),)
    found.runs[ID] = Absent(clock(10) + 2 * SECOND)
    assert actions_of(found.look(clock(10) + 2 * SECOND), Post)
    found.runs[ID] = InDoubt(clock(10) + 20 * SECOND)
    assert found.look(clock(10) + 40 * SECOND).actions == (Lookup(ID),)


def test_refused_for_good_it_ends_missed_for_that_reason():
    found = scene()
    found.settle(10)
    found.runs[ID] = Denied(clock(10) + SECOND, Reason.INVALID_CONF, "no lr")
    found.look(clock(10) + SECOND)
    found.runs[ID] = Denied(clock(14) - SECOND, Reason.INVALID_CONF, "no lr")
    found.look(14)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.INVALID_CONF)
    assert found.status.last_missed_time == clock(14)


def test_every_wait_ends_with_what_held_it_back():
    found = scene(spec=spec(gpu=gpu(8)), free=(4, 0))
    found.settle(10)
    found.settle(14)
    assert (found.line().state, found.line().reason) == (State.MISSED, Reason.WAITING_FOR_GPUS)
    assert "4 of 8 GPUs" in found.line().closest


# --- several occurrences


def test_once_starts_one_of_all_that_are_open_at_that_time():
    found = scene(spec=spec(overlap=Overlap.ONCE))
    found.events += [event("e2", 10.2, 12), event("e3", 12, 13)]
    found.start(10.5)
    assert (found.line("e2").state, found.line("e2").reason) == (
        State.SUPERSEDED,
        Reason.OVERLAP_ONCE,
    )
    assert found.line("e3").state is State.PLANNED


def test_each_starts_one_after_the_other():
    found = scene()
    found.events.append(event("e2", 10.2, 13))
    found.start(10.5)
    found.settle(10.6)
    assert found.line("e2").reason is Reason.PREVIOUS_RUN_ACTIVE
    found.hear(11, state=RunState.SUCCESS)
    found.start(11, "e2")
    assert found.posts == [ID, run_id(IDENTITY, "e2")]


def test_with_allow_they_run_side_by_side():
    found = scene(spec=spec(concurrency=Concurrency.ALLOW))
    found.events.append(event("e2", 10.2, 13))
    found.start(10.5)
    found.start(10.5, "e2")
    assert {x.state for x in found.lines.values()} == {State.TRIGGERED}


def test_a_run_belongs_to_its_piece_and_later_pieces_start_nothing_more():
    found = scene(spec=spec(trigger(), deny()))
    found.events.append(event("d", 11, 12, summary="deny"))
    found.start(10)
    found.hear(10.1, state=RunState.SUCCESS)
    found.settle(12.5)
    assert found.posts == [ID]
    assert found.status.next_window_start is None


# --- when to look again (R4)


def test_it_wakes_at_every_edge():
    found = scene(
        spec=spec(trigger(), deny(), starting_deadline=2.5 * HOUR), blocks_after=99 * HOUR
    )
    found.events.append(event("d", 11, 12, summary="deny"))
    found.facts_at = clock(0)
    found.airflow_stop = found.airflow_stop.HOLD
    edges, at = [], clock(0)
    for _ in range(4):
        at = found.look(at).wake_at
        edges.append((at - DAY) / HOUR)
    assert edges == [10, 11, 12, 12.5]
    assert found.look(at).status.lines[0].state is State.MISSED


def test_it_wakes_12_hours_before_the_next_occurrence():
    found = Scene(events=[event("e1", 100, 101)], blocks_after=999 * HOUR)
    assert found.look(0).wake_at == clock(88)


def test_a_schedule_that_fires_beyond_the_horizon_is_not_forgotten():
    """Nothing else would ever wake a TrainingWindow that names no calendar."""
    yearly = InlineEntry(name="yearly", effect=Effect.TRIGGER, schedule="0 0 1 1 *", duration=HOUR)
    found = Scene(spec=spec(yearly))
    at = clock(0)
    for _ in range(500):
        at = found.look(at).wake_at
        assert at is not None
        if found.lines:
            break
    assert at <= DAY.replace(year=2027, month=1, day=1)


def test_a_broken_object_without_a_past_sleeps_until_there_is_news():
    found = scene(config=Trouble(Reason.INVALID_SPEC, {"detail": "x"}))
    assert found.look(0).wake_at is None


def test_an_intent_is_looked_at_when_it_runs_out():
    found = scene()
    found.settle(10)
    assert found.look(10).wake_at == clock(10) + 30 * SECOND


def test_a_late_look_starts_what_is_open_now():
    found = scene()
    found.look(0)
    found.start(13.5)


# --- idle windows are silent (R16)


@pytest.mark.parametrize(
    "made",
    [
        spec(),
        spec(gpu=gpu(8)),
        spec(trigger(), deny(), gpu=gpu(8, max_utilization_percent=50.0)),
        spec(suspend=True),
        spec(InlineEntry(name="n", effect=Effect.TRIGGER, schedule="0 10 * * *", duration=HOUR)),
    ],
    ids=["bare", "gpu", "deny", "suspended", "inline"],
)
def test_the_status_of_an_idle_window_is_the_same_hours_apart(made):
    found = scene(spec=made)
    found.look(0)
    wire = to_wire(found.status)
    for hour, free in ((1, (8, 8)), (5, (0, 3)), (9.9, (1, 1))):
        found.free = free
        found.look(hour)
        assert to_wire(found.status) == wire


def test_no_live_number_stands_in_a_closed_windows_message():
    found = scene(spec=spec(gpu=gpu(8)), free=(3, 3))
    found.look(5)
    assert found.status.message == "The next window opens at 2026-06-01 10:00."
    messages = " ".join(c.message for c in found.status.conditions)
    assert "3" not in messages
    assert "6 free" not in messages


def test_a_dependency_that_flickers_writes_nothing_new_in_an_idle_window():
    found = scene(spec=spec(gpu=gpu(8)))
    found.look(0)
    wire = to_wire(found.status)
    found.pool_fault = Reason.UNREACHABLE
    found.look(1)
    found.pool_fault = None
    found.look(2)
    assert to_wire(found.status) == wire


def test_times_of_the_past_never_go_back():
    found = scene()
    found.start(10)
    found.hear(10.1, state=RunState.SUCCESS)
    before = found.status
    found.status = replace(found.status, lines=())
    found.runs.clear()
    found.look(11)
    assert found.status.last_schedule_time == before.last_schedule_time
    assert found.status.last_successful_time == before.last_successful_time


# --- trouble


def test_while_the_spec_is_broken_what_runs_is_still_followed_and_ended():
    found = scene(spec=spec(on_window_end=Ending.CANCEL))
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.config = Trouble(Reason.INVALID_SPEC, {"detail": "spec.dag: missing"})
    assert found.look(11).actions == ()
    assert found.status.message == "spec.dag: missing"
    assert actions_of(found.look(14), Cancel) == [Cancel(ID)]
    assert found.hear(14.1, state=RunState.FAILED).state is State.CANCELLED


def test_a_suspended_object_takes_back_and_goes_on_following():
    found = scene()
    found.start(10)
    found.spec = replace(found.spec, suspend=True)
    assert actions_of(found.look(10.1), Withdraw) == [Withdraw(ID)]
    found.runs[ID] = Absent(clock(10.2))
    found.look(10.2)
    assert (found.line().state, found.line().reason) == (State.WAITING, Reason.SUSPENDED)
    found.spec = replace(found.spec, suspend=False)
    found.start(11)


def test_a_skip_of_what_runs_changes_nothing():
    found = scene()
    found.start(10)
    found.override = Override(skip=frozenset({"e1"}))
    found.look(10.1)
    assert found.line().state is State.TRIGGERED


def test_a_line_of_a_newer_version_is_steered_all_the_same():
    found = scene().with_lines(line(reason=Reason.REFRESHING, state=State.WAITING, since=None))
    found.settle(10)
    assert found.line().state is State.INTENDED


def test_the_namespace_of_another_is_named_only_by_its_object():
    found = scene(spec=spec(gpu=gpu(8)), free=(8, 0))
    from tests.core.builders import ask

    found.rivals = (replace(ask("secret-project", 8, priority=9), owner=Ref("rivals", "secret")),)
    found.settle(10)
    assert found.line().reason is Reason.WAITING_FOR_GPUS
    assert "secret" not in repr(found.status)
    assert "1 other run" in found.status.message
