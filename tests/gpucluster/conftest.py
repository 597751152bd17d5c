from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.prometheus import Binaries, NotAvailable, find

FILES = Path(__file__).parents[2] / "helm" / "slackwater" / "files"


@pytest.fixture(scope="module", params=["2", "3"])
def binaries(request: pytest.FixtureRequest) -> Binaries:
    try:
        return find(request.param)
    except NotAvailable as missing:
        pytest.skip(str(missing))


@pytest.fixture
def promtool(binaries: Binaries, tmp_path: Path) -> Callable[..., None]:
    """`promtool test rules` of a file of the chart."""

    def run(file: str, tests: Sequence[dict[str, Any]]) -> None:
        rules = yaml.safe_load((FILES / file).read_text())
        (tmp_path / "rules.yml").write_text(
            json.dumps({"groups": [{"name": "tested", "rules": rules}]})
        )
        unit = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": list(tests)}
        (tmp_path / "test.yml").write_text(json.dumps(unit))
        for words in (("check", "rules", "rules.yml"), ("test", "rules", "test.yml")):
            done = subprocess.run(
                [binaries.promtool, *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr

    return run
