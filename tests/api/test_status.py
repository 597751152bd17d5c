from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api import observed
from slackwater.api.status import (
    AirflowStatus,
    CalendarStatus,
    PoolStatus,
    conditions_from_wire,
    from_wire,
    to_wire,
    write_instant,
)
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.span import Span
from slackwater.core.status import CONDITION_TYPES, Condition, Status, Truth
from slackwater.core.words import Reason

NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)

instants = st.builds(
    lambda seconds, ms: NOW + timedelta(seconds=seconds, milliseconds=ms),
    st.integers(-(10**9), 10**10),
    st.sampled_from([0, 0, 1, 120, 999]),
)
maybe = st.none() | instants
spans = st.builds(
    lambda start, length: Span(start, start + length),
    instants,
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=31)).map(
        lambda d: timedelta(milliseconds=max(1, d // timedelta(milliseconds=1)))
    ),
)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
counts = st.integers(0, 100_000)
reasons = st.sampled_from(Reason)
lines = st.builds(
    Line,
    id=words,
    entry=words,
    series=words | st.just(""),
    original_start=words | st.just(""),
    state=st.sampled_from(State),
    reason=reasons,
    since=maybe,
    window=st.none() | spans,
    intent_time=maybe,
    dag_run_id=st.none() | words,
    run_url=st.none() | words,
    trigger_time=maybe,
    start_time=maybe,
    end_time=maybe,
    cancel_time=maybe,
    promise=counts,
    waited=st.lists(st.builds(Waited, words, reasons, counts), max_size=3).map(tuple),
    closest=st.none() | st.text(max_size=40),
    absent=st.integers(0, 3),
)
conditions = st.builds(
    Condition,
    type=st.sampled_from(CONDITION_TYPES),
    status=st.sampled_from(Truth),
    reason=reasons,
    message=st.text(max_size=60),
    observed_generation=counts,
    last_transition_time=instants,
)
statuses = st.builds(
    Status,
    observed_generation=counts,
    conditions=st.lists(conditions, max_size=3).map(tuple),
    message=st.text(max_size=60),
    next_window_start=maybe,
    next_window_end=maybe,
    last_schedule_time=maybe,
    last_successful_time=maybe,
    last_missed_time=maybe,
    expected_duration=st.none() | st.integers(0, 10**6).map(lambda s: timedelta(seconds=s)),
    lines=st.lists(lines, max_size=3).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(statuses)
def test_a_status_comes_back_from_the_wire_as_it_was(status: Status) -> None:
    assert from_wire(to_wire(status)) == status


@settings(max_examples=40, deadline=None)
@given(statuses)
def test_the_wire_form_fits_the_schema_of_the_crd(status: Status) -> None:
    observed.TrainingWindowStatus.model_validate(to_wire(status), by_alias=True, by_name=False)


@settings(max_examples=40, deadline=None)
@given(statuses)
def test_the_wire_form_is_stable(status: Status) -> None:
    assert to_wire(from_wire(to_wire(status))) == to_wire(status)


def test_a_line_is_written_in_full() -> None:
    line = Line(
        id="0a1b",
        entry="nights",
        series="5e",
        original_start="2026-11-23T22:00",
        state=State.INTENDED,
        reason=Reason.STARTING,
        since=NOW,
        window=Span(NOW, NOW + timedelta(hours=8)),
        intent_time=NOW + timedelta(milliseconds=5),
        dag_run_id="slackwater.x",
        run_url="https://airflow.example/dags/train/runs/slackwater.x",
        promise=16,
        waited=(Waited("CapacityAvailable", Reason.WAITING_FOR_GPUS, 90),),
        closest="03:40 14 of 16 GPUs",
        absent=1,
    )
    (wire,) = to_wire(Status(lines=(line,)))["occurrences"]
    assert wire == {
        "id": "0a1b",
        "entry": "nights",
        "series": "5e",
        "originalStart": "2026-11-23T22:00",
        "state": "Intended",
        "reason": "Starting",
        "since": "2026-11-23T22:00:00Z",
        "windowStart": "2026-11-23T22:00:00Z",
        "windowEnd": "2026-11-24T06:00:00Z",
        "intentTime": "2026-11-23T22:00:00.005Z",
        "dagRunId": "slackwater.x",
        "dagRunURL": "https://airflow.example/dags/train/runs/slackwater.x",
        "promise": 16,
        "waited": [{"condition": "CapacityAvailable", "reason": "WaitingForGPUs", "seconds": 90}],
        "closest": "03:40 14 of 16 GPUs",
        "absent": 1,
    }


def test_nothing_known_is_little_written() -> None:
    assert to_wire(Status()) == {"observedGeneration": 0, "active": 0}


def test_active_counts_runs_that_exist_or_are_meant_to() -> None:
    found = tuple(Line(id=state, entry="a", state=state) for state in State)
    assert to_wire(Status(lines=found))["active"] == 3


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOW, "2026-11-23T22:00:00Z"),
        (NOW + timedelta(microseconds=999), "2026-11-23T22:00:00Z"),
        (NOW + timedelta(microseconds=5999), "2026-11-23T22:00:00.005Z"),
        (NOW.astimezone(timezone(timedelta(hours=1))), "2026-11-23T22:00:00Z"),
    ],
)
def test_instants_are_utc_and_cut_to_milliseconds(at: datetime, text: str) -> None:
    assert write_instant(at) == text


