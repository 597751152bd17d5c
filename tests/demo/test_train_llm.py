"""The example DAG in a real Airflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.manifests import QUICKSTART
from testbed.airflow import Airflow
from testbed.process import wait_until

pytestmark = [pytest.mark.server, pytest.mark.timeout(400)]


def test_a_cancelled_run_leaves_a_checkpoint_from_which_the_next_try_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    folder = tmp_path / "checkpoints"
    with Airflow(QUICKSTART / "dags", home=tmp_path / "airflow", dags={"train_llm"}) as airflow:
        conf = {"epochs": 4, "hyperparameters": {"lr": 0.1, "seconds_per_epoch": 1}}
        airflow.trigger("train_llm", "one", conf)
        task = "/dags/train_llm/dagRuns/one/taskInstances/train"
        # In its second epoch.
        wait_until(lambda: "epoch 2 of 4" in _log(airflow, task, 1), "the second epoch", 120)

        airflow.call("PATCH", "/dags/train_llm/dagRuns/one", {"state": "failed"}).checked()
        wait_until(lambda: "stopped after step" in _log(airflow, task, 1), "the checkpoint", 60)
        (checkpoint,) = folder.glob("one.*.json")
        done = json.loads(checkpoint.read_text())["steps"]
        assert 20 < done < 80

        body = {"dry_run": False, "only_failed": True}
        airflow.call("POST", "/dags/train_llm/dagRuns/one/clear", body).checked()
        assert airflow.wait_for_run("train_llm", "one", timeout=120)["state"] == "success"
        assert "epoch 1 of 4" not in _log(airflow, task, 2)
        assert not checkpoint.exists()


def _log(airflow: Airflow, task: str, attempt: int) -> str:
    answer = airflow.call("GET", f"{task}/logs/{attempt}?full_content=true")
    return answer.text if answer.ok else ""
