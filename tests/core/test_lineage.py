"""An event under a new key never runs twice and is never lost (R2)."""

from datetime import timedelta

import pytest

from slackwater.core.identity import run_id
from slackwater.core.ledger import State
from slackwater.core.lineage import SUCCESSION
from slackwater.core.run import Absent, RunState
from slackwater.core.spec import Concurrency
from slackwater.core.words import Reason
from tests.core.builders import (
    IDENTITY,
    OUTLOOK,
    Scene,
    clock,
    event,
    spec,
    trigger,
)

MINUTES = 1 / 60
REPLACED = (State.SUPERSEDED, Reason.REPLACED)


def two_calendars(**changes) -> Scene:
    entries = trigger(), trigger("other", OUTLOOK)
    both = spec(*entries, concurrency=Concurrency.ALLOW)
    return Scene(**{"spec": both, "events": [train("e1")]} | changes)


def train(key: str, start: float = 10, end: float = 14, **changes):
    """One event: `uid` is what it keeps in another calendar."""
    uid = changes.pop("uid", key)
    fields = {"series": uid, "original_start": "2026-06-01T10:00:00Z"}
    return event(key, start, end, **fields | changes)


def runs(found: Scene) -> int:
    """How many runs were asked for."""
    return len(set(found.posts))


# --- seen beside its original before that vanishes


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.SUCCESS, RunState.FAILED])
def test_a_successor_that_was_seen_beside_its_original_does_not_run(state):
    found = Scene(events=[train("e1")])
    found.start(10)
    found.hear(10.1, state=state)
    found.events.append(train("new", 11, 15))
    found.look(10.2)
    assert found.line("new").state is State.PLANNED
    found.events.pop(0)
    found.look(10.2 + MINUTES)
    assert (found.line("new").state, found.line("new").reason) == REPLACED
    assert found.line("new").end_time == clock(10.2 + MINUTES)


def test_one_that_had_stood_beside_it_for_long_is_an_event_of_its_own():
    found = Scene(events=[train("e1"), train("own", 11, 15)])
    found.look(9)
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.events.pop(0)
    found.look(10.5)
    found.look(10.6)
    assert found.line("own").state is State.PLANNED
    found.hear(11, state=RunState.SUCCESS)
    found.settle(11)
    assert found.line("own").state is State.INTENDED


def test_when_an_event_came_is_kept_in_the_ledger_and_its_original_may_vanish_late():
    found = Scene(events=[train("e1")])
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.events.append(train("new", 11, 15))
    found.look(10.2)
    assert found.line("new").appeared == clock(10.2)
    found.events.pop(0)
    found.look(clock(10.2) + SUCCESSION)
    assert found.line().vanished == clock(10.2) + SUCCESSION
    assert (found.line("new").state, found.line("new").reason) == REPLACED


def test_an_original_that_vanishes_later_than_a_move_takes_has_no_successor():
    found = Scene(events=[train("e1")])
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.events.append(train("own", 11, 15))
    found.look(10.2)
    found.events.pop(0)
    found.look(clock(10.2) + SUCCESSION + timedelta(seconds=1))
    assert found.line("own").state is State.PLANNED


def test_an_event_that_is_there_again_has_not_vanished():
    found = Scene(events=[train("e1")])
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    back = found.events.pop()
    found.look(10.2)
    assert found.line().vanished == clock(10.2)
    found.events.append(back)
    found.look(10.3)
    assert found.line().vanished is None


# --- a run that is queued may yet be taken back


def test_a_successor_of_a_queued_run_waits_and_runs_once_that_is_taken_back():
    """Deleted with its event, the queued run never began: what it meant must not be lost."""
    found = Scene(spec=spec(concurrency=Concurrency.ALLOW), events=[train("e1")])
    found.start(10)
    found.events[:] = [train("new")]
    found.settle(10.1)
    new = found.line("new")
    assert (new.state, new.reason) == (State.WAITING, Reason.PREVIOUS_RUN_ACTIVE)
    found.runs[run_id(IDENTITY, "e1")] = Absent(clock(10.2))
    found.look(10.2)
    assert found.line().state is State.CANCELLED
    found.settle(10.2)
    assert found.line("new").state is State.INTENDED


