"""An example of a DAG that fits itself into its window: as many shards as pods, epochs as time.

Five lines make it so; they are marked. It needs nothing but Airflow: all it knows of its window
stands in the run's conf, under `trainingWindow`. Started by hand it is one shard of all epochs.

The training is simulated: each epoch only takes its time.
"""

import time
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

with DAG(
    "shard_llm",
    schedule=None,  # Slackwater says when
    catchup=False,
    tags=["training"],
    params={
        "epochs": Param(10, type="integer", minimum=1, maximum=1000),
        "seconds_per_epoch": Param(60, type="number", exclusiveMinimum=0),
    },
):

    @task
    def plan() -> list[dict[str, int]]:
        """One shard for each pod of GPUs that was granted, each with the epochs there is time for."""
        context = get_current_context()
        params, conf = context["params"], context["dag_run"].conf or {}
        epochs, pods, gpus = params["epochs"], 1, 0
        if window := conf.get("trainingWindow"):  # 1: what the run was granted
            left = datetime.fromisoformat(window["end"]) - datetime.now(UTC)  # 2: time left
            fitting = int(left.total_seconds() / params["seconds_per_epoch"])  # 3: epochs in it
            epochs = max(1, min(epochs, fitting))  # 4: no more than that
            pods, gpus = max(1, window["gpus"] // window["perPod"]), window["perPod"]  # 5: shards
        return [{"shard": shard, "gpus": gpus, "epochs": epochs} for shard in range(pods)]

    @task
    def train(part: dict[str, int]) -> dict[str, int]:
        """Train one shard."""
        seconds = float(get_current_context()["params"]["seconds_per_epoch"])
        for _ in range(part["epochs"]):
            time.sleep(seconds)
        return part

    @task
    def merge(parts: Any) -> dict[str, int]:
        """Put the shards together."""
        found = list(parts)
        return {
            "shards": len(found),
            "gpus": sum(part["gpus"] for part in found),
            "epochs": found[0]["epochs"],
        }

    merge(train.expand(part=plan()))
