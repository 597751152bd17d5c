"""The Airflow pools of a DAG's tasks: one that is missing or too small makes a run hang in silence.

Airflow leaves such a task `scheduled` and its run `running`, without an error, for ever
(apache/airflow#20788); GPUs would be promised to it all the while.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from slackwater.airflow.client import Apis
from slackwater.airflow.session import Session, objects
from slackwater.core.words import Reason
from slackwater.errors import AirflowError

_POOLS_SECONDS: Final = 10.0
_PAGE: Final = 100
_PAGES: Final = 50
_UNLIMITED: Final = -1  # Airflow's own sign for a pool without a bound
# What an account may lack the right to see, or an old or odd DAG breaks, stands against nothing.
_UNKNOWN: Final = frozenset({Reason.FORBIDDEN, Reason.UNAVAILABLE, Reason.NOT_FOUND})


class Pools:
    """The slots of each pool of one server, looked at once for all DAGs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = asyncio.Lock()
        self._slots: Mapping[str, int] | None = None
        self._until = -math.inf

    async def problem(self, dag_id: str) -> tuple[Reason | None, str]:
        """What stands against the DAG's tasks and the pool's name; (None, "") where nothing is known.

        Raises:
            AirflowError: the server cannot be asked.
        """
        wanted = await self._wanted(dag_id)
        slots = await self._known() if wanted else None
        if slots is None:
            return None, ""
        for pool, needed in wanted.items():
            if pool not in slots:
                return Reason.AIRFLOW_POOL_NOT_FOUND, pool
            if slots[pool] != _UNLIMITED and slots[pool] < needed:
                return Reason.AIRFLOW_POOL_TOO_SMALL, pool
        return None, ""

    async def _wanted(self, dag_id: str) -> dict[str, int]:
        """The most slots that one task of the DAG takes, by pool."""
        try:
            answer = await self._session.read(
                lambda apis, sent: apis.tasks.get_tasks_without_preload_content(dag_id, **sent),
                f"tasks {dag_id}",
            )
        except AirflowError as error:
            if error.reason in _UNKNOWN:
                return {}
            raise
        wanted: dict[str, int] = {}
        for task in objects(answer, "tasks") or ():
            pool = task.get("pool") if isinstance(task, dict) else None
            if isinstance(pool, str):
                wanted[pool] = max(wanted.get(pool, 1), _whole(task.get("pool_slots")) or 1)
        return wanted

    async def _known(self) -> Mapping[str, int] | None:
        async with self._lock:
            now = self._session.clock.monotonic()
            if now >= self._until:
                self._slots, self._until = await self._listed(), now + _POOLS_SECONDS
            return self._slots

    async def _listed(self) -> Mapping[str, int] | None:
        """Slots by pool, complete; None where this account may not see them."""
        slots: dict[str, int] = {}
        seen = 0
        for _ in range(_PAGES):
            try:
                answer = await self._session.read(partial(_page, seen), "pools")
            except AirflowError as error:
                if error.reason in _UNKNOWN:
                    return None
                raise
            rows = objects(answer, "pools")
            if rows is None:
                return None
            for row in rows:
                name = row.get("name") if isinstance(row, dict) else None
                many = _whole(row.get("slots")) if isinstance(row, dict) else None
                if isinstance(name, str) and many is not None:
                    slots[name] = many
            seen += len(rows)
            total = answer.data.get("total_entries")
            if not rows or not isinstance(total, int) or seen >= total:
                return slots
        return None


def _page(offset: int, apis: Apis, sent: Mapping[str, Any]) -> Any:
    return apis.pools.get_pools_without_preload_content(
        limit=_PAGE, offset=offset, order_by=["name"], **sent
    )


def _whole(found: Any) -> int | None:
    """A number as an int: Airflow 3.3 gives a task's slots as 3.0."""
    return int(found) if isinstance(found, int | float) and math.isfinite(found) else None
