"""What else the cluster is asked: its identity, labels of namespaces, names of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, Gone
from slackwater.ports import Clock
from slackwater.stores.cluster import JSON, Cluster
from slackwater.stores.listing import list_all
from slackwater.stores.objects import core_path
from slackwater.stores.recent import Recent

KEEP: Final = timedelta(seconds=60)
# Nodes carry long lists of images; only their metadata is wanted.
_METADATA_ONLY: Final = f"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"


class ClusterFacts:
    """Reads that change seldom, kept for a minute.

    Args:
        cluster: where to ask.
        clock: gives the monotonic time.
        installation: what `installation` shall say instead of the cluster's own id.
    """

    def __init__(self, cluster: Cluster, clock: Clock, installation: str | None = None) -> None:
        self._cluster = cluster
        self._installation = installation
        self._labels: Recent[str, Mapping[str, str]] = Recent(clock, KEEP)
        self._nodes: Recent[str, frozenset[str]] = Recent(clock, KEEP)

    async def installation(self) -> str:
        """The uid of kube-system, the nearest thing to an id that a cluster has."""
        if self._installation is None:
            body = await self._cluster.call("GET", core_path("namespaces", "kube-system"))
            self._installation = str(body["metadata"]["uid"])
        return self._installation

    async def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of a namespace; empty where it does not exist."""

        async def fetch() -> Mapping[str, str]:
            try:
                body = await self._cluster.call("GET", core_path("namespaces", namespace))
            except Gone:
                return {}
            return body["metadata"].get("labels") or {}

        return await self._labels.get(namespace, fetch)

    async def node_names(self, selector: Mapping[str, Any]) -> frozenset[str]:
        """Names of the nodes that a Kubernetes LabelSelector picks; an empty one picks all."""
        text = selector_text(selector)

        async def fetch() -> frozenset[str]:
            listing = await list_all(
                self._cluster,
                core_path("nodes"),
                lambda item: str(item["metadata"]["name"]),
                query=(("labelSelector", text),) if text else (),
                accept=_METADATA_ONLY,
            )
            return frozenset(listing.items)

        return await self._nodes.get(text, fetch)


def selector_text(selector: Mapping[str, Any]) -> str:
    """A LabelSelector (`matchLabels`, `matchExpressions`) as the API's query wants it.

    >>> selector_text({"matchLabels": {"gpu": "h100"}})
    'gpu=h100'

    Raises:
        ConfigError: an operator that label selectors do not have.
    """
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions: Sequence[Mapping[str, Any]] = selector.get("matchExpressions") or ()
    parts = [f"{name}={value}" for name, value in labels.items()]
    parts += [_requirement(expression) for expression in expressions]
    return ",".join(sorted(parts))


def _requirement(expression: Mapping[str, Any]) -> str:
    name, operator = expression["key"], expression["operator"]
    values = ",".join(sorted(expression.get("values") or ()))
    match operator:
        case "In":
            return f"{name} in ({values})"
        case "NotIn":
            return f"{name} notin ({values})"
        case "Exists":
            return str(name)
        case "DoesNotExist":
            return f"!{name}"
        case _:
            detail = f"nodeSelector: {operator} is not one of In, NotIn, Exists, DoesNotExist"
            raise ConfigError(Reason.INVALID_SPEC, detail=detail)
