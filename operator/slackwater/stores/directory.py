"""The store of `slackwater run`: manifests in directories, everything else in one SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Conflict, Gone, StoreError
from slackwater.ports import (
    Change,
    Changed,
    Clock,
    Deleted,
    Key,
    Kind,
    Listed,
    SecretReader,
    Stored,
)
from slackwater.stores import sqlite
from slackwater.stores.files import ManifestFiles, Tree
from slackwater.stores.record import SUSPEND
from slackwater.stores.records import Records
from slackwater.stores.secret_files import SecretFiles

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
# Looks at the start before what keeps changing is taken as it is.
_FIRST_LOOKS: Final = 10


class DirectoryStore:
    """Objects from manifests, with identity, status and overrides in SQLite.

    One process runs on a database; others may open it beside that one (`open(beside=True)`), to
    read objects and to set annotations, which the running one notices at its next look.

    Args:
        directories: where the manifests are: directories, read recursively, or single files.
        database: the SQLite file, made when missing; on a local disk.
        secrets_dir: holds `<namespace>/<name>/<key>`; None for no secrets.
        clock: for the times at which objects were first seen.
        poll: time between two looks; a change is believed when two looks found the same.
        installation: the installation's id, where it is given from outside.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        database: Path,
        secrets_dir: Path | None,
        clock: Clock,
        poll: timedelta = timedelta(seconds=1),
        *,
        installation: str | None = None,
    ) -> None:
        self._roots = tuple(directories)
        self._database = database
        self._clock = clock
        self._poll = poll.total_seconds()
        self._installation = installation
        self._files = ManifestFiles(self._roots)
        self._tree = Tree()
        self._objects: dict[Key, Stored] = {}
        self._behind = False  # the records do not follow the tree yet
        self._beside = False
        self._records: Records | None = None
        self._close_database: Callable[[], None] | None = None
        # A slow network file system must not hold up a status write, so each has its thread.
        self._disk = ThreadPoolExecutor(1, "slackwater-manifests")
        self._sql = ThreadPoolExecutor(1, "slackwater-sqlite")
        self._secrets = SecretFiles(secrets_dir, self._on_disk)
        self._turn = asyncio.Lock()
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._pending: dict[object, Change] = {}
        self._news = asyncio.Event()

    # --- life

    async def open(self, *, beside: bool = False) -> None:
        """Open the database and read the manifests; call `aclose` also when this fails.

        Args:
            beside: open beside the process that runs, to look at objects and set annotations.

        Raises:
            ConfigError: a directory does not exist, or the database cannot be used, above all
                because another `slackwater run` uses it.
            StoreError: the database does not answer as it should.
        """
        for path in self._roots:
            if not await self._on_disk(path.exists):
                raise ConfigError(Reason.INVALID_SPEC, detail=f"{path} does not exist.")
        self._beside = beside
        await self._whole(self._open_database())
        if beside:
            self._take(await self._on_disk(lambda: self._files.look(trust=True)))
        else:
            await self._first_looks()

    async def aclose(self) -> None:
        """Finish what is under way and let the database go; harmless when done already."""
        await asyncio.gather(*self._unfinished, return_exceptions=True)
        if self._close_database is not None:
            close, self._close_database, self._records = self._close_database, None, None
            await asyncio.get_running_loop().run_in_executor(self._sql, close)
        self._disk.shutdown(wait=False)
        self._sql.shutdown(wait=False)

    async def _open_database(self) -> None:
        def opened() -> tuple[Records, Callable[[], None]]:
            if self._beside:
                connection = sqlite.open_beside(self._database)
                return Records(connection), connection.close
            connection, claim = sqlite.open_database(self._database, self._clock.now())

            def close() -> None:
                connection.close()
                claim.release()

            return Records(connection), close

        loop = asyncio.get_running_loop()
        self._records, self._close_database = await loop.run_in_executor(self._sql, opened)

    async def _first_looks(self) -> None:
        """Look until two looks agree, unless the first finds everything in order."""
        marks: Mapping[Path, str] | None = None
        for _ in range(_FIRST_LOOKS):
            tree = await self._on_disk(lambda: self._files.look(trust=True))
            lacks = await self._in_sql(partial(Records.lost, tree=tree))
            if not (tree.problems or lacks) or self._files.marks == marks:
                break
            marks = self._files.marks
            await asyncio.sleep(self._poll)
        self._take(tree)
        await self._whole(self._reconcile())

    # --- reading

    async def changes(self) -> AsyncIterator[Change]:
        """All objects, then Listed, then what changes, for ever. One consumer."""
        self._pending.clear()
        for stored in tuple(self._objects.values()):
            yield Changed(stored)
        yield Listed()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._poll
        while True:
            while self._pending:
                yield self._pending.pop(next(iter(self._pending)))
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()
            if loop.time() >= due:
                # What the database does not take now, it may take at the next look.
                with contextlib.suppress(StoreError):
                    await self.look()
                due = loop.time() + self._poll

    async def look(self) -> None:
        """Look once at manifests, secrets and what other processes wrote."""
        await self._whole(self._look())

    async def objects(self) -> tuple[Stored, ...]:
        """Every object as it is now, for commands that look once."""
        if self._beside:
            self._take(await self._on_disk(lambda: self._files.look(trust=True)))
            tree, now = self._tree, self._clock.now()
            return await self._in_sql(lambda records: records.view(tree, now))
        await self.look()
        return tuple(self._objects.values())

    def problems(self) -> tuple[tuple[Path, str], ...]:
        """Files and directories that could not be read, each with a sentence."""
        return self._tree.problems

    def directory_of(self, key: Key) -> Path | None:
        """The directory of an object's manifest, which relative paths in it start from."""
        manifest = self._tree.manifests.get(key)
        return None if manifest is None else manifest.path.parent

    async def installation(self) -> str:
        """The id given from outside, else a random one that stays with the database (R2)."""
        if self._installation is not None:
            return self._installation
        return await self._in_sql(Records.installation)

    async def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels from a manifest of kind Namespace, and the name as Kubernetes adds it."""
        written = self._tree.namespaces.get(namespace, {})
        return {**written, "kubernetes.io/metadata.name": namespace}

    async def node_names(self, selector: Mapping[str, Any]) -> frozenset[str] | None:  # noqa: ARG002
        """None: a directory has no nodes."""
        return None

    @property
    def secrets(self) -> SecretReader:
        """The secrets in `secrets_dir`."""
        return self._secrets

    # --- writing

    async def write_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> str:
        """Replace the status wholly; on the disk when it returns, and not told as a change.

        Raises:
            Conflict: the object is not at `resource_version` any more.
            Gone: it does not exist.
            StoreError: the database does not take it.
        """
        writing = self._begun(self._write_status(key, status, resource_version))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The writer did not hear of its new version, so it is told like anybody's.
            writing.add_done_callback(lambda _: self._announce_current(key))
            raise

    async def remove_annotation(self, key: Key, name: str, resource_version: str) -> None:
        """Take an annotation off: one set by a command, or the manifest's, until that changes.

        Raises:
            Conflict: the object is not at `resource_version` any more.
            Gone: it does not exist.
            StoreError: the database does not take it.
        """
        await self._whole(self._remove_annotation(key, name, resource_version))

    async def set_annotation(self, key: Key, name: str, value: str | None) -> None:
        """Put an annotation in front of the manifest's; None takes it away again.

        `slackwater.dev/suspend` with "true" or "false" stands in front of `spec.suspend` until
        the manifest's own `suspend` is edited.

        Raises:
            ConfigError: the value is not one that the annotation can have.
            Gone: the object does not exist.
            StoreError: the database does not take it.
        """
        if name == SUSPEND and (
            value not in {"true", "false", None} or key.kind is not Kind.TRAINING_WINDOW
        ):
            detail = f'{SUSPEND} is "true" or "false", on a TrainingWindow.'
            raise ConfigError(Reason.INVALID_SPEC, detail=detail)
        await self._whole(self._set_annotation(key, name, value))

    # --- what is finished once begun, also when the caller is cancelled

    async def _look(self) -> None:
        tree = await self._on_disk(self._files.look)
        for change in await self._on_disk(self._secrets.changed):
            self._announce(change, change)
        self._take(tree)
        if await self._in_sql(Records.touched):
            self._behind = True
        if self._behind:
            async with self._turn:
                await self._follow()

    async def _reconcile(self) -> None:
        async with self._turn:
            await self._follow()

    async def _write_status(self, key: Key, status: Mapping[str, Any], version: str) -> str:
        async with self._turn:
            try:
                new = await self._in_sql(lambda records: records.write_status(key, status, version))
            except Conflict:
                # Another process may have written: its change is told before the next attempt.
                await self._follow()
                raise
            old = self._objects.get(key)
            if old is not None and old.resource_version != new:
                self._objects[key] = replace(old, status=dict(status), resource_version=new)
            return new

    async def _remove_annotation(self, key: Key, name: str, version: str) -> None:
        manifest = self._tree.manifests.get(key)
        written = None if manifest is None else manifest.annotations.get(name)
        async with self._turn:
            await self._in_sql(lambda records: records.hide(key, name, written, version))
            await self._follow()

    async def _set_annotation(self, key: Key, name: str, value: str | None) -> None:
        if key not in self._tree.manifests and key not in self._objects:
            raise Gone
        async with self._turn:
            await self._in_sql(lambda records: records.override(key, name, value))
            await self._follow()

    async def _follow(self) -> None:
        """Bring records and objects in line with the manifests, in our turn."""
        if self._beside:
            return
        self._behind = True
        tree, known, now = self._tree, self._objects, self._clock.now()
        found = await self._in_sql(lambda records: records.reconcile(tree, known, now))
        for key in found.deleted:
            if (old := self._objects.pop(key, None)) is not None:
                self._announce((key, old.uid, "gone"), Deleted(key))
        for stored in found.changed:
            self._hold(stored)
        self._behind = self._tree is not tree

    # --- pieces

    def _take(self, tree: Tree) -> None:
        """Believe a tree; its problems are logged when they come and go."""
        if tree is self._tree:
            return
        before, now = set(self._tree.problems), set(tree.problems)
        self._tree, self._behind = tree, True
        for path, sentence in sorted(now - before):
            _log.warning("%s: %s", path, sentence)
        for path in sorted({path for path, _ in before} - {path for path, _ in now}):
            _log.info("%s: read again without a problem", path)

    def _hold(self, stored: Stored) -> None:
        self._objects[stored.key] = stored
        self._announce_current(stored.key)

    def _announce_current(self, key: Key) -> None:
        if (stored := self._objects.get(key)) is not None:
            self._announce((key, stored.uid), Changed(stored))

    def _announce(self, about: object, change: Change) -> None:
        """Queue a change; of several about the same, only the last is told."""
        self._pending[about] = change
        self._news.set()

    async def _on_disk(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call)

    async def _in_sql(self, call: Callable[[Records], _Result]) -> _Result:
        if (records := self._records) is None:
            raise StoreError(Reason.UNAVAILABLE, what="The database")
        return await asyncio.get_running_loop().run_in_executor(self._sql, call, records)

    async def _whole(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return await asyncio.shield(self._begun(work))

    def _begun(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        task = asyncio.ensure_future(work)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        # Nobody may be left to hear of it: without a look at it, asyncio would complain.
        if not task.cancelled():
            task.exception()
