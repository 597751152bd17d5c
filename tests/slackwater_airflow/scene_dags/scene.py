"""The DAGs of the scene: nothing runs in them, they are there to be looked at."""

from __future__ import annotations

from airflow.sdk import DAG, task

from slackwater_airflow import TrainingWindowTimetable

DAGS = {
    "train_llm": "research/nightly-llm",
    "finetune": "research/finetune-eval",
    "distill": "vision/distill",
    "sweep": "vision/weekend-sweep",
}

for dag_id, window in DAGS.items():
    with DAG(dag_id, schedule=TrainingWindowTimetable(window), catchup=False):

        @task
        def train() -> None:
            """Where the training would be."""

        train()
