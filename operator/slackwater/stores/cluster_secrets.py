"""Secrets of the cluster, read by name when they are needed.

They are neither listed nor watched, so the operator needs no right to see all of them. What was
read is read again every minute by version, so that a rotated password is noticed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from slackwater.core.words import Reason
from slackwater.errors import Gone, SecretError, StoreError
from slackwater.ports import Clock, SecretsChanged
from slackwater.stores.cluster import API, Cluster
from slackwater.stores.objects import core_path
from slackwater.stores.recent import Recent

KEEP: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class _Secret:
    """A secret as last read; `version` is empty where there is none or it may not be read."""

    version: str
    data: Mapping[str, str] = field(repr=False)


_NONE: Final = _Secret("", {})


class ClusterSecrets:
    """Implements `ports.SecretReader`.

    Args:
        cluster: where to ask.
        clock: gives the monotonic time.
        changed: told when a secret that was read is not what it was.
        wanted: the (namespace, name) pairs that some object still names.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        changed: Callable[[SecretsChanged], None],
        wanted: Callable[[], frozenset[tuple[str, str]]],
    ) -> None:
        self._cluster = cluster
        self._changed = changed
        self._wanted = wanted
        self._versions: dict[tuple[str, str], str] = {}
        self._recent: Recent[tuple[str, str], _Secret] = Recent(clock, KEEP)

    async def read(self, namespace: str, name: str, key: str) -> str:
        """One value of a secret, as text.

        Raises:
            SecretError: SECRET_NOT_FOUND (also where reading is forbidden: without the right to
                read, existence must not show), SECRET_KEY_NOT_FOUND, MALFORMED (not base64 of
                UTF-8), or why the API server could not be asked.
        """
        ref = f"{namespace}/{name}"
        try:
            secret = await self._read(namespace, name, fresh=False)
        except StoreError as error:
            raise SecretError(error.reason, what=API) from error
        if secret is _NONE:
            raise SecretError(Reason.SECRET_NOT_FOUND, ref=ref)
        if key not in secret.data:
            raise SecretError(Reason.SECRET_KEY_NOT_FOUND, ref=ref, key=key)
        try:
            return base64.b64decode(secret.data[key], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            # The cause would quote the value.
            raise SecretError(Reason.MALFORMED, what=f"Secret {ref}") from None

    async def recheck(self) -> None:
        """Read again every secret that is in use, and tell which ones changed.

        Raises:
            StoreError: the API server cannot be asked; the rest is left for the next time.
        """
        wanted = self._wanted()
        for namespace, name in list(self._versions):
            if (namespace, name) in wanted:
                await self._read(namespace, name, fresh=True)
            else:
                self._versions.pop((namespace, name), None)

    async def _read(self, namespace: str, name: str, *, fresh: bool) -> _Secret:
        secret = await self._recent.get(
            (namespace, name), lambda: self._fetch(namespace, name), fresh=fresh
        )
        before = self._versions.get((namespace, name))
        self._versions[namespace, name] = secret.version
        if before is not None and before != secret.version:
            self._changed(SecretsChanged(namespace, name))
        return secret

    async def _fetch(self, namespace: str, name: str) -> _Secret:
        try:
            body = await self._cluster.call(
                "GET", core_path("namespaces", namespace, "secrets", name)
            )
        except Gone:
            return _NONE
        except StoreError as error:
            if error.reason is Reason.FORBIDDEN:
                return _NONE
            raise
        return _Secret(body["metadata"]["resourceVersion"], body.get("data") or {})


def named_secrets(spec: object) -> Iterator[str]:
    """Names of the secrets that a spec refers to: every `{name, key}` in it."""
    if isinstance(spec, Mapping):
        if spec.keys() == {"name", "key"}:
            yield str(spec["name"])
        for value in spec.values():
            yield from named_secrets(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from named_secrets(value)
