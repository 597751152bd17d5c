"""Manifests read from directories, and looked at again and again.

Editors, `cp` and `git pull` do not change a directory in one step: for a moment a file is empty,
half written or gone. So what is found is believed only once two looks in a row found the same in
the whole tree; a tree that never rests is believed file by file. A file that cannot be read or
parsed keeps the objects it last gave, and so does a directory that cannot be listed: only a file
that is missing from a directory that was listed takes its objects away.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from slackwater.api.manifest import RawObject, parse_manifests
from slackwater.core.spec import Ref
from slackwater.errors import SlackwaterError
from slackwater.ports import Key
from slackwater.stores.namespaces import without_namespaces

SUFFIXES: Final = (".yaml", ".yml")
SIZE_LIMIT: Final = 16 * 1024 * 1024
# Looks that differ from one another before files that rest are believed without the others.
RESTLESS_LIMIT: Final = 5


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document that describes one of our objects, and the file it stands in."""

    key: Key
    path: Path
    spec: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tree:
    """What the directories say, as far as it is believed.

    Attributes:
        manifests: the objects; of two documents with one key, the first in sorted order.
        namespaces: labels by namespace, from documents of kind Namespace.
        problems: what could not be read, as (file or directory, sentence).
        unread: files and directories that have never given anything: what they hold is unknown.
    """

    manifests: Mapping[Key, Manifest] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problems: tuple[tuple[Path, str], ...] = ()
    unread: frozenset[Path] = frozenset()

    def may_hold(self, path: Path) -> bool:
        """Whether a file at `path` may exist and hold objects that are not known."""
        return path in self.unread or not self.unread.isdisjoint(path.parents)


@dataclass(frozen=True, slots=True)
class _Read:
    """The content of one path: `mark` differs when the content or the failure does."""

    mark: str
    text: str | None = field(default=None, repr=False)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Believed:
    mark: str
    objects: Sequence[RawObject] | None
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problem: str | None = None


class ManifestFiles:
    """The manifests below some roots; used from one thread at a time.

    Args:
        roots: directories, read recursively, or single files. Hidden names are left out, so the
            `..data` links of mounted ConfigMaps and `.git` are not read as well.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [root.absolute() for root in roots]
        self._believed: dict[Path, _Believed] = {}
        self._unsettled: dict[Path, str | None] = {}
        self._stats: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._restless = 0
        self._tree = Tree()

    @property
    def marks(self) -> Mapping[Path, str]:
        """What is believed of each path, to tell whether two looks found the same."""
        return {path: held.mark for path, held in self._believed.items()}

    def look(self, *, trust: bool = False) -> Tree:
        """Look once; the same `Tree` object as before unless what is believed changed.

        Args:
            trust: believe what is found now, without a second look.
        """
        found: dict[Path, _Read] = dict(self._listed())
        unlisted = {path for path, read in found.items() if read.problem is not None}
        differing: dict[Path, str | None] = {
            path: read.mark
            for path, read in found.items()
            if path not in self._believed or self._believed[path].mark != read.mark
        }
        for path in self._believed:
            if path not in found and unlisted.isdisjoint(path.parents):
                differing[path] = None

        resting = [
            path
            for path, mark in differing.items()
            if trust or (path in self._unsettled and self._unsettled[path] == mark)
        ]
        at_rest = len(resting) == len(differing)
        self._restless = 0 if at_rest else self._restless + 1
        self._unsettled = differing
        if resting and (at_rest or self._restless >= RESTLESS_LIMIT):
            for path in resting:
                self._believe(path, found.get(path))
                del self._unsettled[path]
            self._tree = self._merged()
        return self._tree

    def _believe(self, path: Path, read: _Read | None) -> None:
        if read is None:
            del self._believed[path]
            self._stats.pop(path, None)
            return
        held = self._believed.get(path, _Believed(read.mark, None))
        held = replace(held, mark=read.mark, problem=read.problem)
        if read.text is not None:
            try:
                rest, namespaces = without_namespaces(read.text)
                held = replace(held, objects=parse_manifests(rest), namespaces=namespaces)
            except SlackwaterError as error:
                held = replace(held, problem=error.sentence)
        self._believed[path] = held

    def _merged(self) -> Tree:
        manifests: dict[Key, Manifest] = {}
        namespaces: dict[str, Mapping[str, str]] = {}
        problems: list[tuple[Path, str]] = []
        unread: set[Path] = set()
        for path in sorted(self._believed, key=self._rank):
            held = self._believed[path]
            if held.problem is not None:
                problems.append((path, held.problem))
            if held.objects is None:
                unread.add(path)
                continue
            namespaces = {**held.namespaces, **namespaces}
            for raw in held.objects:
                key = Key(raw.kind, Ref(raw.namespace, raw.name))
                if key in manifests:
                    where = manifests[key].path
                    problems.append((path, f"{key} stands in {where} already, and that one counts"))
                    continue
                manifests[key] = Manifest(key, path, raw.spec, raw.annotations)
        return Tree(manifests, namespaces, tuple(problems), frozenset(unread))

    def _rank(self, path: Path) -> tuple[int, Path]:
        for index, root in enumerate(self._roots):
            if path == root or root in path.parents:
                return index, path
        return len(self._roots), path

    # --- the file system

    def _listed(self) -> Iterator[tuple[Path, _Read]]:
        """Every manifest with its content, and every directory that cannot be listed."""
        entered = set[tuple[int, int]]()
        for root in self._roots:
            yield from self._walk(root, entered)

    def _walk(self, path: Path, entered: set[tuple[int, int]]) -> Iterator[tuple[Path, _Read]]:
        try:
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                if (read := self._read(path, status)) is not None:
                    yield path, read
                return
            # Links may lead back up, and roots may lie in one another.
            if (status.st_dev, status.st_ino) in entered:
                return
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                inside = sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".")
                    and (entry.name.endswith(SUFFIXES) or entry.is_dir())
                )
        except FileNotFoundError:
            # A name that went away since it was listed, or a link to nowhere.
            if path in self._roots:
                yield path, _failed("it does not exist")
            return
        except OSError as error:
            yield path, _failed(f"it cannot be read: {error.strerror}")
            return
        for name in inside:
            yield from self._walk(path / name, entered)

    def _read(self, path: Path, status: os.stat_result) -> _Read | None:
        """The content, where it may differ from what is believed; the believed mark otherwise."""
        if not stat.S_ISREG(status.st_mode):
            return None
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        before = self._stats.get(path)
        # What is not settled is read again: two writes within one tick of the file system's
        # clock leave the same times.
        if before is not None and before[0] == stamp and path not in self._unsettled:
            return _Read(before[1])
        if status.st_size > SIZE_LIMIT:
            read = _failed(f"it is larger than {SIZE_LIMIT >> 20} MiB")
        else:
            content = path.read_bytes()
            mark = hashlib.blake2b(content, digest_size=16).hexdigest()
            try:
                read = _Read(mark, content.decode())
            except UnicodeDecodeError:
                read = _Read(mark, problem="it is not UTF-8 text")
        self._stats[path] = (stamp, read.mark)
        return read


def _failed(problem: str) -> _Read:
    return _Read(f"!{problem}", problem=problem)
