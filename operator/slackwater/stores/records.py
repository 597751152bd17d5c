"""The tables: identity, versions, status and overrides of every object.

The manifests say what is wanted; the records say since when, how often it changed and what became
of it. Only the process that runs writes identities and statuses; `slackwater trigger | skip |
suspend | resume` write overrides from processes of their own, at any time.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from slackwater.core.spec import Ref
from slackwater.errors import Conflict, Gone
from slackwater.ports import Key, Kind, Stored
from slackwater.stores import record
from slackwater.stores.files import Manifest, Tree
from slackwater.stores.record import Override, Record
from slackwater.stores.sqlite import installation_id, next_version, transaction

_ALL: Final = """
    SELECT kind, namespace, name, uid, created, generation, resource_version, path, spec_digest,
           fixed_digest, annotations_digest, suspend
    FROM objects"""
_PUT: Final = """
    INSERT INTO objects (kind, namespace, name, uid, created, generation, resource_version, path,
                         spec_digest, fixed_digest, annotations_digest, suspend)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (kind, namespace, name) DO UPDATE SET
      uid = excluded.uid, created = excluded.created, generation = excluded.generation,
      resource_version = excluded.resource_version, path = excluded.path,
      spec_digest = excluded.spec_digest, fixed_digest = excluded.fixed_digest,
      annotations_digest = excluded.annotations_digest, suspend = excluded.suspend"""
_DELETE: Final = "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?"
_DELETE_OVERRIDES: Final = "DELETE FROM overrides WHERE kind = ? AND namespace = ? AND name = ?"
_DELETE_OVERRIDE: Final = f"{_DELETE_OVERRIDES} AND annotation = ?"
_STATUS: Final = """
    SELECT resource_version, status FROM objects WHERE kind = ? AND namespace = ? AND name = ?"""
_SET_STATUS: Final = """
    UPDATE objects SET status = ?, resource_version = ?
    WHERE kind = ? AND namespace = ? AND name = ?"""
_TOUCH: Final = """
    UPDATE objects SET resource_version = ? WHERE kind = ? AND namespace = ? AND name = ?"""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What differs from what was known before: `deleted` happened before `changed`."""

    deleted: tuple[Key, ...]
    changed: tuple[Stored, ...]


