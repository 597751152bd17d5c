"""Where a GPUPool's numbers come from: Prometheus, or a fixed number."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from slackwater.api.field import (
    DISTINCT_NAMES,
    LIST_MAP,
    Percent,
    ServerUrl,
    demand,
    exactly_one,
    is_exactly_one,
)
from slackwater.wire import SecretKeyRef, WireModel


class Mode(StrEnum):
    """Which exporters the default queries read."""

    KUBERNETES = "Kubernetes"
    EXPORTER = "Exporter"


class BasicAuth(WireModel):
    """A user name and a password (HTTP Basic)."""

    username_secret_ref: Annotated[SecretKeyRef, Field(description="Where the user name is.")]
    password_secret_ref: Annotated[SecretKeyRef, Field(description="Where the password is.")]


class ClientCertificate(WireModel):
    """A TLS client certificate."""

    certificate_secret_ref: Annotated[
        SecretKeyRef, Field(description="Where the certificate is, in PEM.")
    ]
    key_secret_ref: Annotated[SecretKeyRef, Field(description="Where its private key is, in PEM.")]


_ONE_AUTH: Final = exactly_one(
    ("bearerTokenSecretRef", "basic", "clientCertificate"),
    "leave auth out for a Prometheus without any",
)


class PrometheusAuth(WireModel):
    """How to log in: exactly one way."""

    rules = (_ONE_AUTH,)

    bearer_token_secret_ref: Annotated[
        SecretKeyRef | None, Field(description="Where the bearer token is.")
    ] = None
    basic: Annotated[
        BasicAuth | None, Field(description="A user name and a password (HTTP Basic).")
    ] = None
    client_certificate: Annotated[
        ClientCertificate | None, Field(description="A TLS client certificate.")
    ] = None

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        given = (self.bearer_token_secret_ref, self.basic, self.client_certificate)
        demand(is_exactly_one(*given), _ONE_AUTH)
        return self


class PodLabels(StrEnum):
    """Whether the labels of pods tell which run they belong to."""

    AUTO = "Auto"
    IGNORE = "Ignore"


class Header(WireModel):
    """An HTTP header that goes with every query, such as X-Scope-OrgID."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
            description="Name of the header.",
        ),
    ]
    value_secret_ref: Annotated[SecretKeyRef, Field(description="Where its value is.")]


_PromQL = Annotated[str | None, Field(min_length=1, max_length=4096)]


class Queries(WireModel):
    """PromQL in place of the default queries; a query that is left out keeps its default."""

    capacity: Annotated[
        _PromQL,
        Field(
            description="GPUs on all nodes of the pool, usable or not. Result: one series, a "
            "whole number."
        ),
    ] = None
    allocatable: Annotated[
        _PromQL,
        Field(
            description="GPUs that pods can ask for, on usable nodes only (ready, not cordoned, "
            "without foreign taints). Result: one series per node, with the label node."
        ),
    ] = None
    requested: Annotated[
        _PromQL,
        Field(
            description="GPUs that pods bound to nodes of the pool ask for. Result: one series "
            "per node, with the label node; a node without a series has none in use."
        ),
    ] = None
    waiting: Annotated[
        _PromQL,
        Field(
            description="GPUs that pods ask for which could land in the pool and are bound to no "
            "node yet. Result: one series; no series means 0."
        ),
    ] = None
    utilization: Annotated[
        _PromQL,
        Field(description="Mean utilisation of the pool's GPUs. Result: one series, from 0 to 1."),
    ] = None
    coverage: Annotated[
        _PromQL,
        Field(
            description="Share of the pool's GPUs whose exporter reports. Result: one series, "
            "from 0 to 1."
        ),
    ] = None
    sample_age: Annotated[
        _PromQL,
        Field(
            description="Age of the oldest raw series behind all of these, by the server's own "
            "clock, such as max(time() - timestamp(DCGM_FI_DEV_GPU_UTIL)). Result: one series, in "
            "seconds."
        ),
    ] = None


class PrometheusSource(WireModel):
    """A Prometheus, or what answers its query API, that knows the pool's numbers."""

    server_address: Annotated[
        ServerUrl,
        Field(
            description="Its address, such as http://prometheus.monitoring:9090, without "
            "/api/v1. Credentials belong into auth."
        ),
    ]
    mode: Annotated[
        Mode,
        Field(
            description="Which exporters the default queries read. Kubernetes: kube-state-metrics "
            "for GPUs and pods, and the DCGM exporter for utilisation. Exporter: the DCGM "
            "exporter alone, for hosts without kube-state-metrics; a GPU above busyPercent or "
            "with memory in use then counts as taken."
        ),
    ] = Mode.KUBERNETES
    pod_labels: Annotated[
        PodLabels,
        Field(
            description="How GPUs that were promised to a run are told from GPUs that its pods "
            "already request, with mode Kubernetes. Auto: by the pods' label run_id, which "
            "Airflow's KubernetesExecutor and KubernetesPodOperator set, or slackwater.dev/run, "
            "where kube-state-metrics tells of either; else as with Ignore. Ignore: whenever the "
            "pool's requests rise, the oldest promise counts as used by as much; for pools whose "
            "runs create pods without these labels."
        ),
    ] = PodLabels.AUTO
    busy_percent: Annotated[
        Percent,
        Field(description="With mode Exporter, the utilisation above which a GPU counts as taken."),
    ] = 5.0
    recorded_series: bool = Field(
        default=False,
        description="Read the series that the chart's recording rules make in place of the raw "
        "ones, which costs the server far less. Where these series are missing, the pool has no "
        "data and nothing starts.",
    )
    auth: Annotated[
        PrometheusAuth | None,
        Field(description="How to log in, exactly one way. Left out: without credentials."),
    ] = None
    headers: Annotated[
        tuple[Header, ...],
        Field(
            max_length=16,
            description="HTTP headers that go with every query, such as X-Scope-OrgID.",
            json_schema_extra=LIST_MAP,
        ),
        DISTINCT_NAMES,
    ] = ()
    query_parameters: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict,
        max_length=16,
        description='Parameters that go with every query, such as dedup: "true" for Thanos.',
    )
    ca_bundle: Annotated[
        str | None,
        Field(
            max_length=262_144,
            pattern=r"-----BEGIN CERTIFICATE-----",
            description="Certificates in PEM that the server's certificate is checked against, in "
            "place of the system's.",
        ),
    ] = None
    timeout_seconds: Annotated[
        int, Field(ge=1, le=60, description="How long one query may take.")
    ] = 10
    queries: Annotated[
        Queries | None,
        Field(
            description="PromQL in place of the default queries, for other exporters. Used as "
            "written: they must pick the pool's nodes themselves."
        ),
    ] = None


class StaticSource(WireModel):
    """A fixed number of GPUs; only the promises of our own runs count against it."""

    gpus: Annotated[int, Field(ge=1, le=100_000, description="How many GPUs there are.")]


_ONE_SOURCE: Final = exactly_one(
    ("prometheus", "static"), "the numbers of a pool come from one place"
)


class Source(WireModel):
    """Where the pool's numbers come from: exactly one place."""

    rules = (_ONE_SOURCE,)

    prometheus: Annotated[
        PrometheusSource | None,
        Field(
            description="A Prometheus, or what answers its query API, that knows the pool's "
            "numbers."
        ),
    ] = None
    static: Annotated[
        StaticSource | None,
        Field(
            description="A fixed number of GPUs, for one machine without metrics: only the "
            "promises of our own runs count against it."
        ),
    ] = None

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        demand(is_exactly_one(self.prometheus, self.static), _ONE_SOURCE)
        return self
