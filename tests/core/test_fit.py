"""Whether a run that starts now would end in time (R8)."""

from datetime import timedelta

import pytest

from slackwater.core.fit import Finish, lasting, latest_finish, latest_start, start_deadline
from slackwater.core.occurrence import lay_out
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Effect, Ending, InlineEntry, Match
from slackwater.core.words import Reason
from tests.core.builders import DAY, HOUR, MINUTE, TEAM, clock, deny, event, hours, spec, trigger

HORIZON = Span(DAY - timedelta(days=2), DAY + timedelta(days=35))
DEADLINE = CalendarEntry(
    name="paper", calendar=TEAM, effect=Effect.DEADLINE, match=Match(summary="deadline*")
)
DENIED = event("d", 12, 13, summary="deny")
PAPER = event("p", 16, 17, summary="deadline: paper")


def finish(made, *events, now=10.0, at=10.0):
    layout = lay_out(made, {TEAM: [event("e1", 10, 14), *events]}, HORIZON)
    (occurrence,) = layout.occurrences
    piece = next(p for p in occurrence.pieces if clock(at) in p)
    return latest_finish(made, layout, occurrence, piece, clock(now))


def test_where_runs_may_finish_nothing_limits_them():
    assert finish(spec(trigger(), deny(), DEADLINE), DENIED) is None


def test_with_cancel_a_run_must_end_by_the_overrun_after_its_window():
    made = spec(on_window_end=Ending.CANCEL, overrun=10 * MINUTE)
    assert finish(made) == Finish(clock(14) + 10 * MINUTE, Reason.WONT_FINISH)


def test_the_window_ends_with_allow_and_a_deny_does_not_shorten_it():
    allow = InlineEntry(name="ok", effect=Effect.ALLOW, fixed=hours(0, 13.5))
    made = spec(trigger(), deny(), allow, on_window_end=Ending.CANCEL)
    assert finish(made, DENIED) == Finish(clock(13.5), Reason.WONT_FINISH)


def test_a_deny_counts_only_if_it_cancels_and_lies_ahead():
    made = spec(trigger(), deny(when_running=Ending.CANCEL))
    assert finish(made, DENIED) == Finish(clock(12), Reason.CROSSES_DENY, "reserved")
    assert finish(made, DENIED, now=13.5, at=13.5) is None


def test_a_deadline_always_counts():
    made = spec(trigger(), DEADLINE)
    assert finish(made, PAPER) == Finish(clock(16), Reason.MISSES_DEADLINE, "paper")


def test_an_all_day_deadline_is_the_end_of_its_day():
    made = spec(trigger(), DEADLINE)
    day = event("p", 24, 48, summary="deadline", all_day=True)
    assert finish(made, day).at == clock(48)


def test_the_earliest_limit_counts():
    made = spec(trigger(), deny(when_running=Ending.CANCEL), DEADLINE, on_window_end=Ending.CANCEL)
    assert finish(made, DENIED, PAPER).reason is Reason.CROSSES_DENY
    assert finish(made, PAPER).reason is Reason.WONT_FINISH


def occurrence_of(made, *events):
    layout = lay_out(made, {TEAM: [event("e1", 10, 14), *events]}, HORIZON)
    return layout.occurrences[0]


def test_without_a_deadline_a_window_may_start_until_it_ends():
    assert start_deadline(spec(), occurrence_of(spec())) == clock(14)


@pytest.mark.parametrize(("limit", "at"), [(2, 12), (9, 14)])
def test_the_start_deadline_counts_from_the_first_piece_and_ends_with_the_last(limit, at):
    made = spec(trigger(), deny(), starting_deadline=timedelta(hours=limit))
    early = event("d", 9, 9.5, summary="deny")
    assert start_deadline(made, occurrence_of(made, early)) == clock(at)


def test_an_empty_window_has_no_deadline():
    made = spec(trigger(), deny())
    assert start_deadline(made, occurrence_of(made, event("d", 9, 15, summary="deny"))) is None


def test_the_latest_start_is_the_earliest_of_piece_deadline_and_fit():
    made = spec(trigger(), deny(), starting_deadline=5 * HOUR)
    found = occurrence_of(made, DENIED)
    piece = found.pieces[0]
    limit = Finish(clock(13), Reason.WONT_FINISH)
    assert latest_start(made, found, piece, None, None) == clock(12)
    assert latest_start(made, found, piece, limit, 2 * HOUR) == clock(11)
    assert latest_start(made, found, piece, limit, None) == clock(12)
    short = spec(trigger(), deny(), starting_deadline=HOUR)
    assert latest_start(short, found, piece, limit, 2 * HOUR) == clock(11)
    assert latest_start(short, found, piece, None, None) == clock(11)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(20, "1 min"), (90, "2 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (200_000, "55 h 33 min")],
)
def test_durations_are_told_in_hours_and_minutes(seconds, text):
    assert lasting(timedelta(seconds=seconds)) == text
