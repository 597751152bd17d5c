"""Where TrainingWindows are, for commands that look at them or ask something of them.

The same questions to a directory, beside a `slackwater run` that may be running on it, and to a
cluster.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Conflict, Gone, StoreError
from slackwater.ports import Key, Kind, Stored
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.settings import (
    DirectorySettings,
    directory_settings,
    kubeconfig_of,
    names_directory,
)

if TYPE_CHECKING:  # heavy: only where it is used
    from slackwater.stores.cluster import Cluster
    from slackwater.stores.directory import DirectoryStore

_TRIES: Final = 5
_SHOWN: Final = 3

Edit = Callable[[Stored], str]
"""From an object as it is now to the value that an annotation is to have."""


class Place(Protocol):
    """Where TrainingWindows can be looked up and asked for something."""

    async def find(self, ref: Ref) -> Stored:
        """The TrainingWindow. Raises ConfigError with near names, or StoreError."""
        ...

    async def annotate(self, stored: Stored, name: str, edit: Edit) -> None:
        """Set an annotation to what `edit` makes of the object, read again where it changed."""
        ...

    async def suspend(self, stored: Stored, *, suspended: bool) -> None:
        """Set `spec.suspend`."""
        ...

    def see(self, ref: Ref) -> str:
        """The command that shows what became of it."""
        ...

    def taken_up(self) -> str:
        """Who does what was asked, and when, for a sentence."""
        ...


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the TrainingWindows are."""
    group = parser.add_argument_group(
        "where", "A directory with --data or --manifests; else a cluster, as kubectl finds it."
    )
    group.add_argument("--data", metavar="DIR", help="where `slackwater run` keeps its state")
    group.add_argument(
        "--manifests",
        metavar="DIR",
        action="append",
        help="the manifests, where they are not those of the last `slackwater run`; may be "
        "repeated",
    )
    group.add_argument("--kubeconfig", metavar="FILE", help="instead of kubectl's own")
    group.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig; its current one"
    )


@asynccontextmanager
async def place_of(args: argparse.Namespace) -> AsyncIterator[Place]:
    """The place that flags and environment name. Raises ConfigError, StoreError."""
    flags = vars(args)
    if names_directory(flags, os.environ):
        settings = directory_settings(flags, os.environ, beside=True)
        async with _opened(settings) as store:
            yield _Directory(store, settings)
        return
    from slackwater.stores.cluster import Cluster

    try:
        kubeconfig = kubeconfig_of(flags, os.environ)
        cluster = await Cluster.connect(SystemClock(), kubeconfig=kubeconfig, context=args.context)
    except ConfigError as error:
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"{error.sentence.rstrip('.')}; or name a directory with --data or --manifests.",
        ) from error
    try:
        yield _Cluster(cluster, kubeconfig, args.context)
    finally:
        await cluster.aclose()


@asynccontextmanager
async def _opened(settings: DirectorySettings) -> AsyncIterator[DirectoryStore]:
    from slackwater.stores.directory import DirectoryStore

    if not settings.database.exists():
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"No `slackwater run` has kept its state in {settings.data} yet; name its "
            "directory with --data DIR.",
        )
    store = DirectoryStore(
        settings.manifests, settings.database, settings.secrets, SystemClock(), settings.poll
    )
    try:
        await store.open(beside=True)
        yield store
    finally:
        await store.aclose()


