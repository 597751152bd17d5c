"""What the Airflow package costs: its import in each component, and its page."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figure import Figure
from slackwater_windows.document import Document, Occurrence, Window
from slackwater_windows.page import render
from slackwater_windows.wire import decode, encode
from testbed import airflow

WINDOWS = 500
ROOT = Path(__file__).parents[1] / "packages"
# What each component has imported before it loads plugins.
COMPONENTS = {
    "api server": "airflow.api_fastapi.core_api.app",
    "scheduler": "airflow.jobs.scheduler_job_runner",
    "dag processor": "airflow.dag_processing.manager",
    "triggerer": "airflow.jobs.triggerer_job_runner",
    "task": "airflow.sdk.execution_time.task_runner",
}
_LOAD = """
import importlib, sys, time, warnings
warnings.filterwarnings("ignore")
importlib.import_module(sys.argv[1])
from airflow import plugins_manager
before = time.perf_counter()
from slackwater_airflow.plugin import SlackwaterPlugin
plugin = SlackwaterPlugin()
plugin.timetables, plugin.fastapi_apps
print((time.perf_counter() - before) * 1000)
"""


def import_time(module: str, version: str = "3.3", repeats: int = 3) -> float:
    """Milliseconds to load the plugin and all that it offers, the best of some processes."""
    path = ":".join(str(ROOT / name) for name in ("slackwater-windows", "slackwater-airflow"))
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            [airflow.find(version=version), "-c", _LOAD, module],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={"PYTHONPATH": path, "AIRFLOW_HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        )
        found.append(float(done.stdout.split()[-1]))
    return min(found)


def page_time(repeats: int = 9) -> tuple[float, float]:
    """Milliseconds to make the page of 500 windows, and to read their file: the best of some."""
    now = datetime(2026, 11, 23, 21, tzinfo=UTC)
    text = encode(_document(now), 4 * 2**20)
    drawn, read = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        document = decode(text)
        read.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        render(document, now)
        drawn.append(time.perf_counter() - begun)
    return min(drawn) * 1000, min(read) * 1000


def _document(now: datetime) -> Document:
    def night(number: int, day: int) -> Occurrence:
        start = now + timedelta(days=day, minutes=number)
        return Occurrence(
            id=f"{number}-{day}",
            entry="team",
            state="Planned" if day >= 0 else "Succeeded",
            reason="Ahead",
            start=start,
            end=start + timedelta(hours=8),
        )

    windows = tuple(
        Window(
            namespace="research",
            name=f"window-{number:03}",
            dag_id=f"train_{number}",
            time_zone="Europe/Berlin",
            message="Planned for 2026-11-24T21:00:00Z.",
            occurrences=tuple(night(number, day) for day in range(-2, 7)),
        )
        for number in range(WINDOWS)
    )
    return Document(installation="bench", written_at=now, windows=windows)


def figures() -> list[Figure]:
    """Its lines of the table."""
    drawn, read = page_time()
    found = [
        Figure(f"plugin loaded in {name}", import_time(module), "ms", "at most 150")
        for name, module in COMPONENTS.items()
    ]
    return [
        *found,
        Figure(f"tide table of {WINDOWS} windows", drawn, "ms", "at most 100"),
        Figure("their windows file read, once per change", read, "ms", ""),
    ]
