"""The three distributions as a user installs them: built, unpacked into fresh environments, used."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from testbed import airflow, pythons

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SOURCES = {
    "slackwater": ROOT,
    "slackwater_windows": ROOT / "packages" / "slackwater-windows",
    "slackwater_airflow": ROOT / "packages" / "slackwater-airflow",
}


def execute(*words: str | Path, **variables: str) -> str:
    ours = ("PYTHON", "VIRTUAL_ENV", "AIRFLOW", "SLACKWATER")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(
        words,
        cwd="/",
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels, each made from its source distribution as an index would get it."""
    folder = tmp_path_factory.mktemp("dist")
    for source in SOURCES.values():
        execute(pythons.uv(), "build", "-q", "--out-dir", folder, source)
    return folder


def wheel(built: Path, name: str) -> Path:
    (found,) = built.glob(f"{name}-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the operator, as `pip install` makes it."""
    home = tmp_path_factory.mktemp("operator") / "venv"
    execute(pythons.uv(), "venv", "-q", "--python", sys.executable, home)
    wheels = [wheel(built, "slackwater"), wheel(built, "slackwater_windows")]
    execute(pythons.uv(), "pip", "install", "-q", "--python", home / "bin" / "python", *wheels)
    return home / "bin"


@pytest.mark.parametrize("name", SOURCES)
def test_a_wheel_holds_one_typed_package_its_licence_and_nothing_else(
    built: Path, name: str
) -> None:
    with zipfile.ZipFile(wheel(built, name)) as found:
        names = found.namelist()
        (metadata,) = [one for one in names if one.endswith(".dist-info/METADATA")]
        text = found.read(metadata).decode()
        licence = found.read(metadata.replace("METADATA", "licenses/LICENSE"))
    tops = {one.split("/")[0] for one in names}
    assert tops == {name, metadata.split("/")[0]}
    assert f"{name}/py.typed" in names
    strange = {"__pycache__", "tests", "conftest.py"}
    assert not [one for one in names if strange & {*one.split("/")} or "/test_" in one]
    assert "License-Expression: Apache-2.0" in text
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "\nRequires-Python: >=3.11\n" in text


def test_the_command_of_the_wheel_tells_its_crds(installed: Path) -> None:
    told = {
        one["metadata"]["name"]: one
        for one in yaml.safe_load_all(execute(installed / "slackwater", "crds"))
    }
    kept = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert told == {one["metadata"]["name"]: one for one in kept}


def test_the_command_of_the_wheel_plans_without_the_clone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        "apiVersion: slackwater.dev/v1alpha1\n"
        "kind: TrainingWindow\n"
        "metadata: {name: nights, namespace: lab}\n"
        "spec:\n"
        "  windows:\n"
        '  - {name: night, effect: Trigger, schedule: "0 22 * * *", durationSeconds: 3600}\n'
        "  dag: {airflowRef: {name: default}, dagId: train}\n"
    )
    said = execute(installed / "slackwater", "plan", "--manifests", tmp_path)
    assert "lab/nights" in said


def test_the_airflow_package_registers_itself_beside_airflow(built: Path, tmp_path: Path) -> None:
    """Over Airflow's own environment, which stays as it is."""
    base = airflow.find()
    home = tmp_path / "venv"
    execute(base, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    wheels = [wheel(built, "slackwater_airflow"), wheel(built, "slackwater_windows")]
    said = execute(pythons.uv(), "pip", "install", "--python", python, *wheels)
    site = execute(base, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    own = execute(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(own, "airflow.pth").write_text(f"{site}\n")
    code = (
        "from importlib.metadata import entry_points\n"
        "(point,) = [p for p in entry_points(group='airflow.plugins') if p.name == 'slackwater']\n"
        "print(point.load().name)\n"
    )
    loaded = execute(
        python, "-c", code, AIRFLOW_HOME=str(tmp_path), AIRFLOW__CORE__UNIT_TEST_MODE="True"
    )

    assert loaded.split()[-1] == "slackwater"
    assert "apache-airflow" not in said, "it moves nothing that is there"
