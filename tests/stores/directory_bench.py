"""A directory of manifests, a database and a clock for tests of the directory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from slackwater.core.spec import Ref
from slackwater.ports import Change, Changed, Deleted, Key, Kind, Listed
from slackwater.stores.directory import DirectoryStore

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class StillClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return (self.time - START).total_seconds()


def window_key(name: str = "nightly", namespace: str = "research") -> Key:
    return Key(Kind.TRAINING_WINDOW, Ref(namespace, name))


def window(name: str = "nightly", *, namespace: str = "research", **changes: Any) -> dict[str, Any]:
    """A TrainingWindow; `annotations` go into its metadata, all else into its spec."""
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if "annotations" in changes:
        metadata["annotations"] = changes.pop("annotations")
    spec = {
        "windows": [
            {
                "name": "nights",
                "effect": "Trigger",
                "schedule": "0 22 * * *",
                "durationSeconds": 3600,
            }
        ],
        "dag": {"airflowRef": {"name": "default"}, "dagId": "train"},
        **changes,
    }
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "TrainingWindow",
        "metadata": metadata,
        "spec": spec,
    }


def text(*documents: dict[str, Any]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


class Bench:
    """Where the files are, and stores over them."""

    def __init__(self, root: Path) -> None:
        self.manifests = root / "manifests"
        self.manifests.mkdir()
        self.database = root / "state" / "slackwater.db"
        self.secrets = root / "secrets"
        self.clock = StillClock()

    def write(self, name: str, *documents: dict[str, Any]) -> Path:
        path = self.manifests / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(*documents))
        return path

    def store(self, *, poll: float = 0.01, **options: Any) -> DirectoryStore:
        return DirectoryStore(
            [self.manifests],
            self.database,
            self.secrets,
            self.clock,
            timedelta(seconds=poll),
            **options,
        )

    @asynccontextmanager
    async def opened(
        self, *, beside: bool = False, **options: Any
    ) -> AsyncIterator[DirectoryStore]:
        store = self.store(**options)
        try:
            await store.open(beside=beside)
            yield store
        finally:
            await store.aclose()


class Stream:
    """The changes of a store, with what a reader that follows them knows."""

    def __init__(self, store: DirectoryStore) -> None:
        self._changes = store.changes()
        self.known: dict[Key, Any] = {}
        self.seen: list[Change] = []

    async def next(self) -> Change:
        async with asyncio.timeout(10):
            change = await anext(self._changes)
        self.seen.append(change)
        match change:
            case Changed(stored):
                self.known[stored.key] = stored
            case Deleted(key):
                del self.known[key]
            case _:
                pass
        return change

    async def until_listed(self) -> None:
        while not isinstance(await self.next(), Listed):
            pass

    async def aclose(self) -> None:
        await self._changes.aclose()


async def settle(store: DirectoryStore) -> None:
    """What a quiet directory needs until it is believed."""
    await store.look()
    await store.look()
