"""How long the runs of a DAG took, by the time at which its tasks were at work.

A run's own `duration` includes what its tasks waited for slots, pods and machines: on a busy day
that says more about the queue than about the run. So the newest successful runs are listed, and
the instances of their tasks: two requests for a DAG of a few tasks.

Source: `GET /dags/{dag_id}/dagRuns` and `POST /dags/~/dagRuns/~/taskInstances/list` of Airflow's
stable REST API, which asks for no right beyond reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from slackwater.airflow.answers import run_of, work_of
from slackwater.airflow.client import Apis
from slackwater.airflow.session import Session, objects
from slackwater.core.durations import FEWEST, task_time
from slackwater.core.run import Run, RunState
from slackwater.core.span import Span

_RUNS: Final = 25
_PAGE: Final = 100  # Airflow cuts longer pages to this without a word
_PAGES: Final = 5


async def task_times(session: Session, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
    """Of the newest successful runs that ended since then; at most 25 of them.

    With more than 500 task instances in them only the five newest runs count. Where those have as
    many, the runs' own durations have to do: among so many tasks a single wait hardly shows.

    Raises:
        AirflowError: the server cannot be asked, or this account may not see it.
    """
    runs = await _newest(session, dag_id, since)
    if len(runs) < FEWEST:
        return ()
    for some in (runs, runs[:FEWEST]):
        worked = await _worked(session, dag_id, some)
        if worked is not None:
            return tuple(task_time(worked.get(run.run_id, ())) for run in some)
    return tuple(run.end_date - run.start_date for run in runs if run.end_date and run.start_date)


async def _newest(session: Session, dag_id: str, since: datetime) -> tuple[Run, ...]:
    answer = await session.read(
        lambda apis, sent: apis.runs.get_dag_runs_without_preload_content(
            dag_id,
            state=["success"],
            end_date_gte=since,
            order_by=["-end_date"],
            limit=_RUNS,
            **sent,
        ),
        f"runs {dag_id}",
    )
    rows = objects(answer, "dag_runs")
    if not answer.ok or rows is None:
        raise session.unexpected(answer, dag=dag_id)
    # Any server may know fewer filters than we do.
    return tuple(
        run
        for run in map(run_of, rows)
        if run is not None
        and run.state is RunState.SUCCESS
        and run.end_date is not None
        and run.end_date >= since
    )


async def _worked(
    session: Session, dag_id: str, runs: tuple[Run, ...]
) -> Mapping[str, list[Span]] | None:
    """When each task of these runs was at work, by run; None where that is too much to read."""
    found: dict[str, list[Span]] = {}
    seen = 0
    for _ in range(_PAGES):
        answer = await session.read(partial(_page, dag_id, runs, seen), f"task instances {dag_id}")
        rows = objects(answer, "task_instances")
        total = answer.data.get("total_entries") if rows is not None else None
        if not answer.ok or rows is None or not isinstance(total, int):
            raise session.unexpected(answer, dag=dag_id)
        for row in rows:
            if (work := work_of(row)) is not None:
                found.setdefault(work[0], []).append(work[1])
        seen += len(rows)
        if seen >= total:
            return found
        if not rows or total > _PAGE * _PAGES:
            return None
    return None


def _page(
    dag_id: str, runs: tuple[Run, ...], offset: int, apis: Apis, sent: Mapping[str, Any]
) -> Any:
    from airflow_client.client.models.task_instances_batch_body import TaskInstancesBatchBody

    body = TaskInstancesBatchBody(
        dag_ids=[dag_id],
        dag_run_ids=[run.run_id for run in runs],
        order_by="id",
        page_limit=_PAGE,
        page_offset=offset,
    )
    return apis.instances.get_task_instances_batch_without_preload_content("~", "~", body, **sent)
