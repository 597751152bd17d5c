"""The windows file as JSON text, within a limit of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from slackwater_windows.document import (
    OPEN_STATES,
    VERSION,
    Cut,
    Document,
    Occurrence,
    Pool,
    Waited,
    Window,
)

MAX_BYTES: Final = 900_000
"""A ConfigMap holds 1 MiB with all its names; the rest is left for them."""
MAX_READ: Final = 4 * 1024 * 1024

_Item = TypeVar("_Item")


class BadDocument(ValueError):
    """A windows file that cannot be read; the message says what to do and quotes nothing."""


# --- writing -----------------------------------------------------------------------------------


def encode(document: Document, limit: int = MAX_BYTES) -> str:
    """The document as ASCII JSON of at most `limit` bytes, on one line.

    What does not fit is left out and counted in `omitted`: what is open now stays longest, then
    what is nearest to `written_at`.

    >>> encode(Document(installation="a", written_at=datetime(2026, 1, 1, tzinfo=UTC)))
    '{"version":1,"installation":"a","writtenAt":"2026-01-01T00:00:00Z","windows":[],"pools":[]}'
    """
    text = _dumps(_document(document))
    if len(text) <= limit:
        return text
    return _dumps(_document(_cut_down(document, limit)))


def _cut_down(document: Document, limit: int) -> Document:
    heads = [replace(window, occurrences=()) for window in document.windows]
    costs = [len(_dumps(_window(head))) + 1 for head in heads]
    ranked = sorted(
        (_rank(occurrence, document.written_at), index, place)
        for index, window in enumerate(document.windows)
        for place, occurrence in enumerate(window.occurrences)
    )
    room = limit - len(_dumps(_document(replace(document, windows=(), omitted=10**9))))
    kept: dict[int, set[int]] = {}
    for _, index, place in ranked:
        occurrence = document.windows[index].occurrences[place]
        cost = len(_dumps(_occurrence(occurrence))) + 1
        if index not in kept:
            cost += costs[index]
        if cost > room:
            break
        room -= cost
        kept.setdefault(index, set()).add(place)
    windows = tuple(
        replace(
            heads[index],
            occurrences=tuple(
                occurrence
                for place, occurrence in enumerate(window.occurrences)
                if place in kept[index]
            ),
        )
        for index, window in enumerate(document.windows)
        if index in kept
    )
    left = sum(map(len, kept.values()))
    return replace(document, windows=windows, omitted=document.omitted + len(ranked) - left)


def _rank(occurrence: Occurrence, now: datetime) -> tuple[int, float]:
    distance = abs((occurrence.start - now).total_seconds())
    return (0 if occurrence.state in OPEN_STATES else 1, distance)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _document(document: Document) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "version": VERSION,
        "installation": document.installation,
        "writtenAt": instant(document.written_at),
        "windows": [_window(window) for window in document.windows],
        "pools": [_pool(pool) for pool in document.pools],
    }
    if document.omitted:
        wire["omitted"] = document.omitted
    return wire


def _window(window: Window) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "namespace": window.namespace,
        "name": window.name,
        "dagId": window.dag_id,
        "airflow": window.airflow,
        "timeZone": window.time_zone,
        "message": window.message,
    }
    if window.suspended:
        wire["suspended"] = True
    if not window.ready:
        wire["ready"] = False
    if window.pool is not None:
        wire |= {"pool": window.pool, "gpus": window.gpus, "perPod": window.per_pod}
    wire["occurrences"] = [_occurrence(occurrence) for occurrence in window.occurrences]
    return wire


def _occurrence(occurrence: Occurrence) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "id": occurrence.id,
        "entry": occurrence.entry,
        "state": occurrence.state,
        "reason": occurrence.reason,
        "start": instant(occurrence.start),
        "end": instant(occurrence.end),
    }
    if occurrence.pieces:
        wire["pieces"] = [[instant(start), instant(end)] for start, end in occurrence.pieces]
    times = {
        "runEnd": occurrence.run_end,
        "cancelTime": occurrence.cancel_time,
        "plannedStart": occurrence.planned_start,
        "triggerTime": occurrence.trigger_time,
        "startTime": occurrence.start_time,
        "endTime": occurrence.end_time,
    }
    wire |= {name: instant(at) for name, at in times.items() if at is not None}
    if occurrence.cuts:
        wire["cuts"] = [
            {"start": instant(cut.start), "end": instant(cut.end), "entry": cut.entry}
            for cut in occurrence.cuts
        ]
    if occurrence.dag_run_id is not None:
        wire["dagRunId"] = occurrence.dag_run_id
    if occurrence.waited:
        wire["waited"] = [{"reason": w.reason, "seconds": w.seconds} for w in occurrence.waited]
    if occurrence.parameters is not None:
        wire["parameters"] = dict(occurrence.parameters)
    if occurrence.parameters_error is not None:
        wire["parametersError"] = occurrence.parameters_error
    return wire


def _pool(pool: Pool) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": pool.name, "promised": pool.promised}
    if pool.capacity is not None:
        wire |= {"capacity": pool.capacity, "free": pool.free}
    if pool.utilization_percent is not None:
        wire["utilizationPercent"] = round(pool.utilization_percent, 1)
    if pool.sample_time is not None:
        wire["sampleTime"] = instant(pool.sample_time)
    if pool.message:
        wire["message"] = pool.message
    if pool.load:
        wire["load"] = [[instant(at), round(percent, 1)] for at, percent in pool.load]
    return wire


def instant(at: datetime) -> str:
    """RFC 3339 in UTC, in whole seconds.

    >>> instant(datetime(2026, 3, 29, 1, tzinfo=UTC))
    '2026-03-29T01:00:00Z'
    """
    return at.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat() + "Z"


# --- reading -----------------------------------------------------------------------------------


def decode(text: str) -> Document:
    """The document that a text holds; what cannot be read inside of it is left out.

    Raises:
        BadDocument: it is no windows file, or a newer Slackwater wrote it.
    """
    try:
        wire = json.loads(text)
    except (ValueError, RecursionError):
        raise BadDocument(
            "the windows file is not JSON: is it the file that Slackwater writes?"
        ) from None
    if not isinstance(wire, dict) or not isinstance(wire.get("version"), int):
        raise BadDocument("this is no windows file: it has no version")
    if wire["version"] > VERSION:
        raise BadDocument(
            f"the windows file has version {wire['version']}, this package reads {VERSION}: "
            "upgrade slackwater-airflow"
        )
    try:
        return Document(
            installation=str(wire.get("installation", "")),
            written_at=parse_instant(wire["writtenAt"]),
            windows=_all(wire.get("windows"), _read_window),
            pools=_all(wire.get("pools"), _read_pool),
            omitted=int(wire.get("omitted", 0)),
        )
    except (KeyError, TypeError, ValueError):
        raise BadDocument("the windows file has no time of writing") from None


def parse_instant(value: Any) -> datetime:
    """An RFC 3339 instant, in UTC.

    Raises:
        ValueError: it is none, or names no offset from UTC.
    """
    at = datetime.fromisoformat(str(value))
    if at.tzinfo is None:
        raise ValueError("a time without an offset from UTC")
    return at.astimezone(UTC)


def _all(items: Any, read: Callable[[Mapping[str, Any]], _Item]) -> tuple[_Item, ...]:
    found: list[_Item] = []
    for item in items if isinstance(items, list) else ():
        try:
            found.append(read(item))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return tuple(found)


def _read_window(wire: Mapping[str, Any]) -> Window:
    occurrences = _all(wire.get("occurrences"), _read_occurrence)
    pool = wire.get("pool")
    return Window(
        namespace=str(wire["namespace"]),
        name=str(wire["name"]),
        dag_id=str(wire["dagId"]),
        airflow=str(wire.get("airflow", "")),
        time_zone=str(wire.get("timeZone", "UTC")),
        suspended=wire.get("suspended") is True,
        ready=wire.get("ready") is not False,
        message=str(wire.get("message", "")),
        pool=None if pool is None else str(pool),
        gpus=int(wire.get("gpus", 0)),
        per_pod=max(1, int(wire.get("perPod", 1))),
        occurrences=tuple(sorted(occurrences, key=lambda o: (o.start, o.id))),
    )


def _read_occurrence(wire: Mapping[str, Any]) -> Occurrence:
    parameters = wire.get("parameters")
    return Occurrence(
        id=str(wire["id"]),
        entry=str(wire.get("entry", "")),
        state=str(wire["state"]),
        reason=str(wire.get("reason", "")),
        start=parse_instant(wire["start"]),
        end=parse_instant(wire["end"]),
        pieces=tuple(
            (parse_instant(start), parse_instant(end)) for start, end in wire.get("pieces", ())
        ),
        run_end=_maybe(wire.get("runEnd")),
        cancel_time=_maybe(wire.get("cancelTime")),
        planned_start=_maybe(wire.get("plannedStart")),
        cuts=_all(wire.get("cuts"), _read_cut),
        dag_run_id=_text(wire.get("dagRunId")),
        trigger_time=_maybe(wire.get("triggerTime")),
        start_time=_maybe(wire.get("startTime")),
        end_time=_maybe(wire.get("endTime")),
        waited=_all(wire.get("waited"), lambda w: Waited(str(w["reason"]), int(w["seconds"]))),
        parameters=parameters if isinstance(parameters, dict) else None,
        parameters_error=_text(wire.get("parametersError")),
    )


def _read_cut(wire: Mapping[str, Any]) -> Cut:
    return Cut(parse_instant(wire["start"]), parse_instant(wire["end"]), str(wire.get("entry", "")))


def _read_pool(wire: Mapping[str, Any]) -> Pool:
    load: Iterable[Any] = wire.get("load", ())
    percent = wire.get("utilizationPercent")
    return Pool(
        name=str(wire["name"]),
        capacity=_number(wire.get("capacity")),
        free=_number(wire.get("free")),
        promised=int(wire.get("promised", 0)),
        utilization_percent=None if percent is None else float(percent),
        sample_time=_maybe(wire.get("sampleTime")),
        message=str(wire.get("message", "")),
        load=tuple((parse_instant(at), float(value)) for at, value in load),
    )


def _maybe(value: Any) -> datetime | None:
    return None if value is None else parse_instant(value)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
