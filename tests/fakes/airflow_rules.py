"""What Airflow 3.3.2 refuses, and in which words."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jsonschema

from tests.fakes.airflow_bodies import Dag, Json

RUN_ID = "^[A-Za-z0-9_.~:+-]+$"
_TYPED_ID = (
    "^(?:manual|scheduled|asset_triggered)__(?:\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\+00:00)$"
)


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: Any = None, **other: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = other or {"detail": detail}


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Refusal(422, [complaint("json_invalid", 1, "JSON decode error", {})]) from None


def complaint(kind: str, place: str | int, message: str, given: Any) -> Json:
    return {"type": kind, "loc": ["body", place], "msg": message, "input": given}


def checked(body: Any, known: Mapping[str, type], required: tuple[str, ...] = ()) -> Json:
    """As pydantic checks a body: types, missing fields, fields too many."""
    if not isinstance(body, dict):
        told = "Input should be a valid dictionary or object to extract fields from"
        raise Refusal(
            422, [{"type": "model_attributes_type", "loc": ["body"], "msg": told, "input": body}]
        )
    found = [complaint("missing", n, "Field required", body) for n in required if n not in body]
    for name, value in body.items():
        if name not in known:
            found.append(
                complaint("extra_forbidden", name, "Extra inputs are not permitted", value)
            )
        elif known[name] is dict and not isinstance(value, dict | None):
            found.append(complaint("dict_type", name, "Input should be a valid dictionary", value))
        elif known[name] is str and not isinstance(value, str | None):
            found.append(complaint("string_type", name, "Input should be a valid string", value))
    if isinstance(body.get("logical_date"), str):
        try:
            datetime.fromisoformat(body["logical_date"])
        except ValueError:
            problem = "input is too short"
            found.append(
                complaint(
                    "datetime_from_date_parsing",
                    "logical_date",
                    f"Input should be a valid datetime or date, {problem}",
                    body["logical_date"],
                )
                | {"ctx": {"error": problem}}
            )
    if found:
        raise Refusal(422, found)
    return dict(body)


def check_run_id(run_id: str) -> None:
    if ".." in run_id:
        raise Refusal(400, f"The run_id '{run_id}' must not contain '..' to prevent path traversal")
    if not re.match(RUN_ID, run_id):
        raise Refusal(
            400,
            f"The run_id provided '{run_id}' does not match regex pattern '{RUN_ID}' or "
            f"'{_TYPED_ID}'",
        )
    kind = run_id.partition("__")[0]
    if "__" in run_id and kind in {"scheduled", "backfill", "asset_triggered"}:
        raise Refusal(
            400,
            f"A manual DAG run cannot use ID '{run_id}' since it is reserved for {kind} runs",
        )


def check_params(dag: Dag, conf: Json) -> None:
    for name, param in dag.params.items():
        try:
            jsonschema.validate(conf.get(name, param.value), dict(param.schema))
        except jsonschema.ValidationError as error:
            raise Refusal(400, f"Invalid input for param {name}: {error}") from None


def conflict() -> Json:
    return {
        "reason": "Unique constraint violation",
        "statement": "hidden",
        "orig_error": "hidden",
        "message": "Serious error when handling your request. Check logs for more details - "
        f"you will find it in api server when you look for ID {uuid.uuid4().hex[:8]}",
    }
