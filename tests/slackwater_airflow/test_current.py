"""The window of a run: live from the file, else from conf; and the deadline that follows it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slackwater_airflow import file as windows_file
from slackwater_airflow.current import (
    CONF_KEY,
    Deadline,
    NoTrainingWindow,
    current_window,
    sample_conf,
)
from slackwater_windows.document import Document
from slackwater_windows.wire import encode
from tests.windows.make import HOUR, NOW, document, occurrence, window

MINUTE = timedelta(minutes=1)


def context(run_id: str = "run-1", dag_id: str = "train_llm", **conf: Any) -> dict[str, Any]:
    own = {
        "version": 1,
        "installation": "lab",
        "namespace": "research",
        "name": "nightly",
        "occurrence": "o1",
        "start": "2026-11-23T21:00:00Z",
        "end": "2026-11-24T05:00:00Z",
        "pool": "research/h100",
        "gpus": 24,
        "perPod": 8,
    }
    run = SimpleNamespace(run_id=run_id, dag_id=dag_id, conf={CONF_KEY: own | conf})
    return {"dag_run": run}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "windows.json"


def write(file: Path, told: Document) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(encode(told))
    fresh.replace(file)


def running(**changes: Any) -> Document:
    fields: dict[str, Any] = {
        "begins": -1,
        "state": "Running",
        "dag_run_id": "run-1",
        "trigger_time": NOW - HOUR,
        "parameters": {"lr": 0.1},
    }
    return document(window(occurrence(**fields | changes)))


def test_without_a_file_conf_tells_all(file: Path) -> None:
    found = current_window(context(parameters={"lr": 1}), file=file)

    assert (found.namespace, found.name, found.occurrence) == ("research", "nightly", "o1")
    assert (found.gpus, found.per_pod, found.pods) == (24, 8, 3)
    assert found.end - found.start == 8 * HOUR
    assert found.parameters == {"lr": 1}
    assert not found.live
    assert found.again() == found


def test_the_file_tells_the_times_and_conf_what_was_granted(file: Path) -> None:
    write(file, running())
    found = current_window(context(), file=file)

    assert found.live
    assert (found.start, found.end) == (NOW - HOUR, NOW + 7 * HOUR)
    assert found.gpus == 24
    assert found.parameters == {"lr": 0.1}
    assert found.time_left(NOW) == 7 * HOUR
    assert found.time_left(NOW + 9 * HOUR) == timedelta()
    assert "lr" not in repr(found)


def test_a_run_s_planned_start_is_told_where_one_was_made(file: Path) -> None:
    write(file, running(planned_start=NOW - HOUR))
    found = current_window(context(), file=file)
    assert found.planned_start == NOW - HOUR
    write(file, running())
    assert found.again().planned_start is None


def test_a_run_that_will_be_cancelled_stops_before(file: Path) -> None:
    write(file, running(cancel_time=NOW + HOUR))
    found = current_window(context(), file=file)
    assert found.stop_by == NOW + HOUR
    write(file, running(cancel_time=NOW + 9 * HOUR))
    assert found.again().stop_by == NOW + 7 * HOUR, "overrun is for stopping, not for working"


def test_a_run_is_found_by_its_occurrence_before_the_operator_has_told_of_it(file: Path) -> None:
    write(file, running(dag_run_id=None))
    assert current_window(context(), file=file).live


def test_a_file_of_another_installation_or_dag_says_nothing_of_this_run(file: Path) -> None:
    write(file, replace(running(), installation="another"))
    assert not current_window(context(), file=file).live
    write(file, running(key="o2", dag_run_id="run-2"))
    assert not current_window(context(), file=file).live


def test_a_file_that_cannot_be_read_leaves_conf(file: Path) -> None:
    file.write_text("{")
    assert not current_window(context(), file=file).live


def test_a_run_of_the_timetable_is_known_by_its_interval(file: Path) -> None:
    write(file, running())
    run = SimpleNamespace(
        run_id="scheduled", dag_id="other", conf={}, data_interval_start=NOW - HOUR
    )
    dag = SimpleNamespace(timetable=SimpleNamespace(window="research/nightly"))
    found = current_window({"dag_run": run, "dag": dag}, file=file)
    assert (found.live, found.gpus) == (True, 16)


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        (None, "belongs to no training window"),
        ({}, "belongs to no training window"),
        ({CONF_KEY: "text"}, "belongs to no training window"),
        ({CONF_KEY: {"version": 2}}, "upgrade slackwater-airflow"),
        ({CONF_KEY: {"version": 1, "start": "x", "end": "y"}}, "no start and end"),
    ],
)
def test_a_run_without_a_window_is_told_what_to_do(file: Path, conf: Any, said: str) -> None:
    run = SimpleNamespace(run_id="manual", dag_id="train_llm", conf=conf)
    with pytest.raises(NoTrainingWindow, match=said):
        current_window({"dag_run": run}, file=file)


def test_a_sample_is_what_a_run_s_conf_looks_like(file: Path) -> None:
    conf = sample_conf(2 * HOUR, gpus=4, parameters={"lr": 0.1}, start=NOW)
    run = SimpleNamespace(run_id="test", dag_id="x", conf=conf)
    found = current_window({"dag_run": run}, file=file)
    assert (found.start, found.end, found.gpus) == (NOW, NOW + 2 * HOUR, 4)
    assert found.parameters == {"lr": 0.1}


def test_the_place_of_the_file_is_a_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, running())
    monkeypatch.setenv(windows_file.VARIABLE, str(file))
    assert current_window(context()).live
    monkeypatch.delenv(windows_file.VARIABLE)
    assert windows_file.place() == windows_file.DEFAULT


def test_a_file_is_parsed_once_per_change(file: Path) -> None:
    write(file, running())
    assert windows_file.load(file) is windows_file.load(file)
    first = windows_file.load(file)
    write(file, running(cancel_time=NOW))
    assert windows_file.load(file) is not first
    file.unlink()
    assert windows_file.load(file) is None


# --- the deadline


@dataclass
class Time:
    """A wall clock and a steady one, moved by the test."""

    passed: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return NOW + self.passed

    def monotonic(self) -> float:
        return self.passed.total_seconds()


def test_a_deadline_follows_a_moved_window(file: Path) -> None:
    write(file, running())
    time = Time()
    found = current_window(context(), file=file)
    deadline = Deadline(found, 10 * MINUTE, now=time.now, monotonic=time.monotonic)

    assert not deadline.reached
    time.passed = 7 * HOUR - 10 * MINUTE
    assert deadline.reached
    write(file, document(window(occurrence(begins=-1, lasts=10, dag_run_id="run-1"))))
    time.passed += timedelta(seconds=1)
    assert deadline.reached, "the file is looked at every five seconds"
    time.passed += timedelta(seconds=5)
    assert not deadline.reached
    write(file, running(cancel_time=NOW))
    time.passed += timedelta(seconds=5)
    assert deadline.reached


def test_the_callback_is_called_once_and_its_error_does_not_end_the_work(file: Path) -> None:
    write(file, running(cancel_time=NOW))  # long ago by the real clock, so it is reached at once
    called = threading.Event()
    calls = []

    def call(window: Any) -> None:
        calls.append(window)
        called.set()
        raise RuntimeError

    found = current_window(context(), file=file)
    with found.deadline(call=call):
        assert called.wait(10)
    assert [w.occurrence for w in calls] == ["o1"]


def test_work_that_ends_in_time_ends_the_waiting_too(file: Path) -> None:
    conf = sample_conf(1000 * HOUR)
    run = SimpleNamespace(run_id="test", dag_id="x", conf=conf)
    calls: list[Any] = []
    with current_window({"dag_run": run}, file=file).deadline(call=calls.append) as deadline:
        assert not deadline.reached
    assert calls == []
    assert "slackwater-deadline" not in {thread.name for thread in threading.enumerate()}
