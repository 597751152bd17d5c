"""The real adapters behind `world.Sources`, made when an object first needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slackwater.api.airflow_instance import AirflowInstanceSpec
from slackwater.api.calendar import CalendarSpec
from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.calendars.expand import Expander
from slackwater.calendars.registry import Opening, open_calendar
from slackwater.calendars.turns import Counted, Turns
from slackwater.core.run import DagFacts, Run
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, ConfigError
from slackwater.net import Identities, NetPolicy, Network
from slackwater.ports import Airflow, CalendarSource, Clock, Key, PoolSource, Store

if TYPE_CHECKING:
    from slackwater.airflow import Auth


class LiveSources:
    """Makes adapters that reach the real world; `aclose` when all of them are closed.

    Args:
        clock: the present.
        store: where secrets and the names of nodes come from.
        calendars: which addresses calendars may be at.
        services: which addresses Prometheus and Airflow may be at.
        identities: what the operator's configuration lends.
        directory_of: the directory of an object's manifest; None in a cluster, where no object
            may name a file.
        counted: told of each request to a calendar service.
        endpoints: servers in place of a calendar service's own, by the provider's name.
        hosts: which calendars may send credentials to besides their services' own.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        calendars: NetPolicy,
        services: NetPolicy,
        identities: Identities,
        directory_of: Callable[[Key], Path | None] | None = None,
        counted: Counted = lambda _: None,
        endpoints: Mapping[str, str] | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._clock, self._store = clock, store
        self._calendars, self._services = calendars, services
        self._identities, self._directory_of, self._hosts = identities, directory_of, hosts
        self._endpoints: Final = dict(endpoints or {})
        self._expander: Final = Expander()
        self._turns: Final = Turns(clock, counted)

    @property
    def files(self) -> bool:
        """Whether a Calendar may name a file."""
        return self._directory_of is not None

    def calendar(self, key: Key, spec: CalendarSpec) -> CalendarSource:
        """The source of a Calendar. Raises ConfigError."""
        return open_calendar(
            spec.provider.name,
            Opening(
                ref=key.ref,
                config=spec.provider.config,
                privacy=spec.privacy,
                zone=spec.time_zone,
                secrets=self._store.secrets,
                policy=self._calendars,
                expander=self._expander,
                turns=self._turns,
                clock=self._clock,
                directory=self._directory_of(key) if self._directory_of else None,
                endpoints=self._endpoints,
                identities=self._identities,
                hosts=self._hosts,
            ),
        )

    def pool(self, key: Key, spec: GPUPoolSpec) -> PoolSource:
        """The source of a GPUPool. Raises ConfigError."""
        from slackwater.gpus.open import open_pool

        return open_pool(
            key.ref,
            spec,
            clock=self._clock,
            secrets=self._store.secrets,
            node_names=self._store.node_names,
            policy=self._services,
        )

    def airflow(self, key: Key, spec: AirflowInstanceSpec) -> Airflow:
        """The server of an AirflowInstance, opened at its first use. Raises ConfigError."""
        from slackwater.airflow import open_airflow

        auth = self._auth(key, spec)

        async def opened() -> Airflow:
            return await open_airflow(
                spec.url,
                auth,
                key.ref,
                secrets=self._store.secrets,
                clock=self._clock,
                policy=self._services,
            )

        return OpenedLater(opened, f"Airflow {key.ref}")

    def _auth(self, key: Key, spec: AirflowInstanceSpec) -> Auth:
        from slackwater.airflow import ClientCredentials, LentToken, Login, StaticToken

        wanted = spec.auth
        if wanted.login is not None:
            return Login(wanted.login.username_secret_ref, wanted.login.password_secret_ref)
        if wanted.client_credentials is not None:
            client = wanted.client_credentials
            return ClientCredentials(client.client_id, client.client_secret_ref)
        if wanted.token_secret_ref is not None:
            return StaticToken(wanted.token_secret_ref)
        assert wanted.identity is not None, "the model demands exactly one"
        lent = self._identities.lent(wanted.identity, key.ref.namespace, spec.url)
        if lent is None:
            raise ConfigError(Reason.IDENTITY_NOT_LENT, identity=wanted.identity)
        return LentToken(lent)

    async def aclose(self) -> None:
        """End the processes that read calendars."""
        await self._expander.aclose()


class OpenedLater:
    """An Airflow that is opened at its first use, and again at the next where that failed.

    Args:
        opened: opens it; raises AirflowError.
        what: its name in sentences.
    """

    def __init__(self, opened: Callable[[], Awaitable[Airflow]], what: str) -> None:
        self._opened, self._what = opened, what
        self._turn = asyncio.Lock()
        self._airflow: Airflow | None = None
        self._closed = False

    async def _the(self) -> Airflow:
        async with self._turn:
            if self._closed:
                raise AirflowError(Reason.UNREACHABLE, what=self._what)
            if self._airflow is None:
                self._airflow = await self._opened()
            return self._airflow

    async def version(self) -> str:
        """See `ports.Airflow`."""
        return await (await self._the()).version()

    async def preflight(self, dag_id: str) -> DagFacts:
        """See `ports.Airflow`."""
        return await (await self._the()).preflight(dag_id)

    async def active_runs(self, prefix: str) -> tuple[Run, ...]:
        """See `ports.Airflow`."""
        return await (await self._the()).active_runs(prefix)

    async def run(self, dag_id: str, run_id: str) -> Run | None:
        """See `ports.Airflow`."""
        return await (await self._the()).run(dag_id, run_id)

    async def task_times(self, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
        """See `ports.Airflow`."""
        return await (await self._the()).task_times(dag_id, since)

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Run:
        """See `ports.Airflow`."""
        return await (await self._the()).trigger(dag_id, run_id, conf, note)

    async def cancel(self, dag_id: str, run_id: str) -> None:
        """See `ports.Airflow`."""
        await (await self._the()).cancel(dag_id, run_id)

    async def delete_queued(self, dag_id: str, run_id: str) -> bool:
        """See `ports.Airflow`."""
        return await (await self._the()).delete_queued(dag_id, run_id)

    async def aclose(self) -> None:
        """Let connections go; calls from now on fail, and nothing is opened any more."""
        self._closed = True
        async with self._turn:
            airflow, self._airflow = self._airflow, None
        if airflow is not None:
            await airflow.aclose()


def cluster_policies(networks: tuple[Network, ...]) -> tuple[NetPolicy, NetPolicy]:
    """Where calendars and services may be, for an operator in a cluster (R14)."""
    return NetPolicy(networks=networks), NetPolicy(private=True, networks=networks)


def directory_policies(networks: tuple[Network, ...]) -> tuple[NetPolicy, NetPolicy]:
    """The same for `slackwater run`, whose user could reach this machine without it (R14)."""
    policy = NetPolicy(private=True, loopback=True, networks=networks)
    return policy, policy
