"""Programs from Debian packages, unpacked into the cache and never installed.

Installing them would start system services on all interfaces. Downloading needs no rights: if
the machine's package lists are empty or stale, lists of our own are fetched into the cache.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from testbed import cache

# Debian's tools refuse to guess a terminal; nothing here may ask.
_ENV = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def available() -> bool:
    """Whether this is a machine with apt."""
    return all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb"))


def release() -> str:
    """The distribution's release and architecture, as a cache key."""
    try:
        name = platform.freedesktop_os_release()
    except OSError:
        name = {}
    return f"{name.get('ID')} {name.get('VERSION_ID')} {platform.machine()}"


def candidate(package: str) -> str | None:
    """The version that would be downloaded, or None if no list knows the package."""
    for options in _list_choices():
        shown = _output(["apt-cache", *options, "policy", package])
        for line in shown.splitlines():
            label, _, value = line.strip().partition(": ")
            if label == "Candidate" and value != "(none)":
                return value
    return None


def dependency(package: str, pattern: str) -> str:
    """The first dependency of a metapackage whose name matches."""
    for options in _list_choices():
        for line in _output(["apt-cache", *options, "depends", package]).splitlines():
            name = line.partition("Depends:")[2].strip()
            if re.fullmatch(pattern, name):
                return name
    raise cache.BuildError(f"no package list has a dependency of {package} like {pattern}")


def unpack(packages: Sequence[str], into: Path, keep: Callable[[str], bool] | None = None) -> None:
    """Unpack `packages`, and those of their missing dependencies that `keep(name)` accepts."""
    problem: Exception = cache.BuildError("no package lists")
    for options in _list_choices():
        names = list(packages)
        if keep is not None:
            names += [n for n in _missing_dependencies(packages, options) if keep(n)]
        with tempfile.TemporaryDirectory(prefix="testbed-debs-") as downloads:
            # apt's unprivileged helper user must be able to write here.
            Path(downloads).chmod(0o755)
            try:
                cache.execute(
                    f"apt-get download {' '.join(names)}",
                    ["apt-get", *options, "download", *names],
                    cwd=Path(downloads),
                    env=_ENV,
                )
            except cache.BuildError as error:
                problem = error  # stale lists name versions that are gone: try fresh ones
                continue
            for package in sorted(Path(downloads).glob("*.deb")):
                cache.execute(f"unpack {package.name}", ["dpkg-deb", "-x", package, into])
            return
    raise problem


def library_path(tree: Path) -> str:
    """LD_LIBRARY_PATH for programs of an unpacked tree."""
    folders = {str(file.parent) for file in tree.glob("usr/lib/**/*.so*")}
    folders |= {str(file.parent) for file in tree.glob("lib/**/*.so*")}
    return ":".join(sorted(folders))


def _missing_dependencies(packages: Sequence[str], options: Sequence[str]) -> list[str]:
    command = ["apt-cache", *options, "depends", "--recurse", "--no-recommends", "--no-suggests"]
    command += ["--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", *packages]
    wanted = {line for line in _output(command).splitlines() if line and line[0] not in " <|"}
    installed = set(_output(["dpkg-query", "-W", "-f", "${Package}\n"]).splitlines())
    real = {name for name in wanted - installed - set(packages) if ":" not in name}
    return sorted(real)


def _list_choices() -> Iterator[list[str]]:
    """apt options: the machine's own lists, then (fetched only if asked for) lists of ours."""
    yield []
    yield _private_lists()


def _private_lists() -> list[str]:
    base = cache.root() / ".apt"
    for folder in ("lists/partial", "archives/partial"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    options = []
    for name, value in {
        "Dir::State::Lists": base / "lists",
        "Dir::Cache": base,
        "Dir::Cache::Archives": base / "archives",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }.items():
        options += ["-o", f"{name}={value}"]
    with cache.locked("apt-lists"):
        cache.execute("apt-get update", ["apt-get", *options, "update"], env=_ENV)
    return options


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_ENV)
    return done.stdout
