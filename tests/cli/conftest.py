from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from slackwater.__main__ import main
from tests.runtime.conftest import _environment, _logging_as_it_was, airflow, quay

__all__ = ["_environment", "_logging_as_it_was", "airflow", "quay"]


@pytest.fixture(autouse=True)
def _no_flags_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLACKWATER_")]:
        monkeypatch.delenv(name)


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Slackwater = Callable[..., Said]


@pytest.fixture
def slackwater(capsys: pytest.CaptureFixture[str]) -> Slackwater:
    """Runs a command in this process; from a thread where a loop is running."""

    def call(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call
