"""The SQLite file beside the manifests: opened by one `slackwater run`, durable, replaceable.

Three files belong together: the database, `<database>.lock` (held by the process that runs) and
`<database>.installation` (a copy of the installation's id, which is part of every run id, so that
a database that was lost or damaged is followed by one that finds the same runs again in Airflow).
The database must lie on a local disk: write-ahead logging shares memory between processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.stores.claim import Claim, beside, unusable

_log = logging.getLogger(__name__)

# Other connections write for milliseconds only; a process stopped in the middle is an error.
BUSY_TIMEOUT: Final = 5.0
# Statements by schema version: version n is reached by running MIGRATIONS[n - 1]. Append only.
# No spec, title or address is kept, only digests (R13).
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL)",
        "INSERT INTO meta VALUES ('sequence', 0)",
        """CREATE TABLE objects (
             kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
             uid TEXT NOT NULL,
             created TEXT NOT NULL,
             generation INTEGER NOT NULL,
             resource_version INTEGER NOT NULL,
             path TEXT NOT NULL,
             spec_digest TEXT NOT NULL,
             fixed_digest TEXT NOT NULL,
             annotations_digest TEXT NOT NULL,
             suspend TEXT NOT NULL,
             status TEXT NOT NULL DEFAULT '{}',
             PRIMARY KEY (kind, namespace, name)
           )""",
        """CREATE TABLE overrides (
             kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
             annotation TEXT NOT NULL,
             value TEXT,
             hides TEXT,
             PRIMARY KEY (kind, namespace, name, annotation)
           )""",
    ),
)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~:+-]{0,62}")


def open_database(database: Path, now: datetime) -> tuple[sqlite3.Connection, Claim]:
    """Open for running: claimed, sound, at the newest schema; a damaged file is moved aside.

    Raises:
        ConfigError: another process runs on it, a newer version made it, or it cannot be used.
        StoreError: it does not take the first write.
    """
    with _named(database):
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        claim = Claim.take(database)
        try:
            try:
                connection = _sound(database)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                moved = _move_aside(database, now)
                _log.error(
                    "The database %s is damaged (%s). It is now at %s and an empty one takes its "
                    "place: histories are lost, runs are found again in Airflow by their ids.",
                    database,
                    error,
                    moved,
                )
                connection = _sound(database)
            try:
                _prepare(connection, database)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            claim.release()
            raise
    return connection, claim


def open_beside(database: Path) -> sqlite3.Connection:
    """Open beside a process that may be running; makes the database when there is none yet.

    Raises:
        ConfigError: it is damaged, of another version, or cannot be used.
        StoreError: it does not take the first write.
    """
    with _named(database):
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = _connected(database)
        try:
            if _version(connection) != len(MIGRATIONS):
                # Nobody may be running on a schema that is about to change.
                claim = Claim.take(database)
                try:
                    _prepare(connection, database)
                finally:
                    claim.release()
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[None]:
    """All or nothing, and on the disk when it returns; one view of everything when reading.

    Raises:
        StoreError: SQLite refuses: the disk is full, the file is locked for long, or damaged.
    """
    try:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        _log.warning("The database does not answer as it should: %s", error)
        raise StoreError(Reason.UNAVAILABLE, what="The database") from error


def next_version(connection: sqlite3.Connection) -> int:
    """The next resource version: one sequence for all objects; inside a transaction."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'sequence'")
    row = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
    return int(row[0])


def installation_id(connection: sqlite3.Connection) -> str:
    """The id that tells this installation's runs from others' (R2)."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'installation'").fetchone()
    return str(row[0])


def _connected(database: Path) -> sqlite3.Connection:
    # SQLite gives its write-ahead log the mode of the database, so that is set from the start.
    # A file that exists is not opened here: closing it would drop this process's locks on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if database.stat().st_mode & 0o077:
        database.chmod(0o600)
    connection = sqlite3.connect(database, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # An intent must be on the disk before its POST goes out, also through a power cut (R9).
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _sound(database: Path) -> sqlite3.Connection:
    connection = _connected(database)
    try:
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(verdict)


class _Damaged(sqlite3.DatabaseError):
    """The check of the file found something."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # The low byte is the primary result code (https://www.sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, _Damaged) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _move_aside(database: Path, now: datetime) -> Path:
    stem = f"damaged-{now:%Y%m%dT%H%M%SZ}"
    target, count = beside(database, stem), 1
    while target.exists():
        target, count = beside(database, f"{stem}-{count}"), count + 1
    database.rename(target)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            database.with_name(database.name + suffix).rename(
                target.with_name(target.name + suffix)
            )
    return target


def _version(connection: sqlite3.Connection) -> int:
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"
    ).fetchone()
    if known is None:
        return 0
    return int(connection.execute("SELECT version FROM schema_version").fetchone()[0])


def _prepare(connection: sqlite3.Connection, database: Path) -> None:
    """Bring the schema up to date and settle the installation's id, in one step."""
    copy = beside(database, "installation")
    written = copy.read_text().strip() if copy.exists() else ""
    with transaction(connection):
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise unusable(database, "a newer version of Slackwater made it")
        if version == 0:
            connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
            connection.execute("INSERT INTO schema_version VALUES (0)")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", (len(MIGRATIONS),))
        row = connection.execute("SELECT value FROM meta WHERE name = 'installation'").fetchone()
        if row is not None:
            kept = str(row[0])
        else:
            kept = written if _ID.fullmatch(written) else str(uuid.uuid4())
            connection.execute("INSERT INTO meta VALUES ('installation', ?)", (kept,))
    if kept != written:
        fresh = beside(database, "installation.new")
        with fresh.open("w") as file:
            file.write(f"{kept}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(copy)


@contextlib.contextmanager
def _named(database: Path) -> Iterator[None]:
    """What the operating system and SQLite say while opening, as an error of ours."""
    try:
        yield
    except OSError as error:
        raise unusable(database, error.strerror or "it cannot be opened") from error
    except sqlite3.Error as error:
        raise unusable(database, str(error)) from error
