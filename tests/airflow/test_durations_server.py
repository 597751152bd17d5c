"""What the runs of a DAG took, asked of a real Airflow whose database says what they did."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from slackwater.airflow import open_airflow
from slackwater.core.spec import Ref
from slackwater.net import NetPolicy
from tests.airflow.conftest import LOGIN, Secrets
from tests.airflow.contract_targets import Real
from tests.gpus.fake_prometheus import SystemClock

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def text(moment: datetime) -> str:
    """As Airflow's SQLite has it."""
    return moment.replace(tzinfo=None).isoformat(" ")


async def test_the_time_at_work_is_read_and_not_the_time_waited(real: Real) -> None:
    clock = SystemClock()
    airflow = await open_airflow(
        real.url,
        LOGIN,
        Ref("research", "default"),
        secrets=Secrets(),
        clock=clock,
        policy=NetPolicy(loopback=True),
    )
    now = datetime.now(UTC)
    try:
        for number in range(8):
            await airflow.trigger("plain", f"slackwater.learn.{number}", {"trainingWindow": {}}, "")
        with sqlite3.connect(real.server.home / "airflow.db", timeout=10) as database:
            for number in range(8):
                run_id, end = f"slackwater.learn.{number}", now - (number + 1) * HOUR
                state = "failed" if number == 7 else "success"
                end -= 40 * 24 * HOUR if number == 6 else timedelta()
                start, worked = end - HOUR, end - 10 * MINUTE - number * MINUTE
                database.execute(
                    "UPDATE dag_run SET state = ?, start_date = ?, end_date = ? WHERE run_id = ?",
                    (state, text(start), text(end), run_id),
                )
                database.execute(
                    "UPDATE task_instance SET state = 'success', start_date = ?, end_date = ? "
                    "WHERE run_id = ?",
                    (text(worked), text(end), run_id),
                )
        found = await airflow.task_times("plain", now - timedelta(days=30))
    finally:
        await airflow.aclose()
    assert found == tuple((10 + number) * MINUTE for number in range(6))
