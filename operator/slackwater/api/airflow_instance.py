"""`AirflowInstance`: an Airflow server, how to log in to it, and who may run which DAGs."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from slackwater.api.access import Namespaces
from slackwater.api.field import (
    DISTINCT,
    LIST_SET,
    Glob,
    ServerUrl,
    demand,
    exactly_one,
    is_exactly_one,
)
from slackwater.core.spec import StopPolicy
from slackwater.wire import Name, SecretKeyRef, WireModel


class Login(WireModel):
    """A user name and a password, exchanged for a token at Airflow's /auth/token."""

    username_secret_ref: Annotated[SecretKeyRef, Field(description="Where the user name is.")]
    password_secret_ref: Annotated[SecretKeyRef, Field(description="Where the password is.")]


class ClientCredentials(WireModel):
    """A client id and its secret, as Keycloak's auth manager takes them at /auth/token."""

    client_id: Annotated[
        str, Field(min_length=1, max_length=253, description="Id of the client in Keycloak.")
    ]
    client_secret_ref: Annotated[SecretKeyRef, Field(description="Where the client's secret is.")]


_ONE_AUTH: Final = exactly_one(
    ("login", "clientCredentials", "tokenSecretRef", "identity"),
    "there is one way to log in to an Airflow",
)


class AirflowAuth(WireModel):
    """How to log in: exactly one way."""

    rules = (_ONE_AUTH,)

    login: Annotated[
        Login | None,
        Field(
            description="A user name and a password, exchanged for a token at Airflow's "
            "/auth/token and renewed before the token ends."
        ),
    ] = None
    client_credentials: Annotated[
        ClientCredentials | None,
        Field(
            description="A client id and its secret, exchanged for a token at Airflow's "
            "/auth/token: OAuth's client credentials, as Keycloak's auth manager takes them."
        ),
    ] = None
    token_secret_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Where a bearer token is that something else keeps fresh. The Secret is "
            "read again when it changes."
        ),
    ] = None
    identity: Annotated[
        Name | None,
        Field(
            description="Name of an identity of the operator's own, whose token is sent. The "
            "operator's configuration says which namespaces and hosts it is lent to."
        ),
    ] = None

    @model_validator(mode="after")
    def _is_exactly_one(self) -> Self:
        demand(
            is_exactly_one(
                self.login, self.client_credentials, self.token_secret_ref, self.identity
            ),
            _ONE_AUTH,
        )
        return self


class AirflowGrantRule(WireModel):
    """Which DAGs some namespaces may run."""

    namespaces: Annotated[
        Namespaces, Field(description="The namespaces that this grant is for.")
    ] = Namespaces()
    dags: Annotated[
        tuple[Glob, ...],
        Field(
            min_length=1,
            max_length=64,
            description='Ids of DAGs, or patterns such as "train_*"; * stands for any text, ? for '
            "one character.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ]
    allow_override: Annotated[
        bool,
        Field(
            description="Whether a run of these DAGs started by hand (annotation "
            "slackwater.dev/trigger) may start outside its window."
        ),
    ] = False


class AirflowInstanceSpec(WireModel):
    """Where Airflow is, how to log in, and who may run which DAGs."""

    url: Annotated[
        ServerUrl,
        Field(
            description="Address of Airflow's web server or ingress, without /api/v2, such as "
            "https://airflow.example/. Credentials belong into auth."
        ),
    ]
    auth: Annotated[AirflowAuth, Field(description="How to log in: exactly one way.")]
    grants: Annotated[
        tuple[AirflowGrantRule, ...],
        Field(
            max_length=32,
            description="Who may run which DAGs. All grants for one namespace count together. Left "
            "out: the namespace of this object may run every DAG, others none.",
        ),
    ] = (AirflowGrantRule(dags=("*",)),)
    require_gpu_pool: Annotated[
        bool,
        Field(
            alias="requireGPUPool",
            description="True: every TrainingWindow that uses this Airflow must ask for GPUs of a "
            "GPUPool.",
        ),
    ] = False
    poll_interval_seconds: Annotated[
        int, Field(ge=1, le=3600, description="How often runs in flight are looked at.")
    ] = 10
    max_starts_per_minute: Annotated[
        int | None,
        Field(
            ge=1,
            le=6000,
            description="The most runs to start per minute; any number when left out.",
        ),
    ] = None
    stop_policy: Annotated[
        StopPolicy,
        Field(
            description="None: business as usual. Hold: nothing starts in this Airflow and queued "
            "runs are deleted. HoldAndDrain: running runs are cancelled too."
        ),
    ] = StopPolicy.NONE


class AirflowInstance(WireModel):
    """An Airflow server whose DAGs TrainingWindows run."""

    spec: Annotated[
        AirflowInstanceSpec,
        Field(description="Where Airflow is, how to log in, and who may run which DAGs."),
    ]
