"""One night with real parts: a calendar, GPUs that are busy, and Airflow, which keeps the record."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.harbour import DAG, NAMESPACE, Harbour, Object, now

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

NIGHTLY = "nightly"
SECRETS = ("springwater", "neapwater")  # words of the events' titles


def thing(kind: str, name: str, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }


def secret(name: str) -> dict[str, Object]:
    return {f"{key}SecretRef": {"name": name, "key": key} for key in ("username", "password")}


def manifests(harbour: Harbour) -> list[Object]:
    trigger = {
        "name": "training",
        "calendarRef": {"name": "team"},
        "effect": "Trigger",
        "match": {"summary": "train:*"},
    }
    conf = {name: {"$cel": f"event.parameters.{name}"} for name in ("epochs", "seconds")}
    return [
        thing(
            "Calendar",
            "team",
            provider={"caldav": {"url": harbour.calendar.url, **secret("calendar")}},
            privacy="Details",
            refreshIntervalSeconds=5,
        ),
        thing(
            "GPUPool",
            "h100",
            source={"prometheus": {"serverAddress": harbour.prometheus.url}},
            nodes="gpu-.*",
            sampleIntervalSeconds=1,
            maxSampleAgeSeconds=30,
        ),
        thing(
            "AirflowInstance",
            "default",
            url=harbour.airflow.url,
            auth={"login": secret("airflow")},
            grants=[{"dags": ["sample_*"]}],
            pollIntervalSeconds=1,
        ),
        thing(
            "TrainingWindow",
            NIGHTLY,
            calendars=[trigger],
            gpu={"poolRef": {"name": "h100"}, "count": 8, "perPod": 8},
            dag={"airflowRef": {"name": "default"}, "dagId": DAG, "conf": conf},
        ),
    ]


def starting(harbour: Harbour, start: datetime) -> Object | None:
    """The line of the ledger whose window starts then."""
    lines = [line for line in harbour.lines(NIGHTLY) if instant(line["windowStart"]) == start]
    return lines[0] if lines else None


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def succeeded(harbour: Harbour, occurrence: str) -> Object | None:
    """The line of an occurrence, once it says that its run succeeded."""
    lines = [line for line in harbour.lines(NIGHTLY) if line["id"] == occurrence]
    return lines[0] if lines and lines[0]["state"] == "Succeeded" else None


def trained(harbour: Harbour, run_id: str) -> int:
    """What the run's task returned: the epochs that reached it."""
    path = f"/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/train/xcomEntries"
    return int(harbour.airflow.get(f"{path}/return_value")["value"])


def test_a_night_from_the_calendar_to_airflows_record(harbour: Harbour) -> None:
    first, later = now() - timedelta(minutes=1), now() + timedelta(hours=2)
    half = timedelta(minutes=30)
    harbour.plan("one", "train: springwater", first, first + half, "epochs=7", "seconds=1")
    harbour.plan("two", "train: neapwater", later, later + half, "epochs=8", "seconds=0.5")
    for node in ("gpu-1", "gpu-2"):
        harbour.pool.add_pod(f"others-{node}", gpus=8, node=node)
        harbour.pool.set_utilization(0.95, node=node)
    harbour.prometheus.wait_for("up", 1)
    harbour.write(*manifests(harbour))
    harbour.slackwater.start()

    # The event is open, the GPUs are busy.
    def waits() -> Object | None:
        line = starting(harbour, first)
        return line if line is not None and line["reason"] == "WaitingForGPUs" else None

    line = harbour.until("the first event waits", waits)
    message = harbour.status(NIGHTLY)["message"]
    assert message.startswith(f"Waiting for 8 GPUs in {NAMESPACE}/h100")
    assert "0 free" in message
    assert line["state"] == "Waiting"
    assert harbour.runs() == []

    # The load falls.
    harbour.pool.remove_pod("others-gpu-2")
    harbour.pool.set_utilization(0.01, node="gpu-2")
    line = harbour.until("the first run succeeds", lambda: succeeded(harbour, line["id"]))
    (run,) = harbour.runs()
    assert (run["dag_run_id"], run["state"]) == (line["dagRunId"], "success")
    assert run["logical_date"] is None
    assert (run["conf"]["epochs"], run["conf"]["seconds"]) == (7, 1)
    assert trained(harbour, run["dag_run_id"]) == 7
    assert instant(line["startTime"]) >= instant(line["triggerTime"])

    # The second event is moved to now, long before its time.
    planned = harbour.until("the second event is planned", lambda: starting(harbour, later))
    assert planned["state"] == "Planned"
    moved = now() + timedelta(seconds=8)
    harbour.plan("two", "train: neapwater", moved, moved + half, "epochs=8", "seconds=0.5")
    line = harbour.until("the moved run succeeds", lambda: succeeded(harbour, planned["id"]))
    assert instant(line["windowStart"]) == moved
    second, *others = harbour.runs()
    assert others == [run]
    assert (second["dag_run_id"], second["state"]) == (line["dagRunId"], "success")
    assert instant(second["queued_at"]) >= moved
    assert (second["conf"]["epochs"], second["conf"]["seconds"]) == (8, 0.5)
    assert trained(harbour, second["dag_run_id"]) == 8

    # Nothing is left to start, and no title went anywhere.
    assert [one["state"] for one in harbour.lines(NIGHTLY)] == ["Succeeded", "Succeeded"]
    assert "nextWindowStart" not in harbour.status(NIGHTLY)
    record = json.dumps([harbour.status(NIGHTLY), harbour.runs()])
    log = harbour.slackwater.log_path.read_text()
    for text in (record, log):
        assert not any(word in text for word in SECRETS)
