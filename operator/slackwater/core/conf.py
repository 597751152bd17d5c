"""The conf of a DAG run: the user's JSON with expressions filled in, and our own key.

`{"$cel": "window.end"}` stands for the value of the expression, with its type kept: a number
stays a number, a list a list; a timestamp becomes RFC 3339 text, a duration seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slackwater.core.event import Event
from slackwater.core.expression import (
    BadExpression,
    Expression,
    ExpressionFailed,
    compile_expression,
    event_variables,
)
from slackwater.core.params import complaint
from slackwater.core.span import Span
from slackwater.core.spec import EXPRESSION_KEY, GpuAsk, Identity, Ref
from slackwater.core.zone import zone as zone_of
from slackwater_windows.parameters import BadParameters, parameters

OWN_KEY: Final = "trainingWindow"
VERSION: Final = 1
MAX_DEPTH: Final = 32
MAX_EXPRESSIONS: Final = 100
MAX_BYTES: Final = 256 * 1024
MAX_PARAMETERS: Final = 16 * 1024
"""Bytes of JSON that an event's parameters may take where the user did not ask for them."""


class BadConf(ValueError):
    """A conf that cannot be used or rendered.

    Attributes:
        path: where in the conf, such as `params.lr` or `steps[2]`.
        detail: what is wrong, without any value of an event.
    """

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"{path}: {detail}")


def check_conf(conf: Mapping[str, Any]) -> None:
    """Accept a conf as written, or say what is wrong with it before any run needs it.

    Raises:
        BadConf: an expression cannot be used, there are too many, the whole is nested too deeply,
            a key is ours, or it has no expression and cannot be sent as it is.
    """
    if OWN_KEY in conf:
        raise BadConf(OWN_KEY, "this key is written by Slackwater and may not be set")
    number = 0
    for number, (path, _) in enumerate(_expressions(conf, "", 0), start=1):
        if number > MAX_EXPRESSIONS:
            raise BadConf(path, f"a conf may have {MAX_EXPRESSIONS} expressions")
    if number == 0:
        render(conf, {})  # every run has this conf: what is wrong with it is wrong now


