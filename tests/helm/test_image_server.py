"""The image's build steps as its file says them, in a folder instead of a container, and what is in it.

No container engine is needed: the copied files come from where the Dockerfile says, the RUN lines are
run by a shell, and what would be /opt/slackwater is looked at and started as the image would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed import pythons
from tests.helm.dockerfile import ROOT, stages

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

# Where the container's file system could not be written to, neither can this process.
_READ_ONLY = """
import errno, os, sys
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
            "os.chmod", "os.utime"}
def _refuse(event, words):
    if event == "open" and isinstance(words[2], int) and words[2] & _WRITING:
        if words[0] not in ("/dev/null", os.devnull) and not isinstance(words[0], int):
            raise OSError(errno.EROFS, "Read-only file system", words[0])
    elif event in _CHANGES:
        raise OSError(errno.EROFS, "Read-only file system", str(words[0]))
sys.addaudithook(_refuse)
"""


@dataclass(frozen=True)
class Image:
    """What a container of the image would have: its environment's folder and its variables."""

    home: Path
    variables: dict[str, str]
    files: int
    guard: Path

    def run(self, *words: str, writable: bool = False) -> subprocess.CompletedProcess[str]:
        """Start the entry point with nothing in its environment but what the image sets."""
        path = f"{self.home}/bin:/usr/bin:/bin"
        guard = {} if writable else {"PYTHONPATH": str(self.guard)}
        return subprocess.run(
            [self.home / "bin" / "slackwater", *words],
            env={**self.variables, **guard, "PATH": path},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def variables(found: list[tuple[str, str]]) -> dict[str, str]:
    """What ENV sets in a stage."""
    pairs = [pair.partition("=") for name, rest in found if name == "ENV" for pair in rest.split()]
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    source, home = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("opt") / "slackwater"
    _, (_, build), (_, last) = stages()
    said = variables(build)
    assert said["UV_PROJECT_ENVIRONMENT"] == "/opt/slackwater"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("UV_")},
        **said,
        "UV_PROJECT_ENVIRONMENT": str(home),
        "UV_PYTHON": sys.executable,
        "PATH": f"{pythons.uv().parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("VIRTUAL_ENV", None)
    for name, rest in build:
        words = [word for word in rest.split() if not word.startswith("--mount")]
        if name == "COPY" and not words[0].startswith("--from"):
            *names, target = words
            copy(names, source / target)
        elif name == "RUN":
            command = " ".join(words).replace("/opt/slackwater", str(home))
            subprocess.run(["sh", "-c", command], cwd=source, env=environment, check=True)
    shutil.rmtree(source)  # a container of the last stage has it neither
    guard = tmp_path_factory.mktemp("guard")
    (guard / "sitecustomize.py").write_text(_READ_ONLY)
    assert ("COPY", "--from=build /opt/slackwater /opt/slackwater") in last
    kept = {name: value for name, value in variables(last).items() if name != "PATH"}
    return Image(home, kept, count(home), guard)


def copy(names: list[str], target: Path) -> None:
    """As COPY does: the content of a folder, a file into a folder."""
    for name in names:
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, target)


def count(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*"))


def test_of_google_s_discovery_documents_only_the_calendar_s_is_left(image: Image) -> None:
    (documents,) = image.home.rglob("discovery_cache/documents")
    assert [path.name for path in documents.iterdir()] == ["calendar.v3.json"]
    size = sum(path.stat().st_size for path in image.home.rglob("*") if not path.is_symlink())
    assert size < 350 * 2**20


def test_neither_tests_nor_tools_nor_links_to_the_sources_are_in_it(image: Image) -> None:
    names = {path.name for path in image.home.rglob("*")}
    packages = {path.name.partition("-")[0] for path in image.home.rglob("*.dist-info")}
    assert {"slackwater", "slackwater_windows"} <= packages
    assert packages.isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "slackwater_airflow"})
    assert not [name for name in names if name.endswith(".pth") and "slackwater" in name]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--help",), 0, "operator"),
        (("--version",), 0, "slackwater "),
        (("operator", "--help"), 0, "--installation"),
        (("crds",), 0, "kind: CustomResourceDefinition"),
        (("operator",), 2, "There is no cluster to talk to"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_it_starts_on_a_read_only_file_system_without_a_home(
    image: Image, words: tuple[str, ...], code: int, told: str
) -> None:
    done = image.run(*words)
    assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert count(image.home) == image.files, "a start leaves nothing behind"


def test_the_guard_of_these_tests_does_refuse_writes(image: Image, tmp_path: Path) -> None:
    words = ("-c", f"open({str(tmp_path / 'new')!r}, 'w')")
    done = subprocess.run(
        [image.home / "bin" / "python", *words],
        env={"PYTHONPATH": str(image.guard)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Read-only file system" in done.stderr


def test_all_that_is_imported_later_is_in_it(image: Image) -> None:
    """Clients are imported where they are first needed; a container must not find out at night."""
    modules = "google.auth, googleapiclient.discovery, msal, kopf, kubernetes.aio, icalendar, numpy"
    done = subprocess.run(
        [image.home / "bin" / "python", "-c", f"import {modules}, airflow_client, slackwater"],
        env={"PYTHONPATH": str(image.guard), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
