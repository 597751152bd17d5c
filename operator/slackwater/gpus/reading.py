"""What the rows of a sample mean: numbers per node, then one `Sample`. Pure.

Overrides (`spec.source.prometheus.queries`) come as rows of their own and replace what the
built-in questions of the same name would have said.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from slackwater.core.sample import Room, Sample
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.answer import Row
from slackwater.gpus.config import describe
from slackwater.gpus.queries import HOST_LABELS, OWN_RUN, REPORT, RUN_ID, WHAT

_ROUNDING: Final = 1e-6
_LONGEST: Final = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All rows of one sample.

    Attributes:
        ref: the pool, for messages.
        rows: the answer to the union of the built-in questions.
        overrides: the answers to the pool's own queries, by name.
        names: the pool's nodes where they are known by name; None keeps every row.
    """

    ref: Ref
    rows: Sequence[Row]
    overrides: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    names: Collection[str] | None = None


@dataclass(slots=True)
class _Load:
    """What reports on one host."""

    gpus: int = 0
    total: float = 0.0


def read_kubernetes(look: Look, now: datetime) -> Sample:
    """A pool as kube-state-metrics and the GPU exporter see it.

    Coverage counts the GPUs of usable nodes only: a node that offers nothing need not report.
    With time-slicing a node offers more GPUs than report; such a pool sets `queries.coverage`.

    Args:
        look: answers to `questions.kubernetes`.
        now: our clock when the answers had arrived.

    Raises:
        PoolError: NO_DATA, TOO_MANY_SERIES or BAD_RESULT_TYPE.
    """
    listed = _by_node(look, "capacity")
    allocatable = _node_override(look, "allocatable")
    requested = _node_override(look, "requested")
    loads = _loads(look)
    demand = _by_node(look, "requested")
    waiting = demand.pop("", 0.0)
    if allocatable is None:
        allocatable = _by_node(look, "allocatable")
        asked = "sampleAge" not in look.overrides
        if not allocatable and asked and not _rows(look, "age.ready"):
            # Not "no node is usable" but "nobody says whether one is".
            raise PoolError(Reason.NO_DATA, what=describe(look.ref))
    capacity = _one(look, "capacity")
    if capacity is None:
        if not listed:
            raise PoolError(Reason.NO_DATA, what=describe(look.ref))
        capacity = sum(listed.values())
    reported = sum(min(gpus, loads.get(node, _Load()).gpus) for node, gpus in allocatable.items())
    offered = sum(allocatable.values())
    found = _sample(
        look,
        now,
        capacity=capacity,
        allocatable=allocatable,
        requested=demand if requested is None else requested,
        waiting=waiting,
        loads=loads,
        coverage=reported / offered if offered else None,
    )
    return replace(found, used_by=_by_namespace(look), visible=_visible(look))


def read_exporter(look: Look, most_seen: int, now: datetime) -> Sample:
    """A pool as the GPU exporter alone sees it: what reports is all there is.

    Args:
        look: answers to `questions.exporter`.
        most_seen: GPUs that reported at once at best within 24 hours; not asked where coverage
            is overridden.
        now: our clock when the answers had arrived.

    Raises:
        PoolError: NO_DATA, TOO_MANY_SERIES or BAD_RESULT_TYPE.
    """
    loads = _loads(look)
    allocatable = _node_override(look, "allocatable")
    requested = _node_override(look, "requested")
    capacity = _one(look, "capacity")
    reporting = {host: float(load.gpus) for host, load in loads.items()}
    seen = sum(reporting.values())
    if not seen and (allocatable is None or capacity is None):
        raise PoolError(Reason.NO_DATA, what=describe(look.ref))
    return _sample(
        look,
        now,
        capacity=seen if capacity is None else capacity,
        allocatable=reporting if allocatable is None else allocatable,
        requested=_by_node(look, "held") if requested is None else requested,
        waiting=0.0,
        loads=loads,
        coverage=seen / max(most_seen, seen) if seen else 0.0,
    )


def _sample(
    look: Look,
    now: datetime,
    *,
    capacity: float,
    allocatable: Mapping[str, float],
    requested: Mapping[str, float],
    waiting: float,
    loads: Mapping[str, _Load],
    coverage: float | None,
) -> Sample:
    reporting = sum(load.gpus for load in loads.values())
    mean = sum(load.total for load in loads.values()) / reporting if reporting else None
    chosen = _one(look, "waiting", absent=0.0)
    return Sample(
        time=now - _age(look),
        capacity=math.floor(_count(look, "capacity", capacity)),
        rooms=tuple(
            Room(
                node,
                math.floor(_count(look, "allocatable", gpus)),
                max(0, math.floor(gpus - _count(look, "requested", requested.get(node, 0.0)))),
            )
            for node, gpus in sorted(allocatable.items())
        ),
        used=math.ceil(sum(_count(look, "requested", gpus) for gpus in requested.values())),
        waiting=math.ceil(_count(look, "waiting", waiting if chosen is None else chosen)),
        utilization=_share(look, "utilization", mean),
        coverage=_share(look, "coverage", coverage),
    )


