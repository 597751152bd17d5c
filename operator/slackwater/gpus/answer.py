"""What a Prometheus answered, read strictly: rows, or one reason why there are none.

Source: the HTTP API of Prometheus, https://prometheus.io/docs/prometheus/latest/querying/api/.
The text of an error quotes label values, so none of it is ever copied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.net import Reply, retry_after


@dataclass(frozen=True, slots=True)
class Row:
    """One series at one instant.

    Attributes:
        labels: of the series, without its name where the query dropped it.
        time: Unix time at which the server evaluated the query, by the server's clock.
        value: finite.
    """

    labels: Mapping[str, str]
    time: float
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One series over time: (Unix time by the server's clock, finite value), oldest first."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


def vector(reply: Reply, what: str, now: datetime) -> tuple[Row, ...]:
    """The rows of an instant query; a scalar is one row without labels.

    Args:
        reply: whatever the server answered.
        what: the gap of that name in the error's sentence.
        now: to count a `Retry-After` date from.

    Raises:
        PoolError: also NOT_A_NUMBER where a row holds NaN or infinity.
    """
    kind, result = _result(reply, what, now)
    if kind == "scalar":
        rows: tuple[Row, ...] = (Row({}, *_point(result, what)),)
    elif kind == "vector":
        rows = tuple(Row(_labels(one, what), *_point(one.get("value"), what)) for one in result)
    else:
        raise PoolError(Reason.BAD_RESULT_TYPE, what=what)
    if not all(math.isfinite(row.value) for row in rows):
        raise PoolError(Reason.NOT_A_NUMBER, what=what)
    return rows


def matrix(reply: Reply, what: str, now: datetime) -> tuple[Series, ...]:
    """The series of a range query.

    Points that are no finite number are left out, as the points of a silent exporter are: the
    gap shows in the times.
    """
    kind, result = _result(reply, what, now)
    if kind != "matrix":
        raise PoolError(Reason.BAD_RESULT_TYPE, what=what)
    found: list[Series] = []
    for one in result:
        labels, values = _labels(one, what), one.get("values")
        if not isinstance(values, list):
            raise PoolError(Reason.BAD_RESULT_TYPE, what=what)  # native histograms only
        points = (_point(pair, what) for pair in values)
        found.append(Series(labels, tuple(point for point in points if math.isfinite(point[1]))))
    return tuple(found)


_LATEST: Final = 253_402_300_800
"""Unix time of the year 10000: no server's present."""
_NOT_OURS: Final = "PromQL info"
"""How Prometheus 2.49 to 2.55 begins a remark that 3.0 gives as one of `infos`."""


def _result(reply: Reply, what: str, now: datetime) -> tuple[str, Any]:
    """Type and value of the result of a complete, successful answer."""
    body = _envelope(reply.body)
    if not (reply.status == 200 and body is not None and body.get("status") == "success"):
        raise _refusal(reply, body, what, now)
    warnings = body.get("warnings") or ()
    if any(not str(warning).startswith(_NOT_OURS) for warning in warnings):
        raise PoolError(Reason.PARTIAL_RESPONSE, what=what)
    data = body.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("result"), list):
        raise PoolError(Reason.NOT_PROMETHEUS, what=what)
    return str(data.get("resultType")), data["result"]


def _envelope(body: bytes) -> dict[str, Any] | None:
    """The JSON object that every answer of the API is, or None."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refusal(reply: Reply, body: Mapping[str, Any] | None, what: str, now: datetime) -> PoolError:
    kind = body.get("errorType") if body is not None and body.get("status") == "error" else None
    match reply.status:
        case 401:
            reason = Reason.UNAUTHORIZED
        case 403:
            reason = Reason.FORBIDDEN
        case 429:
            reason = Reason.THROTTLED
        case 408 | 504:
            reason = Reason.TIMEOUT
        case 413 | 414:
            reason = Reason.BAD_QUERY
        case 400 | 422 if kind is not None:
            reason = Reason.BAD_QUERY
        case status if 300 <= status < 400:
            reason = Reason.REDIRECTED
        case status if status >= 500:
            reason = Reason.TIMEOUT if kind == "timeout" else Reason.UNAVAILABLE
        case _:
            reason = Reason.NOT_PROMETHEUS
    return PoolError(reason, retry_after=retry_after(reply.headers, now), what=what)


def _labels(one: object, what: str) -> Mapping[str, str]:
    labels = one.get("metric") if isinstance(one, dict) else None
    if not isinstance(labels, dict):
        raise PoolError(Reason.NOT_PROMETHEUS, what=what)
    return labels


def _point(pair: object, what: str) -> tuple[float, float]:
    """Time and value; a row without one holds a native histogram."""
    if pair is None:
        raise PoolError(Reason.BAD_RESULT_TYPE, what=what)
    try:
        if isinstance(pair, list) and len(pair) == 2 and 0 <= float(pair[0]) < _LATEST:
            return float(pair[0]), float(pair[1])
    except (TypeError, ValueError):
        pass
    raise PoolError(Reason.NOT_PROMETHEUS, what=what)
