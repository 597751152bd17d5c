"""What a pool's source needs to know, as plain data; `slackwater.gpus.open` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from slackwater.core.spec import Ref


class Mode(StrEnum):
    """Who knows the pool's GPUs."""

    KUBERNETES = "Kubernetes"
    EXPORTER = "Exporter"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key of a Secret in the pool's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer <token>`."""

    token: SecretKey


@dataclass(frozen=True, slots=True)
class Basic:
    """`Authorization: Basic <user:password>` (RFC 7617)."""

    username: SecretKey
    password: SecretKey


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate with its key, both PEM (mutual TLS)."""

    certificate: SecretKey
    key: SecretKey


Auth = Bearer | Basic | ClientCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusConfig:
    """`spec.source.prometheus` of a GPUPool.

    Attributes:
        server_address: where the API is, with a path prefix where there is one.
        mode: whether kube-state-metrics or only the GPU exporter is asked.
        auth: how we say who we are, if at all.
        headers: extra headers with values from secrets, as (name, secret) pairs.
        query_parameters: put on every request, such as Thanos' `partial_response`.
        ca_bundle: PEM of the authorities to trust instead of the system's.
        timeout: the whole of one request, from connecting to the last byte.
        queries: PromQL in place of built-in queries, by wire name (`capacity`, `sampleAge`, ...).
        busy_percent: in mode Exporter, load above which a GPU is in use.
        pod_labels: whether pods' own labels tell which run they belong to, where they can be read.
        recorded: whether the series of `slackwater.gpus.rules` are there and to be read.
    """

    server_address: str = field(repr=False)
    mode: Mode = Mode.KUBERNETES
    auth: Auth | None = None
    headers: tuple[tuple[str, SecretKey], ...] = ()
    query_parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_bundle: str | None = field(default=None, repr=False)
    timeout: timedelta = timedelta(seconds=10)
    queries: Mapping[str, str] = field(default_factory=dict)
    busy_percent: float = 5.0
    pod_labels: bool = True
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Toleration:
    """Taints that keep nobody of the pool's users away; None means any."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None


SelectNodes = Callable[[], Awaitable[frozenset[str] | None]]
"""Resolves the pool's node selector; None where the store has no nodes. Called at each sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """What of a GPUPool's spec says which GPUs are meant.

    Attributes:
        ref: the pool.
        nodes: regular expression of node names; with neither this nor `select_nodes` every
            node that has the resource belongs to the pool.
        select_nodes: names by node selector.
        tolerations: taints that do not make a node unusable.
        resource: the extended resource that stands for a GPU.
        namespaces: whose pods' GPUs are counted apart, for reservations.
    """

    ref: Ref
    nodes: str | None = None
    select_nodes: SelectNodes | None = None
    tolerations: tuple[Toleration, ...] = ()
    resource: str = "nvidia.com/gpu"
    namespaces: frozenset[str] = frozenset()


def describe(ref: Ref, query: str | None = None) -> str:
    """What a pool's Prometheus is called in messages; `query` is one of `spec...queries`."""
    return f"Prometheus of pool {ref}" + (f" (queries.{query})" if query else "")
