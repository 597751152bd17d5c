"""What holds for the tree of files as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 400
# In two parts, so that this file does not hold what it forbids.
MACHINE_PATHS = ("/" + "work/", "/" + "root/")
# Where uv caches inside the image that is being built: no path of anybody's machine.
OF_THE_IMAGE = "target=" + MACHINE_PATHS[1] + ".cache/uv"


def test_the_folder_operator_is_no_package() -> None:
    """As a package it would hide the standard library's `operator` from all that is started here."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    said = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not Path(said.strip()).is_relative_to(ROOT / "operator")


def test_no_module_is_too_long_to_read_at_once() -> None:
    modules = [*(ROOT / "operator").rglob("*.py"), *(ROOT / "packages").rglob("*.py")]
    assert len(modules) > 50
    lengths = {
        str(module.relative_to(ROOT)): len(module.read_text().splitlines()) for module in modules
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_no_file_names_a_path_of_a_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: which files are tracked is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert ROOT / "README.md" in files
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in files
        if file.is_file()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
        if any(path in line.replace(OF_THE_IMAGE, "") for path in MACHINE_PATHS)
    ]
    assert found == []
