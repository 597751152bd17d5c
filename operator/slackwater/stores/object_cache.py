"""What the cluster holds, put together from three sources that overtake each other.

A watch, lists made every few minutes and the replies to our own writes all show objects, in any
order. The resource version says which one is later; the uid tells an object from its namesake.
From that the cache makes one stream of changes in which nothing is told twice and nothing that
is gone comes back. No I/O and no clock here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from slackwater.ports import Change, Changed, Deleted, Key, Kind, Stored
from slackwater.stores.objects import is_newer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the cache held of the listed objects before a list was asked for, by version."""

    versions: Mapping[Key, str]


@dataclass(frozen=True, slots=True)
class _Unconfirmed:
    """Something a list showed that the watch has not shown yet."""

    round: int
    version: str | None  # None: the object is gone


class ObjectCache:
    """The objects that exist, as far as we know.

    Args:
        emit: takes each change, in order.
    """

    def __init__(self, emit: Callable[[Change], None]) -> None:
        self._emit = emit
        self._objects: dict[Key, Stored] = {}
        self._buried: dict[str, int] = {}  # uid of what is gone → round in which it went
        self._writers: dict[Key, int] = {}
        self._held_back: dict[Key, list[Callable[[], object]]] = {}
        self._unconfirmed: dict[str, _Unconfirmed] = {}
        self._round = 0
        self.drifting_rounds = 0
        """Rounds of listing in a row that showed what the watch never told."""

    def get(self, key: Key) -> Stored | None:
        """The object as last seen."""
        return self._objects.get(key)

    def objects(self) -> Iterator[Stored]:
        """All objects as last seen."""
        return iter(self._objects.values())

    # --- the watch ---------------------------------------------------------------------------

    def watched(self, stored: Stored) -> None:
        """The watch shows an object: new, changed or, after a reconnection, the same again."""
        self._confirm(stored.uid, stored.resource_version)
        self.seen(stored)

    def unwatched(self, key: Key, uid: str) -> None:
        """The watch says that an object is gone."""
        self._confirm(uid, None)
        self._gone(key, uid)

    def _confirm(self, uid: str, version: str | None) -> None:
        waiting = self._unconfirmed.get(uid)
        if waiting is None:
            return
        if version is None or (
            waiting.version is not None and not is_newer(waiting.version, version)
        ):
            del self._unconfirmed[uid]

    # --- our own writes ----------------------------------------------------------------------

    @contextmanager
    def writing(self, key: Key) -> Iterator[None]:
        """Hold back what the watch says about an object while we write to it.

        The echo of a write may come before its reply, and would then look like somebody else's
        change; after the reply it is plainly the same version again.
        """
        self._writers[key] = self._writers.get(key, 0) + 1
        try:
            yield
        finally:
            self._writers[key] -= 1
            if not self._writers[key]:
                del self._writers[key]
                for tell in self._held_back.pop(key, ()):
                    tell()

    def wrote(self, stored: Stored) -> None:
        """The reply to our write: told on only if more than the status came out different."""
        before = self._objects.get(stored.key)
        quiet = (
            before is not None
            and before.uid == stored.uid
            and before.generation == stored.generation
            and before.spec == stored.spec
            and before.annotations == stored.annotations
        )
        self._take(stored, quiet=quiet)

    # --- any source --------------------------------------------------------------------------

    def seen(self, stored: Stored) -> bool:
        """An object as it was at some time; True if that was news."""
        if stored.key in self._writers:
            self._held_back.setdefault(stored.key, []).append(partial(self._take, stored))
            return False
        return self._take(stored)

    def _take(self, stored: Stored, *, quiet: bool = False, force: bool = False) -> bool:
        if stored.uid in self._buried:
            return False
        before = self._objects.get(stored.key)
        if before is not None:
            if before.resource_version == stored.resource_version:
                return False
            if not force and not is_newer(stored.resource_version, before.resource_version):
                return False
            if before.uid != stored.uid:
                self._bury(before)
        self._objects[stored.key] = stored
        if not quiet:
            # Told even if only a label changed: the next write needs the new version.
            self._emit(Changed(stored))
        return True

    def _gone(self, key: Key, uid: str) -> bool:
        if key in self._writers:
            self._held_back.setdefault(key, []).append(partial(self._gone, key, uid))
            return False
        before = self._objects.get(key)
        if before is None or before.uid != uid:
            self._buried[uid] = self._round
            return False
        self._bury(before)
        return True

    def _bury(self, stored: Stored) -> None:
        self._buried[stored.uid] = self._round
        del self._objects[stored.key]
        self._emit(Deleted(stored.key))

    # --- lists -------------------------------------------------------------------------------

    def mark(self, kind: Kind, namespace: str | None) -> Mark:
        """Remember what is held of a kind before it is listed; None means all namespaces."""
        return Mark(
            {
                key: stored.resource_version
                for key, stored in self._objects.items()
                if key.kind is kind and namespace in {None, key.ref.namespace}
            }
        )

    def settle(self, mark: Mark, listed: Mapping[Key, Stored], version: str) -> None:
        """Compare with a complete, consistent list.

        Args:
            mark: taken before the list was asked for.
            listed: every object of the list that is not being deleted.
            version: the list's own resource version.
        """
        rewound = version.isdecimal() and any(
            is_newer(held, version) for held in mark.versions.values()
        )
        if rewound:
            # Versions only grow, unless etcd was restored from a backup: then the list is right.
            _log.warning("the cluster's history went back: all objects are read anew")
            self._buried.clear()
        for stored in listed.values():
            if stored.key in self._writers:
                self.seen(stored)
            elif self._take(stored, force=rewound):
                self._unconfirmed[stored.uid] = _Unconfirmed(self._round, stored.resource_version)
        for key, held in mark.versions.items():
            # An object that changed since the mark was there after the list began.
            now = self._objects.get(key)
            if now is None or key in listed or now.resource_version != held:
                continue
            if self._gone(key, now.uid):
                self._unconfirmed[now.uid] = _Unconfirmed(self._round, None)

    def close_round(self) -> None:
        """Every kind was listed: see whether the watch has told what the round before showed."""
        stale = [uid for uid, item in self._unconfirmed.items() if item.round < self._round]
        self.drifting_rounds = self.drifting_rounds + 1 if stale else 0
        for uid in stale:
            # A deletion in a watch gap is never told; an object is, at the next reconnection.
            if self._unconfirmed[uid].version is None:
                del self._unconfirmed[uid]
        self._buried = {uid: went for uid, went in self._buried.items() if went >= self._round - 1}
        self._round += 1