def parse_ref(text: str) -> Ref:
    """`NAMESPACE/NAME`. Raises ConfigError."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"{text} names no TrainingWindow; write NAMESPACE/NAME, such as "
            "research/nightly-llm.",
        )
    return Ref(namespace, name)


def _unknown(ref: Ref, known: Mapping[Ref, Any]) -> ConfigError:
    names = [str(one) for one in known]
    near = get_close_matches(str(ref), names, n=_SHOWN, cutoff=0.75)
    near += [str(one) for one in known if one.name == ref.name and str(one) not in near]
    hint = f"did you mean {' or '.join(near[:_SHOWN])}?" if near else "check namespace and name."
    return ConfigError(Reason.INVALID_SPEC, detail=f"There is no TrainingWindow {ref}; {hint}")


class _Directory:
    """A directory of manifests, beside the process that runs on it."""

    def __init__(self, store: DirectoryStore, settings: DirectorySettings) -> None:
        self._store, self._settings = store, settings

    async def find(self, ref: Ref) -> Stored:
        windows = {
            stored.key.ref: stored
            for stored in await self._store.objects()
            if stored.key.kind is Kind.TRAINING_WINDOW
        }
        if ref not in windows:
            raise _unknown(ref, windows)
        return windows[ref]

    async def annotate(self, stored: Stored, name: str, edit: Edit) -> None:
        await self._store.set_annotation(stored.key, name, edit(await self.find(stored.key.ref)))

    async def suspend(self, stored: Stored, *, suspended: bool) -> None:
        from slackwater.stores.record import SUSPEND

        await self._store.set_annotation(stored.key, SUSPEND, str(suspended).lower())

    def see(self, ref: Ref) -> str:
        words = ["slackwater", "explain", str(ref), "--data", str(self._settings.data)]
        words += ["--manifests", *map(str, self._settings.manifests)]
        return shlex.join(words)

    def taken_up(self) -> str:
        return f"the `slackwater run` on {self._settings.data} takes this up within seconds"


class _Cluster:
    """A cluster, by the rights of whoever runs the command."""

    def __init__(self, cluster: Cluster, kubeconfig: Path | None, context: str | None) -> None:
        self._cluster, self._kubeconfig, self._context = cluster, kubeconfig, context

    async def find(self, ref: Ref) -> Stored:
        from slackwater.stores.objects import object_path, parse

        key = Key(Kind.TRAINING_WINDOW, ref)
        try:
            body = await self._cluster.call("GET", object_path(key))
        except Gone:
            raise _unknown(ref, await self._around(ref)) from None
        return parse(Kind.TRAINING_WINDOW, body)

    async def _around(self, ref: Ref) -> Mapping[Ref, Any]:
        """What there is instead: everywhere, or in the namespace, as far as rights go."""
        from slackwater.stores.listing import list_all
        from slackwater.stores.objects import list_path

        for namespace in (None, ref.namespace):
            try:
                listing = await list_all(
                    self._cluster, list_path(Kind.TRAINING_WINDOW, namespace), _name
                )
            except StoreError as error:
                if error.reason is Reason.NOT_FOUND:
                    raise ConfigError(
                        Reason.INVALID_SPEC,
                        detail="The cluster has no TrainingWindows at all; install the resources "
                        "with `slackwater crds | kubectl apply --server-side -f -`.",
                    ) from error
                continue
            return dict.fromkeys(listing.items)
        return {}

    async def annotate(self, stored: Stored, name: str, edit: Edit) -> None:
        for _ in range(_TRIES):
            value = edit(stored)
            try:
                await self._patch(
                    stored,
                    {
                        "metadata": {
                            "annotations": {name: value},
                            "resourceVersion": stored.resource_version,
                        }
                    },
                )
            except Conflict:  # its status was written meanwhile, or somebody else's word
                stored = await self.find(stored.key.ref)
                continue
            return
        raise StoreError(Reason.UNAVAILABLE, what=f"{stored.key} changes all the time; it")

    async def suspend(self, stored: Stored, *, suspended: bool) -> None:
        await self._patch(stored, {"spec": {"suspend": suspended}})

    async def _patch(self, stored: Stored, body: Mapping[str, Any]) -> None:
        from slackwater.stores.objects import MERGE_PATCH, object_path

        await self._cluster.call(
            "PATCH", object_path(stored.key), body=body, content_type=MERGE_PATCH
        )

    def see(self, ref: Ref) -> str:
        words = ["kubectl"]
        if self._kubeconfig is not None:
            words += ["--kubeconfig", str(self._kubeconfig)]
        if self._context is not None:
            words += ["--context", self._context]
        return shlex.join([*words, "-n", ref.namespace, "describe", "tw", ref.name])

    def taken_up(self) -> str:
        return "the operator takes this up within seconds"


def _name(body: Mapping[str, Any]) -> Ref:
    return Ref(body["metadata"]["namespace"], body["metadata"]["name"])
