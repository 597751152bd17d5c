"""Could this DAG be triggered now, and would it run? Asked early, before its window opens."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from slackwater.airflow.client import probe_airflow_2
from slackwater.airflow.pools import Pools
from slackwater.airflow.session import Session
from slackwater.core.run import DagFacts
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater_windows.schedule import is_shown

_OLDEST: Final = (3, 1)
_HEALTH_SECONDS: Final = 10.0


async def version(session: Session) -> str:
    """The server's version, such as "3.3.2".

    Raises:
        AirflowError: AIRFLOW_UNSUPPORTED for anything before 3.1; NOT_FOUND where no Airflow
            answers under the URL.
    """
    answer = await session.read(
        lambda apis, sent: apis.version.get_version_without_preload_content(**sent),
        "version",
        signed=False,
    )
    if answer.status == 404:
        # Airflow 2 knows /api/v1 only; a URL with a wrong path knows neither.
        old = await session.read(probe_airflow_2, "version", signed=False)
        if old.ok and isinstance(old.data, dict) and "version" in old.data:
            raise AirflowError(Reason.AIRFLOW_UNSUPPORTED, what=session.what)
    told = answer.data.get("version") if isinstance(answer.data, dict) else None
    found = re.match(r"(\d+)\.(\d+)", told) if isinstance(told, str) else None
    if not answer.ok or found is None:
        raise session.unexpected(answer)
    if (int(found[1]), int(found[2])) < _OLDEST:
        raise AirflowError(Reason.AIRFLOW_UNSUPPORTED, what=session.what)
    return str(told)[:64]


class Preflight:
    """Answers for all DAGs of one server; they share one look at its health and at its pools."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pools = Pools(session)
        self._lock = asyncio.Lock()
        self._health = _Health(problem=None, error=None, until=-math.inf)

    async def facts(self, dag_id: str) -> DagFacts:
        """What stands against triggering the DAG, if anything; the DAG's own faults first."""
        session = self._session
        about = f"dag {dag_id}"
        try:
            answer = await session.read(
                lambda apis, sent: apis.dags.get_dag_details_without_preload_content(
                    dag_id, **sent
                ),
                about,
            )
        except AirflowError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise
            # A DAG whose default_args are no JSON breaks its details (datamodels/dags.py), and
            # those only.
            answer = await session.read(
                lambda apis, sent: apis.dags.get_dag_without_preload_content(dag_id, **sent), about
            )
        found = partial(DagFacts, checked_at=session.clock.now())
        if answer.status == 404 and answer.names(dag_id):
            return found(problem=Reason.DAG_NOT_FOUND)
        if not answer.ok or not isinstance(answer.data, dict) or "dag_id" not in answer.data:
            raise session.unexpected(answer)
        dag = answer.data
        problem, detail = _own_problem(dag)
        if problem is None:
            problem, detail = await self._pools.problem(dag_id)
        return found(
            problem=problem or await self._scheduler_problem(),
            detail=detail,
            own_schedule=_has_schedule(dag),
            params_schema=_params(dag.get("params")),
        )

    async def _scheduler_problem(self) -> Reason | None:
        async with self._lock:
            now = self._session.clock.monotonic()
            if now >= self._health.until:
                self._health = await self._look(now + _HEALTH_SECONDS)
            error = self._health.error
        if error is not None:
            raise AirflowError(error.reason, retry_after=error.retry_after, **error.gaps)
        return self._health.problem

    async def _look(self, until: float) -> _Health:
        try:
            answer = await self._session.read(
                lambda apis, sent: apis.monitor.get_health_without_preload_content(**sent),
                "health",
                signed=False,
            )
        except AirflowError as error:
            return _Health(problem=None, error=error, until=until)
        health = answer.data if answer.ok and isinstance(answer.data, dict) else {}
        scheduler = health.get("scheduler")
        ill = isinstance(scheduler, dict) and scheduler.get("status") == "unhealthy"
        problem = Reason.SCHEDULER_UNHEALTHY if ill else None
        return _Health(problem=problem, error=None, until=until)


@dataclass(frozen=True, slots=True)
class _Health:
    problem: Reason | None
    error: AirflowError | None
    until: float


def _own_problem(dag: Mapping[str, Any]) -> tuple[Reason | None, str]:
    if dag.get("has_import_errors"):
        return Reason.DAG_HAS_IMPORT_ERRORS, ""  # a broken file makes its DAGs stale, too
    if dag.get("is_stale"):
        return Reason.DAG_STALE, ""
    if dag.get("is_paused"):
        return Reason.DAG_PAUSED, ""
    allowed = dag.get("allowed_run_types")
    if isinstance(allowed, list) and "manual" not in allowed:
        return Reason.REJECTED, "the DAG does not allow manual runs"
    return None, ""


def _has_schedule(dag: Mapping[str, Any]) -> bool:
    # Airflow gives null for schedule=None; "Asset" is a schedule of its own, too. The timetable of
    # our own package may stand there for show alone.
    summary = dag.get("timetable_summary")
    return summary not in {None, "None"} and not is_shown(str(summary))


def _params(params: Any) -> dict[str, Any]:
    """Default and JSON schema by param, as `core.conf.check_params` reads them."""
    if not isinstance(params, dict):
        return {}
    return {
        name: {"value": param.get("value"), "schema": param["schema"]}
        for name, param in params.items()
        if isinstance(param, dict) and isinstance(param.get("schema"), dict)
    }
