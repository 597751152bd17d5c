"""What the windows file says of a TrainingWindow and a pool, and what it must not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.ledger import State, Waited
from slackwater.core.occurrence import lay_out
from slackwater.core.span import Span
from slackwater.core.spec import Effect, Ending, Privacy, TrainingWindow
from slackwater.core.status import Status
from slackwater.core.window import OUTSIDE_ALLOW
from slackwater.core.windows_file import pool_row, still_pool, still_window, window_row
from slackwater.core.words import Reason
from slackwater_windows.document import Document, Window
from slackwater_windows.wire import encode
from tests.core.builders import (
    CANARY,
    DAY,
    HOUR,
    OWNER,
    POOL,
    TEAM,
    clock,
    deny,
    event,
    gpu,
    hours,
    inline,
    line,
    sample,
    spec,
    started,
    trigger,
)

HORIZON = Span(DAY - timedelta(days=2), DAY + timedelta(days=35))
NOW = clock(12)


def row(
    told: TrainingWindow,
    *events: object,
    status: Status = Status(),  # noqa: B008 - frozen
    privacy: Privacy = Privacy.BASIC,
    now: object = NOW,
) -> Window:
    layout = lay_out(told, {TEAM: events}, HORIZON)  # type: ignore[dict-item]
    return window_row(OWNER, told, status, layout, {TEAM: privacy}, now)  # type: ignore[arg-type]


def text_of(window: Window) -> str:
    return encode(Document(installation="test", written_at=NOW, windows=(window,)))


def test_times_states_and_gpus_are_told() -> None:
    found = row(spec(trigger(), deny(), gpu=gpu(16, per_pod=8)), event("e1", 22, 30))

    assert (found.ref, found.dag_id, found.pool) == (str(OWNER), "train_llm", str(POOL))
    assert (found.gpus, found.per_pod, found.time_zone) == (16, 8, spec(trigger()).time_zone)
    only = found.occurrences[0]
    assert (only.id, only.state, only.reason) == ("e1", "Planned", "Ahead")
    assert (only.start, only.end, only.openings) == (
        clock(22),
        clock(30),
        ((clock(22), clock(30)),),
    )


def test_what_cuts_a_window_is_named_and_its_pieces_are_given() -> None:
    reserved = event("d", 24, 26, summary="GPU reserved")
    found = row(spec(trigger(), inline("demo", 24, 26, Effect.DENY)), event("e1", 22, 30), reserved)

    only = found.occurrences[0]
    assert only.pieces == ((clock(22), clock(24)), (clock(26), clock(30)))
    assert [(c.start, c.end, c.entry) for c in only.cuts] == [(clock(24), clock(26), "demo")]


def test_a_window_of_which_nothing_is_left_has_no_opening() -> None:
    told = spec(trigger(), inline("nights", 2, 3, Effect.ALLOW))
    only = row(told, event("e1", 22, 30)).occurrences[0]

    assert only.openings == ()
    assert only.reason == Reason.EMPTY_WINDOW
    assert only.cuts[0].entry == OUTSIDE_ALLOW


def test_the_window_of_a_run_may_end_later_than_its_last_start() -> None:
    told = spec(trigger(), inline("demo", 24, 30, Effect.DENY))
    only = row(told, event("e1", 22, 30), status=Status(lines=(started(),))).occurrences[0]

    assert (only.end, only.until) == (clock(24), clock(30))
    assert only.dag_run_id == started().dag_run_id


def test_when_a_run_will_be_cancelled_is_known_ahead() -> None:
    told = replace(spec(trigger()), on_window_end=Ending.CANCEL, overrun=timedelta(minutes=10))
    assert row(told, event("e1", 22, 30)).occurrences[0].cancel_time == clock(30) + HOUR / 6
    cancels = spec(
        trigger(), replace(inline("demo", 24, 26, Effect.DENY), when_running=Ending.CANCEL)
    )
    assert row(cancels, event("e1", 22, 30)).occurrences[0].cancel_time == clock(24)
    assert row(spec(trigger()), event("e1", 22, 30)).occurrences[0].cancel_time is None
    ended = Status(lines=(started(state=State.SUCCEEDED, end_time=clock(23)),))
    assert row(told, event("e1", 22, 30), status=ended).occurrences[0].cancel_time is None


def test_the_ledger_s_lines_stay_when_their_event_is_gone() -> None:
    gone = line(
        "gone", State.MISSED, window=hours(2, 3), waited=(Waited("c", Reason.DAG_PAUSED, 60),)
    )
    never = line("never", State.SKIPPED, window=None)
    found = row(spec(trigger()), event("e1", 22, 30), status=Status(lines=(gone, never)))

    assert [o.id for o in found.occurrences] == ["gone", "e1"]
    assert found.occurrences[0].waited[0].reason == "DagPaused"
    assert (
        window_row(OWNER, spec(trigger()), Status(lines=(gone,)), None, {}, NOW).occurrences[0].id
        == "gone"
    )


def test_eight_days_are_told_and_the_next_window_after_them() -> None:
    days = [event(f"e{n}", 24 * n + 22, 24 * n + 23) for n in range(30)]
    near = row(spec(trigger()), *days)
    far = row(spec(trigger()), days[20], days[25])

    assert [o.id for o in near.occurrences][-1] == "e7"
    assert [o.id for o in far.occurrences] == ["e20"]


def test_nothing_changes_within_an_hour() -> None:
    days = [event(f"e{n}", 24 * n + 22, 24 * n + 23) for n in range(30)]
    told = spec(trigger())
    first = row(told, *days, now=clock(12), privacy=Privacy.DETAILS)
    last = row(told, *days, now=clock(12) + timedelta(minutes=59), privacy=Privacy.DETAILS)
    assert first == last


# --- what must not be told


def test_parameters_are_told_only_of_a_calendar_of_privacy_details() -> None:
    written = event("e1", 22, 30, description="lr=0.1\nname=bigger")
    told = spec(trigger())

    open_ = row(told, written, privacy=Privacy.DETAILS).occurrences[0]
    assert open_.parameters == {"lr": 0.1, "name": "bigger"}
    for privacy in (Privacy.BASIC, Privacy.FREE_BUSY):
        found = row(told, written, privacy=privacy)
        assert found.occurrences[0].parameters is None
        assert "bigger" not in text_of(found)


def test_parameters_of_private_and_of_far_events_are_not_told() -> None:
    private = event("e1", 22, 30, summary=None, description=None)
    far = event("e2", 72, 80, description="lr=0.1")
    found = row(
        spec(trigger(match=trigger().match.__class__())), private, far, privacy=Privacy.DETAILS
    )

    assert [o.parameters for o in found.occurrences] == [None] * len(found.occurrences)


def test_parameters_that_cannot_be_read_are_said_without_a_word_of_them() -> None:
    bad = event("e1", 22, 30, description=f"```json\n{CANARY}\n```")
    large = event("e2", 23, 31, description="\n".join(f"n{i}={'x' * 200}" for i in range(150)))
    found = row(spec(trigger()), bad, large, privacy=Privacy.DETAILS)

    assert [o.parameters for o in found.occurrences] == [None, None]
    assert found.occurrences[0].parameters_error == "a JSON block is not JSON"
    assert "16 KiB" in (found.occurrences[1].parameters_error or "")
    assert CANARY not in text_of(found)


@pytest.mark.parametrize("privacy", list(Privacy))
@given(st.lists(st.tuples(st.floats(-40, 300), st.floats(0.1, 30)), max_size=6))
def test_no_title_description_category_or_organizer_is_ever_told(
    privacy: Privacy, times: list[tuple[float, float]]
) -> None:
    events = [
        event(f"e{number}", round(start, 2), round(start + length, 2), description=f"{CANARY} said")
        for number, (start, length) in enumerate(times)
    ]
    found = row(spec(trigger()), *events, privacy=privacy, status=Status(lines=(started("e0"),)))

    assert CANARY not in text_of(found)
    assert CANARY not in repr(found)
    starts = [o.start for o in found.occurrences]
    assert starts == sorted(starts)
    for told in found.occurrences:
        assert told.start <= told.end <= told.until


# --- pools


def test_a_pool_s_load_is_told_in_quarters_of_an_hour_of_one_day() -> None:
    past = [(NOW - timedelta(minutes=5 * n), n % 3 / 2) for n in range(400)]
    found = pool_row(POOL, sample(NOW, 5, 4, utilization=0.684), 3, reversed(past), "", NOW)

    assert (found.capacity, found.free, found.promised) == (16, 9, 3)
    assert found.utilization_percent == pytest.approx(68.4)
    assert 95 <= len(found.load) <= 97
    assert all(later - at == timedelta(minutes=15) for (at, _), (later, _) in zip(
        found.load, found.load[1:], strict=False
    ))  # fmt: skip
    assert all(0 <= percent <= 100 for _, percent in found.load)
    assert pool_row(POOL, None, 0, (), "gone", NOW).capacity is None


def test_wording_numbers_and_a_new_plan_are_live_and_states_are_not() -> None:
    held = line(
        "e1", State.WAITING, reason=Reason.OFF_PEAK, window=hours(22, 30), planned_start=clock(26)
    )
    told = row(spec(trigger()), event("e1", 22, 30), status=Status(lines=(held,)))
    planned = row(
        spec(trigger()),
        event("e1", 22, 30),
        status=Status(lines=(replace(held, planned_start=clock(27)),), message="9 free"),
    )
    moved = row(spec(trigger()), event("e1", 23, 30), status=Status(lines=(held,)))
    pool = pool_row(POOL, sample(NOW, 5), 0, (), "", NOW)
    fuller = pool_row(POOL, sample(NOW, 4), 1, ((NOW, 0.5),), "", NOW)
    failed = replace(pool, message="gone")

    assert told.occurrences[0].planned_start == clock(26)
    assert told != planned
    assert still_window(told) == still_window(planned)
    assert still_window(told) != still_window(moved)
    assert still_pool(pool) == still_pool(fuller) != still_pool(failed)
