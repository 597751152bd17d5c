"""Which runs are there, and how are they?"""

from __future__ import annotations

from typing import Any, Final

from slackwater.airflow.answers import run_of
from slackwater.airflow.client import Answer
from slackwater.airflow.session import Session, objects
from slackwater.core.run import Run
from slackwater.core.words import Reason
from slackwater.errors import AirflowError

_PAGE: Final = 100  # Airflow cuts longer pages to this without a word
_PAGES: Final = 200
_TRIES: Final = 3


async def run(session: Session, dag_id: str, run_id: str) -> Run | None:
    """One run by id, None where Airflow says that there is none."""
    answer = await session.read(
        lambda apis, sent: apis.runs.get_dag_run_without_preload_content(dag_id, run_id, **sent),
        f"runs {dag_id}",
    )
    if answer.status == 404 and answer.names(run_id):
        return None
    found = run_of(answer.data) if answer.ok else None
    if found is None or found.run_id != run_id:
        raise session.unexpected(answer, dag=dag_id)
    return found


async def active_runs(session: Session, prefix: str) -> tuple[Run, ...]:
    """Every queued or running run whose id begins with `prefix`: complete, or an error.

    One request for every 100 runs, whatever number of DAGs they belong to. A run that was active
    all the while is in it; one that began or ended meanwhile may be.
    """
    answer = await _page(session, prefix, cursor="")
    if isinstance(answer.data, dict) and "next_cursor" in answer.data:
        rows = await _by_cursor(session, prefix, answer)
    else:
        rows = await _by_offset(session, prefix, answer)
    ours: dict[tuple[str, str], Run] = {}
    for row in rows:
        if (found := run_of(row)) is None:
            raise AirflowError(Reason.MALFORMED, what=session.what)
        # Servers before 3.2 do not know the prefix filter, and newer ones drop its last dot.
        if found.run_id.startswith(prefix):
            ours[found.dag_id, found.run_id] = found
    return tuple(ours.values())


async def _by_cursor(session: Session, prefix: str, first: Answer) -> list[Any]:
    """Keyset paging by row id (3.3): what ends or begins meanwhile moves nothing."""
    rows: list[Any] = []
    answer = first
    for _ in range(_PAGES):
        rows += _rows(session, answer)
        if "next_cursor" not in answer.data:
            raise session.unexpected(answer)
        if (cursor := answer.data["next_cursor"]) is None:
            return rows
        answer = await _page(session, prefix, cursor=str(cursor))
    raise AirflowError(Reason.TOO_LARGE, what=session.what)


async def _by_offset(session: Session, prefix: str, first: Answer) -> list[Any]:
    """Paging by position (3.1, 3.2): a run that ends moves those behind it one place forward.

    So each page begins with the last run of the page before; where another one stands there,
    something moved and a run may have slipped through, and all is read once more.
    """
    answer = first
    for _ in range(_TRIES):
        rows = _rows(session, answer)
        for _ in range(_PAGES):
            total = answer.data.get("total_entries")
            if not isinstance(total, int):
                raise session.unexpected(answer)
            if len(rows) >= total:
                return rows
            answer = await _page(session, prefix, offset=max(len(rows) - 1, 0))
            page = _rows(session, answer)
            moved = [_id(row) for row in page[:1]] != [_id(row) for row in rows[-1:]]
            if moved or len(page) < 2:
                break
            rows += page[1:]
        else:
            raise AirflowError(Reason.TOO_LARGE, what=session.what)
        answer = await _page(session, prefix, offset=0)
    raise AirflowError(Reason.UNAVAILABLE, what=session.what)


async def _page(session: Session, prefix: str, **place: str | int) -> Answer:
    answer = await session.read(
        lambda apis, sent: apis.runs.get_dag_runs_without_preload_content(
            "~",
            run_id_prefix_pattern=prefix,
            state=["queued", "running"],
            order_by=["id"],
            limit=_PAGE,
            **place,
            **sent,
        ),
        "runs",
    )
    if not answer.ok:
        raise session.unexpected(answer)
    return answer


def _rows(session: Session, answer: Answer) -> list[Any]:
    rows = objects(answer, "dag_runs")
    if rows is None:
        raise session.unexpected(answer)
    return list(rows)


def _id(row: Any) -> tuple[Any, Any] | None:
    return (row.get("dag_id"), row.get("dag_run_id")) if isinstance(row, dict) else None
