"""Sample DAGs: what a training pipeline does, without the training."""

from __future__ import annotations

import time

from airflow.sdk import DAG, Param, get_current_context, task

with DAG("sample_echo", schedule=None, catchup=False, tags=["sample"]):

    @task
    def echo() -> dict[str, object]:
        """Return the run's conf, so that a test can read what arrived."""
        return dict(get_current_context()["dag_run"].conf or {})

    echo()

with DAG(
    "sample_train",
    schedule=None,
    catchup=False,
    tags=["sample"],
    params={"seconds": Param(5, type="number", minimum=0), "epochs": Param(3, type="integer")},
):

    @task
    def train() -> int:
        parameters = get_current_context()["params"]
        end = time.monotonic() + parameters["seconds"]
        while time.monotonic() < end:
            time.sleep(0.1)
        return int(parameters["epochs"])

    train()

with DAG("sample_fail", schedule=None, catchup=False, tags=["sample"]):

    @task
    def fail() -> None:
        raise RuntimeError("this DAG always fails")

    fail()
