"""Conditions and the one sentence: what a TrainingWindow says of itself (R12, R16)."""

from dataclasses import replace

import pytest

from slackwater.core.ledger import State
from slackwater.core.report import sentence, unreadable
from slackwater.core.run import DagFacts, RunState
from slackwater.core.seen import Trouble
from slackwater.core.status import CONDITION_TYPES, Status, Truth
from slackwater.core.words import Reason
from tests.core.builders import (
    CANARY,
    IDENTITY,
    OUTLOOK,
    Scene,
    clock,
    deny,
    event,
    gpu,
    line,
    spec,
    trigger,
)


def scene(**changes) -> Scene:
    return Scene(events=[event("e1", 10, 14)], **changes)


def message(found: Scene, hour: float) -> str:
    return found.look(hour).status.message


# --- the sentence


def test_times_are_told_in_the_windows_zone():
    berlin = scene(spec=spec(time_zone="Europe/Berlin"))
    assert message(berlin, 5) == "The next window opens at 2026-06-01 12:00."


def test_a_since_is_a_clock_time_and_any_other_instant_names_its_day():
    gaps = {"ref": "a/b", "since": clock(9.5)}
    assert sentence(Reason.STALE, gaps, "UTC") == (
        "Calendar a/b was last read at 09:30, too long ago to trust."
    )
    assert sentence(Reason.AHEAD, {"start": clock(9.5)}, "Asia/Tokyo") == (
        "Planned for 2026-06-01 18:30."
    )


def test_the_message_says_what_matters_most():
    found = scene(spec=spec(gpu=gpu(8)), free=(0, 0))
    assert message(found, 0).startswith("The next window opens at")
    found.settle(10)
    assert found.status.message.startswith("Waiting for 8 GPUs in research/h100 since 10:00")
    found.free = (8, 0)
    found.settle(10.1)
    assert found.status.message == "Starting DAG train_llm."
    found.start(10.1)
    assert "queued" in found.status.message
    found.hear(10.2, state=RunState.RUNNING)
    assert found.status.message == "DAG train_llm is running since 10:12."
    found.hear(11, state=RunState.SUCCESS)
    assert found.status.message == "No window within the next 35 days."


def test_trouble_with_the_configuration_comes_before_everything():
    found = scene()
    found.start(10)
    found.config = Trouble(Reason.INVALID_SPEC, {"detail": "spec.dag.dagId: missing"})
    assert message(found, 10.1) == "spec.dag.dagId: missing"


def test_a_suspended_window_says_so_even_while_closed():
    assert message(scene(spec=spec(suspend=True)), 5) == "Suspended."


def test_an_unread_calendar_is_said_while_closed():
    assert message(scene(unread=True), 5) == "Calendar research/team has not been read yet."


@pytest.mark.parametrize(
    "fault", [Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND, Reason.INVALID_SPEC]
)
def test_a_fault_of_a_secret_is_told_without_naming_it_to_other_namespaces(fault):
    said = message(scene(unread=True, calendar_fault=fault), 5)
    assert "Calendar research/team" in said
    assert " -" not in said


def test_an_open_window_that_is_used_is_no_longer_the_next():
    found = scene()
    found.events.append(event("e2", 20, 22))
    found.start(10)
    assert found.status.next_window_start == clock(20)


def test_of_several_windows_the_earliest_that_is_left_is_next():
    found = scene(spec=spec(trigger(), deny()))
    found.events += [event("e0", 8, 30), event("d", 7, 12, summary="deny")]
    found.look(5)
    assert (found.status.next_window_start, found.status.next_window_end) == (clock(12), clock(14))


def test_an_open_window_says_until_when():
    found = scene(spec=spec(gpu=gpu(8)), free=(0, 0))
    found.settle(10)
    assert found.condition("WindowOpen")[:2] == ("True", Reason.OPEN)
    assert found.condition("WindowOpen")[2] == "A window is open until 2026-06-01 14:00."
    found.look(14)
    assert found.condition("WindowOpen")[1] is Reason.NONE_AHEAD


# --- conditions


def test_the_conditions_are_always_the_same_five_in_one_order():
    for hour, found in ((0, scene()), (10, scene(spec=spec(gpu=gpu(8)))), (5, scene(unread=True))):
        found.look(hour)
        assert tuple(c.type for c in found.status.conditions) == CONDITION_TYPES
        assert {c.observed_generation for c in found.status.conditions} == {1}


def test_all_is_well():
    found = scene()
    found.settle(10)
    assert {kind: found.condition(kind)[:2] for kind in CONDITION_TYPES} == {
        "Ready": ("True", Reason.ACCEPTED),
        "CalendarsSynced": ("True", Reason.SYNCED),
        "WindowOpen": ("True", Reason.OPEN),
        "CapacityAvailable": ("True", Reason.NOT_ASKED),
        "DagReady": ("True", Reason.DAG_USABLE),
    }