def render(conf: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The conf with every expression replaced by its value.

    Args:
        conf: as written; accepted by `check_conf`.
        variables: see `conf_variables`.

    Raises:
        BadConf: an expression has no value here, or the whole is larger than 256 KiB.

    >>> render({"until": {"$cel": "window.end"}}, {"window": {"end": datetime(2026, 1, 1, tzinfo=UTC)}})
    {'until': '2026-01-01T00:00:00Z'}
    """
    if EXPRESSION_KEY in conf:
        whole = _rendered(conf, EXPRESSION_KEY, variables, 0)
        if not isinstance(whole, dict):
            raise BadConf(EXPRESSION_KEY, "the value is the whole conf, so it must be a map")
        return whole
    rendered: dict[str, Any] = {}
    size = 2
    for name, value in conf.items():
        rendered[name] = _rendered(value, name, variables, 1)
        size += len(json.dumps(rendered[name])) + len(name) + 6
        if size > MAX_BYTES:
            raise BadConf(name, f"the conf grows larger than {MAX_BYTES // 1024} KiB here")
    return rendered


def conf_variables(
    *,
    conf: Mapping[str, Any],
    event: Event | None,
    occurrence: str,
    zone: str,
    window: Span,
    gpu: GpuAsk | None,
    run_id: str,
    ref: Ref,
    details: bool,
) -> dict[str, Any]:
    """What the expressions of a conf see: times and numbers, and parameters where they may (R13).

    Args:
        conf: as written; only where it asks for `event.parameters` must they be readable.
        event: the event of the occurrence, None for an inline one: then the window stands for it.
        occurrence: key of the occurrence.
        zone: the TrainingWindow's zone.
        window: from the start of the piece to the window's end.
        gpu: what is asked for; without it there is no variable `gpu`.
        run_id: of the DAG run.
        ref: the TrainingWindow.
        details: whether the event's calendar lets descriptions flow on. That the event's author
            may set parameters is settled before: only trusted events have occurrences (R14).

    Returns:
        `event` (see `event_variables` without `details`, plus `parameters` where allowed),
        `window` (`start`, `end`, `durationSeconds`), `gpu` (`count`, `perPod`, `pool`), `run`
        (`id`, `namespace`, `name`).

    Raises:
        BadConf: the conf asks for parameters and the description's cannot be read.
    """
    variables: dict[str, Any] = {
        "event": _event(event, occurrence, zone, window),
        "window": {
            "start": window.start,
            "end": window.end,
            "durationSeconds": int(window.length.total_seconds()),
        },
        "run": {"id": run_id, "namespace": ref.namespace, "name": ref.name},
    }
    if gpu is not None:
        variables["gpu"] = {"count": gpu.count, "perPod": gpu.per_pod, "pool": str(gpu.pool)}
    if event is None:
        variables["event"]["parameters"] = {}
    elif details and (event.description is not None or event.summary is not None):
        # A description that is missing beside a title is empty; without a title it is private.
        asked = [
            path for path, found in _expressions(conf, "", 0) if found.reads("event", "parameters")
        ]
        try:
            variables["event"]["parameters"] = parameters(event.description or "")
        except BadParameters as error:
            if asked:
                raise BadConf(asked[0], error.detail) from None
    return variables


def conf_for(
    conf: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    identity: Identity,
    occurrence: str,
    entry: str,
    original_start: str,
    window: Span,
    gpu: GpuAsk | None,
) -> dict[str, Any]:
    """What is posted to Airflow: the rendered conf plus `trainingWindow`.

    That key says in every run whose it is and what it may hold, so that a restarted controller, or
    one that lost its status, finds its runs and their promises again (R6, R9). For tasks that have
    no windows file it also holds the event's parameters, where they may flow on.

    Raises:
        BadConf: see `render`.
    """
    told = variables["event"].get("parameters")
    small = bool(told) and len(json.dumps(told)) <= MAX_PARAMETERS
    return {
        **render(conf, variables),
        OWN_KEY: {
            "version": VERSION,
            "installation": identity.installation,
            "namespace": identity.ref.namespace,
            "name": identity.ref.name,
            "occurrence": occurrence,
            "entry": entry,
            "originalStart": original_start,
            "start": rfc3339(window.start),
            "end": rfc3339(window.end),
            "pool": None if gpu is None else str(gpu.pool),
            "gpus": 0 if gpu is None else gpu.count,
            "perPod": 1 if gpu is None else gpu.per_pod,
            **({"parameters": told} if small else {}),
        },
    }


def check_params(conf: Mapping[str, Any], params_schema: Mapping[str, Any]) -> str | None:
    """What Airflow would refuse in a conf, so that it is said before the POST.

    Args:
        conf: rendered.
        params_schema: the DAG's `params` by name as `GET /api/v2/dags/{id}/details` gives them:
            `{"value": default, "schema": {JSON schema}}`.

    Returns:
        One clause that names the param and its bound and never a value; None where all is well.
    """
    for name, param in params_schema.items():
        if not isinstance(param, Mapping):
            continue
        schema = param.get("schema")
        schema = schema if isinstance(schema, Mapping) else {}
        if name in conf:
            if (wrong := complaint(conf[name], schema, name)) is not None:
                return wrong
        # Airflow took any other default when it took the DAG.
        elif "value" not in param or _is_missing(param["value"], schema):
            return f"{name} needs a value"
    return None


def _is_missing(default: Any, schema: Mapping[str, Any]) -> bool:
    return default is None and complaint(None, schema) is not None


def rfc3339(at: datetime) -> str:
    """An instant as RFC 3339 in UTC.

    >>> rfc3339(datetime(2026, 3, 29, 1, tzinfo=UTC))
    '2026-03-29T01:00:00Z'
    """
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _event(event: Event | None, occurrence: str, zone: str, window: Span) -> dict[str, Any]:
    if event is not None:
        return event_variables(event, zone, details=False)
    local = window.start.astimezone(zone_of(zone))
    stand_in = Event(
        key=occurrence,
        series="",
        original_start=local.replace(tzinfo=None).isoformat(),
        span=window,
    )
    return event_variables(stand_in, zone, details=False)


def _expressions(value: Any, path: str, depth: int) -> Iterator[tuple[str, Expression]]:
    if depth > MAX_DEPTH:
        raise BadConf(path, f"nested more than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if EXPRESSION_KEY in value:
            yield path or EXPRESSION_KEY, _compiled(value, path or EXPRESSION_KEY)
            return
        for name, item in value.items():
            yield from _expressions(item, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _expressions(item, f"{path}[{index}]", depth + 1)


def _compiled(value: Mapping[str, Any], path: str) -> Expression:
    text = value[EXPRESSION_KEY]
    if len(value) > 1 or not isinstance(text, str):
        raise BadConf(path, f'an expression is written {{"{EXPRESSION_KEY}": "text"}}, alone')
    try:
        return compile_expression(text, path)
    except BadExpression as error:
        raise BadConf(path, error.detail) from None


def _rendered(value: Any, path: str, variables: Mapping[str, Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadConf(path, f"nested more than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        if EXPRESSION_KEY in value:
            try:
                return _plain(_compiled(value, path).evaluate(variables))
            except ExpressionFailed as failed:
                raise BadConf(path, failed.detail) from None
        return {
            name: _rendered(item, f"{path}.{name}", variables, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _rendered(item, f"{path}[{index}]", variables, depth + 1)
            for index, item in enumerate(value)
        ]
    if isinstance(value, float) and not math.isfinite(value):
        raise BadConf(path, "JSON knows no such number")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