# --- rows --------------------------------------------------------------------------------------


def _rows(look: Look, question: str) -> list[Row]:
    return [row for row in look.rows if row.labels.get(WHAT) == question]


def _by_node(look: Look, question: str) -> dict[str, float]:
    """Values by node or host; rows that name none are under ""."""
    found: dict[str, float] = {}
    for row in _rows(look, question):
        if (name := _node_of(row)) == "" or look.names is None or name in look.names:
            found[name] = found.get(name, 0.0) + row.value
    return found


def _by_namespace(look: Look) -> dict[str, int]:
    """GPUs that pods on the pool's nodes request, of the namespaces that were asked for."""
    found: dict[str, float] = {}
    for row in _rows(look, "namespaces"):
        if look.names is None or _node_of(row) in look.names:
            namespace = row.labels.get("namespace", "")
            found[namespace] = found.get(namespace, 0.0) + row.value
    return {namespace: math.floor(gpus) for namespace, gpus in found.items()}


def _visible(look: Look) -> dict[str, int] | None:
    """GPUs of pods that say whose they are; None where no pod says so, or nobody was asked."""
    if not _rows(look, "labelled"):
        return None
    found: dict[str, float] = {}
    for row in _rows(look, "visible"):
        if (name := _node_of(row)) == "" or look.names is None or name in look.names:
            label = row.labels.get(OWN_RUN) or row.labels.get(RUN_ID, "")
            found[label] = found.get(label, 0.0) + row.value
    return {label: math.floor(gpus) for label, gpus in found.items()}


def _node_of(row: Row) -> str:
    return next((name for label in ("node", *HOST_LABELS) if (name := row.labels.get(label))), "")


def _loads(look: Look) -> dict[str, _Load]:
    found: dict[str, _Load] = {}
    for row in _rows(look, "reports"):
        name = _node_of(row)
        if name and (look.names is None or name in look.names):
            gpus, total = divmod(row.value, REPORT)
            load = found.setdefault(name, _Load())
            load.gpus += int(gpus)
            load.total += total
    return found


def _age(look: Look) -> timedelta:
    """Age of the oldest raw sample behind the look. Without any the look is worth nothing."""
    age = _one(look, "sampleAge")
    if age is None:
        found = [
            row.value
            for row in look.rows
            if row.labels.get(WHAT, "").startswith("age.")
            and (look.names is None or (name := _node_of(row)) == "" or name in look.names)
        ]
        if not found:
            raise PoolError(Reason.NO_DATA, what=describe(look.ref, "sampleAge"))
        age = max(found)
    return timedelta(seconds=min(max(age, 0.0), _LONGEST))


# --- overrides ---------------------------------------------------------------------------------


def _one(look: Look, name: str, *, absent: float | None = None) -> float | None:
    """The one number of an override, None where there is no such override."""
    rows = look.overrides.get(name)
    if rows is None:
        return None
    if len(rows) > 1:
        raise PoolError(Reason.TOO_MANY_SERIES, what=describe(look.ref, name))
    if not rows and absent is None:
        raise PoolError(Reason.NO_DATA, what=describe(look.ref, name))
    return rows[0].value if rows else absent


def _node_override(look: Look, name: str) -> dict[str, float] | None:
    """The numbers by node of an override, None where there is no such override.

    The query picks the nodes by itself. A series without the label `node` is of the wrong kind.
    """
    rows = look.overrides.get(name)
    if rows is None:
        return None
    found = {row.labels.get("node", ""): row.value for row in rows}
    if len(found) < len(rows):
        raise PoolError(Reason.TOO_MANY_SERIES, what=describe(look.ref, name))
    if not found and name == "allocatable":
        raise PoolError(Reason.NO_DATA, what=describe(look.ref, name))
    if "" in found:
        raise PoolError(Reason.BAD_RESULT_TYPE, what=describe(look.ref, name))
    return found


def _count(look: Look, name: str, value: float) -> float:
    """A number of GPUs: not negative."""
    if value < 0:
        raise PoolError(Reason.BAD_RESULT_TYPE, what=describe(look.ref, name))
    return value


def _share(look: Look, name: str, measured: float | None) -> float | None:
    """A ratio: a query that answers in percent would make every comparison with it wrong."""
    chosen = _one(look, name)
    value = measured if chosen is None else chosen
    if value is None:
        return None
    if not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise PoolError(Reason.BAD_RESULT_TYPE, what=describe(look.ref, name))
    return min(max(value, 0.0), 1.0)
