"""What Airflow's answers mean, in our words.

Nothing that Airflow writes is passed on as it is: its messages quote conf values, and those may
come from a calendar (R13). What a user needs of them is said anew here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slackwater.airflow.client import Answer, NoAnswer
from slackwater.core.run import Run, RunState
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous, Refused
from slackwater.net import retry_after

# How long a refusal for lack of rights stands before it is worth asking again.
REFUSED_FOR: Final = timedelta(seconds=30)

_TRANSPORT: Final = {
    NoAnswer.NOT_SENT: Reason.UNREACHABLE,
    NoAnswer.LOST: Reason.UNREACHABLE,
    NoAnswer.TIMED_OUT: Reason.TIMEOUT,
    NoAnswer.TOO_LARGE: Reason.TOO_LARGE,
    NoAnswer.BLOCKED: Reason.BLOCKED_TARGET,
}


def is_refused_token(answer: Answer | NoAnswer) -> bool:
    """Whether a new token may help.

    401 is an expired or missing token; a token signed with another secret is 403 `Invalid JWT
    token`, while 403 `Forbidden` means that the account lacks the right (Airflow 3.3,
    `api_fastapi/core_api/security.py`).
    """
    if isinstance(answer, NoAnswer):
        return False
    return answer.status == 401 or (answer.status == 403 and answer.detail == "Invalid JWT token")


def read_failure(outcome: Answer | NoAnswer, now: datetime, **gaps: Any) -> AirflowError | None:
    """The error that a reply to a read is, whatever was asked; None where the asker must judge."""
    if isinstance(outcome, NoAnswer):
        return AirflowError(_TRANSPORT[outcome], **gaps)
    reason = _everywhere(outcome)
    if reason is None:
        return None
    return AirflowError(reason, retry_after=_wait(outcome, now), **gaps)


def write_failure(outcome: Answer | NoAnswer, now: datetime, **gaps: Any) -> AirflowError | None:
    """As `read_failure`, for a write: Ambiguous unless it is certain that nothing was done."""
    error = read_failure(outcome, now, **gaps)
    if error is None:
        return None
    if isinstance(outcome, NoAnswer):
        certain = outcome in {NoAnswer.NOT_SENT, NoAnswer.BLOCKED}
    else:
        # A redirect or 429 comes from in front of the application; a 5xx may come after the deed.
        certain = outcome.status < 500 and outcome.status != 408
    if certain:
        return error
    return Ambiguous(error.reason, retry_after=error.retry_after, **error.gaps)


def _everywhere(answer: Answer) -> Reason | None:
    status = answer.status
    if is_refused_token(answer):
        return Reason.UNAUTHORIZED
    if status == 403:
        return Reason.FORBIDDEN
    if 300 <= status < 400:
        return Reason.REDIRECTED
    if status == 429:
        return Reason.THROTTLED
    if status == 408:
        return Reason.TIMEOUT
    if status >= 500 or status < 200:
        return Reason.UNAVAILABLE
    return None


def _wait(answer: Answer, now: datetime) -> timedelta | None:
    if answer.status in {401, 403}:
        return REFUSED_FOR
    return retry_after(answer.headers, now)


def unexpected(answer: Answer, **gaps: Any) -> AirflowError:
    """An answer to a read that the reader has no use for."""
    if answer.ok:
        return AirflowError(Reason.MALFORMED, **gaps)
    return AirflowError(Reason.NOT_FOUND if answer.status == 404 else Reason.BAD_REQUEST, **gaps)


def refusal(answer: Answer, **gaps: Any) -> Refused:
    """Why Airflow will not create a run: a 4xx that is neither about rights nor about ids."""
    detail = answer.detail
    if "has import errors" in detail:
        return Refused(Reason.DAG_HAS_IMPORT_ERRORS, **gaps)
    if param := _PARAM.match(detail):
        told = f"{param['name']} {_bound(param['problem'])}"
        return Refused(Reason.INVALID_CONF, detail=told, **gaps)
    if isinstance(answer.data, dict) and answer.status == 422:
        found = answer.data.get("detail")
        if isinstance(found, dict) and found.get("reason") == "Value rejected by database":
            told = "its database does not take one of the values, such as text with a NUL in it"
            return Refused(Reason.INVALID_CONF, detail=told, **gaps)
        if isinstance(found, list):
            told = ", ".join(_field(item) for item in found[:3]) or "the request is malformed"
            return Refused(Reason.REJECTED, detail=told, **gaps)
    for sign, told in _KNOWN:
        if sign in detail:
            return Refused(Reason.REJECTED, detail=told, **gaps)
    return Refused(Reason.REJECTED, detail=f"it answers with status {answer.status}", **gaps)


# Of the 400s that Airflow 3.3 gives to a trigger; the rest is told by its status.
_KNOWN: Final = (
    ("does not allow manual runs", "the DAG does not allow manual runs"),
    ("does not match regex pattern", "it does not allow this form of run id"),
    ("must not contain '..'", "it does not allow a run id with two dots in a row"),
    ("reserved for", "it keeps ids of this form for its own runs"),
    ("partition", "the DAG is partitioned and wants a partition key"),
)

# "Invalid input for param NAME: <jsonschema's message>"; the first line of that message begins
# with the offending value as Python writes it, so its end is all that may be looked at.
_PARAM: Final = re.compile(r"Invalid input for param (?P<name>[\w.-]{1,80}): (?P<problem>.*)")
_NUMBER: Final = r"(-?\d[\d.eE+-]*)"
_BOUNDS: Final = tuple(
    (re.compile(pattern + "$"), told)
    for pattern, told in (
        (rf" is greater than or equal to the maximum of {_NUMBER}", "must be below {}"),
        (rf" is less than or equal to the minimum of {_NUMBER}", "must be above {}"),
        (rf" is greater than the maximum of {_NUMBER}", "must be at most {}"),
        (rf" is less than the minimum of {_NUMBER}", "must be at least {}"),
        (rf" is not a multiple of {_NUMBER}", "must be a multiple of {}"),
        (r" is not of type ('\w+'(?:, '\w+')*)", "must be of type {}"),
        (r" is too long", "is too long"),
        (r" (?:is too short|should be non-empty)", "is too short"),
        (r" is not an? '([\w-]+)'", "must have the format {}"),
        (r" has non-unique elements", "must not hold one element twice"),
        (r"No value passed and Param has no default value", "has no value and no default"),
    )
)


def _bound(problem: str) -> str:
    """What the schema asks for, without what was given."""
    for pattern, told in _BOUNDS:
        if found := pattern.search(problem):
            return told.format(*(group.replace("'", "") for group in found.groups()))
    # The last occurrence is the validator's own: the value is written before it.
    _, sign, allowed = problem.rpartition(" is not one of ")
    if sign and re.fullmatch(r"\[.{1,200}\]", allowed):
        return f"must be one of {allowed[1:-1]}"
    _, sign, wanted = problem.rpartition(" does not match ")
    if sign and re.fullmatch(r"'.{1,200}'", wanted):
        return f"must match {wanted}"
    return "does not fit its schema"


def _field(item: Any) -> str:
    """One of pydantic's complaints: where and of what type, without the input it quotes."""
    if not isinstance(item, dict):
        return "the request is malformed"
    place = item.get("loc")
    parts = place[1:3] if isinstance(place, list) else []
    kind = re.sub(r"\W", " ", str(item.get("type", "")))[:40].replace("_", " ")
    return f"{'.'.join(str(part)[:40] for part in parts) or 'the request'}: {kind}"


