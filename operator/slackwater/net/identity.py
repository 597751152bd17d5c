"""Identities that the operator's own configuration lends to objects (design §2, R14).

A resource names an identity and nothing more: which file holds its token, which hosts may be shown
it and whose objects may use it stands in the operator's configuration, out of users' reach.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

EVERY_NAMESPACE: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorIdentity:
    """One identity.

    Attributes:
        name: what objects call it.
        token_file: holds its token, kept fresh by something else: a projected service account
            token, or what a sidecar writes.
        hosts: who may be shown the token, as `host` or `host:port`, in lower case.
        namespaces: whose objects may use it; `EVERY_NAMESPACE` stands for all.
    """

    name: str
    token_file: Path = field(repr=False)
    hosts: frozenset[str]
    namespaces: frozenset[str]

    def serves(self, namespace: str, url: str) -> bool:
        """Whether an object of this namespace may use it at this URL."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        known = host in self.hosts or f"{host}:{port}" in self.hosts
        return known and not self.namespaces.isdisjoint({namespace, EVERY_NAMESPACE})


class Identities:
    """All identities, by name."""

    def __init__(self, identities: Iterable[OperatorIdentity] = ()) -> None:
        self._by_name = {identity.name: identity for identity in identities}

    def lent(self, name: str, namespace: str, url: str) -> OperatorIdentity | None:
        """The identity, where an object of this namespace may use it at this URL; None else.

        One that does not exist and one that is not lent look the same from outside.
        """
        identity = self._by_name.get(name)
        return identity if identity is not None and identity.serves(namespace, url) else None
