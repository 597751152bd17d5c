"""What `slackwater queue` shows of a pool: who waits, who holds, who may start when."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.api.status import PoolStatus
from slackwater.core.identity import inline_key
from slackwater.core.ledger import Line, State
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.status import Status
from slackwater.core.words import Reason
from slackwater.ports import Key, Kind
from slackwater.stores.directory import DirectoryStore
from tests.cli.reading_bench import ASIDE, NOW, Bench, Json, inline, pool, window

HOUR = timedelta(hours=1)
DAY_KEY = inline_key("daily", "2026-11-23T11:00")
OPEN = Span(NOW - HOUR, NOW + 9 * HOUR)
DAILY = inline("daily", "Trigger", schedule="0 11 * * *", durationSeconds=36_000)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def asking(name: str, count: int, **spec: Any) -> Json:
    gpu = {"poolRef": {"name": "box"}, "count": count} | spec.pop("gpu", {})
    return window(name, windows=[DAILY], gpu=gpu, **spec)


def waiting(reason: Reason = Reason.WAITING_FOR_GPUS, **more: Any) -> Status:
    line = Line(
        id=DAY_KEY,
        entry="daily",
        state=State.WAITING,
        reason=reason,
        condition=more.pop("condition", "CapacityAvailable"),
        since=NOW - HOUR,
        window=OPEN,
        planned_start=more.pop("planned_start", None),
    )
    return Status(lines=(line,), **more)


def running(promise: int = 8, hours: float = 3) -> Status:
    line = Line(
        id=DAY_KEY,
        entry="daily",
        state=State.RUNNING,
        reason=Reason.RUNNING,
        since=NOW - HOUR,
        window=OPEN,
        intent_time=NOW - HOUR,
        trigger_time=NOW - HOUR,
        start_time=NOW - HOUR,
        dag_run_id="slackwater.i.research.runner.0123",
        promise=promise,
    )
    return Status(lines=(line,), expected_duration=hours * HOUR)


def busy(bench: Bench) -> None:
    """A box of 16 with a run of 8 until 14:00, and three that wait."""
    bench.write(
        "all.yaml",
        pool(16, grants=[{"maxPriority": 5}]),
        asking("runner", 8),
        asking("big", 16, priority=99, expectedDurationSeconds=3600),
        asking("long", 8, gpu={"perPod": 4}),
        asking("short", 4, expectedDurationSeconds=1800),
        asking("quiet", 4),
        asking("later", 4),
        asking("shut", 4),
    )
    bench.record(running(), "runner")
    for name in ("big", "long", "short"):
        bench.record(waiting(), name)
    bench.record(waiting(Reason.TOO_BUSY), "quiet")
    bench.record(waiting(Reason.OFF_PEAK, planned_start=NOW + 2 * HOUR), "later")
    bench.record(waiting(Reason.DAG_PAUSED, condition="DagReady"), "shut")


def test_all_that_is_known_of_a_pool_is_one_screen(bench: Bench) -> None:
    busy(bench)
    printed = bench.run("queue", "research/box")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "research/box   times in UTC",
        "16 GPUs, 16 free, 8 of them promised to runs; as of Mon 2026-11-23 12:00.",
        "",
        "Waiting",
        (
            "  #  TRAININGWINDOW  GPUS            PRIORITY  SINCE                 LATEST START          "
            "MAY START"
        ),
        (
            "  1  research/big    16              5         Mon 2026-11-23 11:00  Mon 2026-11-23 21:00  "
            "with 4 GPUs now, with 16 about 14:00"
        ),
        (
            "  2  research/long   8 in pods of 4  0         Mon 2026-11-23 11:00  Mon 2026-11-23 21:00  "
            "expected about 15:00"
        ),
        (
            "  3  research/short  4               0         Mon 2026-11-23 11:00  Mon 2026-11-23 21:00  "
            "now"
        ),
        "",
        "Not in the queue",
        "  TRAININGWINDOW  GPUS  PRIORITY  SINCE                 LATEST START          WHY",
        (
            "  research/later  4     0         Mon 2026-11-23 11:00  Mon 2026-11-23 21:00  "
            "planned for Mon 2026-11-23 14:00"
        ),
        "  research/quiet  4     0         Mon 2026-11-23 11:00  Mon 2026-11-23 21:00  too busy",
        "",
        "Runs",
        "  TRAININGWINDOW   GPUS  TO COME  SINCE                 EXPECTED END          RUN",
        (
            "  research/runner  8     8        Mon 2026-11-23 11:00  Mon 2026-11-23 14:00  "
            "slackwater.i.research.runner.0123"
        ),
    ]


def test_programs_get_the_same(bench: Bench) -> None:
    busy(bench)
    found = bench.run("queue", "research/box", "-o", "json").json
    assert found["promised"] == 8
    assert found["live"] is True
    big, long, short = found["waiting"]
    assert big == {
        "trainingWindow": "research/big",
        "occurrence": DAY_KEY,
        "gpus": 16,
        "perPod": 1,
        "priority": 5,
        "latestStart": "2026-11-23T21:00:00Z",
        "reason": "WaitingForGPUs",
        "since": "2026-11-23T11:00:00Z",
        "expectedDurationSeconds": 3600,
        "place": 1,
        "mayStartNow": False,
        "projectedStart": "2026-11-23T14:00:00Z",
        "gpusThatCouldStartNow": 4,
    }
    assert long["projectedStart"] == "2026-11-23T15:00:00Z"
    assert short["mayStartNow"] is True
    assert [one["trainingWindow"] for one in found["notQueued"]] == [
        "research/later",
        "research/quiet",
    ]
    assert found["runs"] == [
        {
            "trainingWindow": "research/runner",
            "dagRunId": "slackwater.i.research.runner.0123",
            "gpus": 8,
            "toCome": 8,
            "since": "2026-11-23T11:00:00Z",
            "expectedEnd": "2026-11-23T14:00:00Z",
        }
    ]


def test_one_who_has_room_and_must_let_others_go_first_hears_what_would_help(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        pool(16),
        asking("runner", 8),
        asking("big", 16, priority=9, expectedDurationSeconds=3600),
        asking("long", 8),
    )
    bench.record(running(), "runner")
    for name in ("big", "long"):
        bench.record(waiting(), name)
    _, found = bench.run("queue", "research/box", "-o", "json").json["waiting"]
    assert found["couldStartNowIfEndedBy"] == "2026-11-23T14:00:00Z"
    out = bench.run("queue", "research/box").out
    assert "a run that ends by 14:00 could start now, this one about 15:00" in out


def test_the_latest_start_is_that_of_the_window_that_the_calendars_give(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        pool(8),
        asking("late", 16, expectedDurationSeconds=3600, onWindowEnd="Cancel"),
        asking("soon", 16, startingDeadlineSeconds=7200),
    )
    bench.record(waiting(), "late")
    bench.record(waiting(), "soon")
    found = bench.run("queue", "research/box", "-o", "json").json
    assert [(one["trainingWindow"], one["latestStart"]) for one in found["waiting"]] == [
        ("research/soon", "2026-11-23T13:00:00Z"),
        ("research/late", "2026-11-23T20:00:00Z"),
    ]
    assert {one["reason"] for one in found["waiting"]} == {"ExceedsCapacity"}


# --- numbers that cannot be read from here


def told(bench: Bench, sampled: datetime) -> None:
    async def write() -> None:
        store = DirectoryStore([bench.manifests], bench.data / "slackwater.db", None, bench.clock)
        try:
            await store.open()
            key = Key(Kind.GPU_POOL, Ref("research", "box"))
            stored = next(s for s in await store.objects() if s.key == key)
            status = PoolStatus(capacity=16, free=9, promised=0, sample_time=sampled)
            await store.write_status(key, status.to_wire(), stored.resource_version)
        finally:
            await store.aclose()

    ASIDE.do(write())


def unreachable() -> Json:
    document = pool(16)
    document["spec"]["source"] = {"prometheus": {"serverAddress": "http://127.0.0.1:9"}}
    document["spec"]["nodes"] = "gpu-.*"
    return document


def test_where_its_source_does_not_answer_the_status_has_the_numbers(bench: Bench) -> None:
    bench.write("all.yaml", unreachable(), asking("big", 16))
    bench.record(waiting(), "big")
    told(bench, NOW - timedelta(seconds=30))
    printed = bench.run("queue", "research/box")
    assert printed.code == 0
    assert "Prometheus of pool research/box cannot be reached. Check the address" in printed.out
    assert "16 GPUs, 9 free; as of Mon 2026-11-23 11:59, by the status." in printed.out
    assert "with 9 GPUs now" in printed.out
    assert bench.run("queue", "research/box", "-o", "json").json["live"] is False


def test_old_numbers_project_nothing(bench: Bench) -> None:
    bench.write("all.yaml", unreachable(), asking("big", 16))
    bench.record(waiting(), "big")
    told(bench, NOW - HOUR)
    (one,) = bench.run("queue", "research/box", "-o", "json").json["waiting"]
    assert (one["reason"], one["mayStartNow"]) == ("StaleSample", False)


def test_without_any_numbers_the_order_is_still_told(bench: Bench) -> None:
    bench.write("all.yaml", unreachable(), asking("big", 16, priority=1), asking("small", 1))
    for name in ("big", "small"):
        bench.record(waiting(), name)
    printed = bench.run("queue", "research/box")
    assert printed.code == 1
    assert "How many GPUs are free is not known." in printed.out
    assert printed.out.index("research/big") < printed.out.index("research/small")


# --- what cannot be shown


def test_an_empty_queue_says_so(bench: Bench) -> None:
    bench.write("all.yaml", pool(8))
    assert bench.run("queue", "research/box").out.splitlines()[-1] == "Nobody waits for it."


def test_a_held_pool_says_so(bench: Bench) -> None:
    bench.write("all.yaml", pool(8, stopPolicy="Hold"), asking("big", 4))
    bench.record(waiting(Reason.HELD), "big")
    printed = bench.run("queue", "research/box")
    assert "GPUPool research/box is held by its stopPolicy." in printed.out
    assert printed.out.rstrip().endswith("held")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["research/nothing"], "There is no GPUPool research/nothing."),
        (["nonsense"], "nonsense names no GPUPool; write NAMESPACE/NAME"),
        ([], "Name a GPUPool: slackwater queue NAMESPACE/NAME."),
    ],
    ids=["unknown", "no name", "none"],
)
def test_what_is_no_pool_is_said(bench: Bench, words: list[str], said: str) -> None:
    bench.write("all.yaml", pool(8))
    printed = bench.run("queue", *words)
    assert printed.code == 2
    assert said in printed.err


def test_a_pool_whose_spec_cannot_be_used_is_said(bench: Bench) -> None:
    document = unreachable()
    document["spec"]["source"]["prometheus"]["serverAddress"] = "http://:80"
    bench.write("all.yaml", document)
    printed = bench.run("queue", "research/box")
    assert printed.code == 2
    assert "serverAddress" in printed.err
