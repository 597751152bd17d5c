"""Slackwater itself, as a process of its own, and what it says in the status of its objects."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slackwater.ports import Kind
from slackwater.runtime.clock import SystemClock
from slackwater.stores.directory import DirectoryStore
from testbed import web
from testbed.process import Server

_SOURCES = Path(__file__).parents[1] / "operator"

Statuses = dict[str, Mapping[str, Any]]
"""`status` of each object of one kind, by name; all are in the namespace of the examples."""


class Controller(Server):
    """A process of ours that acts on TrainingWindows."""

    name = "slackwater"
    start_timeout = 60.0

    def environment(self) -> Mapping[str, str]:
        """Works from a checkout, whether or not it is installed."""
        return {"PYTHONPATH": str(_SOURCES)}

    def ready(self) -> bool:
        """It has read every object."""
        return web.answers(f"{self.url}/readyz")

    def statuses(self, kind: Kind) -> Statuses:
        """What the objects of a kind say now."""
        raise NotImplementedError


class DirectoryController(Controller):
    """`slackwater run` on a directory of manifests.

    Args:
        home: where its log and its data are.
        manifests: the directory.
        secrets: the directory of secrets.
        flags: what it has to be told besides.
        variables: of its environment.
    """

    def __init__(
        self,
        home: Path,
        manifests: Path,
        secrets: Path,
        flags: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(home)
        self._manifests, self._secrets = manifests, secrets
        self._flags, self._variables = tuple(flags), dict(variables or {})
        self._loop = asyncio.Runner()
        self._store: DirectoryStore | None = None

    def command(self) -> Sequence[str | Path]:
        """As a user would type it."""
        return [
            *(sys.executable, "-m", "slackwater", "run"),
            *("--manifests", self._manifests, "--secrets", self._secrets),
            *("--data", self.home / "data", "--listen", f"127.0.0.1:{self.port}"),
            *self._flags,
        ]

    def environment(self) -> Mapping[str, str]:
        """What the calendar's service needs is there too."""
        return {**super().environment(), **self._variables}

    def statuses(self, kind: Kind) -> Statuses:
        """Read beside the running process, as `slackwater explain` does."""
        if self._store is None:
            database = self.home / "data" / "slackwater.db"
            self._store = DirectoryStore([self._manifests], database, None, SystemClock())
            self._loop.run(self._store.open(beside=True))
        stored = self._loop.run(self._store.objects())
        return {one.key.ref.name: one.status for one in stored if one.key.kind is kind}

    def close(self) -> None:
        """Stop it and let the database go."""
        super().close()
        if self._store is not None:
            self._loop.run(self._store.aclose())
            self._store = None
        self._loop.close()


class OperatorController(Controller):
    """`slackwater operator` in place of the chart's pod: its arguments, its service account.

    Args:
        home: where its log is.
        arguments: of the container, with the address of metrics left to us.
        variables: of the container.
        kubeconfig: holds the service account's token.
        read: gives the objects of a kind as the API has them.
    """

    def __init__(
        self,
        home: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        kubeconfig: Path,
        read: Callable[[Kind], Sequence[Mapping[str, Any]]],
    ) -> None:
        super().__init__(home)
        self._arguments, self._variables = list(arguments), dict(variables)
        self._kubeconfig, self._read = kubeconfig, read

    def command(self) -> Sequence[str | Path]:
        """The container's command."""
        return [sys.executable, "-m", "slackwater", *self._arguments]

    def environment(self) -> Mapping[str, str]:
        """The container's variables, and the service account's token."""
        return {
            **super().environment(),
            **self._variables,
            "SLACKWATER_KUBECONFIG": str(self._kubeconfig),
            "SLACKWATER_METRICS_ADDRESS": f"127.0.0.1:{self.port}",
        }

    def statuses(self, kind: Kind) -> Statuses:
        """What the API server has."""
        return {item["metadata"]["name"]: item.get("status", {}) for item in self._read(kind)}