def run_of(data: Any) -> Run | None:
    """One DAG run of a reply; None where it is none.

    Fields that are missing or new do not matter (3.1 to 3.3 differ in several), only the ids do.
    """
    if not isinstance(data, dict):
        return None
    dag_id, run_id = data.get("dag_id"), data.get("dag_run_id")
    if not isinstance(dag_id, str) or not isinstance(run_id, str):
        return None
    conf = data.get("conf")
    origin = conf.get("trainingWindow") if isinstance(conf, dict) else None
    return Run(
        dag_id=dag_id,
        run_id=run_id,
        state=_state(data.get("state")),
        queued_at=_instant(data.get("queued_at")),
        start_date=_instant(data.get("start_date")),
        end_date=_instant(data.get("end_date")),
        origin=origin if isinstance(origin, Mapping) else {},
    )


def work_of(data: Any) -> tuple[str, Span] | None:
    """Run id of a task instance of a reply, and when it was at work; None where it was not."""
    run_id = data.get("dag_run_id") if isinstance(data, dict) else None
    if not isinstance(run_id, str):
        return None
    start, end = _instant(data.get("start_date")), _instant(data.get("end_date"))
    return None if start is None or end is None or end <= start else (run_id, Span(start, end))


def _state(found: Any) -> RunState:
    try:
        return RunState(found)
    except ValueError:
        # Of a newer Airflow: its GPUs stay promised, and it is looked at again.
        return RunState.RUNNING


def _instant(found: Any) -> datetime | None:
    if not isinstance(found, str):
        return None
    try:
        read = datetime.fromisoformat(found)
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
