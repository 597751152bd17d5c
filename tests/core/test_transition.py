"""What changed between two statuses, for Events and metrics; and what is only wording (R12, R16)."""

from dataclasses import replace

from slackwater.core.ledger import State
from slackwater.core.status import Condition, Status, Truth, settled
from slackwater.core.transition import is_quiet, outline, transitions
from slackwater.core.words import Reason
from tests.core.builders import clock, hours, line, started


def condition(status=Truth.TRUE, reason=Reason.ACCEPTED, message="all is well", at=1.0):
    return Condition(
        type="Ready",
        status=status,
        reason=reason,
        message=message,
        observed_generation=1,
        last_transition_time=clock(at),
    )


def status(*lines, conditions=(), message="") -> Status:
    return Status(lines=lines, conditions=conditions, message=message)


def test_a_new_line_and_a_new_state_are_told():
    found = transitions(status(), status(line()))
    assert [c.before for c in found.lines] == [None]
    assert found.lines[0].entered
    changed = transitions(status(line()), status(line(state=State.WAITING)))
    assert changed.lines[0].entered


def test_another_reason_is_told_but_enters_no_state():
    before = line(state=State.WAITING, reason=Reason.NO_DATA)
    found = transitions(status(before), status(replace(before, reason=Reason.STALE)))
    assert [c.entered for c in found.lines] == [False]


def test_the_same_again_is_not_told():
    both = status(line(state=State.WAITING), conditions=(condition(),))
    later = status(
        line(state=State.WAITING, closest="4 of 8", promise=3), conditions=(condition(message="x"),)
    )
    found = transitions(both, later)
    assert (found.lines, found.conditions, found.moved_after_start) == ((), (), ())


def test_a_line_that_is_forgotten_is_not_told():
    assert transitions(status(line()), status()).lines == ()


def test_a_condition_is_told_when_its_value_or_reason_changes():
    good = status(conditions=(condition(),))
    bad = status(conditions=(condition(Truth.FALSE, Reason.INVALID_SPEC),))
    worse = status(conditions=(condition(Truth.FALSE, Reason.DAG_NOT_GRANTED),))
    assert len(transitions(status(), good).conditions) == 1
    assert transitions(good, bad).conditions[0].before == condition()
    assert len(transitions(bad, worse).conditions) == 1
    assert transitions(worse, worse).conditions == ()


def test_an_event_moved_behind_its_start_is_told_once():
    ran = started(state=State.RUNNING)
    moved = replace(ran, window=hours(12, 16))
    assert transitions(status(ran), status(moved)).moved_after_start == (moved,)
    assert transitions(status(moved), status(moved)).moved_after_start == ()
    further = replace(moved, window=hours(13, 17))
    assert transitions(status(moved), status(further)).moved_after_start == ()


def test_an_event_moved_before_its_start_or_lengthened_is_not_told():
    assert transitions(status(line()), status(line(window=hours(12, 13)))).moved_after_start == ()
    ran = started()
    longer = replace(ran, window=hours(9, 18))
    assert transitions(status(ran), status(longer)).moved_after_start == ()


def test_statuses_that_differ_in_wording_alone_have_one_outline():
    one = status(line(closest="4 of 8"), conditions=(condition(message="4 free"),), message="4")
    two = status(line(closest="5 of 8"), conditions=(condition(message="5 free"),), message="5")
    assert outline(one) == outline(two)


def test_anything_else_is_another_outline():
    one = status(line(), conditions=(condition(),))
    assert outline(one) != outline(status(line(promise=1), conditions=(condition(),)))
    assert outline(one) != outline(status(line(), conditions=(condition(reason=Reason.STALE),)))


def test_what_is_merely_planned_is_quiet():
    (planned,) = transitions(status(), status(line())).lines
    (held,) = transitions(status(), status(line(reason=Reason.EVENT_VANISHED))).lines
    (open_,) = transitions(status(), status(line(state=State.WAITING, reason=Reason.HELD))).lines
    assert [is_quiet(c) for c in (planned, held, open_)] == [True, False, False]


# --- conditions


def now_settled(before, truth=Truth.TRUE, reason=Reason.ACCEPTED, message="all is well", at=5.0):
    return settled(before, "Ready", truth, reason, message, 1, clock(at))


def test_a_condition_keeps_the_time_of_its_last_transition_while_its_value_stands():
    first = now_settled(None)
    assert first.last_transition_time == clock(5)
    assert now_settled(first, at=6) is first
    reworded = now_settled(first, message="still", at=6)
    assert (reworded.message, reworded.last_transition_time) == ("still", clock(5))
    other = now_settled(first, reason=Reason.MATCH_UNREADABLE, at=6)
    assert other.last_transition_time == clock(5)
    flipped = now_settled(other, Truth.FALSE, Reason.INVALID_SPEC, at=7)
    assert flipped.last_transition_time == clock(7)
