"""The end of the story: what should have happened, what Slackwater says, what Airflow recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

RUN_ID_PREFIX = "slackwater."

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What should have become of one event.

    Attributes:
        event: its title.
        story: what happened to it, in a few words.
        window: name of the TrainingWindow that it is for.
        occurrence: its id in that TrainingWindow's ledger.
        starts: whether it gets a run; exactly one then, none otherwise.
        not_before: no run of it may be older.
        not_after: no run of it may have been created later.
        conf: what the conf of the run must hold, key by key.
    """

    event: str
    story: str
    window: str
    occurrence: str
    starts: bool
    not_before: datetime | None = None
    not_after: datetime | None = None
    conf: Json = field(default_factory=dict)

    def later_than(self, instant: datetime) -> Expected:
        """The same, but no run of it may be older than this instant either."""
        return replace(self, not_before=max(instant, self.not_before or instant))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `differences` is empty where all three agree."""

    event: str
    story: str
    slackwater: str
    airflow: str
    differences: tuple[str, ...] = ()


def ours(runs: Iterable[Json]) -> list[Json]:
    """The runs that Slackwater made, by their ids."""
    return [run for run in runs if str(run["dag_run_id"]).startswith(RUN_ID_PREFIX)]


def of_occurrence(runs: Iterable[Json], window: str, occurrence: str) -> list[Json]:
    """The runs of one event, by what their conf says."""
    return [
        run
        for run in ours(runs)
        if _origin(run).get("name") == window and _origin(run).get("occurrence") == occurrence
    ]


def line_of(statuses: Mapping[str, Json], window: str, occurrence: str) -> Json | None:
    """The ledger line of one event in the status of its TrainingWindow."""
    lines = statuses.get(window, {}).get("occurrences", ())
    return next((line for line in lines if line["id"] == occurrence), None)


def compare(
    expected: Sequence[Expected], statuses: Mapping[str, Json], runs: Sequence[Json]
) -> list[Row]:
    """The table: a row for each event, and one for each run that nobody expects.

    Args:
        expected: what should have happened.
        statuses: of the TrainingWindows, by name.
        runs: Airflow's own record of DAG runs, as its REST API gives them.
    """
    rows = [_row(one, line_of(statuses, one.window, one.occurrence), runs) for one in expected]
    known = {
        str(run["dag_run_id"])
        for one in expected
        for run in of_occurrence(runs, one.window, one.occurrence)
    }
    strays = [run for run in ours(runs) if run["dag_run_id"] not in known]
    return rows + [
        Row("?", "no event asks for it", "-", _shown([run]), ("unexpected run",)) for run in strays
    ]


def _row(one: Expected, line: Json | None, runs: Sequence[Json]) -> Row:
    found = of_occurrence(runs, one.window, one.occurrence)
    told = "nothing" if line is None else f"{line['state']}/{line['reason']}"
    differences = _started(one, line, found) if one.starts else _idle(line, found)
    return Row(one.event, one.story, told, _shown(found), tuple(differences))


def _started(one: Expected, line: Json | None, found: Sequence[Json]) -> list[str]:
    if len(found) != 1:
        return [f"{len(found)} runs in Airflow, not one"]
    (run,) = found
    problems = []
    if run["state"] != "success":
        problems.append(f"state {run['state']} in Airflow, not success")
    if line is None or line["state"] != "Succeeded":
        problems.append("not Succeeded in the status")
    elif line.get("dagRunId") != run["dag_run_id"]:
        problems.append("another run id in the status")
    conf = run.get("conf") or {}
    for key, value in one.conf.items():
        if key not in conf or conf[key] != value or type(conf[key]) is not type(value):
            problems.append(f"conf.{key} is {conf.get(key)!r}, not {value!r}")
    created = datetime.fromisoformat(run["queued_at"])
    if one.not_before is not None and created < one.not_before:
        problems.append(f"created before {one.not_before:%H:%M:%S}")
    if one.not_after is not None and created >= one.not_after:
        problems.append(f"created after {one.not_after:%H:%M:%S}")
    return problems


def _idle(line: Json | None, found: Sequence[Json]) -> list[str]:
    problems = []
    if found:
        problems.append(f"{len(found)} runs in Airflow, not none")
    if line is None:
        problems.append("not in the status")
    elif "dagRunId" in line:
        problems.append("a run id in the status")
    return problems


def _origin(run: Json) -> Json:
    origin = (run.get("conf") or {}).get("trainingWindow")
    return origin if isinstance(origin, Mapping) else {}


def _shown(runs: Sequence[Json]) -> str:
    if not runs:
        return "no run"
    return "; ".join(
        f"{run['state']} {_clock(run.get('start_date'))} to {_clock(run.get('end_date'))}"
        for run in runs
    )


def _clock(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%H:%M:%S}" if text else "?"
