"""The package with Airflow's libraries and no server: `dag.test()`, and what loading it costs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.plugin import COMPONENTS, ROOT, import_time
from testbed import airflow
from tests.slackwater_airflow.installed import DAGS

pytestmark = pytest.mark.server


@pytest.mark.parametrize("version", ["3.2", "3.3"])
def test_a_dag_with_sensor_and_window_runs_under_dag_test(version: str, tmp_path: Path) -> None:
    python = airflow.find(version=version)
    sources = [str(ROOT / name) for name in ("slackwater-windows", "slackwater-airflow")]
    environment = {
        "PATH": f"{python.parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sources),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs"),
        "SLACKWATER_WINDOWS_FILE": str(tmp_path / "windows.json"),
    }
    # Outside of a server the timetable is only known from an installed package's entry point.
    entry = tmp_path / "plugins" / "slackwater.py"
    entry.parent.mkdir()
    entry.write_text("from slackwater_airflow.plugin import SlackwaterPlugin\n")
    for words in (["-m", "airflow", "db", "migrate"], [str(DAGS / "windows.py")]):
        done = subprocess.run(
            [python, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env=environment,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_loading_the_plugin_takes_a_fraction_of_a_second() -> None:
    assert import_time(COMPONENTS["api server"], repeats=2) < 300  # the figure is 150, at rest
