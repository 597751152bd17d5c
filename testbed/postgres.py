"""A throw-away PostgreSQL: fast because nothing in it has to survive a crash."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testbed import cache, debian
from testbed.process import Server

_USER = "slackwater"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "jit": "off",
}


def _unpacked() -> Path:
    """The programs from Debian's package, without installing it."""
    key = cache.digest("postgresql", debian.release())
    if tree := cache.present("postgresql", key):
        return tree
    if not debian.available():
        raise cache.BuildError("PostgreSQL is not installed: put its bin directory on PATH")
    package = debian.dependency("postgresql", r"postgresql-\d+")

    client = package.replace("postgresql", "postgresql-client")

    def wanted(name: str) -> bool:
        # libllvm is only for the JIT compiler, which is off.
        return name.startswith("lib") and not name.startswith(("libllvm", "libc6", "libperl"))

    return cache.ensure("postgresql", key, lambda d: debian.unpack([package, client], d, wanted))


def _bin(tree: Path) -> Path:
    """The newest PostgreSQL under a file system root."""
    found = sorted(tree.glob("usr/lib/postgresql/*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise cache.BuildError(f"no PostgreSQL under {tree}")
    return found[-1].parent


@functools.cache
def find() -> tuple[Path, Path | None]:
    """(directory of the programs, root of the unpacked package if it is one)."""
    if installed := shutil.which("postgres"):
        return Path(installed).resolve().parent, None
    try:
        return _bin(Path("/")), None
    except cache.BuildError:
        tree = _unpacked()
        return _bin(tree), tree


class Postgres(Server):
    """One PostgreSQL server with a superuser that needs no password."""

    name = "postgres"
    stop_grace = 5.0

    def __init__(self, home: Path | None = None, port: int | None = None) -> None:
        self._bin, self._tree = find()
        self.run_as = None
        self._private: Path | None = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and another user can reach neither root's
            # temporary directories nor root's cache: both get a place of their own.
            self.run_as = "nobody"
            self._private = Path(tempfile.mkdtemp(prefix="sw-postgres-", dir="/tmp"))
            self._private.chmod(0o755)
        super().__init__(home, port)
        self._data = (self._private or self.home) / "data"

    def prepare(self) -> None:
        if self._data.exists():
            return
        if self._private is not None:
            if self._tree is not None:
                copy = self._private / "programs"
                shutil.copytree(self._tree, copy, symlinks=True, copy_function=_link_or_copy)
                self._bin, self._tree = copy / self._bin.relative_to(self._tree), copy
            owner = pwd.getpwnam("nobody")
            self._data.mkdir()
            os.chown(self._data, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "-D", self._data, "-U", _USER, "--auth=trust", "--no-sync",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip

    def command(self) -> Sequence[str | Path]:
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._bin / "postgres", "-D", self._data, *options]

    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": debian.library_path(self._tree)} if self._tree else {}

    def ready(self) -> bool:
        return self._client("pg_isready", check=False) == 0

    def stop(self) -> None:
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients to leave.
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGINT)
        super().stop()

    def close(self) -> None:
        super().close()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self._client("createdb", name)
        return self.database_url(name)

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run statements as the superuser, in one session."""
        self._client("psql", "-q", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", sql)

    def database_url(self, name: str = "postgres") -> str:
        """A URL as SQLAlchemy wants it."""
        return f"postgresql+psycopg2://{_USER}@127.0.0.1:{self.port}/{name}"

    def _client(self, program: str, *arguments: str, check: bool = True) -> int:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]
        return self._run(program, *where, *arguments, check=check)

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> int:
        user = None if self.run_as is None else pwd.getpwnam(self.run_as)
        done = subprocess.run(
            [self._bin / program, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            env={**os.environ, **self.environment()},
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=None if user is None else [],
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
        return done.returncode


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
