"""Windows documents for tests: small ones by hand, any ones by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from slackwater_windows.document import Cut, Document, Occurrence, Pool, Waited, Window

NOW = datetime(2026, 11, 23, 21, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


def occurrence(key: str = "o1", begins: float = 1, lasts: float = 8, **changes: Any) -> Occurrence:
    fields: dict[str, Any] = {
        "id": key,
        "entry": "team",
        "state": "Planned",
        "reason": "Ahead",
        "start": NOW + begins * HOUR,
        "end": NOW + (begins + lasts) * HOUR,
    }
    return Occurrence(**fields | changes)


def window(*occurrences: Occurrence, name: str = "nightly", **changes: Any) -> Window:
    fields: dict[str, Any] = {
        "namespace": "research",
        "name": name,
        "dag_id": "train_llm",
        "airflow": "research/default",
        "time_zone": "Europe/Berlin",
        "message": "Planned.",
        "pool": "research/h100",
        "gpus": 16,
        "per_pod": 8,
    }
    return Window(**fields | changes, occurrences=occurrences)


def document(*windows: Window, **changes: Any) -> Document:
    fields: dict[str, Any] = {"installation": "lab", "written_at": NOW, "windows": windows}
    return Document(**fields | changes)


_texts = st.text(max_size=12)
_instants = st.integers(0, 40_000_000).map(
    lambda s: datetime(2026, 1, 1, tzinfo=UTC) + s * HOUR / 3600
)
_maybe = st.none() | _instants
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)
_spans = st.tuples(_instants, _instants).map(lambda pair: (min(pair), max(pair)))
_occurrences = st.builds(
    Occurrence,
    id=_texts,
    entry=_texts,
    state=st.sampled_from(["Planned", "Waiting", "Running", "Missed", "Succeeded"]),
    reason=_texts,
    start=_instants,
    end=_instants,
    pieces=st.lists(_spans, max_size=2).map(tuple),
    run_end=_maybe,
    cancel_time=_maybe,
    planned_start=_maybe,
    cuts=st.lists(st.builds(Cut, _instants, _instants, _texts), max_size=2).map(tuple),
    dag_run_id=st.none() | _texts,
    trigger_time=_maybe,
    start_time=_maybe,
    end_time=_maybe,
    waited=st.lists(st.builds(Waited, _texts, st.integers(0, 10**6)), max_size=2).map(tuple),
    parameters=st.none() | st.dictionaries(_texts, _json, max_size=2),
    parameters_error=st.none() | _texts,
)
_windows = st.builds(
    Window,
    namespace=_texts,
    name=_texts,
    dag_id=_texts,
    airflow=_texts,
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "no/zone", "../etc", ""]),
    suspended=st.booleans(),
    ready=st.booleans(),
    message=_texts,
    pool=st.just("research/h100"),
    gpus=st.integers(0, 64),
    per_pod=st.integers(1, 8),
    occurrences=st.lists(_occurrences, max_size=3).map(
        lambda found: tuple(sorted(found, key=lambda o: (o.start, o.id)))
    ),
)
_pools = st.builds(
    Pool,
    name=_texts,
    capacity=st.integers(0, 512),
    free=st.integers(0, 512),
    promised=st.integers(0, 99),
    utilization_percent=st.none() | st.integers(0, 1000).map(lambda n: n / 10),
    sample_time=_maybe,
    message=_texts,
    load=st.lists(st.tuples(_instants, st.integers(0, 1000).map(lambda n: n / 10)), max_size=3).map(
        tuple
    ),
)
documents = st.builds(
    Document,
    installation=_texts,
    written_at=_instants,
    windows=st.lists(_windows, max_size=3).map(tuple),
    pools=st.lists(_pools, max_size=2).map(tuple),
    omitted=st.integers(0, 9),
)
