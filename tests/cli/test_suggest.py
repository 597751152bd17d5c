"""What `slackwater suggest` prints, and that what it gives to import triggers runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.core.sample import Room, Sample
from slackwater.gpus.static import StaticPool
from slackwater_windows.parameters import parameters
from tests.cli.reading_bench import (
    CANARY,
    NOW,
    Bench,
    entry,
    event,
    ical,
    inline,
    pool,
    static,
    window,
)

TRAIN = entry("team", "Trigger", "train:*")
DENY = entry("reserved", "Deny", "GPU reserved*")
ASKS: dict[str, Any] = {
    "gpu": {"poolRef": {"name": "box"}, "count": 8},
    "expectedDurationSeconds": 7200,
}
NIGHT = event("a", f"train: {CANARY}", "2026-11-24T10:00:00Z", "2026-11-24T13:00:00Z")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def with_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of others' runs: 6 GPUs by day (6 to 20 UTC), none at night."""

    async def demand(_: StaticPool, since: datetime) -> tuple[tuple[datetime, float], ...]:
        steps = int((NOW - since) / timedelta(minutes=30))
        times = [since + n * timedelta(minutes=30) for n in range(steps)]
        return tuple((at, 6.0 if 6 <= at.hour < 20 else 0.0) for at in times)

    async def sample(_: StaticPool) -> Sample:
        return Sample(time=NOW, capacity=8, rooms=(Room("static", 8, 2),), used=6)

    monkeypatch.setattr(StaticPool, "demand_since", demand)
    monkeypatch.setattr(StaticPool, "sample", sample)


def test_quiet_hours_are_suggested_with_their_odds_in_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_history(monkeypatch)
    bench.write("all.yaml", static(NIGHT), pool(), window(calendars=[TRAIN], **ASKS))

    printed = bench.run("suggest", "research/nightly", "-o", "json")

    assert (printed.code, printed.err) == (0, "")
    assert CANARY not in printed.out
    found = printed.json
    assert (found["gpus"], found["durationSeconds"], found["forecastKnown"]) == (8, 7200, True)
    assert found["suggestions"]
    for one in found["suggestions"]:
        start = datetime.fromisoformat(one["start"])
        assert start.hour >= 20 or start.hour < 6
        assert one["chance"] >= 0.5
        assert one["why"].startswith("Room for 8 GPUs with a chance of ")
    assert found["suggestions"][0]["chance"] >= 0.9
    (present,) = found["present"]
    assert present["chance"] < 0.5


def test_the_same_question_has_the_same_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_history(monkeypatch)
    bench.write("all.yaml", static(NIGHT), pool(), window(calendars=[TRAIN], **ASKS))
    outputs = {bench.run("suggest", "research/nightly", "-o", kind).out for kind in ["ics"] * 3}
    assert len(outputs) == 1


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_what_is_imported_triggers_at_the_suggested_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    with_history(monkeypatch)
    tagged = {
        **TRAIN,
        "match": {"summary": "[GPU]*train?*", "categories": ["training"], "busy": ["Tentative"]},
        "startOffsetSeconds": 600,
        "endOffsetSeconds": -300,
    }
    spec = {"calendars": [tagged], "timeZone": zone, **ASKS}
    bench.write("all.yaml", static(NIGHT), pool(), window(**spec))
    suggested = bench.run("suggest", "research/nightly", "-o", "json").json["suggestions"]
    printed = bench.run("suggest", "research/nightly", "-o", "ics")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.count("BEGIN:VEVENT") == len(suggested)
    assert "\r\nDTSTAMP:20261123T120000Z\r\n" in printed.out

    (bench.manifests / "team.ics").write_text(printed.out)
    bench.write("all.yaml", ical("team.ics"), pool(), window(**spec))
    planned = bench.plan()

    assert sorted((p["start"], p["end"]) for row in planned for p in row["pieces"]) == sorted(
        (one["start"], one["end"]) for one in suggested
    )


