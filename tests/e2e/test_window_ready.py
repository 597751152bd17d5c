"""The example DAG that fits itself into its window, on a real Airflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.e2e.harbour import Object
from tests.e2e.windowed import ROOT, text, windowed

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

EXAMPLE = ROOT / "examples" / "window-ready"
DAG = "shard_llm"


def example() -> dict[str, Object]:
    found = yaml.safe_load_all((EXAMPLE / "shards.yaml").read_text())
    return {one["kind"]: one for one in found}


def test_a_dag_maps_its_tasks_over_the_gpus_granted_and_trains_what_the_time_has_room_for(
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    objects = example()
    spec = objects["TrainingWindow"]["spec"]
    spec["windows"] = [
        {
            "name": "nights",
            "effect": "Trigger",
            "start": text(now - timedelta(minutes=1)),
            "end": text(now + timedelta(minutes=20)),
        }
    ]
    spec["dag"]["conf"] = {"epochs": 1000, "seconds_per_epoch": 300}
    spec["gpu"] = {"poolRef": {"name": "box"}, "count": 8, "perPod": 4}
    with windowed(tmp_path, EXAMPLE / "dags", DAG) as found:
        found.write_airflow()
        found.write(objects["GPUPool"], objects["TrainingWindow"])
        found.slackwater.start()
        (run,) = found.until("the run", lambda: found.runs(DAG))
        run_id = run["dag_run_id"]
        assert run["conf"]["trainingWindow"]["gpus"] == 8

        def planned() -> Object | None:
            path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/plan/xcomEntries/return_value"
            answer = found.airflow.call("GET", path)
            return answer.json() if answer.ok else None

        parts = found.until("the plan", planned)["value"]
        assert [part["gpus"] for part in parts] == [4, 4]
        assert {part["epochs"] for part in parts} <= {3, 4}

        def mapped() -> list[Object] | None:
            path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/train/listMapped"
            answer = found.airflow.call("GET", path)
            tasks = answer.json()["task_instances"] if answer.ok else []
            running = [one for one in tasks if one["state"] == "running"]
            return running if len(running) == 2 else None

        tasks = found.until("two shards side by side", mapped)
        assert sorted(one["map_index"] for one in tasks) == [0, 1]

        # By hand and without a window it is one shard of all epochs.
        conf = {"epochs": 2, "seconds_per_epoch": 0.1}
        found.airflow.trigger(DAG, "by-hand", conf)
        assert found.airflow.wait_for_run(DAG, "by-hand", timeout=180)["state"] == "success"
        merged = found.returned(DAG, "by-hand", "merge")
        assert merged == {"shards": 1, "gpus": 0, "epochs": 2}
