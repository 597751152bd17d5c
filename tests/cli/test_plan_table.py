"""What `slackwater plan` shows to people, and what it shows on their own terminal alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.cli.reading import columns, write_length
from slackwater.core.words import Reason, say
from tests.cli.reading_bench import (
    CANARY,
    Bench,
    entry,
    event,
    feed,
    ical,
    inline,
    static,
    vevent,
    window,
)

BERLIN = "Europe/Berlin"
TRAIN = entry("team", "Trigger", "train:*")
NIGHT = event("a", f"train: {CANARY}", "2026-11-24T22:00:00", "2026-11-25T06:00:00")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_times_are_those_of_the_windows_zone_and_every_edge_has_its_name(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(
            NIGHT,
            event("r", "GPU reserved", "2026-11-25T01:00:00", "2026-11-25T03:00:00"),
            event("d", "deadline: x", "2026-11-26", "2026-11-27", allDay=True),
            event("late", "train: later", "2026-12-24T22:00:00", "2026-12-25T06:00:00"),
            timeZone=BERLIN,
        ),
        window(
            timeZone=BERLIN,
            suspend=True,
            calendars=[
                TRAIN,
                entry("reserved", "Deny", "GPU reserved*", whenRunning="Cancel"),
                entry("papers", "Deadline", "deadline:*"),
            ],
        ),
    )

    printed = bench.run("plan")

    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "research/nightly   times in Europe/Berlin",
        "  Suspended.",
        "  OCCURRENCE                        ENTRY  MAY START              CUT AWAY",
        (
            "  Tue 2026-11-24 22:00 - Wed 06:00  team   Tue 22:00 - Wed 01:00"
            "  Wed 01:00 - 03:00 by `reserved`"
        ),
        "                                           Wed 03:00 - 06:00",
        "  Deny      `reserved`  Wed 2026-11-25 01:00 - 03:00  whenRunning: Cancel",
        "  Deadline  `papers`    Fri 2026-11-27 00:00",
    ]


def test_letters_of_the_zone_tell_the_two_hours_apart_when_clocks_go_back(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(event("a", "train", "2026-10-24T22:00:00", "2026-10-25T06:00:00"), timeZone=BERLIN),
        window(timeZone=BERLIN, calendars=[entry("team", "Trigger")]),
    )

    printed = bench.run("plan", "--from", "2026-10-24", "--to", "2026-10-25")

    assert "Sat 2026-10-24 22:00 CEST - Sun 06:00 CET" in printed.out


def test_overlaps_of_occurrences_and_of_entries_are_warned_of(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(
            NIGHT,
            event("b", f"train: big {CANARY}", "2026-11-25T02:00:00", "2026-11-25T04:00:00"),
            event("c", "train: alone", "2026-11-26T02:00:00", "2026-11-26T04:00:00"),
            timeZone=BERLIN,
        ),
        window(timeZone=BERLIN, calendars=[TRAIN, entry("big", "Trigger", "train: big*")]),
        window("once", timeZone=BERLIN, overlap="Once", calendars=[TRAIN]),
    )

    nightly, once = bench.run("plan").out.split("\n\n")

    assert (
        "  1 event matched by `team` and `big`: each is one occurrence, of `team`.\n"
        "  1 overlap of occurrences; each wants a run of its own (overlap: Each, "
        "concurrencyPolicy: Forbid):\n"
        "    Tue 2026-11-24 22:00 - Wed 06:00 `team`  Wed 2026-11-25 02:00 - 04:00 `team`"
    ) in nightly
    assert "matched by" not in once
    assert "the first start supersedes the others (overlap: Once)" in once


def test_pieces_that_only_touch_or_were_cut_apart_do_not_overlap(bench: Bench) -> None:
    windows = [
        inline("a", "Trigger", start="2026-11-24T10:00:00Z", end="2026-11-24T12:00:00Z"),
        inline("b", "Trigger", start="2026-11-24T12:00:00Z", end="2026-11-24T13:00:00Z"),
        inline("c", "Trigger", start="2026-11-24T09:00:00Z", end="2026-11-24T11:00:00Z"),
        inline("no", "Deny", start="2026-11-24T10:00:00Z", end="2026-11-24T11:00:00Z"),
    ]
    bench.write("all.yaml", window(windows=windows))

    assert "overlap" not in bench.run("plan").out


# --- near misses and titles


def almost() -> list[dict[str, object]]:
    return [
        event("n1", f"Trian: {CANARY}", "2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z"),
        event("n2", f"train {CANARY} \x1b[31m", "2026-11-26T10:00:00Z", "2026-11-26T11:00:00Z"),
        event("past", "Trian: past", "2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z"),
    ]


def test_near_misses_are_counted_and_their_titles_kept_to_the_users_terminal(bench: Bench) -> None:
    bench.write("all.yaml", static(*almost()), window(calendars=[TRAIN]))

    piped = bench.run("plan")
    bench.terminal = True
    shown = bench.run("plan")
    as_json = bench.run("plan", "-o", "json", "--titles")

    assert "  2 events almost match `train:*`\n" in piped.out
    assert CANARY not in piped.out
    assert f"Wed 2026-11-25 10:00 - 11:00  Trian: {CANARY}" in shown.out
    assert "Trian: past" not in shown.out
    assert CANARY not in as_json.out


def test_titles_are_shown_elsewhere_only_when_asked_for_and_cannot_steer_the_terminal(
    bench: Bench,
) -> None:
    bench.write("all.yaml", static(*almost()), window(calendars=[TRAIN]))

    printed = bench.run("plan", "--titles")

    assert f"Trian: {CANARY}" in printed.out
    assert "\x1b" not in printed.out


def test_events_that_cannot_be_matched_or_trusted_are_counted_with_a_remedy(bench: Bench) -> None:
    times = ("DTSTART:20261125T100000Z", "DTEND:20261125T110000Z")
    (bench.manifests / "team.ics").write_text(
        feed(
            vevent("p", *times, "CLASS:PRIVATE", "SUMMARY:Busy"),
            vevent("x", *times, f"SUMMARY:train: {CANARY}"),
        )
    )
    broken = entry("team", "Trigger", match={"expression": "event.missing == 1"})
    bench.write("all.yaml", ical("team.ics"), window(calendars=[broken]))

    printed = bench.run("plan")

    assert "  Events that could not be read or matched, being invalid, private" in printed.out
    assert "Check the expression, share the calendar with details" in printed.out


def test_what_a_calendar_had_to_leave_out_is_said(bench: Bench) -> None:
    secondly = vevent(
        "s", "DTSTART:20261125T100000Z", "DTEND:20261125T110000Z", "RRULE:FREQ=SECONDLY"
    )
    (bench.manifests / "team.ics").write_text(feed(secondly))
    bench.write("all.yaml", ical("team.ics"), window(calendars=[TRAIN]))

    printed = bench.run("plan")

    assert say(Reason.SERIES_SKIPPED, count=1) in printed.out
    assert "Nothing between" in printed.out


def test_occurrences_without_any_time_left_are_warned_of(bench: Bench) -> None:
    windows = [
        inline("all", "Trigger", start="2026-11-24T10:00:00Z", end="2026-11-24T12:00:00Z"),
        inline("none", "Allow", start="2026-11-27T10:00:00Z", end="2026-11-27T12:00:00Z"),
    ]
    bench.write("all.yaml", window(windows=windows))

    printed = bench.run("plan")

    assert "never      Tue 10:00 - 12:00 outside Allow" in printed.out
    assert "1 occurrence: Nothing is left of the window" in printed.out


# --- the terminal


def test_colours_are_for_terminals_that_want_them(bench: Bench) -> None:
    bench.write("all.yaml", window(suspend=True))

    assert "\x1b" not in bench.run("plan").out
    bench.terminal = True
    assert "\x1b[33m  Suspended.\x1b[0m" in bench.run("plan").out
    bench.monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in bench.run("plan").out


def test_lines_are_no_wider_than_the_terminal(bench: Bench) -> None:
    bench.write("all.yaml", static(NIGHT, *almost()), window(calendars=[TRAIN]))
    bench.terminal = True
    bench.monkeypatch.setenv("NO_COLOR", "1")
    bench.monkeypatch.setenv("COLUMNS", "60")

    printed = bench.run("plan")

    assert max(map(len, printed.out.splitlines())) <= 60
    assert f"Trian: {CANARY}" in " ".join(printed.out.split())


CELLS = st.text(alphabet="ab \n日é", max_size=40)


@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5),
    # Three columns at their narrowest (12), what parts them and the indent.
    width=st.integers(42, 90),
)
def test_columns_keep_every_letter_inside_the_width(rows: list[list[str]], width: int) -> None:
    lines = list(columns(rows, width, "  "))

    given = sorted("".join("".join(row) for row in rows).replace(" ", "").replace("\n", ""))
    assert sorted("".join(lines).replace(" ", "")) == given
    # A letter of East Asia takes two columns; textwrap counts it as one.
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 m"), (2880, "48 m"), (3600, "1 h"), (25920, "7 h 12 m")],
)
def test_lengths_are_written_in_hours_and_minutes(seconds: int, text: str) -> None:
    from datetime import timedelta

    assert write_length(timedelta(seconds=seconds)) == text


def test_events_of_untrusted_organisers_are_counted_with_a_remedy() -> None:
    from datetime import UTC, datetime

    from slackwater.cli.laid_out import Laid
    from slackwater.cli.plan_text import as_table
    from slackwater.cli.reading import Screen
    from slackwater.core.occurrence import Layout
    from slackwater.core.span import Span
    from slackwater.core.spec import Dag, Ref, TrainingWindow

    spec = TrainingWindow(dag=Dag(airflow=Ref("research", "default"), dag_id="train"))
    laid = Laid(
        ref=Ref("research", "nightly"),
        spec=spec,
        within=Span(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)),
        layout=Layout(occurrences=(), allows=None, denies=(), deadlines=(), untrusted=2),
    )

    text = "\n".join(as_table([laid], Screen(200), titles=False))

    assert "Matching events that others organised, and that do not trigger: 2." in text
    assert "list the organisers in match.organizers." in text