def test_texts_that_the_api_server_would_refuse_are_cut() -> None:
    condition = Condition(
        type="Ready",
        status=Truth.FALSE,
        reason=Reason.INVALID_SPEC,
        message="x" * 10_000,
        observed_generation=1,
        last_transition_time=NOW,
    )
    line = Line(id="a", entry="b", closest="x" * 10_000)
    wire = to_wire(Status(conditions=(condition,), message="x" * 10_000, lines=(line,)))
    observed.TrainingWindowStatus.model_validate(wire, by_alias=True, by_name=False)


# --- reading what a newer version or a hand has written

FULL = to_wire(
    Status(
        observed_generation=3,
        conditions=(
            Condition(
                type="Ready",
                status=Truth.TRUE,
                reason=Reason.ACCEPTED,
                message="fine",
                observed_generation=3,
                last_transition_time=NOW,
            ),
        ),
        message="fine",
        expected_duration=timedelta(hours=1),
        lines=(
            Line(
                id="a",
                entry="nights",
                state=State.RUNNING,
                reason=Reason.RUNNING,
                window=Span(NOW, NOW + timedelta(hours=1)),
                promise=8,
                waited=(Waited("CapacityAvailable", Reason.TOO_BUSY, 5),),
            ),
        ),
    )
)


def edited(**line: Any) -> Line | None:
    (item,) = FULL["occurrences"]
    found = from_wire({**FULL, "occurrences": [{**item, **line}]}).lines
    return found[0] if found else None


def test_an_unknown_reason_does_not_lose_the_line() -> None:
    line = edited(reason="QuantumFlux")
    assert line is not None
    assert (line.state, line.reason, line.promise) == (State.RUNNING, Reason.RUNNING, 8)


@pytest.mark.parametrize("field", ["id", "entry", "state"])
@pytest.mark.parametrize("value", [None, 7, "", [], {}])
def test_a_line_without_identity_or_state_is_left_out(field: str, value: object) -> None:
    assert edited(**{field: value}) is None


