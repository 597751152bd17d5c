"""A real run is ended by its window, and the next window's run goes on where it stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.manifests import QUICKSTART
from tests.e2e.harbour import NAMESPACE, Object
from tests.e2e.windowed import Windowed, text, thing, windowed

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

DAG, TASK = "train_llm", "train"
EPOCHS, STEPS = 4, 20
HOUR = timedelta(hours=1)


def calendar(*events: tuple[str, datetime, datetime]) -> Object:
    written = [
        {"uid": uid, "summary": "train: tidewater", "start": text(start), "end": text(end)}
        for uid, start, end in events
    ]
    return thing("Calendar", "team", {"provider": {"static": {"events": written}}})


def nightly(seconds_per_epoch: float) -> Object:
    trigger = {"name": "training", "calendarRef": {"name": "team"}, "effect": "Trigger"}
    spec = {
        "calendars": [trigger],
        "onWindowEnd": "Cancel",
        "overrunSeconds": 2,
        "dag": {
            "airflowRef": {"name": "default"},
            "dagId": DAG,
            "conf": {
                "epochs": EPOCHS,
                "until": {"$cel": "window.end"},
                "hyperparameters": {"lr": 0.1, "seconds_per_epoch": seconds_per_epoch},
            },
        },
    }
    return thing("TrainingWindow", "nightly", spec)


def line(found: Windowed, state: str) -> Object | None:
    """The line of the ledger in this state."""
    lines = found.slackwater.status("nightly").get("occurrences", [])
    return next((one for one in lines if one["state"] == state), None)


def test_a_run_that_its_window_ends_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    now = datetime.now(UTC).replace(microsecond=0)
    with windowed(tmp_path, QUICKSTART / "dags", DAG) as found:
        found.write_airflow()
        found.write(calendar(("one", now - HOUR, now + HOUR)), nightly(6))
        found.slackwater.start()

        # The first run is in its second epoch when its event is shortened to now.
        (run,) = found.until("the first run", lambda: found.runs(DAG))
        first = run["dag_run_id"]
        assert run["note"].startswith(
            f"Started by Slackwater for TrainingWindow {NAMESPACE}/nightly"
        )
        found.until("its second epoch", lambda: "epoch 2 of 4" in found.log(DAG, first, TASK))
        end = datetime.now(UTC)
        found.write(calendar(("one", now - HOUR, end)))
        cancelled = found.until("the cancellation", lambda: line(found, "Cancelled"))
        assert cancelled["reason"] == "WindowEnded"
        assert cancelled["dagRunURL"] == f"{found.airflow.url}/dags/{DAG}/runs/{first}"
        assert found.airflow.run(DAG, first)["state"] == "failed"

        def kept() -> int | None:
            stopped = "stopped after step" in found.log(DAG, first, TASK)
            files = list((tmp_path / "checkpoints").glob(f"{NAMESPACE}.nightly.*.json"))
            return int(json.loads(files[0].read_text())["steps"]) if stopped and files else None

        steps = found.until("the checkpoint", kept)
        assert STEPS < steps < EPOCHS * STEPS

        # The next window's run goes on from there, to the end.
        later = datetime.now(UTC)
        found.write(calendar(("one", now - HOUR, end), ("two", later - HOUR / 60, later + HOUR)))
        found.until("the second run's success", lambda: line(found, "Succeeded"))
        second = found.runs(DAG)[1]["dag_run_id"]
        assert second != first
        assert len(found.runs(DAG)) == 2
        assert found.returned(DAG, second, TASK)["resumed"] == steps
        assert "epoch 1 of 4" not in found.log(DAG, second, TASK)
        assert not list((tmp_path / "checkpoints").iterdir())
