"""Create a run: once, or with a clear word that it may or may not have happened (R9)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from slackwater.airflow.answers import refusal, run_of
from slackwater.airflow.client import Apis
from slackwater.airflow.lane import Urgency
from slackwater.airflow.session import Session
from slackwater.core.run import Run
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous, Refused, RunExists

_NOTE_LIMIT: Final = 1000  # of the column; a longer one is an error on PostgreSQL


async def trigger(
    session: Session, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str
) -> Run:
    """POST a run with `logical_date` null, which makes its id the only thing that must be unique.

    A date would have to be unique for the DAG as well, and one in the future hangs
    (apache/airflow#65856).

    Raises:
        RunExists: Airflow has a run of this id.
        Refused: INVALID_CONF, DAG_NOT_FOUND, DAG_HAS_IMPORT_ERRORS, REJECTED.
        Ambiguous: it may have happened.
        AirflowError: it has not.
    """
    gaps: dict[str, Any] = {"what": session.what, "dag": dag_id}
    plain = _plain(conf)
    if plain is None:
        raise Refused(Reason.INVALID_CONF, detail="it is not JSON", **gaps)

    def send(apis: Apis, sent: Mapping[str, Any]) -> Any:
        from airflow_client.client.models.trigger_dag_run_post_body import (
            TriggerDAGRunPostBody,
        )

        body = TriggerDAGRunPostBody(
            dag_run_id=run_id, logical_date=None, conf=plain, note=note[:_NOTE_LIMIT]
        )
        return apis.runs.trigger_dag_run_without_preload_content(dag_id, body, **sent)

    async with session.writing(Urgency.START) as turn:
        answer = await session.write(turn, send, f"trigger {dag_id}")
    if answer.ok:
        made = run_of(answer.data)
        if made is None or made.run_id != run_id:
            raise Ambiguous(Reason.MALFORMED, **gaps)
        return made
    if answer.status == 409:
        raise RunExists(Reason.UNSETTLED, **gaps)
    if answer.status == 404:
        if answer.names(dag_id):
            raise Refused(Reason.DAG_NOT_FOUND, **gaps)
        raise AirflowError(Reason.NOT_FOUND, **gaps)
    raise refusal(answer, **gaps)


def _plain(conf: Mapping[str, Any]) -> dict[str, Any] | None:
    """The conf as the JSON that will be sent; None where it is none (NaN, sets, dates …)."""

    def opened(value: object) -> dict[Any, Any]:
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError

    try:
        sent: dict[str, Any] = json.loads(json.dumps(dict(conf), allow_nan=False, default=opened))
    except (TypeError, ValueError, RecursionError):
        return None
    return sent