def test_an_unknown_state_is_left_out_and_the_rest_is_kept() -> None:
    (item,) = FULL["occurrences"]
    found = from_wire({"occurrences": [{**item, "state": "Paused"}, None, item, "x"]})
    assert [line.id for line in found.lines] == ["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", "yesterday"),
        ("since", "2026-11-23T22:00:00"),
        ("since", "2026-13-45T22:00:00Z"),
        ("since", "9999-12-31T23:59:59-12:00"),
        ("since", 17),
        ("promise", -1),
        ("promise", "8"),
        ("promise", True),
        ("promise", 1.5),
        ("promise", 10**30),
        ("waited", {"a": 1}),
        ("waited", [{"condition": "x", "reason": "Nonsense", "seconds": 1}]),
        ("dagRunId", 5),
        ("windowEnd", "2020-01-01T00:00:00Z"),
        ("windowEnd", None),
    ],
)
def test_an_unreadable_field_of_a_line_is_as_if_left_out(field: str, value: object) -> None:
    (item,) = FULL["occurrences"]
    without = {key: kept for key, kept in item.items() if key != field}
    expected = from_wire({"occurrences": [without]}).lines
    assert from_wire({"occurrences": [{**item, field: value}]}).lines == expected


@pytest.mark.parametrize("field", ["type", "status", "reason", "lastTransitionTime"])
def test_an_unreadable_condition_is_left_out(field: str) -> None:
    (item,) = FULL["conditions"]
    assert len(conditions_from_wire({"conditions": [item]})) == 1
    assert conditions_from_wire({"conditions": [{**item, field: "?"}]}) == (
        () if field != "type" else (replace(conditions_from_wire(FULL)[0], type="?"),)
    )


def test_a_duration_beyond_reason_cannot_end_the_calendar() -> None:
    assert from_wire({"expectedDurationSeconds": 10**15}).expected_duration is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damage_anywhere_never_raises(data: st.DataObject) -> None:
    wire: Any = to_wire(data.draw(statuses))
    where = data.draw(st.sampled_from(["status", "conditions", "occurrences"]))
    target: Any = wire
    if where != "status" and wire.get(where):
        target = wire[where][0]
    for name in data.draw(st.lists(st.sampled_from(sorted(target)), max_size=4)):
        target[name] = data.draw(anything)
    assert isinstance(from_wire(wire), Status)


# --- the other resources


def condition(kind: str) -> Condition:
    return Condition(
        type=kind,
        status=Truth.TRUE,
        reason=Reason.ACCEPTED,
        message="fine",
        observed_generation=1,
        last_transition_time=NOW,
    )


READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Accepted",
    "message": "fine",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-11-23T22:00:00Z",
}


def test_status_of_a_calendar() -> None:
    status = CalendarStatus(
        conditions=(condition("Ready"),), last_change_time=NOW, blocks_at=NOW, event_count=0
    )
    wire = status.to_wire()
    assert wire == {
        "conditions": [READY],
        "lastChangeTime": "2026-11-23T22:00:00Z",
        "blocksAt": "2026-11-23T22:00:00Z",
        "eventCount": 0,
    }
    observed.CalendarStatus.model_validate(wire, by_alias=True, by_name=False)
    assert conditions_from_wire(wire) == status.conditions
    assert CalendarStatus().to_wire() == {}


def test_status_of_a_pool() -> None:
    status = PoolStatus(
        conditions=(condition("Ready"),),
        capacity=64,
        free=-3,
        promised=8,
        utilization_percent=33.3333,
        sample_time=NOW,
    )
    wire = status.to_wire()
    assert wire == {
        "conditions": [READY],
        "capacity": 64,
        "free": 0,
        "promised": 8,
        "utilizationPercent": 33.3,
        "sampleTime": "2026-11-23T22:00:00Z",
    }
    observed.GPUPoolStatus.model_validate(wire, by_alias=True, by_name=False)
    assert PoolStatus(utilization_percent=100.01).to_wire() == {"utilizationPercent": 100.0}
    assert PoolStatus().to_wire() == {}


def test_status_of_an_airflow() -> None:
    wire = AirflowStatus(conditions=(condition("Ready"),), version="3.3.2").to_wire()
    assert wire == {"conditions": [READY], "version": "3.3.2"}
    observed.AirflowInstanceStatus.model_validate(wire, by_alias=True, by_name=False)
    assert AirflowStatus().to_wire() == {}
