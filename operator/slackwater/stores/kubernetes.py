"""The store that is a Kubernetes cluster: kopf in, `kubernetes.aio` out.

Three sources feed one stream of changes (see `object_cache`): kopf's watch; a complete list every
few minutes, because a deletion that falls into a gap of the watch is told by nobody else; and the
replies to our own status writes, so that what we wrote is what we read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn

from slackwater.core.words import Reason
from slackwater.errors import Conflict, Gone, StoreError
from slackwater.ports import Change, Clock, Key, Kind, Listed, SecretReader, Stored
from slackwater.stores.backoff import EndlessJitter
from slackwater.stores.cluster import Cluster
from slackwater.stores.cluster_facts import ClusterFacts
from slackwater.stores.cluster_secrets import ClusterSecrets, named_secrets
from slackwater.stores.listing import list_all
from slackwater.stores.object_cache import ObjectCache
from slackwater.stores.objects import (
    MERGE_PATCH,
    PLURALS,
    is_leaving,
    is_newer,
    list_path,
    object_path,
    parse,
)
from slackwater.stores.status_patch import status_patch
from slackwater.stores.watching import Watch

_log = logging.getLogger(__name__)

LIST_EVERY: Final = timedelta(minutes=10)
SECRETS_EVERY: Final = timedelta(minutes=1)
# What may pass by itself; anything else at the first list is a fault of the installation.
_PASSING: Final = frozenset(
    {Reason.UNREACHABLE, Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.THROTTLED}
)


class KubernetesStore:
    """Implements `ports.Store`. `run` must run for anything to be told.

    Args:
        cluster: the connection; the caller closes it.
        clock: for caches of what is read.
        namespaces: what to serve; the whole cluster where there are none.
        installation: an id instead of the cluster's own.
        list_every: how often everything is listed and compared.
        secrets_every: how often the secrets in use are looked at.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        namespaces: tuple[str, ...] = (),
        installation: str | None = None,
        list_every: timedelta = LIST_EVERY,
        secrets_every: timedelta = SECRETS_EVERY,
    ) -> None:
        self._cluster = cluster
        self._namespaces: tuple[str | None, ...] = namespaces or (None,)
        self._list_every = list_every
        self._secrets_every = secrets_every
        self._told: deque[Change] = deque()
        self._news = asyncio.Event()
        self._listed = False
        self._cache = ObjectCache(self._tell)
        self._facts = ClusterFacts(cluster, clock, installation)
        self._secrets = ClusterSecrets(
            cluster, clock, changed=self._tell, wanted=self._wanted_secrets
        )
        self._watch = Watch(cluster, namespaces, self._shown)
        self._dropped: dict[Key, tuple[Mapping[str, Any], str]] = {}
        self._warned: set[Kind] = set()

    # --- changes -----------------------------------------------------------------------------

    async def changes(self) -> AsyncIterator[Change]:
        """All objects, then Listed, then what changes, for ever. One consumer."""
        while True:
            while self._told:
                yield self._told.popleft()
            self._news.clear()
            await self._news.wait()

    def peek(self, key: Key) -> Stored | None:
        """The object as last seen, for those who need its uid."""
        return self._cache.get(key)

    @property
    def watch_trusted(self) -> bool:
        """False when two lists in a row showed what the watch never told: time to restart."""
        return self._cache.drifting_rounds < 2

    def _tell(self, change: Change) -> None:
        self._told.append(change)
        self._news.set()

    def _shown(self, stored: Stored, there: bool) -> None:
        if there:
            self._cache.watched(stored)
        else:
            self._cache.unwatched(stored.key, stored.uid)

    # --- running -----------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """List, then watch and compare until cancelled.

        Raises:
            StoreError: the resources cannot be read as things stand (not installed, no right), or
                the watch ended.
        """
        await self._first_list()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._list_again_and_again())
                group.create_task(self._recheck_secrets())
                group.create_task(self._watch.run())
        except ExceptionGroup as errors:
            raise _first(errors) from errors
        raise AssertionError  # none of the three returns

    async def _first_list(self) -> None:
        for delay in EndlessJitter():
            try:
                await self.resync()
            except StoreError as error:
                if error.reason not in _PASSING:
                    raise
                _log.warning("the first list failed and is tried again: %s", error)
                await asyncio.sleep(delay)
            else:
                return

    async def _list_again_and_again(self) -> NoReturn:
        delays: Iterator[float] | None = None
        while True:
            pause = self._list_every.total_seconds()
            await asyncio.sleep(pause if delays is None else min(pause, next(delays)))
            try:
                await self.resync()
            except StoreError as error:
                _log.warning("a list failed and is tried again: %s", error)
                delays = delays or iter(EndlessJitter())
            else:
                delays = None

    async def _recheck_secrets(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._secrets_every.total_seconds())
            try:
                await self._secrets.recheck()
            except StoreError as error:
                _log.info("secrets could not be looked at: %s", error)

    async def resync(self) -> None:
        """List everything once and tell what differs; at the first time, tell Listed.

        Raises:
            StoreError: a list could not be had; what was listed before it has been told.
        """
        for kind in PLURALS:
            for namespace in self._namespaces:
                await self._resync_one(kind, namespace)
        self._cache.close_round()
        if not self._listed:
            self._listed = True
            self._tell(Listed())

    async def _resync_one(self, kind: Kind, namespace: str | None) -> None:
        mark = self._cache.mark(kind, namespace)

        def take(body: Mapping[str, Any]) -> Stored | None:
            return None if is_leaving(body) else parse(kind, body)

        listing = await list_all(self._cluster, list_path(kind, namespace), take)
        self._cache.settle(mark, {stored.key: stored for stored in listing.items}, listing.version)

    # --- writing -----------------------------------------------------------------------------

    async def write_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> str:
        """Replace the status wholly; no request where it is so already (R16).

        Raises:
            Conflict, Gone, StoreError: see `ports.Store`.
        """
        with self._cache.writing(key):
            held = self._held(key, resource_version)
            patch = status_patch(held.status, status)
            if patch is None or self._dropped.get(key) == (status, held.resource_version):
                return held.resource_version
            stored = await self._patch(key, resource_version, {"status": patch}, "status")
            self._cache.wrote(stored)
            self._check_whole(stored, status)
            return stored.resource_version

    async def remove_annotation(self, key: Key, name: str, resource_version: str) -> None:
        """Take an annotation off; the object without it comes as a change (R15).

        Raises:
            Conflict, Gone, StoreError: see `ports.Store`.
        """
        with self._cache.writing(key):
            if name not in self._held(key, resource_version).annotations:
                return
            change = {"metadata": {"annotations": {name: None}}}
            self._cache.wrote(await self._patch(key, resource_version, change))

    def _held(self, key: Key, resource_version: str) -> Stored:
        held = self._cache.get(key)
        if held is None:
            raise Gone
        if is_newer(held.resource_version, resource_version):
            raise Conflict  # what is newer has been told already
        return held

    async def _patch(
        self, key: Key, resource_version: str, change: Mapping[str, Any], *subresource: str
    ) -> Stored:
        metadata = {**change.get("metadata", {}), "resourceVersion": resource_version}
        try:
            body = await self._cluster.call(
                "PATCH",
                object_path(key, *subresource),
                body={**change, "metadata": metadata},
                content_type=MERGE_PATCH,
            )
        except Conflict:
            await self._look(key)
            raise
        return parse(key.kind, body)

    async def _look(self, key: Key) -> None:
        """Read one object, so that a conflict is answered by a change even if the watch lags."""
        with contextlib.suppress(StoreError):
            body = await self._cluster.call("GET", object_path(key))
            if not is_leaving(body):
                self._cache.seen(parse(key.kind, body))

    def _check_whole(self, stored: Stored, wanted: Mapping[str, Any]) -> None:
        """Notice a server that drops fields: its CRDs are older than this operator."""
        if status_patch(stored.status, wanted) is None:
            self._dropped.pop(stored.key, None)
            return
        # Without this the same write would be tried at every turn.
        self._dropped[stored.key] = (wanted, stored.resource_version)
        if stored.key.kind not in self._warned:
            self._warned.add(stored.key.kind)
            _log.warning(
                "the server drops parts of the status of %s: install the CRDs of this version",
                stored.key.kind,
            )

    # --- the rest of the cluster -------------------------------------------------------------

    async def installation(self) -> str:
        """The uid of kube-system, or what the setting says (R2)."""
        return await self._facts.installation()

    async def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of a namespace, at most a minute old; empty where it does not exist."""
        return await self._facts.namespace_labels(namespace)

    async def node_names(self, selector: Mapping[str, Any]) -> frozenset[str]:
        """Names of the nodes that a label selector picks, at most a minute old."""
        return await self._facts.node_names(selector)

    @property
    def secrets(self) -> SecretReader:
        """The cluster's secrets, read by name."""
        return self._secrets

    def _wanted_secrets(self) -> frozenset[tuple[str, str]]:
        return frozenset(
            (stored.key.ref.namespace, name)
            for stored in self._cache.objects()
            if stored.key.kind is not Kind.TRAINING_WINDOW  # it names none, and its conf is free
            for name in named_secrets(stored.spec)
        )


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    first: Exception = errors
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first
