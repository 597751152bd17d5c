"""Words in, exit codes and one-line errors out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import slackwater as package
from slackwater.cli import main as module
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, ConfigError
from tests.cli.conftest import Slackwater

ROOT = Path(__file__).parents[2]
HOME = str(Path(package.__file__).parents[1])
HEAVY = ("aiohttp", "asyncio", "kopf", "kubernetes", "logging", "numpy", "prometheus_client")
HEAVY += ("pydantic", "yaml")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, with the package on its path."""
    env = {**os.environ, "PYTHONPATH": HOME}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=env, check=False, cwd=ROOT
    )


def test_help_lists_the_commands_without_importing_them() -> None:
    program = (
        "import sys\n"
        "from slackwater.__main__ import main\n"
        "code = main(['--help'])\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], code)\n"
    )
    done = python("-c", program)

    assert done.stderr == ""
    assert "serve a directory of manifests, without a cluster" in done.stdout
    assert "print the CustomResourceDefinitions" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy: [] 0"


def test_it_runs_as_a_module_and_knows_its_version() -> None:
    done = python("-m", "slackwater", "--version")

    assert (done.returncode, done.stdout) == (0, f"slackwater {package.__version__}\n")


def test_no_command_shows_help_and_is_a_mistake(slackwater: Slackwater) -> None:
    said = slackwater()

    assert said.code == 2
    assert "COMMAND" in said.err


@pytest.mark.parametrize("command", ["run", "operator", "trigger", "skip", "suspend", "crds"])
def test_every_command_explains_itself(slackwater: Slackwater, command: str) -> None:
    said = slackwater(command, "--help")

    assert said.code == 0
    assert said.out.startswith(f"usage: slackwater {command}")
    assert "--log-level" in said.out


def test_every_command_of_the_list_that_exists_can_be_called() -> None:
    for name, home, _ in module._COMMANDS:
        if (Path(module.__file__).parent / f"{home}.py").exists():
            parser, _, found = module._parser([name])
            assert found.__name__ == f"slackwater.cli.{home}"
            assert "--log-format" in parser.format_help()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ebb",), "invalid choice: 'ebb'"),
        (("run", "--depth", "3"), "unrecognized arguments: --depth 3"),
        (("run", "--man", "x"), "unrecognized arguments: --man x"),
        (("trigger",), "the following arguments are required: NAMESPACE/NAME"),
        (("--log-format", "xml", "crds"), "invalid choice: 'xml'"),
    ],
)
def test_a_mistake_is_one_line_with_where_to_read_on(
    slackwater: Slackwater, words: tuple[str, ...], said: str
) -> None:
    answer = slackwater(*words)

    assert answer.code == 2
    assert answer.out == ""
    (line,) = answer.err.splitlines()
    assert line.startswith("slackwater: ")
    assert said in line
    assert "--help`." in line


def test_log_flags_may_stand_before_or_after_the_command(
    slackwater: Slackwater, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slackwater.cli import crds

    told = []
    monkeypatch.setattr(crds, "execute", lambda args: told.append(vars(args)) or 0)

    assert slackwater("--log-level", "debug", "crds", "--log-format", "json").code == 0
    assert slackwater("crds", "--log-level=debug", "--log-format=json").code == 0
    assert [(args["log_level"], args["log_format"]) for args in told] == [("debug", "json")] * 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError(Reason.INVALID_SPEC, detail="No such thing."), 2, "No such thing."),
        (
            AirflowError(Reason.TIMEOUT, what="Airflow a/b"),
            1,
            "Airflow a/b did not answer in time. Look at its load and the network.",
        ),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_an_error_is_one_sentence_and_a_code(
    slackwater: Slackwater,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    line: str | None,
) -> None:
    from slackwater.cli import crds

    def execute(_: object) -> int:
        raise error

    monkeypatch.setattr(crds, "execute", execute)
    said = slackwater("crds")

    assert said.code == code
    assert said.err == ("" if line is None else f"slackwater: {line}\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = (
        "import sys\n"
        "from slackwater.__main__ import main\n"
        "from slackwater.cli import crds\n"
        "crds.execute = lambda args: print('tide\\n' * 100_000) or 0\n"
        "sys.exit(main(['crds']))\n"
    )
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -1', sys.executable, program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": HOME},
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "tide\n", "")
