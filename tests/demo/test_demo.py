"""The story from end to end, as `make demo` plays it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
ACTS = range(1, 10)


@pytest.fixture
def mark() -> Iterator[str]:
    """Stands in the environment of all that a demo starts; at the end nothing of it is left."""
    mark = f"SLACKWATER_TEST_MARK={uuid.uuid4()}"
    yield mark
    deadline = time.monotonic() + 10
    while (left := _alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def _alive(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def _start(mark: str, *options: str) -> subprocess.Popen[str]:
    name, _, value = mark.partition("=")
    path = os.pathsep.join([str(ROOT / "operator"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *options],
        cwd=ROOT,
        env={**os.environ, name: value, "PYTHONPATH": path, "CLUSTER": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _play(mark: str, *options: str) -> str:
    with _start(mark, *options) as demo:
        try:
            said, _ = demo.communicate()
        finally:
            demo.terminate()
    assert demo.returncode == 0, said
    return said


def _check(said: str) -> None:
    lines = said.splitlines()
    told = [words[1] for line in lines if (words := line.split()) and words[0].count(":") == 2]
    assert told == [str(number) for number in ACTS], said
    assert "Airflow's own record agrees with every line." in lines, said
    assert sum(line.endswith("  ok") for line in lines) == 4, said


@pytest.mark.timeout(900)
def test_the_story_goes_well(mark: str) -> None:
    _check(_play(mark))


@pytest.mark.timeout(1800)  # where the API server has to be built first
def test_the_story_goes_well_in_a_cluster(mark: str) -> None:
    said = _play(mark, "--cluster")
    _check(said)
    assert "with the chart's CRDs and rights" in said


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("calendar", "where"), [("google", ()), ("outlook", ("--cluster",))])
def test_the_story_is_the_same_over_simulated_services(
    mark: str, calendar: str, where: tuple[str, ...]
) -> None:
    said = _play(mark, f"--calendar={calendar}", *where)
    _check(said)
    assert ", simulated: http" in said


def test_a_file_is_no_calendar_for_a_cluster(mark: str) -> None:
    with _start(mark, "--cluster", "--calendar=ical") as demo:
        assert demo.stdout is not None
        said = demo.stdout.read()
    assert demo.returncode == 2
    assert "names no file: choose caldav, google or outlook" in said


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(
    mark: str, number: signal.Signals, tmp_path: Path
) -> None:
    with _start(mark, f"--data={tmp_path / 'data'}") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "CalDAV server with" in line:
                break
        assert len(_alive(mark)) > 2
        demo.send_signal(number)
        rest = demo.stdout.read()
    assert demo.returncode == 130, rest
    assert "interrupted" in rest
