"""End a run, or take a queued one away.

Airflow lets one fail, and delete, a run that has ended; both would falsify what happened, and a
deleted run could be started a second time. So both look first, in the same turn in which they
write. What is left between the look and the write is milliseconds; a run needs longer from its
queue to its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slackwater.airflow import follow
from slackwater.airflow.answers import refusal, run_of
from slackwater.airflow.client import Apis
from slackwater.airflow.lane import Urgency
from slackwater.airflow.session import Session
from slackwater.core.run import RunState
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous, Refused


async def cancel(session: Session, dag_id: str, run_id: str) -> None:
    """Set the run failed. Its tasks end some seconds later; nothing happens to one that is over.

    Raises:
        Refused: NOT_FOUND, there is no such run (any more); DAG_NOT_FOUND, Airflow has lost the
            DAG and cannot change its runs.
        Ambiguous: it may have happened.
        AirflowError: it has not.
    """
    gaps: dict[str, Any] = {"what": session.what, "dag": dag_id}

    def send(apis: Apis, sent: Mapping[str, Any]) -> Any:
        from airflow_client.client.models.dag_run_patch_body import (
            DAGRunPatchBody,
        )

        body = DAGRunPatchBody(state="failed")
        return apis.runs.patch_dag_run_without_preload_content(dag_id, run_id, body, **sent)

    async with session.writing(Urgency.STOP) as turn:
        found = await follow.run(session, dag_id, run_id)
        if found is None:
            raise Refused(Reason.NOT_FOUND, **gaps)
        if found.state.is_over:
            return
        answer = await session.write(turn, send, f"change {dag_id}")
    if answer.ok:
        made = run_of(answer.data)
        if made is None or made.run_id != run_id:
            raise Ambiguous(Reason.MALFORMED, **gaps)
        return
    if answer.status == 404:
        if answer.names(run_id):
            raise Refused(Reason.NOT_FOUND, **gaps)
        if answer.names(dag_id):
            raise Refused(Reason.DAG_NOT_FOUND, **gaps)
        raise AirflowError(Reason.NOT_FOUND, **gaps)
    raise refusal(answer, **gaps)


async def delete_queued(session: Session, dag_id: str, run_id: str) -> bool:
    """Delete a run that has not begun.

    Returns:
        True when there is no such run now; False when it has begun, or even ended: follow it.

    Raises:
        Ambiguous: it may have happened.
        AirflowError: it has not.
    """
    gaps: dict[str, Any] = {"what": session.what, "dag": dag_id}
    async with session.writing(Urgency.STOP) as turn:
        found = await follow.run(session, dag_id, run_id)
        if found is None:
            return True
        if found.state is not RunState.QUEUED:
            return False
        answer = await session.write(
            turn,
            lambda apis, sent: apis.runs.delete_dag_run_without_preload_content(
                dag_id, run_id, **sent
            ),
            f"change {dag_id}",
        )
    if answer.ok:
        return True
    if answer.status == 409:
        return False
    if answer.status == 404:
        if answer.names(run_id):
            return True
        raise AirflowError(Reason.NOT_FOUND, **gaps)
    raise refusal(answer, **gaps)