def test_a_successor_of_a_queued_run_is_superseded_once_that_runs():
    found = Scene(spec=spec(concurrency=Concurrency.ALLOW), events=[train("e1")])
    found.start(10)
    found.events[:] = [train("new")]
    found.recent = frozenset({"e1", "new"})
    found.settle(10.1)
    found.hear(10.2, state=RunState.RUNNING)
    assert (found.line("new").state, found.line("new").reason) == REPLACED
    assert runs(found) == 1


def test_while_its_original_has_an_intent_a_successor_waits():
    found = Scene(spec=spec(concurrency=Concurrency.ALLOW), events=[train("e1")])
    found.settle(10)
    assert found.line().state is State.INTENDED
    found.events[:] = [train("new")]
    found.recent = frozenset({"e1", "new"})
    found.look(10.001)
    assert found.line("new").state is State.WAITING
    assert runs(found) == 0


# --- moved to another calendar


def test_moved_to_another_calendar_after_its_start_it_does_not_run_again():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.others.append(train("there", uid="e1"))
    found.events.clear()
    found.look(10.2)
    assert (found.line("there").state, found.line("there").reason) == REPLACED
    assert found.line().state is State.RUNNING


def test_the_new_calendar_may_be_read_before_the_old_one_and_the_old_one_much_later():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.others.append(train("there", uid="e1"))
    found.settle(10.2)
    assert (found.line("there").state, found.line("there").reason) == REPLACED
    found.events.clear()
    found.settle(13)
    assert runs(found) == 1


def test_the_old_calendar_may_be_read_before_the_new_one():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.events.clear()
    found.look(10.2)
    found.others.append(train("there", uid="e1"))
    found.settle(11)
    assert (found.line("there").state, found.line("there").reason) == REPLACED


def test_moved_to_another_calendar_and_to_a_later_hour_of_the_day_it_does_not_run_again():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.SUCCESS)
    found.others.append(train("there", 16, 20, uid="e1", original_start="2026-06-01T16:00:00Z"))
    found.events.clear()
    found.look(10.5)
    assert (found.line("there").state, found.line("there").reason) == REPLACED


def test_a_move_that_gives_a_new_uid_is_known_by_its_time():
    """Between two mailboxes an event is copied and deleted."""
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.others.append(train("there", uid="another"))
    found.events.clear()
    found.look(10.2)
    assert (found.line("there").state, found.line("there").reason) == REPLACED


def test_moved_before_its_start_it_runs_once_in_its_new_calendar():
    found = two_calendars()
    found.look(9)
    found.others.append(train("there", uid="e1"))
    found.events.clear()
    found.recent = frozenset({"there"})
    found.look(9.1)
    assert found.line().state is State.CANCELLED
    found.start(10, "there")
    assert runs(found) == 1


def test_one_event_in_two_calendars_runs_once():
    found = two_calendars()
    found.others.append(train("there", uid="e1"))
    found.settle(10)
    first = next(line.id for line in found.status.lines if line.state is State.INTENDED)
    other = ({"e1", "there"} - {first}).pop()
    found.start(10, first)
    found.hear(10.1, first, state=RunState.RUNNING)
    found.settle(10.2)
    assert (found.line(other).state, found.line(other).reason) == REPLACED
    assert runs(found) == 1


def test_a_copy_is_an_event_of_its_own():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.RUNNING)
    found.others.append(train("copy", uid="new"))
    found.start(10.5, "copy")
    assert runs(found) == 2


def test_another_instance_of_the_series_in_another_calendar_is_its_own():
    found = two_calendars()
    found.start(10)
    found.hear(10.1, state=RunState.SUCCESS)
    found.others.append(train("tomorrow", 34, 38, uid="e1", original_start="2026-06-02T10:00:00Z"))
    found.events.clear()
    found.look(23)
    assert found.line("tomorrow").state is State.PLANNED
