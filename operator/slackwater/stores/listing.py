"""Complete lists, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from slackwater.core.words import Reason
from slackwater.errors import Gone, StoreError
from slackwater.stores.cluster import API, JSON, Cluster, refusal

T = TypeVar("T")

PAGE: Final = 500
_RESTARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A consistent list: everything that existed at `version`."""

    items: tuple[T, ...]
    version: str


async def list_all(
    cluster: Cluster,
    path: str,
    take: Callable[[Mapping[str, Any]], T | None],
    *,
    query: tuple[tuple[str, str], ...] = (),
    accept: str = JSON,
) -> Listing[T]:
    """List a collection to its end, in pages of 500, all of one version.

    Args:
        cluster: where to ask.
        path: the collection.
        take: what is kept of an item; None leaves it out. Called page by page, so that no more
            than a page of raw items is in memory.
        query: selectors.
        accept: another representation than plain JSON.

    Raises:
        StoreError: NOT_FOUND where the server has no such resource; others as `Cluster.call`.
    """
    for _ in range(_RESTARTS):
        listing = await _one_pass(cluster, path, take, query, accept)
        if listing is not None:
            return listing
    raise StoreError(Reason.UNAVAILABLE, what=API)


async def _one_pass(
    cluster: Cluster,
    path: str,
    take: Callable[[Mapping[str, Any]], T | None],
    query: tuple[tuple[str, str], ...],
    accept: str,
) -> Listing[T] | None:
    """The list, or None where the server forgot the version before the last page was read."""
    items: list[T] = []
    cursor = ""
    while True:
        page = (*query, ("limit", str(PAGE)), *((("continue", cursor),) if cursor else ()))
        reply = await cluster.request("GET", path, query=page, accept=accept)
        if reply.status == 410 and cursor:
            return None
        if reply.status >= 300:
            error = refusal(reply)
            if isinstance(error, Gone):
                raise StoreError(Reason.NOT_FOUND, what=f"{path} of {API}") from error
            raise error
        for raw in reply.body.get("items") or ():
            item = take(raw)
            if item is not None:
                items.append(item)
        metadata = reply.body["metadata"]
        cursor = metadata.get("continue") or ""
        if not cursor:
            return Listing(tuple(items), metadata["resourceVersion"])