def test_what_is_not_known_yet_is_unknown_and_not_false():
    found = scene(unread=True, spec=spec(gpu=gpu(8)))
    found.look(5)
    assert found.condition("CalendarsSynced")[0] == Truth.UNKNOWN
    assert found.condition("CapacityAvailable")[0] == Truth.UNKNOWN


def test_a_private_event_is_said_as_a_count():
    found = scene()
    found.events.append(event("private", 20, 21, summary=None))
    found.look(5)
    truth, reason, said = found.condition("CalendarsSynced")
    assert (truth, reason) == ("True", Reason.MATCH_UNREADABLE)
    assert said.startswith("Events that could not be read or matched")


def test_an_event_of_a_stranger_is_said_as_a_count():
    found = scene()
    found.events.append(event("stranger", 20, 21, own=False))
    found.look(5)
    assert found.condition("CalendarsSynced")[:2] == ("True", Reason.UNTRUSTED_ORGANIZER)
    assert CANARY not in repr(found.status)


def test_a_schedule_of_the_dags_own_is_said_and_blocks_nothing():
    found = scene(facts=DagFacts(problem=None, checked_at=clock(10), own_schedule=True))
    found.look(10)
    assert found.condition("DagReady")[:2] == ("True", Reason.DAG_HAS_SCHEDULE)
    assert found.line().state is State.INTENDED


def test_a_fault_of_the_dag_outlives_the_wait_for_a_run_before():
    facts = DagFacts(problem=Reason.DAG_PAUSED, checked_at=clock(5))
    found = scene(facts=facts)
    found.look(5)
    assert found.condition("DagReady") == ("False", Reason.DAG_PAUSED, "DAG train_llm is paused.")


def test_the_first_calendar_in_trouble_is_named_by_its_object():
    found = scene(spec=spec(trigger(), deny(calendar=OUTLOOK)), read_at=clock(1))
    found.look(5)
    assert found.condition("CalendarsSynced")[2] == (
        "Calendar research/outlook was last read at 01:00, too long ago to trust."
    )


# --- a spec that could never be read


def test_a_spec_that_could_never_be_read_says_so_and_no_more():
    trouble = Trouble(Reason.INVALID_SPEC, {"detail": "spec.dag: missing"})
    kept = Status(lines=(line(),), next_window_start=clock(10), message="old")
    said = unreadable(replace(IDENTITY, generation=7), kept, trouble, clock(1))
    assert [c.type for c in said.conditions] == ["Ready"]
    assert (said.message, said.observed_generation) == ("spec.dag: missing", 7)
    assert said.next_window_start is None
    assert said.lines == kept.lines
    again = unreadable(replace(IDENTITY, generation=7), said, trouble, clock(9))
    assert again == said


# --- which window


def window_of(found: Scene, hour: float) -> tuple[str, Reason]:
    found.look(hour)
    truth, reason, _ = found.condition("WindowOpen")
    return truth, reason


def test_a_window_stays_open_while_its_run_goes_on_and_none_is_open_after_it():
    found = scene()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    assert window_of(found, 11) == ("True", Reason.OPEN)
    assert found.status.next_window_start is None  # nothing more is to start
    found.hear(12, state=RunState.SUCCESS)
    assert window_of(found, 12.1) == ("False", Reason.NONE_AHEAD)


def test_the_end_of_an_open_window_is_told_and_not_the_start_of_the_next():
    found = scene()
    found.events.append(event("e2", 20, 22))
    found.start(10)
    assert window_of(found, 11) == ("True", Reason.OPEN)
    assert found.condition("WindowOpen")[2] == "A window is open until 2026-06-01 14:00."
    assert found.status.next_window_start == clock(20)


def test_an_event_that_is_denied_as_a_whole_is_said_to_be_empty_while_it_lasts():
    found = scene(spec=spec(trigger(), deny(calendar=OUTLOOK)))
    found.events.append(event("e2", 20, 22))
    found.others.append(event("d1", 9, 15, summary="deny all"))
    assert window_of(found, 8) == ("False", Reason.CLOSED)
    assert window_of(found, 11) == ("False", Reason.EMPTY_WINDOW)
    assert found.status.message.startswith("Nothing is left of the window")
    assert window_of(found, 14.5) == ("False", Reason.CLOSED)


def test_an_empty_window_ahead_is_said_where_no_other_is_ahead():
    found = scene(spec=spec(trigger(), deny(calendar=OUTLOOK)))
    found.others.append(event("d1", 9, 15, summary="deny all"))
    assert window_of(found, 5) == ("False", Reason.EMPTY_WINDOW)
    assert window_of(found, 16) == ("False", Reason.NONE_AHEAD)