class Records:
    """The tables, over one connection that one thread uses."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._data_version = -1

    def touched(self) -> bool:
        """Whether another process wrote since the last call (`PRAGMA data_version`)."""
        with transaction(self._connection, write=False):
            version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        before, self._data_version = self._data_version, version
        return before != version

    def installation(self) -> str:
        """The id that tells this installation's runs from others' (R2)."""
        with transaction(self._connection, write=False):
            return installation_id(self._connection)

    def lost(self, tree: Tree) -> bool:
        """Whether the manifests lack an object that has a record."""
        with transaction(self._connection, write=False):
            return any(key not in tree.manifests for key in self._rows())

    def reconcile(self, tree: Tree, known: Mapping[Key, Stored], now: datetime) -> Reconciled:
        """Bring the records in line with the manifests and say what differs from `known`.

        An object whose file has not been readable since the start is kept, with an empty spec:
        it exists, and what it wants is not known. An object whose immutable fields changed is
        another object, as after `kubectl replace --force`: new uid, empty status.
        """
        deleted: list[Key] = []
        changed: list[Stored] = []
        with transaction(self._connection):
            rows, overrides = self._rows(), self._overrides()
            wanted = dict(tree.manifests)
            for key, row in list(rows.items()):
                manifest = wanted.get(key)
                if manifest is not None and not record.replaces(manifest, row):
                    continue
                if manifest is None and tree.may_hold(Path(row.path)):
                    wanted[key] = Manifest(key, Path(row.path), {}, {})
                    continue
                deleted.append(key)
                del rows[key]
                self._connection.execute(_DELETE, _parts(key))
                if manifest is None:
                    self._connection.execute(_DELETE_OVERRIDES, _parts(key))
            for key, manifest in wanted.items():
                mine = overrides.get(key, {})
                before = rows.get(key)
                if key in tree.manifests:
                    for name in record.outdated(manifest, mine, before):
                        self._override(key, name, None)
                        del mine[name]
                    before = before or Record(uid=str(uuid.uuid4()), created=now.isoformat())
                    after = record.follow(before, manifest, mine)
                else:
                    before = rows[key]
                    after = record.without_manifest(before)
                after = self._settled(key, before, after)
                old, version = known.get(key), str(after.resource_version)
                if old is None or (old.uid, old.resource_version) != (after.uid, version):
                    changed.append(record.stored(manifest, mine, after, self._status(key)))
        return Reconciled(tuple(deleted), tuple(changed))

    def view(self, tree: Tree, now: datetime) -> tuple[Stored, ...]:
        """The objects as they are, without writing; what was never recorded counts as made now."""
        with transaction(self._connection, write=False):
            rows, overrides = self._rows(), self._overrides()
            new = Record(created=now.isoformat(), generation=1)
            return tuple(
                record.stored(
                    manifest, overrides.get(key, {}), rows.get(key, new), self._status(key)
                )
                for key, manifest in tree.manifests.items()
            )

    def write_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> str:
        """Replace the status and give the new version; the same status keeps the old one.

        Raises:
            Gone: there is no such object.
            Conflict: it is not at `resource_version`.
        """
        text = record.canonical(status)
        with transaction(self._connection):
            if self._at(key, resource_version) == text:
                return resource_version
            version = next_version(self._connection)
            self._connection.execute(_SET_STATUS, (text, version, *_parts(key)))
        return str(version)

    def override(self, key: Key, name: str, value: str | None) -> None:
        """Put a value in front of the manifest's annotation; None takes it away again."""
        with transaction(self._connection):
            self._override(key, name, None if value is None else Override(value))
            # A decision that was made without it must not be written any more.
            self._connection.execute(_TOUCH, (next_version(self._connection), *_parts(key)))

    def hide(self, key: Key, name: str, written: str | None, resource_version: str) -> None:
        """Take an annotation off: the override, and `written`, the manifest's own, if it has one.

        The manifest's value stays hidden until the manifest says another one.

        Raises:
            Gone: there is no such object.
            Conflict: it is not at `resource_version`.
        """
        with transaction(self._connection):
            self._at(key, resource_version)
            self._override(key, name, None if written is None else Override(None, written))

    def _rows(self) -> dict[Key, Record]:
        return {
            _key(row): Record(
                uid=row[3],
                created=row[4],
                generation=row[5],
                resource_version=row[6],
                path=row[7],
                spec_digest=row[8],
                fixed_digest=row[9],
                annotations_digest=row[10],
                suspend=row[11],
            )
            for row in self._connection.execute(_ALL)
        }

    def _overrides(self) -> dict[Key, dict[str, Override]]:
        overrides: dict[Key, dict[str, Override]] = {}
        for row in self._connection.execute(
            "SELECT kind, namespace, name, annotation, value, hides FROM overrides"
        ):
            overrides.setdefault(_key(row), {})[row[3]] = Override(row[4], row[5])
        return overrides

    def _settled(self, key: Key, before: Record, after: Record) -> Record:
        """`after`, written, and at a new version if readers see a difference."""
        if after == before:
            return before
        if record.differs(before, after):
            after = replace(after, resource_version=next_version(self._connection))
        self._connection.execute(_PUT, (*_parts(key), *astuple(after)))
        return after

    def _status(self, key: Key) -> dict[str, Any]:
        row = self._connection.execute(_STATUS, _parts(key)).fetchone()
        status: dict[str, Any] = {} if row is None else json.loads(row[1])
        return status

    def _at(self, key: Key, resource_version: str) -> str:
        """The status as text, of an object that is at this version."""
        row = self._connection.execute(_STATUS, _parts(key)).fetchone()
        if row is None:
            raise Gone
        if str(row[0]) != resource_version:
            raise Conflict
        return str(row[1])

    def _override(self, key: Key, name: str, override: Override | None) -> None:
        if override is None:
            self._connection.execute(_DELETE_OVERRIDE, (*_parts(key), name))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO overrides VALUES (?, ?, ?, ?, ?, ?)",
                (*_parts(key), name, override.value, override.hides),
            )


def _parts(key: Key) -> tuple[str, str, str]:
    return key.kind.value, key.ref.namespace, key.ref.name


def _key(row: tuple[Any, ...]) -> Key:
    return Key(Kind(row[0]), Ref(row[1], row[2]))
