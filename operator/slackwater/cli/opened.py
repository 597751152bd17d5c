"""Everything a command that only looks needs: the objects, read once, and their adapters.

The objects are put into a `World` as the engine has it, so that references, grants and specs are
judged by the same code, but nothing follows them and nothing is written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from slackwater.cli.documents import Fault, place_of
from slackwater.core.seen import Seen, Trouble
from slackwater.core.spec import Ref
from slackwater.core.words import WORDS, Reason, say
from slackwater.errors import SlackwaterError, StoreError
from slackwater.ports import Clock, Key, Kind, Store, Stored
from slackwater.runtime.identities import read_identities
from slackwater.runtime.observe import observe
from slackwater.runtime.records import WindowRecord
from slackwater.runtime.settings import (
    DirectorySettings,
    OperatorSettings,
    directory_settings,
    names_directory,
    operator_settings,
)
from slackwater.runtime.sources import LiveSources, cluster_policies, directory_policies
from slackwater.runtime.world import World

if TYPE_CHECKING:
    from slackwater.stores.cluster import Cluster

LIMIT: Final = timedelta(seconds=30)
"""How long one thing may take to answer."""

_CLOSING: Final = timedelta(seconds=5)
# What a missing right to read a namespace's labels looks like to the grants.
_NOT_GRANTED: Final = frozenset(
    {
        Reason.CALENDAR_NOT_GRANTED,
        Reason.POOL_NOT_GRANTED,
        Reason.AIRFLOW_NOT_GRANTED,
        Reason.DAG_NOT_GRANTED,
    }
)
_NOT_FOUND: Final = frozenset(
    {Reason.CALENDAR_NOT_FOUND, Reason.POOL_NOT_FOUND, Reason.AIRFLOW_NOT_FOUND}
)


@dataclass(slots=True, kw_only=True)
class Opened:
    """What was found, and the means to ask further.

    Attributes:
        world: the objects with their adapters; nothing has been asked of those yet.
        clock: the present.
        faults: what in the manifests cannot be used; of a cluster always empty, as nobody who
            looks at his own objects can mend another's.
    """

    world: World
    clock: Clock
    store: Store
    faults: tuple[Fault, ...] = ()
    _withheld: Mapping[Key, Trouble] = field(default_factory=dict)
    _labels: dict[str, Mapping[str, str] | Trouble] = field(default_factory=dict)

    def windows(self, wanted: Iterable[Ref] = ()) -> tuple[WindowRecord, ...]:
        """The TrainingWindows by name: these, or all where none are named."""
        refs = tuple(dict.fromkeys(wanted)) or tuple(sorted(self.world.windows))
        return tuple(self.world.windows[ref] for ref in refs if ref in self.world.windows)

    async def seen(self, record: WindowRecord) -> Seen | None:
        """What a TrainingWindow may use, by its references; None where it cannot be read.

        Nothing is known of the things themselves: `refused` of each view, and `config`, are what
        this is for.
        """
        if record.spec is None:
            return None
        namespace = record.stored.key.ref.namespace
        labels = await self._labels_of(namespace)
        known = labels if not isinstance(labels, Trouble) else {}
        seen = observe(self.world, record, record.spec, labels=known, up_since=self.clock.now())
        hidden = labels if isinstance(labels, Trouble) else None
        return replace(
            seen,
            calendars={
                ref: replace(
                    view, refused=self._told(Key(Kind.CALENDAR, ref), view.refused, hidden)
                )
                for ref, view in seen.calendars.items()
            },
            pool=None
            if seen.pool is None
            else replace(
                seen.pool,
                refused=self._told(Key(Kind.GPU_POOL, seen.pool.ref), seen.pool.refused, hidden),
            ),
            airflow=replace(
                seen.airflow,
                refused=self._told(
                    Key(Kind.AIRFLOW_INSTANCE, seen.airflow.ref), seen.airflow.refused, hidden
                ),
            ),
        )

    def _told(self, key: Key, refused: Trouble | None, hidden: Trouble | None) -> Trouble | None:
        """A refusal, or what really stands behind it where we may not see enough."""
        if refused is None:
            return None
        if refused.reason in _NOT_FOUND:
            return self._withheld.get(key, refused)
        if refused.reason in _NOT_GRANTED and hidden is not None:
            return hidden
        return refused

    async def _labels_of(self, namespace: str) -> Mapping[str, str] | Trouble:
        if namespace not in self._labels:
            try:
                self._labels[namespace] = await self.store.namespace_labels(namespace)
            except StoreError as error:
                self._labels[namespace] = Trouble(error.reason, error.gaps)
        return self._labels[namespace]


@contextlib.asynccontextmanager
async def opened(
    args: argparse.Namespace,
    clock: Clock,
    *,
    namespaces: Collection[str] = (),
) -> AsyncIterator[Opened]:
    """Read the objects that the flags name.

    Args:
        args: with the flags of `reading.add_source_flags`.
        clock: the present.
        namespaces: what is to be looked at in a cluster where no flag says it; all where empty.

    Raises:
        ConfigError: the flags, a directory, the database or the kubeconfig cannot be used.
        StoreError: the cluster or the database does not answer as it should.
    """
    if names_directory(vars(args), os.environ):
        settings = directory_settings(vars(args), os.environ, beside=True)
        async with _directory(settings, clock) as found:
            yield found
    else:
        told = operator_settings(vars(args), os.environ)
        if not told.namespaces:
            told = replace(told, namespaces=tuple(sorted(namespaces)))
        async with _cluster(told, clock) as found:
            yield found


# --- a directory -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _directory(settings: DirectorySettings, clock: Clock) -> AsyncIterator[Opened]:
    from slackwater.stores.directory import DirectoryStore
    from slackwater.stores.files import ManifestFiles

    identities = await asyncio.to_thread(read_identities, settings.identities)
    calendars, services = directory_policies(settings.allow_networks)
    with TemporaryDirectory(prefix="slackwater-") as scratch:
        # Looking leaves nothing behind: without a database there is no status to be read.
        kept = settings.database.exists()
        database = settings.database if kept else Path(scratch) / settings.database.name
        store = DirectoryStore(settings.manifests, database, settings.secrets, clock)
        sources = LiveSources(
            clock=clock,
            store=store,
            calendars=calendars,
            services=services,
            identities=identities,
            hosts=settings.calendar_hosts,
            directory_of=store.directory_of,
            endpoints=settings.endpoints,
        )
        async with contextlib.aclosing(store), _adapters(sources, clock) as world:
            tree = await asyncio.to_thread(ManifestFiles(settings.manifests).look, trust=True)
            faults = [Fault(str(path), sentence) for path, sentence in tree.problems]
            with _without_repeating():
                await store.open(beside=True)
                objects = await store.objects()
            for stored in objects:
                world.admit(stored)
            faults += _faults(world, {key: found.path for key, found in tree.manifests.items()})
            yield Opened(world=world, clock=clock, store=store, faults=tuple(faults))


@contextlib.contextmanager
def _without_repeating() -> Iterator[None]:
    """Keep the store from logging the problems that are told as faults."""
    log = logging.getLogger("slackwater.stores.directory")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


# --- a cluster ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _cluster(settings: OperatorSettings, clock: Clock) -> AsyncIterator[Opened]:
    # The client of the API is heavy, and a directory needs none.
    from slackwater.stores.cluster import Cluster
    from slackwater.stores.kubernetes import KubernetesStore

    identities = await asyncio.to_thread(read_identities, settings.identities)
    calendars, services = cluster_policies(settings.allow_networks)
    cluster = await Cluster.connect(
        clock, kubeconfig=settings.kubeconfig, context=settings.context, timeout=LIMIT
    )
    async with contextlib.aclosing(cluster):
        store = KubernetesStore(cluster, clock, namespaces=settings.namespaces)
        objects = await _listed(cluster, settings.namespaces)
        sources = LiveSources(
            clock=clock,
            store=store,
            calendars=calendars,
            services=services,
            identities=identities,
            endpoints=settings.endpoints,
            hosts=settings.calendar_hosts,
        )
        async with _adapters(sources, clock) as world:
            for stored in objects:
                world.admit(stored)
            withheld = await _referred(cluster, world)
            yield Opened(world=world, clock=clock, store=store, _withheld=withheld)


async def _listed(cluster: Cluster, namespaces: tuple[str, ...]) -> list[Stored]:
    """Every object of these namespaces, or of all. Raises StoreError."""
    from slackwater.stores.listing import list_all
    from slackwater.stores.objects import PLURALS, is_leaving, list_path, parse

    async def one(kind: Kind, namespace: str | None) -> tuple[Stored, ...]:
        listing = await list_all(
            cluster,
            list_path(kind, namespace),
            lambda body: None if is_leaving(body) else parse(kind, body),
        )
        return listing.items

    lists = await asyncio.gather(
        *(one(kind, namespace) for kind in PLURALS for namespace in namespaces or (None,))
    )
    return [stored for items in lists for stored in items]


async def _referred(cluster: Cluster, world: World) -> dict[Key, Trouble]:
    """Read what is referred to in other namespaces; gives why some of it could not be read."""
    from slackwater.stores.objects import object_path, parse

    withheld: dict[Key, Trouble] = {}

    async def one(key: Key) -> None:
        try:
            body = await cluster.call("GET", object_path(key))
        except StoreError as error:
            if error.reason is not Reason.NOT_FOUND:
                withheld[key] = Trouble(error.reason, error.gaps)
        else:
            world.admit(parse(key.kind, body))

    missing = [key for key, users in world.users.items() if users and key not in world.following]
    await asyncio.gather(*(one(key) for key in missing))
    return withheld


# --- the world ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _adapters(sources: LiveSources, clock: Clock) -> AsyncIterator[World]:
    """A world whose adapters are closed at the end."""

    def nothing(_: object) -> None:
        """Nobody waits for news."""

    world = World(
        clock=clock,
        random=Random(0),  # noqa: S311 - spreads polls, of which there are none
        sources=sources,
        touched=nothing,
        poked=nothing,
        published=nothing,
        closing=nothing,
    )
    try:
        yield world
    finally:
        adapters = [
            getattr(follower, "airflow", None) or getattr(follower, "source", None)
            for follower in world.following.values()
        ]
        closing = [adapter.aclose() for adapter in adapters if adapter is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING.total_seconds()):
                await asyncio.gather(*closing, sources.aclose(), return_exceptions=True)


def _faults(world: World, paths: Mapping[Key, Path]) -> list[Fault]:
    """Objects whose spec cannot be used."""
    found = {
        record.stored.key: record.config
        for record in world.windows.values()
        if record.config is not None
    }
    for key, follower in world.following.items():
        if follower.trouble is not None:
            found[key] = follower.trouble
    return [
        Fault(
            place_of(key, paths[key]) if key in paths else str(key),
            say(trouble.reason, **trouble.gaps),
            WORDS[trouble.reason].remedy,
        )
        for key, trouble in sorted(found.items(), key=lambda item: item[0])
    ]


def trouble_of(error: SlackwaterError, what: str) -> Trouble:
    """An error as what its sentence needs; `what` stands in where the error names nothing."""
    return Trouble(error.reason, {"what": what} | dict(error.gaps))
