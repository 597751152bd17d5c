"""One Airflow server, opened: what `ports.Airflow` promises, put together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from slackwater.airflow import cancel, durations, follow, preflight, trigger
from slackwater.airflow.auth import Auth
from slackwater.airflow.session import Session
from slackwater.core.run import DagFacts, Run
from slackwater.core.spec import Ref
from slackwater.net import NetPolicy
from slackwater.ports import Airflow, Clock, SecretReader


async def open_airflow(
    url: str,
    auth: Auth,
    ref: Ref,
    *,
    secrets: SecretReader,
    clock: Clock,
    policy: NetPolicy,
) -> Airflow:
    """Open a server: its address is judged and the client made, nothing is sent yet.

    Args:
        url: of the server, as people open it, without `/api/v2`.
        auth: how to get a token.
        ref: the AirflowInstance; its namespace is where `auth`'s secrets are read.
        secrets: reads them.
        clock: the present.
        policy: which addresses may be reached (R14).

    Raises:
        AirflowError: BLOCKED_TARGET, UNREACHABLE (the name has no address), BAD_REQUEST (no URL).
    """
    session = Session(url, auth, ref, secrets=secrets, clock=clock, policy=policy)
    try:
        await session.open()
    except BaseException:
        await session.aclose()
        raise
    return _Opened(session)


class _Opened:
    """Fills `ports.Airflow`; says nothing of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._preflight = preflight.Preflight(session)

    async def version(self) -> str:
        return await preflight.version(self._session)

    async def preflight(self, dag_id: str) -> DagFacts:
        return await self._preflight.facts(dag_id)

    async def active_runs(self, prefix: str) -> tuple[Run, ...]:
        return await follow.active_runs(self._session, prefix)

    async def run(self, dag_id: str, run_id: str) -> Run | None:
        return await follow.run(self._session, dag_id, run_id)

    async def task_times(self, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
        return await durations.task_times(self._session, dag_id, since)

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Run:
        return await trigger.trigger(self._session, dag_id, run_id, conf, note)

    async def cancel(self, dag_id: str, run_id: str) -> None:
        await cancel.cancel(self._session, dag_id, run_id)

    async def delete_queued(self, dag_id: str, run_id: str) -> bool:
        return await cancel.delete_queued(self._session, dag_id, run_id)

    async def aclose(self) -> None:
        await self._session.aclose()
