"""What the README says works: its commands are run, its manifest is read."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slackwater.api.manifest import parse_manifests
from slackwater.api.read import read_training_window
from slackwater.core.spec import Effect
from testbed import helm
from testbed.kubernetes import ControlPlane

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

Run = Callable[[list[str], Path], None]


# --- how each command is run


def make_plays_what_tests_play(words: list[str], _: Path) -> None:
    """The recipe is what a test of tests/demo starts, word by word."""
    (target,) = words[1:]
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", target],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in ("KEEP", "MAKEFLAGS")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    recipe = shlex.split(said.stdout.splitlines()[-1])
    assert recipe[recipe.index("python") + 1 :] == story_that_tests_play(target)


def story_that_tests_play(target: str) -> list[str]:
    """The words after the interpreter that the demo's own test starts for a target."""
    spec = importlib.util.spec_from_file_location("demo_test", ROOT / "tests/demo/test_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = {
        "demo": "test_the_story_goes_well",
        "demo-cluster": "test_the_story_goes_well_in_a_cluster",
    }
    started: list[list[str]] = []

    class Told(Exception):  # ends the test once it has told
        pass

    def popen(words: list[str], **_: Any) -> None:
        started.append(words)
        raise Told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.subprocess, "Popen", popen)
        with pytest.raises(Told):
            getattr(module, tests[target])("NAME=value")
    ((interpreter, *words),) = started
    assert interpreter == sys.executable
    return words


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """`slackwater …` in a folder that has the examples, so that nothing is left in this one."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    own = {key: value for key, value in os.environ.items() if not key.startswith("SLACKWATER_")}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={
            **own,
            "PYTHONPATH": str(ROOT / "operator"),
            "SLACKWATER_LISTEN": "127.0.0.1:0",  # another process may have the usual port
            "SECRETS_DIR": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def it_judges_the_examples(words: list[str], folder: Path) -> None:
    """Their addresses are made up, so it finds faults (1), but never a wrong usage (2)."""
    with start(words, folder) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode in (0, 1), said
    assert "Traceback" not in said
    for name in ("evaluation", "finetune", "nightly-llm"):
        assert f"research/{name}" in said


def it_serves_until_it_is_told_to_stop(words: list[str], folder: Path) -> None:
    said = []
    with start(words, folder) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if "metrics and health at http://127.0.0.1:" in line:
                    break
            process.send_signal(signal.SIGTERM)
            said.append(process.communicate(timeout=60)[0])
        finally:
            process.kill()
    text = "".join(said)
    assert process.returncode == 0, text
    assert "found 3 TrainingWindows" in text
    assert "in examples/quickstart" in text
    assert "Traceback" not in text


def helm_installs_it(words: list[str], _: Path) -> None:
    """Into a real API server, which checks every object."""
    with ControlPlane() as plane, pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        said = helm.run(*words[1:], kubeconfig=plane.kubeconfig)
        assert "STATUS: deployed" in said
        found = plane.kubectl("get", "deployments", "--all-namespaces", "--output=name").split()
        assert found == ["deployment.apps/slackwater"]
        crds = plane.kubectl("get", "crds", "--output=name").split()
        assert len(crds) == 4


COMMANDS: dict[str, Run] = {
    "make demo": make_plays_what_tests_play,
    "make demo-cluster": make_plays_what_tests_play,
    "helm install slackwater helm/slackwater --namespace slackwater --create-namespace": (
        helm_installs_it
    ),
    "slackwater run --manifests examples/quickstart": it_serves_until_it_is_told_to_stop,
    "slackwater check --manifests examples/quickstart": it_judges_the_examples,
    "slackwater plan --manifests examples/quickstart": it_judges_the_examples,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    text = "\n".join(blocks("(?:bash|sh|shell|console)")).replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_every_command_of_the_readme_is_one_that_is_run_here() -> None:
    assert sorted(commands()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith("helm")])
def test_a_command_of_the_readme_works(command: str, tmp_path: Path) -> None:
    COMMANDS[command](shlex.split(command), tmp_path)


@pytest.mark.server
@pytest.mark.timeout(1800)  # where the API server has to be built first
@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("helm")])
def test_a_command_of_the_readme_works_in_a_cluster(command: str, tmp_path: Path) -> None:
    COMMANDS[command](shlex.split(command), tmp_path)


# --- what it shows and where it points


def test_the_manifest_of_the_readme_is_accepted() -> None:
    (text,) = blocks("yaml")
    (shown,) = parse_manifests(text)
    window = read_training_window(shown.namespace, shown.spec)
    assert {entry.effect for entry in window.calendars} == {Effect.TRIGGER, Effect.DENY}
    assert window.gpu is not None
    assert window.gpu.count == 16
