"""Bad input and faults: one condition and sentence each, no harm to others, and healing by itself.

All cases live under one operator at the same time, each in its namespace, beside a healthy window.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind

from .cases import CASES, Case, answer
from .town import ALL, Seen, Town
from .warp import WarpLoop, run_warped

HOUR = timedelta(hours=1)
HEALTHY, LOST, LATER = "healthy", "lost-reply", "later"


@dataclass
class Story:
    """What was seen of the town, phase by phase."""

    broken: dict[Key, Seen] = field(default_factory=dict)
    said: dict[Key, list[tuple[str, str]]] = field(default_factory=dict)
    runs_while_broken: dict[str, int] = field(default_factory=dict)
    healed: dict[Key, Seen] = field(default_factory=dict)
    runs_when_healed: dict[str, int] = field(default_factory=dict)
    started_late_by: timedelta | None = None
    jumps: list[str] = field(default_factory=list)
    runs_after_jumps: dict[str, int] = field(default_factory=dict)
    posts: list[int] = field(default_factory=list)


def counts(town: Town) -> dict[str, int]:
    names = [*(case.name for case in CASES), HEALTHY, LOST, LATER]
    return {name: len(town.runs(name)) for name in names}


async def play(town: Town, patch: pytest.MonkeyPatch) -> Story:
    story = Story()
    town.prometheus.reply = answer(town)
    async with town.up(patch):
        town.server(ALL, grants=[{"namespaces": {"from": "All"}, "dags": ["*"]}])
        for name in (HEALTHY, LOST, LATER):
            town.deploy(name)
        town.window(HEALTHY)
        town.window(LOST)
        post = f"/dags/{town.dag(LOST)}/dagRuns"
        town.airflow.faults.answer(500, "POST", post, done=True)
        at_one = {"start": "2026-03-23T01:00:00Z", "end": "2026-03-23T03:00:00Z"}
        town.window(LATER, windows=[{"name": "now", "effect": "Trigger", **at_one}])
        for case in CASES:
            town.deploy(case.name)
            case.build(town, case.name)
        async with town.running():
            await town.until(3)
            story.broken = await town.all_seen()
            story.said = {key: town.said(key) for key in story.broken}
            story.runs_while_broken = counts(town)
            for case in CASES:
                case.heal(town, case.name)
            await town.when(lambda: all(town.runs(case.name) for case in CASES), 20)
            await town.until(21)
            story.healed = await town.all_seen()
            story.runs_when_healed = counts(town)
            await jump(town, story)
    story.posts = [
        status
        for method, path, status in town.airflow.requests
        if method == "POST" and post in path
    ]
    return story


async def jump(town: Town, story: Story) -> None:
    """The wall clock leaps an hour ahead over the edge of a window, and back again."""
    log, lines = logging.getLogger("slackwater.engine"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        town.clock.jump = HOUR
        leapt = town.clock.true_now()
        await town.when(lambda: bool(town.runs(LATER)), 25)
        story.started_late_by = town.clock.true_now() - leapt
        await town.until(25)
        town.clock.jump = timedelta()
        await town.until(65)
    finally:
        log.removeHandler(handler)
    story.jumps = [line for line in lines if "clock" in line]
    story.runs_after_jumps = counts(town)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    root: Path = tmp_path_factory.mktemp("town")
    loop = WarpLoop()
    with pytest.MonkeyPatch.context() as patch:
        yield run_warped(play(Town(root, loop), patch), loop)


def nightly(namespace: str) -> Key:
    return Key(Kind.TRAINING_WINDOW, Ref(namespace, "nightly"))


def notes(said: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Events without the name of the entry that waits."""
    return [(reason, note.removeprefix("now: ").removeprefix("team: ")) for reason, note in said]


def event_of(case: Case, message: str) -> list[tuple[str, str]]:
    stop = "" if message.endswith(".") else "."
    return [(case.reason, f"{message}{stop} {case.remedy}")]


by_name: Any = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@by_name
def test_one_condition_and_one_sentence_say_what_is_wrong(story: Story, case: Case) -> None:
    seen = story.broken[nightly(case.name)]
    if case.condition:
        truth = "True" if case.only_warned else "False"
        assert seen.condition(case.condition) == (truth, case.reason, case.message)
    assert seen.failing() == ([] if case.only_warned else [case.condition])
    if not case.only_warned:
        assert seen.message == case.message


@by_name
def test_one_event_says_it_with_its_remedy(story: Story, case: Case) -> None:
    said = notes(story.said[nightly(case.name)])
    assert said == (event_of(case, case.message) if case.condition else [])


@pytest.mark.parametrize("case", [c for c in CASES if c.where], ids=lambda case: case.name)
def test_the_dependency_at_fault_says_it_too(story: Story, case: Case) -> None:
    assert case.where is not None
    kind, name, own = case.where
    key, message = Key(kind, Ref(case.name, name)), own or case.message
    condition = "DataFresh" if kind is Kind.GPU_POOL else "Ready"
    truth = "True" if case.only_warned else "False"
    assert story.broken[key].condition(condition) == (
        truth,
        case.own_reason or case.reason,
        message,
    )
    if not case.only_warned:
        assert notes(story.said[key]) == event_of(case, message)


@by_name
def test_nothing_starts_until_it_is_cured_and_then_one_run_does(story: Story, case: Case) -> None:
    assert story.runs_while_broken[case.name] == 0
    assert story.runs_when_healed[case.name] == 1
    assert story.healed[nightly(case.name)].failing() == []


def test_a_healthy_window_starts_beside_them_all(story: Story) -> None:
    assert story.runs_while_broken[HEALTHY] == 1
    seen = story.broken[nightly(HEALTHY)]
    assert seen.failing() == []
    assert story.said[nightly(HEALTHY)] == []


def test_a_post_that_worked_and_was_answered_with_500_makes_one_run(story: Story) -> None:
    assert story.runs_while_broken[LOST] == story.runs_after_jumps[LOST] == 1
    assert story.posts == [500]
    (line,) = story.broken[nightly(LOST)].status["occurrences"]
    assert line["state"] == "Succeeded"
    assert story.said[nightly(LOST)] == []


def test_a_clock_that_leaps_an_hour_opens_what_it_passed_and_starts_nothing_twice(
    story: Story,
) -> None:
    assert story.runs_when_healed[LATER] == 0
    assert story.started_late_by is not None
    assert story.started_late_by <= timedelta(seconds=45)  # 30 to see it (R4), and a fresh look
    assert [line.split(" by ")[1] for line in story.jumps] == ["3600 s", "-3600 s"]
    assert set(story.runs_after_jumps.values()) == {1}
