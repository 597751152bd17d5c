"""docs/calendars/adding-a-provider.md, followed in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "calendars" / "adding-a-provider.md"


def in_order(text: str, before: str, line: str) -> str:
    """The text with a line put before the one that begins so."""
    assert text.count(before) == 1
    return text.replace(before, f"{line}\n{before}")


def run(here: Path, *words: str) -> str:
    said = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=here,
        env={**os.environ, "PYTHONPATH": f"{here / 'operator'}{os.pathsep}{here}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@pytest.mark.server  # no server, but as slow as one: it starts the tools of the whole project
def test_who_follows_the_guide_has_a_provider_with_its_crd_and_a_passing_suite(
    tmp_path: Path,
) -> None:
    text = GUIDE.read_text()
    here = tmp_path / "slackwater"
    for folder in ("operator", "tests/calendars", "tests/fakes", "docs/calendars"):
        shutil.copytree(ROOT / folder, here / folder)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, here / name)

    written = re.findall(r'```python title="([^"]+)"\n(.*?)\n```', text, re.DOTALL)
    assert len(written) == 2
    for path, code in written:
        assert not (here / path).exists()
        (here / path).write_text(f"{code}\n")
    for check in (["check"], ["format", "--check"]):
        run(here, "ruff", *check, *(path for path, _ in written))

    registry = here / "operator/slackwater/calendars/registry.py"
    assert "`json_feed.PROVIDER`" in text
    code = in_order(
        registry.read_text(),
        "from slackwater.calendars.provider import",
        "from slackwater.calendars import json_feed",
    )
    assert code.count("ical.PROVIDER") == 1
    registry.write_text(code.replace("ical.PROVIDER", "ical.PROVIDER, json_feed.PROVIDER"))
    services = here / "tests/calendars/conformance/services.py"
    line = '    "jsonFeed": JsonFeedService,'
    assert line.strip() in text
    code = in_order(services.read_text(), '    "static": Written,', line)
    imported = "from tests.calendars.conformance.json_feed import JsonFeedService"
    services.write_text(in_order(code, "from tests.calendars.conformance.service", imported))
    assert "`docs/calendars/json-feed.md`" in text
    (here / "docs/calendars/json-feed.md").write_text("# JSON feeds\n")

    run(here, "slackwater.api.crd", "crds")
    crd = yaml.safe_load((here / "crds/slackwater.dev_calendars.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    provider = schema["properties"]["provider"]
    assert provider["properties"]["jsonFeed"]["properties"]["url"]["description"]
    assert any("self.jsonFeed" in rule["rule"] for rule in provider["x-kubernetes-validations"])

    suite = "tests/calendars/conformance/test_providers.py"
    said = run(here, "pytest", "-k", "jsonFeed", "-p", "no:cacheprovider", suite)
    passed = re.search(r"(\d+) passed", said) or re.search(r"^(\.+)", said, re.MULTILINE)
    assert passed is not None
    assert "FAILED" not in said