def test_a_description_to_import_holds_no_parameters(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_history(monkeypatch)
    bench.write("all.yaml", static(NIGHT), pool(), window(calendars=[TRAIN], **ASKS))
    for one in bench.run("suggest", "research/nightly", "-o", "json").json["suggestions"]:
        assert parameters(one["why"]) == {}


def test_a_title_is_shown_on_the_users_own_terminal_alone(bench: Bench) -> None:
    denied = event("d", f"GPU reserved {CANARY}", "2026-11-24T08:00:00Z", "2026-11-24T18:00:00Z")
    bench.write("all.yaml", static(NIGHT, denied), pool(), window(calendars=[TRAIN, DENY], **ASKS))
    for kind in ("table", "json", "ics"):
        assert CANARY not in bench.run("suggest", "research/nightly", "-o", kind).out
    bench.terminal = True
    printed = bench.run("suggest", "research/nightly")
    assert f"train: {CANARY}" in printed.out
    assert "is wholly covered by `reserved`" in " ".join(printed.out.split())


def test_others_that_start_at_the_same_hour_crowd_a_window_out(bench: Bench) -> None:
    at_ten = [inline("day", "Trigger", start="2026-11-24T10:00:00Z", end="2026-11-24T13:00:00Z")]
    bench.write(
        "all.yaml",
        static(NIGHT),
        pool(),
        window(calendars=[TRAIN], **ASKS),
        window("other", windows=at_ten, **ASKS),
        window("elsewhere", windows=at_ten),
    )
    (move,) = bench.run("suggest", "research/nightly", "-o", "json").json["moves"]
    assert move["hindrance"] == "Crowded"
    assert "1 other ask of the pool for 8 GPUs" in move["why"]
    assert move["move"]["from"] == {"start": "2026-11-24T10:00:00Z", "end": "2026-11-24T13:00:00Z"}
    assert move["move"]["to"]["start"] in ("2026-11-24T08:00:00Z", "2026-11-24T12:00:00Z")


def test_a_reservation_is_never_suggested_against(bench: Bench) -> None:
    demo = event("r", "demo", "2026-11-23T00:00:00Z", "2026-11-26T00:00:00Z")
    kept = [{"name": "demos", "calendarRef": {"name": "demos"}, "gpus": 4}]
    bench.write(
        "all.yaml",
        static(NIGHT),
        static(demo, name="demos"),
        pool(reservations=kept),
        window(calendars=[TRAIN], **ASKS),
    )
    printed = bench.run("suggest", "research/nightly", "--days", "4", "-o", "json")
    starts = [one["start"] for one in printed.json["suggestions"]]
    assert starts
    assert min(starts) >= "2026-11-26T00:00:00Z"
    none = bench.run("suggest", "research/nightly", "--days", "1", "-o", "json")
    assert (none.code, none.json["suggestions"]) == (1, [])
    import_ = bench.run("suggest", "research/nightly", "--days", "1", "-o", "ics")
    assert (import_.code, import_.out) == (1, "")
    assert "no time in this range suits" in import_.err


def test_a_window_without_a_calendar_has_times_but_nothing_to_import(bench: Bench) -> None:
    bench.write("all.yaml", pool(), window(**ASKS))
    assert bench.run("suggest", "research/nightly").code == 0
    printed = bench.run("suggest", "research/nightly", "-o", "ics")
    assert (printed.code, printed.out) == (1, "")
    assert "has no calendar to import into" in printed.err


def test_a_guessed_duration_is_said(bench: Bench) -> None:
    asks = {"gpu": ASKS["gpu"]}
    bench.write("all.yaml", static(NIGHT), pool(), window(calendars=[TRAIN], **asks))
    printed = bench.run("suggest", "research/nightly")
    assert "8 GPUs of research/box for 4 h (a guess" in printed.out
    assert "Nothing is known of the pool's past load" not in printed.out  # none but ours is in it


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("research/other",), 2, "There is no TrainingWindow research/other."),
        (("nightly",), 2, "write NAMESPACE/NAME"),
        ((), 2, "slackwater suggest NAMESPACE/NAME"),
        (("research/nightly", "--days", "0"), 2, "no number of days"),
        (("research/nightly", "--days", "29"), 2, "no number of days"),
        (("research/big",), 1, "16 GPUs are asked for, but research/box has 8"),
        (("research/lost",), 1, "research/missing"),
    ],
)
def test_what_cannot_be_answered_is_said(
    bench: Bench, words: tuple[str, ...], code: int, said: str
) -> None:
    bench.write(
        "all.yaml",
        pool(),
        window(**ASKS),
        window("big", gpu={"poolRef": {"name": "box"}, "count": 16}),
        window("lost", gpu={"poolRef": {"name": "missing"}, "count": 1}),
    )
    printed = bench.run("suggest", *words)
    assert (printed.code, printed.out) == (code, "")
    assert said in printed.err
