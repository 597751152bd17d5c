"""DAGs that use all of slackwater-airflow; run by a real Airflow in the server tests."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from slackwater_airflow import (
    TrainingWindowSensor,
    TrainingWindowTimetable,
    current_window,
    parse_event,
    sample_conf,
)

WINDOW = "research/nightly"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@task
def tell() -> dict[str, Any]:
    """What the task sees of its window."""
    window = current_window(get_current_context())
    with window.deadline() as deadline:
        return {
            "end": window.end.isoformat(),
            "gpus": window.gpus,
            "pods": window.pods,
            "live": window.live,
            "parameters": dict(window.parameters),
            "reached": deadline.reached,
        }


with DAG("tw_current", schedule=None, catchup=False):
    tell()

with DAG("tw_own", schedule=None, catchup=False) as own:
    TrainingWindowSensor(task_id="wait", poll_interval=0.5) >> tell()

with DAG("tw_named", schedule=None, catchup=False):

    @task
    def opened(window: dict[str, Any]) -> dict[str, Any]:
        """When the sensor let us through, and what it said."""
        return {**window, "at": datetime.now(UTC).isoformat(), **parse_event("lr=0.1")}

    opened(TrainingWindowSensor(task_id="wait", window=WINDOW, poll_interval=0.5).output)

# The windows file says that the TrainingWindow triggers tw_shown, so nothing runs by itself here.
with DAG(
    "tw_shown",
    schedule=TrainingWindowTimetable(WINDOW, dag_id="tw_shown"),
    start_date=LONG_AGO,
    catchup=False,
):
    tell()

with DAG(
    "tw_made",
    schedule=TrainingWindowTimetable(WINDOW, dag_id="tw_made"),
    start_date=LONG_AGO,
    catchup=False,
):
    tell()

if __name__ == "__main__":
    conf = sample_conf(timedelta(hours=2), gpus=16, per_pod=8, parameters={"lr": 1})
    run = own.test(run_conf=conf)
    sys.exit(0 if run.state == "success" else 1)
