"""What the Airflow package costs: its import in each component, and its page."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.figure import Figure
from slackwater_windows.document import Document, Occurrence, Window
from slackwater_windows.page import render
from slackwater_windows.wire import decode, encode
from testbed import airflow, web

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


def view_time(repeats: int = 40) -> tuple[float, float, float, float]:
    """Milliseconds that Airflow takes for the page of 500 windows: median, best, of
    processor, and the median where the same is asked again.

    From the request to the last byte, with the login checked and the DAGs that may be read looked up;
    the file was read before, as it is once for each change.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as folder:
        file = Path(folder) / "windows.json"
        file.write_text(encode(_document(now, "sample_echo"), 4 * 2**20))
        with airflow.Airflow(
            components=airflow.API_ONLY,
            extra_packages=[ROOT / "slackwater-windows", ROOT / "slackwater-airflow"],
            variables={"SLACKWATER_WINDOWS_FILE": str(file)},
            dags={"sample_echo"},
        ) as server:
            sent = {"Authorization": f"Bearer {server.token('viewer')}"}
            page = f"{server.url}/slackwater/"
            web.call("GET", page, headers=sent).checked()
            used = _processor(server)
            # Another question each time, as a page is kept for whoever asks the same again.
            drawn = [_asked(f"{page}?q={_spelt(number)}", sent) for number in range(repeats)]
            used = _processor(server) - used
            again = [_asked(page, sent) for _ in range(repeats)]
    return median(drawn), min(drawn), used / repeats, median(again)


def _asked(url: str, sent: dict[str, str]) -> float:
    """Milliseconds until the page of all windows has come."""
    begun = time.perf_counter()
    answer = web.call("GET", url, headers=sent).checked()
    took = (time.perf_counter() - begun) * 1000
    if f"window-{WINDOWS - 1}" not in answer.text:
        raise RuntimeError("the page does not show all windows")
    return took


def _spelt(number: int) -> str:
    """The namespace of all windows in one of 256 spellings, which mean the same to a search."""
    letters = enumerate("research")
    return "".join(one.upper() if number >> at & 1 else one for at, one in letters)


def _processor(server: airflow.Airflow) -> float:
    """Milliseconds of processor that the API server has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") * 1000


def page_time(repeats: int = 9) -> tuple[float, float]:
    """Processor ms to make the page of 500 windows, and to read their file: the best of some."""
    now = datetime(2026, 11, 23, 21, tzinfo=UTC)
    text = encode(_document(now), 4 * 2**20)
    drawn, read = [], []
    for _ in range(repeats):
        begun = time.process_time()
        document = decode(text)
        read.append(time.process_time() - begun)
        begun = time.process_time()
        render(document, now)
        drawn.append(time.process_time() - begun)
    return min(drawn) * 1000, min(read) * 1000


def _document(now: datetime, dag_id: str = "") -> Document:
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
            dag_id=dag_id or f"train_{number}",
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
    view, best, used, again = view_time()
    found = [
        Figure(f"plugin loaded in {name}", import_time(module), "ms", "at most 150")
        for name, module in COMPONENTS.items()
    ]
    return [
        *found,
        Figure(f"tide table of {WINDOWS} windows in Airflow, median", view, "ms", "at most 100"),
        Figure("the same, best", best, "ms", ""),
        Figure("the same, processor of the API server", used, "ms", ""),
        Figure("the same asked again within a minute, median", again, "ms", ""),
        Figure("of which the page itself", drawn, "ms", ""),
        Figure("their windows file read, once per change, processor", read, "ms", ""),
    ]
