"""From a GPUPool's spec to a source of its numbers."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.api.pool_source import PodLabels, PrometheusAuth, PrometheusSource
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.gpus.access import trust
from slackwater.gpus.client import RESERVED
from slackwater.gpus.config import (
    Auth,
    Basic,
    Bearer,
    ClientCertificate,
    Mode,
    PoolConfig,
    PrometheusConfig,
    SecretKey,
    SelectNodes,
    Toleration,
)
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.gpus.static import StaticPool
from slackwater.net import SERVICE_POLICY, NetPolicy
from slackwater.ports import Clock, PoolSource, SecretReader
from slackwater.wire import SecretKeyRef

NodeNames = Callable[[Mapping[str, Any]], Awaitable[frozenset[str] | None]]
"""`Store.node_names`."""

_FIELD: Final = "spec.source.prometheus"
_OUR_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "host", "transfer-encoding", "upgrade"}
)


def open_pool(
    ref: Ref,
    spec: GPUPoolSpec,
    *,
    clock: Clock,
    secrets: SecretReader,
    node_names: NodeNames,
    policy: NetPolicy = SERVICE_POLICY,
) -> PoolSource:
    """The source that a GPUPool's spec describes; nothing is asked yet.

    Args:
        ref: the pool; its namespace is where its secrets are.
        spec: what its owner wrote.
        clock: ours.
        secrets: holds the credentials.
        node_names: resolves `nodeSelector`; called at each sample, so it should answer from a
            cache.
        policy: which addresses may be reached.

    Raises:
        ConfigError: INVALID_SPEC, naming the field.
    """
    if spec.source.static is not None:
        return StaticPool(spec.source.static.gpus, clock)
    source = spec.source.prometheus
    assert source is not None, "the model demands exactly one source"
    return PrometheusPool(
        pool_config(ref, spec, node_names),
        prometheus_config(source),
        clock=clock,
        secrets=secrets,
        policy=policy,
    )


def pool_config(ref: Ref, spec: GPUPoolSpec, node_names: NodeNames) -> PoolConfig:
    """Which GPUs the pool means."""
    select: SelectNodes | None = None
    if spec.node_selector is not None:
        selector = spec.node_selector.to_wire()

        async def select() -> frozenset[str] | None:
            return await node_names(selector)

    return PoolConfig(
        ref=ref,
        nodes=spec.nodes,
        select_nodes=select,
        tolerations=tuple(
            Toleration(key=one.key, value=one.value, effect=one.effect) for one in spec.tolerations
        ),
        resource=spec.resource,
        namespaces=frozenset(name for one in spec.reservations for name in one.namespaces),
    )


def prometheus_config(source: PrometheusSource) -> PrometheusConfig:
    """Where the pool's numbers are.

    Raises:
        ConfigError: INVALID_SPEC for an address without a host, a parameter or header that is
            ours to set, or a CA bundle that cannot be read.
    """
    try:
        usable = urlsplit(source.server_address).hostname
    except ValueError:
        usable = None
    if not usable:
        raise _invalid("serverAddress", "is no address of a server")
    for name in sorted(RESERVED & source.query_parameters.keys()):
        raise _invalid("queryParameters", f"{name} is set by Slackwater")
    for header in source.headers:
        if header.name.lower() in _OUR_HEADERS:
            raise _invalid("headers", f"{header.name} is set by Slackwater")
    if source.ca_bundle is not None:
        try:
            trust(source.ca_bundle)
        except (ssl.SSLError, ValueError):
            raise _invalid("caBundle", "holds no certificate that can be read") from None
    queries = source.queries.model_dump(by_alias=True, exclude_none=True) if source.queries else {}
    return PrometheusConfig(
        server_address=source.server_address,
        mode=Mode(source.mode),
        auth=None if source.auth is None else _auth(source.auth),
        headers=tuple((one.name, _key(one.value_secret_ref)) for one in source.headers),
        query_parameters=tuple(source.query_parameters.items()),
        ca_bundle=source.ca_bundle,
        timeout=timedelta(seconds=source.timeout_seconds),
        queries=queries,
        busy_percent=source.busy_percent,
        pod_labels=source.pod_labels is PodLabels.AUTO,
        recorded=source.recorded_series,
    )


def _invalid(field: str, problem: str) -> ConfigError:
    return ConfigError(Reason.INVALID_SPEC, detail=f"{_FIELD}.{field}: {problem}.")


def _auth(auth: PrometheusAuth) -> Auth | None:
    if auth.bearer_token_secret_ref is not None:
        return Bearer(_key(auth.bearer_token_secret_ref))
    if auth.basic is not None:
        basic = auth.basic
        return Basic(_key(basic.username_secret_ref), _key(basic.password_secret_ref))
    if (shown := auth.client_certificate) is not None:
        return ClientCertificate(_key(shown.certificate_secret_ref), _key(shown.key_secret_ref))
    return None


def _key(ref: SecretKeyRef) -> SecretKey:
    return SecretKey(ref.name, ref.key)
