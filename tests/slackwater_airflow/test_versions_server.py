"""The package on every Airflow that is supported: loads without an error, works under `dag.test()`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.plugin import COMPONENTS, import_time
from testbed import airflow, pythons
from tests.slackwater_airflow.installed import DAG_IDS, DAGS, Harbour, build_wheels, whole

pytestmark = pytest.mark.server
VERSIONS = ("3.2", "3.3")
# Loads what the API server, the scheduler, the dag processor and the triggerer ask of a plugin.
_LOAD = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from airflow.utils.db import initdb
initdb()
from airflow import plugins_manager as manager
from airflow.dag_processing.dagbag import DagBag
manager.ensure_plugins_loaded()
bag = DagBag(sys.argv[1], include_examples=False)
apps, _ = manager.get_fastapi_plugins()
from airflow.serialization.serialized_objects import SerializedDAG
kept = {}
for dag_id, dag in bag.dags.items():
    again = SerializedDAG.from_dict(json.loads(json.dumps(SerializedDAG.to_dict(dag))))
    kept[dag_id] = again.timetable.summary
from slackwater_airflow.trigger import WindowOpens
path, arguments = WindowOpens({"window": "a/b"}).serialize()
from airflow._shared.module_loading import import_string
print("FOUND", json.dumps({
    "errors": {str(k): str(v) for k, v in bag.import_errors.items()},
    "plugin_errors": manager.get_import_errors() if hasattr(manager, "get_import_errors") else {},
    "apps": [app["url_prefix"] for app in apps],
    "timetables": sorted(manager.get_timetables_plugins()),
    "dags": kept,
    "trigger": type(import_string(path)(**arguments)).__name__,
}))
"""
_TEST = """
import json, sys, warnings
from datetime import timedelta
warnings.filterwarnings("ignore")
from airflow.utils.db import initdb
initdb()
import airflow.models
sys.path.insert(0, sys.argv[1])
import windows
from airflow.sdk import DAG
from slackwater_airflow import TrainingWindowSensor, sample_conf
from airflow.dag_processing.bundles.manager import DagBundlesManager
DagBundlesManager().sync_bundles_to_db()
with DAG("tested", schedule=None) as dag:
    TrainingWindowSensor(task_id="wait") >> windows.tell()
run = dag.test(run_conf=sample_conf(timedelta(hours=2), gpus=16, per_pod=8, parameters={"lr": 1}))
print("FOUND", json.dumps({"state": str(getattr(run.state, "value", run.state))}))
"""


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, unpacked where a PYTHONPATH can name them."""
    target = tmp_path_factory.mktemp("extra")
    subprocess.run(
        [pythons.uv(), "pip", "install", "-q", "--no-deps", "--python", airflow.find(),
         "--target", target, *build_wheels(tmp_path_factory.mktemp("wheels"))],
        check=True,
        timeout=300,
    )  # fmt: skip
    return target


def found(script: str, version: str, extra: Path, home: Path) -> Mapping[str, Any]:
    python = airflow.find(version)
    file = home / "windows.json"
    start = whole(datetime.now(UTC)) + timedelta(hours=1)
    Harbour(file, start, start + timedelta(hours=2)).write()
    done = subprocess.run(
        [python, "-c", script, DAGS],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={
            "PATH": f"{python.parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(home),
            "PYTHONPATH": str(extra),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "SLACKWATER_WINDOWS_FILE": str(file),
        },
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stdout[-3000:] + done.stderr[-6000:]
    said: Mapping[str, Any] = json.loads(lines[-1].removeprefix("FOUND "))
    assert "Failed to import plugin" not in done.stderr
    return said


@pytest.mark.parametrize("version", VERSIONS)
def test_plugin_dags_timetable_and_trigger_load_without_an_error(
    version: str, extra: Path, tmp_path: Path
) -> None:
    said = found(_LOAD, version, extra, tmp_path)

    assert said["errors"] == {}
    assert said["plugin_errors"] == {}
    assert said["apps"] == ["/slackwater"]
    assert said["timetables"] == ["slackwater_airflow.timetable.TrainingWindowTimetable"]
    assert said["trigger"] == "WindowOpens"
    assert said["dags"].keys() == set(DAG_IDS)
    assert said["dags"]["tw_shown"] == "Slackwater: research/nightly"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dag_is_tested_without_any_server(version: str, extra: Path, tmp_path: Path) -> None:
    assert found(_TEST, version, extra, tmp_path) == {"state": "success"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_loading_the_plugin_takes_a_fraction_of_a_second(component: str) -> None:
    assert import_time(COMPONENTS[component], repeats=2) < 300  # the figure is 150, at rest
