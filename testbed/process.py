"""A server as a child process: started with a log, awaited until ready, stopped as a group."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL = 0.05
_open: set[Server] = set()
_owner = os.getpid()


class ServerFailed(RuntimeError):
    """A server ended early or was not ready in time; the message holds the end of its log."""


def free_port() -> int:
    """A port nobody listens on now. Another process may take it first; starting then fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    condition: Callable[[], object], what: str, timeout: float = 30.0, poll: float = _POLL
) -> None:
    """Poll until `condition()` is true; TimeoutError names `what` was awaited."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(poll)


class Server:
    """One child process. Subclasses give `name`, `command()`, `ready()` and what they add.

    The data directory `home` is kept by `stop()`, so `start()` again resumes it; without one
    given, a temporary directory is used, which `close()` (and leaving a `with`) removes.
    """

    name = "server"
    start_timeout = 60.0
    stop_grace = 10.0
    poll = _POLL
    run_as: str | None = None

    def __init__(self, home: Path | None = None, port: int | None = None) -> None:
        self._temporary = home is None
        self.home = home if home is not None else Path(tempfile.mkdtemp(prefix=f"sw-{self.name}-"))
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log_path = self.home / f"{self.name}.log"
        self.started_in: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        _open.add(self)

    # What a subclass says about itself.

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables on top of ours."""
        return {}

    def prepare(self) -> None:
        """Write configuration and the like, before each start."""

    def ready(self) -> bool:
        raise NotImplementedError

    def after_ready(self) -> None:
        """Called once per start, when ready."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Life.

    def start(self) -> Self:
        """Start and wait until ready; raises ServerFailed with the log's end otherwise."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        _open.add(self)
        began = time.monotonic()
        self.prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command()],
                cwd=self.home,
                env=self._full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.run_as,
                group=_group_of(self.run_as),
                extra_groups=None if self.run_as is None else [],
            )
        try:
            self._await_ready(began + self.start_timeout)
            self.after_ready()
        except BaseException:
            self.stop()
            raise
        self.started_in = time.monotonic() - began
        return self

    def _full_environment(self) -> dict[str, str]:
        loopback = "127.0.0.1,localhost"
        env = {**os.environ, "NO_PROXY": loopback, "no_proxy": loopback}
        return {**env, **self.environment()}

    def _await_ready(self, deadline: float) -> None:
        assert self._process is not None
        while not self.ready():
            if (status := self._process.poll()) is not None:
                raise ServerFailed(f"{self.name} ended with {status}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.name} was not ready in {self.start_timeout:g} s:\n{self.tail()}"
                )
            time.sleep(self.poll)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, then SIGKILL of all that is left after a grace. Harmless if not running."""
        process = self._process
        if process is None:
            return
        family = _descendants(process.pid)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.stop_grace)
        self._kill(family)

    def kill(self) -> None:
        """SIGKILL to the server and all it started: a crash, as tests want to see it survived."""
        self._kill(set())

    def _kill(self, family: set[_Process]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        family = family | _descendants(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # Some servers put their children into groups of their own.
        for pid, started in family:
            if _start_time(pid) == started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    def restart(self) -> Self:
        """Stop and start again on the same port and data."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop, and remove the data if it was temporary."""
        self.stop()
        _open.discard(self)
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def tail(self, lines: int = 40) -> str:
        """The end of the log."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_Process = tuple[int, str]
"""A process id and when it started: ids are used again."""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start_time(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None


def _descendants(pid: int) -> set[_Process]:
    """Children, their children and so on, where the system shows them in /proc."""
    children: dict[int, list[_Process]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(entry.name)):
            children.setdefault(int(fields[1]), []).append((int(entry.name), fields[19]))
    found: set[_Process] = set()
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), []):
            found.add(child)
            pending.append(child[0])
    return found


def _group_of(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


@atexit.register
def _close_all() -> None:
    """An interpreter that ends must not leave servers behind; a forked copy of it must not care."""
    if os.getpid() == _owner:
        for server in list(_open):
            server.close()
