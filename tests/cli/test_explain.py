"""What `slackwater explain` says of a night that is over, of the present, and of the future."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slackwater.core.identity import inline_key
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.span import Span
from slackwater.core.status import Condition, Status, Truth
from slackwater.core.words import Reason
from tests.cli.reading_bench import CANARY, NOW, Bench, entry, event, inline, static, window

BERLIN = "Europe/Berlin"
RUN = "slackwater.i.research.nightly.0123"
# 22:00 to 06:00 in Berlin, which is 21:00 to 05:00 UTC in November.
NIGHTS = inline("nights", "Trigger", schedule="0 22 * * *", durationSeconds=28800)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def night(day: int, state: State, reason: Reason, **more: object) -> Line:
    """The line of the night that begins on this day of November."""
    line = Line(
        id=inline_key("nights", f"2026-11-{day:02d}T22:00"),
        entry="nights",
        original_start=f"2026-11-{day:02d}T22:00",
        state=state,
        reason=reason,
        since=at(day + 1, 5),
        window=Span(at(day, 21), at(day + 1, 5)),
        end_time=at(day + 1, 5) if state.is_final else None,
    )
    return replace(line, **more)  # type: ignore[arg-type]


def ran(day: int, state: State, reason: Reason, **more: object) -> Line:
    return night(
        day,
        state,
        reason,
        dag_run_id=RUN,
        trigger_time=at(day, 21, 30),
        start_time=at(day, 21, 40),
        end_time=at(day + 1, 2, 52),
        **more,
    )


WAITED = Waited("CapacityAvailable", Reason.WAITING_FOR_GPUS, 25920)
PAUSED = Waited("DagReady", Reason.DAG_PAUSED, 600)
LEDGER = (
    night(
        13,
        State.MISSED,
        Reason.WAITING_FOR_GPUS,
        waited=(PAUSED, WAITED),
        closest="2026-11-14T02:40:00Z 14 of 16 GPUs",
    ),
    ran(14, State.SUCCEEDED, Reason.SUCCEEDED, waited=(Waited("DagReady", Reason.HELD, 1800),)),
    ran(15, State.FAILED, Reason.FAILED),
    ran(16, State.CANCELLED, Reason.DENY_STARTED, cancel_time=at(17, 2, 50)),
    night(17, State.SKIPPED, Reason.SKIPPED_BY_USER),
    night(18, State.SUPERSEDED, Reason.OVERLAP_ONCE),
    night(19, State.MISSED, Reason.CONTROLLER_DOWN),
    night(20, State.MISSED, Reason.DEADLINE_EXCEEDED),
    night(21, State.CANCELLED, Reason.EVENT_CANCELLED),
)


@pytest.fixture
def past(bench: Bench) -> Bench:
    """A fortnight of nights, one for each end that there is."""
    windows = [
        NIGHTS,
        inline("reserved", "Deny", start="2026-11-14T01:00:00Z", end="2026-11-14T01:48:00Z"),
        inline("demo", "Deny", start="2026-11-17T02:50:00Z", end="2026-11-17T04:00:00Z"),
    ]
    bench.write(
        "all.yaml",
        window(timeZone=BERLIN, windows=windows, startingDeadlineSeconds=7200),
    )
    bench.record(Status(message="The next window opens tonight.", lines=LEDGER))
    return bench


def told(bench: Bench, *words: str) -> str:
    printed = bench.run("explain", "research/nightly", "-o", "json", *words)
    assert (printed.code, printed.err) == (0, "")
    paragraph: str = printed.json["paragraph"]
    return paragraph


@pytest.mark.parametrize(
    ("day", "paragraph"),
    [
        (
            13,
            (
                "Fri 2026-11-13 22:00 - Sat 06:00: Missed. 7 h 12 m waiting for GPUs (closest 03:40: "
                "14 of 16), 10 m DAG paused, 48 m denied by `reserved`."
            ),
        ),
        (
            14,
            (
                "Sat 2026-11-14 22:00 - Sun 06:00: Succeeded. The run of DAG train succeeded. "
                f"30 m held. Run {RUN}: Sat 2026-11-14 22:40 - Sun 03:52 (5 h 12 m)."
            ),
        ),
        (
            15,
            (
                "Sun 2026-11-15 22:00 - Mon 06:00: Failed. The run of DAG train failed. "
                f"Run {RUN}: Sun 2026-11-15 22:40 - Mon 03:52 (5 h 12 m)."
            ),
        ),
        (
            16,
            (
                "Mon 2026-11-16 22:00 - Tue 06:00: Cancelled. `demo` began and cancels runs. "
                "1 h 10 m denied by `demo`. "
                f"Run {RUN}: Mon 2026-11-16 22:40 - Tue 03:52 (5 h 12 m)."
            ),
        ),
        (17, "Tue 2026-11-17 22:00 - Wed 06:00: Skipped by request."),
        (
            18,
            (
                "Wed 2026-11-18 22:00 - Thu 06:00: Superseded. Another occurrence started in the same "
                "time and overlap is Once."
            ),
        ),
        (
            19,
            (
                "Thu 2026-11-19 22:00 - Fri 06:00: Missed: Slackwater was not running during the "
                "window."
            ),
        ),
        (
            20,
            (
                "Fri 2026-11-20 22:00 - Sat 06:00: Missed: the start deadline of 2026-11-21 00:00 "
                "passed."
            ),
        ),
        (21, "Sat 2026-11-21 22:00 - Sun 06:00: Cancelled. The event was deleted."),
    ],
)
def test_each_end_of_a_night_is_told_in_a_paragraph(past: Bench, day: int, paragraph: str) -> None:
    assert told(past, "--at", f"2026-11-{day}") == paragraph
    assert told(past, "--at", f"2026-11-{day}T23:00:00Z") == paragraph


def test_a_time_between_two_nights_means_the_nearer_one(past: Bench) -> None:
    assert told(past, "--at", "2026-11-18T07:00:00Z").startswith("Tue 2026-11-17")
    assert told(past, "--at", "2026-11-18T18:00:00Z").startswith("Wed 2026-11-18")


def test_what_would_change_it_is_told_in_the_order_of_what_mattered(past: Bench) -> None:
    printed = past.run("explain", "research/nightly", "-o", "json", "--at", "2026-11-13")
    missed = past.run("explain", "research/nightly", "--at", "2026-11-20")

    assert printed.json["remedies"] == ["Unpause it in Airflow."]
    assert missed.out.splitlines()[-2:] == [
        "What would change it:",
        "  Raise startingDeadlineSeconds.",
    ]


def test_of_what_nobody_serves_yet_it_says_what_to_start(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    printed = bench.run("explain", "research/nightly")

    assert "Start the operator or `slackwater run`" in printed.out


def test_programs_get_the_account_in_seconds(past: Bench) -> None:
    printed = past.run("explain", "research/nightly", "-o", "json", "--at", "2026-11-13")

    occurrence = printed.json["occurrence"]
    assert occurrence["waited"] == [
        {
            "condition": "CapacityAvailable",
            "reason": "WaitingForGPUs",
            "words": "waiting for GPUs",
            "seconds": 25920,
        },
        {"condition": "DagReady", "reason": "DagPaused", "words": "DAG paused", "seconds": 600},
    ]
    assert occurrence["cut"] == [{"entry": "reserved", "seconds": 2880}]
    assert (occurrence["state"], occurrence["recorded"]) == ("Missed", True)
    assert (occurrence["start"], occurrence["end"]) == (
        "2026-11-13T21:00:00Z",
        "2026-11-14T05:00:00Z",
    )


def test_a_wait_without_a_length_is_named(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    bench.record(Status(lines=(night(13, State.MISSED, Reason.NOT_QUIET_LONG_ENOUGH),)))

    assert told(bench, "--at", "2026-11-13").endswith(": Missed: not quiet long enough.")


# --- now


def conditions() -> tuple[Condition, ...]:
    def one(kind: str, truth: Truth, reason: Reason, message: str) -> Condition:
        return Condition(
            type=kind,
            status=truth,
            reason=reason,
            message=message,
            observed_generation=1,
            last_transition_time=at(23, 21),
        )

    return (
        one("Ready", Truth.TRUE, Reason.ACCEPTED, "The configuration is accepted."),
        one("DagReady", Truth.FALSE, Reason.DAG_PAUSED, "DAG train is paused."),
    )


def test_an_open_wait_counts_up_to_now_and_the_conditions_follow(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    bench.clock.time = at(23, 23, 30)
    waiting = night(
        23,
        State.WAITING,
        Reason.DAG_PAUSED,
        since=at(23, 22),
        waited=(Waited("CapacityAvailable", Reason.WAITING_FOR_GPUS, 3600),),
        closest="03:40 9 of 16 GPUs",
    )
    status = Status(
        message="DAG train is paused.",
        conditions=conditions(),
        lines=(night(22, State.SKIPPED, Reason.SKIPPED_BY_USER), waiting),
    )
    bench.record(status)

    printed = bench.run("explain", "research/nightly")

    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "research/nightly   times in Europe/Berlin",
        (
            "DAG train is paused. Mon 2026-11-23 22:00 - Tue 06:00: Waiting. 1 h 30 m DAG paused, "
            "1 h waiting for GPUs (closest 03:40: 9 of 16)."
        ),
        "",
        "CONDITION  STATUS  REASON     SINCE                 MESSAGE",
        "Ready      True    Accepted   Mon 2026-11-23 22:00  The configuration is accepted.",
        "DagReady   False   DagPaused  Mon 2026-11-23 22:00  DAG train is paused.",
        "",
        "What would change it:",
        "  Unpause it in Airflow.",
    ]


def test_a_run_in_flight_goes_before_what_waits(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    bench.clock.time = at(23, 23)
    running = night(
        22,
        State.RUNNING,
        Reason.RUNNING,
        dag_run_id=RUN,
        trigger_time=at(22, 21),
        start_time=at(22, 21, 5),
    )
    waiting = night(23, State.WAITING, Reason.PREVIOUS_RUN_ACTIVE, since=at(23, 21))
    bench.record(Status(lines=(waiting, running)))

    assert told(bench).endswith(
        f"Sun 2026-11-22 22:00 - Mon 06:00: Running. DAG train is running since 22:05. Run {RUN}."
    )


def test_what_is_ahead_is_told_from_the_calendars(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(
            event("a", f"train: {CANARY}", "2026-11-25T22:00:00", "2026-11-26T06:00:00"),
            timeZone=BERLIN,
        ),
        window(timeZone=BERLIN, calendars=[entry("team", "Trigger", "train:*")]),
    )

    now = told(bench)
    then = bench.run("explain", "research/nightly", "-o", "json", "--at", "2026-11-25")

    assert now == "Wed 2026-11-25 22:00 - Thu 06:00: Planned for 2026-11-25 22:00."
    assert then.json["occurrence"]["recorded"] is False
    assert CANARY not in then.out


def test_a_past_night_that_nobody_recorded_is_said_to_be_so(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))

    assert told(bench, "--at", "2026-11-15").endswith(": Nothing is recorded of it.")


def test_denied_time_is_left_out_where_the_calendar_cannot_be_read(bench: Bench) -> None:
    lost = entry("lost", "Deny", calendarRef={"name": "lost"})
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS], calendars=[lost]))
    bench.record(Status(lines=LEDGER[:1]))

    assert told(bench, "--at", "2026-11-13") == (
        "Fri 2026-11-13 22:00 - Sat 06:00: Missed. 7 h 12 m waiting for GPUs (closest 03:40: "
        "14 of 16), 10 m DAG paused."
    )


def test_an_unusable_spec_is_what_is_explained(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone="Europe/Berln"))

    printed = bench.run("explain", "research/nightly")

    assert printed.code == 0
    assert "Europe/Berln is not a time zone of the IANA database." in printed.out
    assert "Use a name such as Europe/Berlin or UTC." in printed.out


def test_another_broken_manifest_does_not_stand_in_the_way(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    (bench.manifests / "broken.yaml").write_text("kind: [\n")

    assert "Planned for 2026-11-23 22:00." in told(bench)


def test_an_unknown_name_is_refused_with_2_and_what_could_not_be_read(bench: Bench) -> None:
    bench.write("all.yaml", window())
    broken = bench.manifests / "broken.yaml"
    broken.write_text("kind: [\n")

    printed = bench.run("explain", "research/other")

    assert (printed.code, printed.out) == (2, "")
    assert printed.err.splitlines()[0].startswith(f"slackwater: {broken}: document 1")
    assert printed.err.splitlines()[1] == "slackwater: There is no TrainingWindow research/other."


def test_the_name_may_stand_behind_the_manifests(bench: Bench) -> None:
    bench.write("all.yaml", window(timeZone=BERLIN, windows=[NIGHTS]))
    where = ["--manifests", str(bench.manifests)]

    named = bench.run("explain", *where, "research/nightly", directory=False)
    nameless = bench.run("explain", *where, directory=False)

    assert (named.code, named.err) == (0, "")
    assert named.out.startswith("research/nightly ")
    assert nameless.code == 2
    assert "Name a TrainingWindow" in nameless.err


def test_looking_makes_no_database(bench: Bench) -> None:
    bench.write("all.yaml", window())

    assert bench.run("explain", "research/nightly").code == 0
    assert not bench.data.exists()
    assert bench.clock.now() - NOW == timedelta()
