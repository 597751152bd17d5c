"""Who may run on a database: one process at a time, and a clear word to the second."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import ClassVar

from slackwater.core.words import Reason
from slackwater.errors import ConfigError


class Claim:
    """The right to run on a database: an advisory lock that ends with the process.

    The lock is a file of its own: closing any other handle of the database file would drop
    SQLite's own locks (https://www.sqlite.org/howtocorrupt.html §2.2). It is a record lock, which
    children of a fork do not inherit; within one process those never conflict, hence `_held`.
    """

    _held: ClassVar[set[Path]] = set()

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle: int | None = handle

    @classmethod
    def take(cls, database: Path) -> Claim:
        """The claim.

        Raises:
            ConfigError: another process, or another store of this one, holds it.
        """
        path = beside(database, "lock").absolute()
        if path in cls._held:
            raise _in_use(database, os.getpid())
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(handle, 20, 0)
            os.close(handle)
            if isinstance(error, BlockingIOError | PermissionError):
                raise _in_use(database, int(owner) if owner.isdigit() else None) from None
            raise
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        cls._held.add(path)
        return cls(path, handle)

    def release(self) -> None:
        """Let another process run; harmless when done already."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self._held.discard(self._path)


def beside(database: Path, suffix: str) -> Path:
    """A file that belongs to the database, such as `<database>.lock`."""
    return database.with_name(f"{database.name}.{suffix}")


def unusable(database: Path, why: str) -> ConfigError:
    """What to say of a database that cannot be opened."""
    return ConfigError(
        Reason.INVALID_SPEC, detail=f"The database {database} cannot be used: {why}."
    )


def _in_use(database: Path, owner: int | None) -> ConfigError:
    who = "another process" if owner is None else f"process {owner}"
    return unusable(database, f"`slackwater run` is using it already ({who})")
