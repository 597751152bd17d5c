from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from demo.ledger import Expected, compare

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
RUN_ID = "slackwater.lab.research.nightly-llm.0123"

TRAIN = Expected(
    event="train: llm",
    story="one run",
    window="nightly-llm",
    occurrence="abc",
    starts=True,
    not_before=NINE,
    not_after=NINE + timedelta(minutes=30),
    conf={"epochs": 3},
)
DENIED = Expected(
    event="eval: llm", story="no run", window="evaluation", occurrence="def", starts=False
)
STATUSES: dict[str, Any] = {
    "nightly-llm": {
        "occurrences": [
            {"id": "abc", "state": "Succeeded", "reason": "Succeeded", "dagRunId": RUN_ID}
        ]
    },
    "evaluation": {"occurrences": [{"id": "def", "state": "Planned", "reason": "EmptyWindow"}]},
}


def run(**changes: Any) -> dict[str, Any]:
    origin = {"name": changes.pop("window", "nightly-llm"), "occurrence": "abc"}
    origin["occurrence"] = changes.pop("occurrence", "abc")
    conf = {"epochs": changes.pop("epochs", 3), "trainingWindow": origin}
    return {
        "dag_run_id": RUN_ID,
        "state": "success",
        "queued_at": "2026-03-02T09:01:00.5Z",
        "start_date": "2026-03-02T09:01:01Z",
        "end_date": "2026-03-02T09:02:00Z",
        "conf": conf,
        **changes,
    }


def differences(*runs: dict[str, Any], statuses: dict[str, Any] = STATUSES) -> list[str]:
    rows = compare([TRAIN, DENIED], statuses, runs)
    return [text for row in rows for text in row.differences]


def test_a_story_that_went_well_has_no_differences() -> None:
    rows = compare([TRAIN, DENIED], STATUSES, [run()])
    assert [row.differences for row in rows] == [(), ()]
    assert [row.airflow for row in rows] == ["success 09:01:01 to 09:02:00", "no run"]
    assert [row.slackwater for row in rows] == ["Succeeded/Succeeded", "Planned/EmptyWindow"]


def test_runs_of_people_do_not_count() -> None:
    mine = run(dag_run_id="manual__2026-03-02", conf={})
    assert differences(run(), mine) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": "failed"}, "state failed in Airflow"),
        ({"epochs": 4}, "conf.epochs is 4, not 3"),
        ({"epochs": 3.0}, "conf.epochs is 3.0, not 3"),
        ({"queued_at": "2026-03-02T08:59:59Z"}, "created before 09:00:00"),
        ({"queued_at": "2026-03-02T09:30:00Z"}, "created after 09:30:00"),
        ({"dag_run_id": "slackwater.lab.research.nightly-llm.9"}, "another run id"),
    ],
)
def test_a_run_that_is_not_as_expected_differs(changed: dict[str, Any], words: str) -> None:
    (found,) = differences(run(**changed))
    assert words in found


def test_a_second_run_of_an_event_differs() -> None:
    assert differences(run(), run(dag_run_id=f"{RUN_ID}4")) == ["2 runs in Airflow, not one"]


def test_a_run_that_never_came_differs() -> None:
    assert differences() == ["0 runs in Airflow, not one"]


def test_a_run_of_a_denied_event_differs() -> None:
    stray = run(window="evaluation", occurrence="def", dag_run_id="slackwater.lab.x")
    assert differences(run(), stray) == ["1 runs in Airflow, not none"]


def test_a_run_that_nobody_expects_differs() -> None:
    stray = run(occurrence="other", dag_run_id="slackwater.lab.y")
    assert differences(run(), stray) == ["unexpected run"]


def test_a_status_that_lags_behind_differs() -> None:
    lines = [{"id": "abc", "state": "Running", "reason": "Running", "dagRunId": RUN_ID}]
    found = differences(run(), statuses={**STATUSES, "nightly-llm": {"occurrences": lines}})
    assert found == ["not Succeeded in the status"]


def test_an_event_that_is_not_in_the_status_differs() -> None:
    found = differences(run(), statuses={})
    assert found == ["not Succeeded in the status", "not in the status"]


def test_the_later_of_two_bounds_holds() -> None:
    late = NINE + timedelta(minutes=10)
    assert TRAIN.later_than(late).not_before == late
    assert TRAIN.later_than(NINE - timedelta(1)).not_before == NINE
    assert replace(TRAIN, not_before=None).later_than(late).not_before == late
