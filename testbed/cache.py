"""Where built and downloaded things live, so that a second clone starts in seconds.

One entry is one directory named `<kind>-<key>`; the key is a digest of everything that decides
its content (lock file, go.mod, versions), so a change builds a new entry beside the old one.
An entry appears by a rename, so an interrupted build leaves nothing that looks finished, and a
file lock lets two processes that want the same entry share one build.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PROGRESS_EVERY = 15.0
_TAIL_LINES = 40


class BuildError(RuntimeError):
    """Something could not be downloaded or built; the message says what to do."""


def root() -> Path:
    """The cache directory: SLACKWATER_CACHE, else the user's cache directory."""
    if explicit := os.environ.get("SLACKWATER_CACHE"):
        path = Path(explicit).expanduser().absolute()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        path = (Path(base) if base else Path.home() / ".cache") / "slackwater"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str | Path) -> str:
    """A short key over strings and over the content of files."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:16]


def say(message: str) -> None:
    """One progress line, on stderr so that a command's own output stays clean."""
    print(f"testbed: {message}", file=sys.stderr, flush=True)


def present(kind: str, key: str) -> Path | None:
    """The finished entry, if there is one."""
    path = root() / f"{kind}-{key}"
    return path if path.exists() else None


def ensure(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The entry `<kind>-<key>`, built by `build(directory)` if it is not there yet."""
    if done := present(kind, key):
        return done
    final = root() / f"{kind}-{key}"
    with locked(final.name):
        if final.exists():
            return final
        started = time.monotonic()
        say(f"{kind}: not in {root()} yet, getting it")
        for left_behind in root().glob(f".building-{final.name}-*"):
            remove_tree(left_behind)  # by a build that was killed: we hold the lock
        scratch = Path(tempfile.mkdtemp(prefix=f".building-{final.name}-", dir=root()))
        scratch.chmod(0o755)
        try:
            build(scratch)
            scratch.rename(final)
        finally:
            if scratch.exists():
                remove_tree(scratch)
        say(f"{kind}: ready after {time.monotonic() - started:.1f} s")
    return final


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name`; says so if another process holds it, rather than seem stuck."""
    locks = root() / ".locks"
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is building it, waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def execute(
    label: str,
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run one build step, quiet while it works, with a line now and then and its end on failure."""
    started = time.monotonic()
    with tempfile.NamedTemporaryFile("w+", prefix="testbed-", suffix=".log") as log:
        with subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process:
            while True:
                try:
                    status = process.wait(timeout=_PROGRESS_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{label}: {time.monotonic() - started:.0f} s")
                except BaseException:
                    process.terminate()
                    raise
        if status != 0:
            tail = "".join(
                Path(log.name).read_text(errors="replace").splitlines(True)[-_TAIL_LINES:]
            )
            raise BuildError(f"{label} failed with exit status {status}:\n{tail}")


def remove_tree(path: Path) -> None:
    """Delete a directory, also the read-only ones that Go and Debian packages contain."""
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path)


def clean() -> None:
    """Delete every entry; for `python -m testbed clean`."""
    for path in root().iterdir():
        if path.name == ".locks":
            continue
        remove_tree(path) if path.is_dir() else path.unlink()
