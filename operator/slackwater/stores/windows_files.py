"""Where the windows file stands: ConfigMaps of a cluster, or a file of the data directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import Conflict, Gone, StoreError
from slackwater.stores.cluster import Cluster
from slackwater.stores.objects import MERGE_PATCH, core_path

KEY: Final = "windows.json"
"""The key of the ConfigMap, and so the name of the file where it is mounted."""


class ConfigMaps:
    """Implements `ports.WindowsFile`: the same text in each of some ConfigMaps.

    A ConfigMap can only be mounted in its own namespace, so each namespace with an Airflow has one.

    Args:
        cluster: the connection; the caller closes it.
        refs: which ConfigMaps.
    """

    def __init__(self, cluster: Cluster, refs: Sequence[Ref]) -> None:
        self._cluster, self._refs = cluster, tuple(refs)

    async def write(self, text: str) -> None:
        """Write all of them, whatever happens to one.

        Raises:
            StoreError: one of them, the last that failed, could not be written.
        """
        failed: StoreError | None = None
        for ref in self._refs:
            try:
                await self._write(ref, text)
            except StoreError as error:
                failed = StoreError(error.reason, what=f"ConfigMap {ref} of the Kubernetes API")
        if failed is not None:
            raise failed

    async def _write(self, ref: Ref, text: str) -> None:
        path = core_path("namespaces", ref.namespace, "configmaps")
        body = {"data": {KEY: text}}
        try:
            await self._cluster.call(
                "PATCH", f"{path}/{ref.name}", body=body, content_type=MERGE_PATCH
            )
        except Gone:
            metadata = {
                "name": ref.name,
                "namespace": ref.namespace,
                "labels": {"app.kubernetes.io/managed-by": "slackwater"},
            }
            whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **body}
            try:
                await self._cluster.call("POST", path, body=whole)
            except Conflict:  # somebody was faster: the next round patches
                raise StoreError(Reason.UNAVAILABLE, what=str(ref)) from None
            except Gone:
                raise StoreError(Reason.NOT_FOUND, what=f"namespace {ref.namespace}") from None


class LocalWindowsFile:
    """Implements `ports.WindowsFile`: one file, replaced whole.

    Args:
        path: the file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, text: str) -> None:
        """Replace the file. Raises StoreError."""
        try:
            await asyncio.to_thread(self._replace, text)
        except OSError as error:
            raise StoreError(Reason.UNAVAILABLE, what=f"the file {self._path}") from error

    def _replace(self, text: str) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
