"""What `slackwater plan` prints for programs, and for whom it has no plan."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slackwater.ports import FetchState
from tests.cli.reading_bench import (
    CANARY,
    Bench,
    entry,
    event,
    feed,
    ical,
    inline,
    pool,
    static,
    vevent,
    window,
)

BERLIN = "Europe/Berlin"
TRAIN = entry("team", "Trigger", "train:*")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def span(start: str, end: str) -> dict[str, str]:
    return {"start": f"2026-{start}:00Z", "end": f"2026-{end}:00Z"}


# --- golden


def test_deny_and_missing_allow_are_cut_from_each_occurrence_and_named(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(
            event("a", f"train: {CANARY}", "2026-11-24T22:00:00", "2026-11-25T06:00:00"),
            event("r", f"GPU reserved {CANARY}", "2026-11-25T01:00:00", "2026-11-25T03:00:00"),
            timeZone=BERLIN,
        ),
        window(
            timeZone=BERLIN,
            calendars=[TRAIN, entry("reserved", "Deny", "GPU reserved*")],
            windows=[inline("nights", "Allow", schedule="0 22 * * *", durationSeconds=21600)],
        ),
    )

    planned = bench.plan()

    assert len(planned) == 1
    assert len(planned[0].pop("occurrence")) == 20
    assert planned == [
        {
            "trainingWindow": "research/nightly",
            "originalStart": "2026-11-24T21:00:00Z",
            "pieces": [span("11-24T21:00", "11-25T00:00"), span("11-25T02:00", "11-25T03:00")],
            "cut": [
                {**span("11-25T00:00", "11-25T02:00"), "entry": "reserved"},
                {**span("11-25T03:00", "11-25T05:00"), "entry": "outside Allow"},
            ],
        }
    ]


def test_an_occurrence_of_which_nothing_is_left_is_listed_at_its_interval(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        window(
            "a",
            windows=[
                inline("all", "Trigger", start="2026-11-24T10:00:00Z", end="2026-11-24T12:00:00Z"),
                inline("no", "Deny", start="2026-11-24T00:00:00Z", end="2026-11-25T00:00:00Z"),
            ],
        ),
        window(
            "b",
            windows=[
                inline("x", "Trigger", start="2026-11-24T11:00:00Z", end="2026-11-24T12:00:00Z"),
                inline("y", "Trigger", start="2026-11-24T09:00:00Z", end="2026-11-24T09:30:00Z"),
            ],
        ),
    )

    planned = bench.plan()

    assert [(p["trainingWindow"], p["originalStart"]) for p in planned] == [
        ("research/b", "2026-11-24T09:00:00Z"),
        ("research/a", "2026-11-24T10:00:00Z"),
        ("research/b", "2026-11-24T11:00:00Z"),
    ]
    assert planned[1]["pieces"] == []
    assert planned[1]["cut"] == [{**span("11-24T10:00", "11-24T12:00"), "entry": "no"}]


def test_a_night_in_which_clocks_change_is_an_hour_longer(bench: Bench) -> None:
    schedule = inline("nights", "Trigger", schedule="30 1 * * *", durationSeconds=7200)
    bench.write(
        "all.yaml",
        static(
            event("a", "train: x", "2026-10-24T22:00:00", "2026-10-25T06:00:00"), timeZone=BERLIN
        ),
        window(timeZone=BERLIN, calendars=[TRAIN]),
        window("inline", timeZone=BERLIN, windows=[schedule]),
    )

    planned = bench.plan("--from", "2026-10-24", "--to", "2026-10-26")

    assert [(p["trainingWindow"], p["originalStart"], *p["pieces"]) for p in planned] == [
        ("research/inline", "2026-10-23T23:30:00Z", span("10-23T23:30", "10-24T01:30")),
        ("research/nightly", "2026-10-24T20:00:00Z", span("10-24T20:00", "10-25T05:00")),
        ("research/inline", "2026-10-24T23:30:00Z", span("10-24T23:30", "10-25T01:30")),
    ]


def test_a_day_is_the_whole_day_of_the_calendars_zone_or_of_the_windows(bench: Bench) -> None:
    day = event("d", "train: x", "2026-11-25", "2026-11-26", allDay=True)
    bench.write(
        "all.yaml",
        static(day),
        static(day, name="tokyo", timeZone="Asia/Tokyo"),
        window("floating", timeZone=BERLIN, calendars=[TRAIN]),
        window("zoned", timeZone=BERLIN, calendars=[{**TRAIN, "calendarRef": {"name": "tokyo"}}]),
    )

    planned = bench.plan()

    assert [(p["trainingWindow"], p["originalStart"], *p["pieces"]) for p in planned] == [
        ("research/zoned", "2026-11-24T15:00:00Z", span("11-24T15:00", "11-25T15:00")),
        ("research/floating", "2026-11-24T23:00:00Z", span("11-24T23:00", "11-25T23:00")),
    ]


def test_a_moved_instance_keeps_its_identity_and_its_original_start(bench: Bench) -> None:
    series = (
        "DTSTART;TZID=Europe/Berlin:20261124T220000",
        "DTEND;TZID=Europe/Berlin:20261125T060000",
        "RRULE:FREQ=DAILY;COUNT=2",
        f"SUMMARY:train: {CANARY}",
    )
    moved = vevent(
        "s",
        "RECURRENCE-ID;TZID=Europe/Berlin:20261125T220000",
        "DTSTART;TZID=Europe/Berlin:20261127T120000",
        "DTEND;TZID=Europe/Berlin:20261127T130000",
        f"SUMMARY:train: {CANARY}",
    )
    feed_file = bench.manifests / "team.ics"
    bench.write("all.yaml", ical("team.ics"), window(timeZone=BERLIN, calendars=[TRAIN]))
    feed_file.write_text(feed(vevent("s", *series)))
    before = bench.plan()

    feed_file.write_text(feed(vevent("s", *series), moved))
    after = bench.plan()

    assert [p["pieces"] for p in after] == [
        [span("11-24T21:00", "11-25T05:00")],
        [span("11-27T11:00", "11-27T12:00")],
    ]
    for name in ("occurrence", "originalStart"):
        assert [p[name] for p in after] == [p[name] for p in before]
    assert after[1]["originalStart"] == "2026-11-25T21:00:00Z"


def test_offsets_that_leave_nothing_are_named_as_what_cut(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(event("a", "train: x", "2026-11-24T22:00:00Z", "2026-11-24T23:00:00Z")),
        window(calendars=[{**TRAIN, "startOffsetSeconds": 7200}]),
    )

    (planned,) = bench.plan()

    assert planned["pieces"] == []
    assert [cut["entry"] for cut in planned["cut"]] == ["(offsets)"]


def test_what_denies_after_the_range_still_cuts_an_occurrence_that_reaches_there(
    bench: Bench,
) -> None:
    bench.write(
        "all.yaml",
        static(
            event("a", "train: x", "2026-11-24T22:00:00Z", "2026-11-27T06:00:00Z"),
            event("r", "GPU reserved", "2026-11-26T01:00:00Z", "2026-11-27T06:00:00Z"),
        ),
        window(calendars=[TRAIN, entry("reserved", "Deny", "GPU reserved*")]),
    )

    (planned,) = bench.plan("--to", "2026-11-25")

    assert planned["pieces"] == [span("11-24T22:00", "11-26T01:00")]


# --- what is asked for


def test_dates_are_days_of_each_windows_own_zone(bench: Bench) -> None:
    at_eleven = inline("x", "Trigger", start="2026-11-24T23:30:00Z", end="2026-11-24T23:45:00Z")
    bench.write(
        "all.yaml",
        window("berlin", timeZone=BERLIN, windows=[at_eleven]),
        window("utc", windows=[at_eleven]),
    )

    planned = bench.plan("--from", "2026-11-25", "--to", "2026-11-26")

    assert [p["trainingWindow"] for p in planned] == ["research/berlin"]


def test_without_a_range_it_is_the_week_from_now_on(bench: Bench) -> None:
    daily = inline("daily", "Trigger", schedule="0 12 * * *", durationSeconds=3600)
    bench.write("all.yaml", window(windows=[daily]))

    planned = bench.plan()

    starts = [p["pieces"][0]["start"] for p in planned]
    assert starts[0] == "2026-11-23T12:00:00Z"
    assert starts[-1] == "2026-11-29T12:00:00Z"
    assert len(starts) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2026-11-25", "--to", "2026-11-24"), "--to must be after --from"),
        (("--to", "2027-11-24"), "at most 35 days"),
        (("--from", "yesterday"), "yesterday is neither a date"),
        (("--to", "2026-11-24T12:00:00"), "nor a time with its offset"),
        (("--window", "research/nightly/x"), "write NAMESPACE/NAME"),
        (("--window", "nightly"), "write NAMESPACE/NAME"),
        (("--window", "research/other"), "There is no TrainingWindow research/other."),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_2(
    bench: Bench, words: tuple[str, ...], said: str
) -> None:
    bench.write("all.yaml", window())

    printed = bench.run("plan", "-o", "json", *words)

    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith("slackwater: ")
    assert said in printed.err


def test_only_the_windows_that_are_named_are_planned(bench: Bench) -> None:
    daily = inline("daily", "Trigger", schedule="0 12 * * *", durationSeconds=3600)
    broken = {**TRAIN, "calendarRef": {"name": "missing"}}
    bench.write(
        "all.yaml",
        window("a", windows=[daily]),
        window("b", windows=[daily]),
        window("c", calendars=[broken]),
    )

    planned = bench.plan("--window", "research/b")
    both = bench.plan("--window", "research/b", "research/a")

    assert {p["trainingWindow"] for p in planned} == {"research/b"}
    assert {p["trainingWindow"] for p in both} == {"research/a", "research/b"}


def test_each_calendar_is_read_once_and_all_at_the_same_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slackwater.calendars.static import StaticSource

    together = asyncio.Barrier(2)
    reads: list[object] = []
    real = StaticSource.fetch

    async def counted(
        self: StaticSource, horizon: object, state: FetchState | None, now: object
    ) -> object:
        reads.append(self)
        async with asyncio.timeout(5):
            await together.wait()
        return await real(self, horizon, state, now)  # type: ignore[arg-type]

    monkeypatch.setattr(StaticSource, "fetch", counted)
    other = {**TRAIN, "name": "other", "calendarRef": {"name": "other"}}
    bench.write(
        "all.yaml",
        static(event("a", "train: x", "2026-11-24T22:00:00Z", "2026-11-24T23:00:00Z")),
        static(name="other"),
        static(name="unused"),
        *(window(name, calendars=[TRAIN, other]) for name in ("a", "b", "c")),
    )

    planned = bench.plan()

    assert len(reads) == 2
    assert len(planned) == 3


def test_nothing_is_left_behind_and_no_airflow_or_prometheus_is_asked(bench: Bench) -> None:
    # Nothing listens on port 9; an address that is asked would be an error or a wait.
    prometheus = {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": "h100", "namespace": "research"},
        "spec": {
            "source": {"prometheus": {"serverAddress": "http://127.0.0.1:9"}},
            "nodes": "gpu-.*",
        },
    }
    daily = inline("daily", "Trigger", schedule="0 12 * * *", durationSeconds=3600)
    bench.write(
        "all.yaml",
        prometheus,
        window(windows=[daily], gpu={"poolRef": {"name": "h100"}, "count": 8}),
    )

    assert len(bench.plan()) == 7
    assert sorted(path.name for path in bench.root.iterdir()) == ["manifests"]


# --- what cannot be planned


def test_a_calendar_that_cannot_be_read_takes_its_windows_alone_out_of_the_plan(
    bench: Bench,
) -> None:
    daily = inline("daily", "Trigger", schedule="0 12 * * *", durationSeconds=3600)
    deny = entry("reserved", "Deny", calendarRef={"name": "lost"})
    bench.write(
        "all.yaml",
        ical("lost.ics", name="lost"),
        window("a", windows=[daily], calendars=[deny]),
        window("b", windows=[daily]),
    )

    printed = bench.run("plan", "-o", "json")
    table = bench.run("plan")

    assert printed.code == table.code == 1
    assert {p["trainingWindow"] for p in printed.json} == {"research/b"}
    sentence = "Calendar research/lost answers that it does not exist. Check the URL or the id."
    assert printed.err == f"slackwater: research/a: {sentence}\n"
    assert f"  {sentence}\n" in table.out
    assert "research/b" in table.out


@pytest.mark.parametrize(
    ("calendar", "words"),
    [
        (None, "Calendar research/team does not exist. Create it or correct calendarRef."),
        (
            static(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}),
            "Calendar research/team does not allow namespace research.",
        ),
        (
            static(privacy="FreeBusy"),
            "spec.calendars[0].effect: a calendar at privacy FreeBusy has no event identities",
        ),
    ],
)
def test_a_calendar_that_may_not_be_used_so_is_said_with_its_remedy(
    bench: Bench, calendar: dict[str, object] | None, words: str
) -> None:
    bench.write("all.yaml", window(calendars=[TRAIN]), *([calendar] if calendar else []))

    printed = bench.run("plan")

    assert printed.code == 1
    assert words in printed.out


def test_bad_manifests_are_named_by_file_document_and_field(bench: Bench) -> None:
    wrong = window("b", windows=[inline("n", "Trigger", schedule="0 22 * *", durationSeconds=3600)])
    path = bench.write("all.yaml", window("a"), wrong)
    broken = bench.manifests / "broken.yaml"
    broken.write_text("kind: [\n")

    printed = bench.run("plan", "-o", "json")

    assert (printed.code, printed.out) == (2, "")
    first, second = sorted(printed.err.splitlines())
    assert first.startswith(
        f"slackwater: {path}: document 2: TrainingWindow research/b: spec.windows[0].schedule:"
    )
    assert second.startswith(f"slackwater: {broken}: document 1: line 2, column 1: ")


def test_a_directory_that_does_not_exist_is_refused_with_2(bench: Bench) -> None:
    bench.manifests.rmdir()

    printed = bench.run("plan")

    assert printed.code == 2
    assert f"{bench.manifests} does not exist." in printed.err


def test_the_command_itself_plans_in_a_process_of_its_own(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(event("a", "train: x", "2026-11-24T22:00:00Z", "2026-11-24T23:00:00Z")),
        window(calendars=[TRAIN]),
    )
    words = ["plan", "--manifests", "manifests", "--from", "2026-11-24", "--to", "2026-11-25"]
    path = os.pathsep.join(part for part in sys.path if part)

    found = subprocess.run(
        [sys.executable, "-m", "slackwater", *words],
        cwd=bench.root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[2].split("  ")[1:] == [
        "Tue 2026-11-24 22:00 - 23:00",
        "team",
        " Tue 22:00 - 23:00",
    ]


# --- off-peak


def test_runs_of_one_pool_are_planned_one_after_the_other(bench: Bench) -> None:
    quiet = {
        "startPolicy": "OffPeak",
        "gpu": {"poolRef": {"name": "box"}, "count": 8},
        "expectedDurationSeconds": 3600,
        "windows": [
            inline("day", "Trigger", start="2026-11-24T08:00:00Z", end="2026-11-24T20:00:00Z")
        ],
    }
    bench.write(
        "all.yaml",
        pool(),
        window("first", **quiet),
        window("second", **quiet),
        window("eager", **quiet | {"startPolicy": "Earliest"}),
    )
    planned = {row["trainingWindow"]: row for row in bench.plan()}
    assert planned["research/first"]["plannedStart"] == "2026-11-24T08:00:00Z"
    assert planned["research/second"]["plannedStart"] == "2026-11-24T09:00:00Z"
    assert planned["research/second"]["latestStart"] == "2026-11-24T20:00:00Z"
    assert planned["research/second"]["expectedLoadPercent"] == 0
    assert "plannedStart" not in planned["research/eager"]
    assert "planned for" in bench.run("plan").out
