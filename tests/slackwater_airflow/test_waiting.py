"""What a sensor waits for, as a function of the file, the conf and the time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater_airflow.waiting import Found, Wish, look
from slackwater_windows.document import Document
from slackwater_windows.wire import encode, instant
from tests.windows.make import HOUR, NOW, document, occurrence, window

REF = "research/nightly"


def wish(file: Path, **changes: str) -> Wish:
    return Wish(**{"window": REF, "file": str(file), **changes})


def seen(tmp_path: Path, told: Document, now: Any = NOW, **changes: str) -> Found:
    file = tmp_path / "windows.json"
    file.write_text(encode(told))
    return look(wish(file, **changes), now)


def test_a_window_ahead_is_waited_for_until_it_opens(tmp_path: Path) -> None:
    told = document(window(occurrence(begins=2)))
    early = seen(tmp_path, told)

    assert (early.open, early.settled, early.opens_at) == (False, False, NOW + 2 * HOUR)
    assert early.pause(5, NOW) == 5
    assert early.pause(5, NOW + 2 * HOUR - timedelta(seconds=2)) == 2
    assert early.pause(5, NOW + 2 * HOUR) == 5
    assert seen(tmp_path, told, NOW + 2 * HOUR).open


def test_a_later_piece_is_waited_for_too(tmp_path: Path) -> None:
    pieces = ((NOW - 2 * HOUR, NOW - HOUR), (NOW + HOUR, NOW + 2 * HOUR))
    told = document(window(occurrence(begins=-2, lasts=4, pieces=pieces)))
    assert seen(tmp_path, told).opens_at == NOW + HOUR
    assert seen(tmp_path, told, NOW + HOUR).open


@pytest.mark.parametrize("state", ["Cancelled", "Missed", "Skipped", "Superseded"])
def test_one_that_is_withdrawn_is_not_waited_for(tmp_path: Path, state: str) -> None:
    told = document(window(occurrence(begins=2, state=state, reason="Why")))
    found = seen(tmp_path, told, occurrence="o1")
    assert (found.open, found.settled) == (False, True)
    assert found.why == f"{REF}: {state} (Why)."
    following = document(window(occurrence(begins=2, state=state), occurrence("o2", begins=9)))
    assert seen(tmp_path, following).opens_at == NOW + 9 * HOUR


def test_the_run_of_an_occurrence_is_inside_its_window_until_that_ends(tmp_path: Path) -> None:
    told = document(
        window(
            occurrence(begins=-3, lasts=1, run_end=NOW + HOUR, dag_run_id="run-1", state="Running")
        )
    )
    assert seen(tmp_path, told, occurrence="o1").open
    assert not seen(tmp_path, told, NOW + HOUR, occurrence="o1").open
    assert seen(tmp_path, told, NOW + HOUR, occurrence="o1").settled


def test_a_window_that_nobody_knows_yet_is_waited_for(tmp_path: Path) -> None:
    assert look(wish(tmp_path / "none"), NOW) == Found(
        open=False, settled=False, why=f"There is no windows file at {tmp_path / 'none'}."
    )
    assert "does not know" in seen(tmp_path, document()).why
    assert "no window ahead" in seen(tmp_path, document(window())).why
    (tmp_path / "broken").write_text("{")
    assert not look(wish(tmp_path / "broken"), NOW).settled


@pytest.mark.parametrize(
    ("hours", "is_open", "settled"), [(-1, False, False), (1, True, True), (9, False, True)]
)
def test_conf_decides_where_the_file_is_silent(
    tmp_path: Path, hours: float, is_open: bool, settled: bool
) -> None:
    times = {"start": instant(NOW), "end": instant(NOW + 8 * HOUR), "occurrence": "x"}
    for told in (document(), document(window(occurrence()))):
        found = seen(tmp_path, told, NOW + hours * HOUR, **times)
        assert (found.open, found.settled) == (is_open, settled)
    assert look(wish(tmp_path / "none", **times), NOW + hours * HOUR).open is is_open
    assert not look(wish(tmp_path / "none", start="x", end="y"), NOW).settled


@given(st.floats(-30, 30), st.floats(0.1, 20), st.floats(-40, 40), st.booleans())
def test_it_is_open_exactly_inside_a_piece(
    tmp_path_factory: pytest.TempPathFactory, begins: float, lasts: float, at: float, named: bool
) -> None:
    told = document(window(occurrence(begins=round(begins, 3), lasts=round(lasts, 3))))
    now = (NOW + at * HOUR).replace(microsecond=0)
    changes = {"occurrence": "o1"} if named else {}
    found = seen(tmp_path_factory.mktemp("w"), told, now, **changes)
    only = told.windows[0].occurrences[0]
    whole = only.start.replace(microsecond=0), only.end.replace(microsecond=0)

    assert found.open == (whole[0] <= now < whole[1])
    if named:
        assert found.settled == (whole[0] <= now)


def test_a_wish_survives_being_stored_also_by_a_newer_version() -> None:
    told = Wish(window=REF, occurrence="o1", start="a", end="b", file="c")
    assert Wish.from_wire(told.to_wire()) == told
    assert Wish.from_wire({"window": REF, "new": 1}) == Wish(window=REF)
