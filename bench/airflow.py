"""Windows that open in the same second, on a real Airflow: how fast are their runs created?

`slackwater run` beside a bare loop of POSTs on the same server in the same minute, half of it
before and half after, so that the server's own speed and that of the machine cancel out.
BENCH_STARTS says how many windows (200).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.figure import Figure, progress
from testbed import web
from testbed.airflow import API_ONLY, Airflow
from testbed.process import Server

ROOT = Path(__file__).parents[1]
NS, DAG = "bench", "sample_echo"
CRONJOBS = 8.4
"""Jobs a second that Kubernetes' CronJob controller makes."""

_LEAD = timedelta(seconds=20)
_PATIENCE = 300.0


class _Slackwater(Server):
    name = "slackwater"

    def command(self) -> Sequence[str | Path]:
        return [
            *(sys.executable, "-m", "slackwater", "run", "--log-level=warning"),
            *("--manifests", self.home / "manifests", "--secrets", self.home / "secrets"),
            *("--data", self.home / "data", "--listen", f"127.0.0.1:{self.port}"),
        ]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT / "operator")}

    def ready(self) -> bool:
        return web.answers(f"{self.url}/readyz")


def figures() -> list[Figure]:
    """Runs a second of Slackwater and of a bare loop."""
    starts = int(os.environ.get("BENCH_STARTS", "200"))
    with (
        tempfile.TemporaryDirectory(prefix="sw-bench-") as folder,
        Airflow(
            components=API_ONLY,
            dags={DAG},
            settings={"scheduler.scheduler_health_check_threshold": "86400"},
        ) as airflow,
    ):
        _note_scheduler(airflow)
        _post_bare(airflow, "warm", 5)
        before = _post_bare(airflow, "before", starts // 2)
        delays = _serve(airflow, Path(folder), starts)
        after = _post_bare(airflow, "after", starts - starts // 2)
    bare = starts / (before + after)
    ours = (starts - 1) / (delays[-1] - delays[0])
    told = f"{starts} windows at once, real Airflow"
    return [
        Figure(f"{told}: starts", ours, "/s", f"Kubernetes' CronJob controller {CRONJOBS}/s"),
        Figure("bare loop of POSTs, same server", bare, "/s", ""),
        Figure("starts ÷ bare loop", ours / bare, "", "1: nothing but the POSTs takes time"),
        Figure(f"{told}: last run after the opening", delays[-1], "s", ""),
    ]


def _serve(airflow: Airflow, home: Path, starts: int) -> list[float]:
    """Seconds from the opening until Airflow had each run, sorted."""
    opens = datetime.now(UTC).replace(microsecond=0) + _LEAD
    _write(airflow, home, starts, opens)
    with _Slackwater(home) as slackwater:
        progress(f"slackwater ready in {slackwater.started_in:.1f} s; waiting for the opening")
        if datetime.now(UTC) > opens:
            raise RuntimeError("the windows opened before Slackwater was ready: a longer lead")
        deadline = time.monotonic() + _LEAD.total_seconds() + _PATIENCE
        while (known := _count(airflow)) < starts:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{known} of {starts} runs\n{slackwater.tail()}")
            time.sleep(1)
    made = [datetime.fromisoformat(run["queued_at"]) for run in _runs(airflow, starts)]
    return sorted((at - opens).total_seconds() for at in made)


def _note_scheduler(airflow: Airflow) -> None:
    """Enter a scheduler's heartbeat: Slackwater starts nothing where no scheduler would run it.

    A real one would run the tasks, and take the processor from what is measured.
    """
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}.000000"
    with contextlib.closing(sqlite3.connect(airflow.home / "airflow.db", timeout=10)) as database:
        database.execute(
            "INSERT INTO job (job_type, state, hostname, start_date, latest_heartbeat)"
            " VALUES ('SchedulerJob', 'running', 'localhost', ?, ?)",
            (now, now),
        )
        database.commit()
    health = airflow.get("/monitor/health")["scheduler"]
    if health["status"] != "healthy":
        raise RuntimeError(f"Airflow does not believe in its scheduler: {health}")


def _write(airflow: Airflow, home: Path, starts: int, opens: datetime) -> None:
    secret = home / "secrets" / NS / "airflow" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text(airflow.token())
    token = {"tokenSecretRef": {"name": "airflow", "key": "token"}}
    objects = [
        _object("GPUPool", "box", {"source": {"static": {"gpus": starts}}, "nodes": ".*"}),
        _object(
            "AirflowInstance",
            "default",
            {"url": f"{airflow.url}/", "auth": token, "grants": [{"dags": [DAG]}]},
        ),
    ]
    edges = {"start": opens, "end": opens + timedelta(hours=1)}
    entry = {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in edges.items()}
    spec = {
        "windows": [{"name": "once", "effect": "Trigger", **entry}],
        "gpu": {"poolRef": {"name": "box"}, "count": 1},
        "dag": {"airflowRef": {"name": "default"}, "dagId": DAG},
    }
    objects += [_object("TrainingWindow", f"w{number:03}", spec) for number in range(starts)]
    manifests = home / "manifests"
    manifests.mkdir()
    # JSON is YAML.
    (manifests / "bench.yaml").write_text("\n---\n".join(json.dumps(one) for one in objects))


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NS},
        "spec": spec,
    }


def _page(airflow: Airflow, limit: int, offset: int = 0) -> Any:
    where = f"run_id_pattern=slackwater.&order_by=id&limit={limit}&offset={offset}"
    return airflow.get(f"/dags/{DAG}/dagRuns?{where}")


def _count(airflow: Airflow) -> int:
    total: int = _page(airflow, 1)["total_entries"]
    return total


def _runs(airflow: Airflow, starts: int) -> list[Any]:
    return [
        run for offset in range(0, starts, 100) for run in _page(airflow, 100, offset)["dag_runs"]
    ]


def _post_bare(airflow: Airflow, word: str, count: int) -> float:
    """Seconds that a loop of POSTs by the client package takes."""
    from airflow_client.client import ApiClient, Configuration, TriggerDAGRunPostBody
    from airflow_client.client.api.dag_run_api import DagRunApi

    configuration = Configuration(host=airflow.url, access_token=airflow.token())
    configuration.proxy = None
    with ApiClient(configuration) as client:
        runs = DagRunApi(client)
        began = time.monotonic()
        for number in range(count):
            body = TriggerDAGRunPostBody(dag_run_id=f"bare.{word}.{number}", conf={})
            runs.trigger_dag_run(DAG, body)
        took = time.monotonic() - began
    progress(f"bare loop, {word}: {count / took:.1f} POSTs a second")
    return took
