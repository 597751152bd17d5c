"""The calendar as a DAG's schedule in Airflow's own UI."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable

from slackwater_airflow import file as windows_file
from slackwater_windows.document import FINAL_STATES, Occurrence, Window
from slackwater_windows.schedule import shown, started_by
from slackwater_windows.times import Face
from slackwater_windows.wire import BadDocument

_log = logging.getLogger(__name__)
# The description is kept in a column of 1,000 characters.
_TOLD = 6


class TrainingWindowTimetable(Timetable):
    """Shows the windows of a TrainingWindow as a DAG's schedule, and may start runs at them.

    For a DAG that a TrainingWindow triggers it only shows: Slackwater starts the runs, when GPUs are
    free. For another DAG, named by `dag_id`, it makes a run at the start of each window, with the
    window as its data interval. It reads the local windows file and nothing else; the file is read
    when Airflow asks, at each parse of the DAG's file and after each run.

    Args:
        window: the TrainingWindow as `namespace/name`.
        dag_id: the DAG in which it stands, if it shall start runs.
        file: the windows file, where it is not at its usual place.
    """

    def __init__(
        self,
        window: str,
        *,
        dag_id: str | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.window = window
        self.dag_id = dag_id
        self.file = None if file is None else os.fspath(file)

    # Not a class attribute: Airflow reads it at each parse.
    @property
    def description(self) -> str:
        """The next windows, for people."""
        found = self._window()
        if found is None:
            return f"{self.window} does not stand in the windows file."
        now = datetime.now(UTC)
        face = Face(found.time_zone, now)
        ahead = [o for o in _ahead(found) if o.openings[-1][1] > now][:_TOLD]
        if not ahead:
            return f"{self.window} has no window ahead."
        times = "; ".join(_told(o, face) for o in ahead)
        return f"{times} ({face.name})"

    @description.setter
    def description(self, _: str) -> None:
        """Airflow's base class would set it; what is told is told by the file."""

    @property
    def summary(self) -> str:
        """What stands in the column Schedule."""
        return started_by(self.window) if self._starts() else shown(self.window)

    def serialize(self) -> dict[str, Any]:
        """How it is stored with the DAG; the windows are not, so a moved event changes no DAG."""
        return {"window": self.window, "dag_id": self.dag_id, "file": self.file}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> TrainingWindowTimetable:
        """What `serialize` gave."""
        return cls(data["window"], dag_id=data.get("dag_id"), file=data.get("file"))

    def validate(self) -> None:
        """Refuse a name that cannot be one. Raises AirflowTimetableInvalid."""
        if self.window.count("/") != 1 or not all(self.window.split("/")):
            from airflow.exceptions import AirflowTimetableInvalid

            raise AirflowTimetableInvalid(
                "TrainingWindowTimetable() names a TrainingWindow as 'namespace/name'"
            )

    def infer_manual_data_interval(self, *, run_after: pendulum.DateTime) -> DataInterval:
        """The window that a run started by hand falls into, else its instant."""
        found = self._window()
        for occurrence in () if found is None else _ahead(found):
            if occurrence.is_open(run_after):
                return _interval(occurrence)
        return DataInterval.exact(run_after)

    def next_dagrun_info(
        self,
        *,
        last_automated_data_interval: DataInterval | None,
        restriction: TimeRestriction,
    ) -> DagRunInfo | None:
        """The next window for which a run is to be made; None where Slackwater makes them."""
        found = self._window()
        if found is None or not self._starts():
            return None
        last = last_automated_data_interval
        earliest, now = restriction.earliest, datetime.now(UTC)
        for occurrence in _ahead(found):
            start, end = occurrence.start, occurrence.openings[-1][1]
            if last is not None and start <= last.start:
                continue
            if earliest is not None and start < earliest:
                continue
            if not restriction.catchup and end <= now:
                continue  # one that is open now still counts
            if restriction.latest is not None and start > restriction.latest:
                return None
            # Not by its constructor, whose arguments differ between Airflow 3.2 and 3.3.
            info = DagRunInfo.exact(pendulum.instance(start))
            return info._replace(data_interval=_interval(occurrence))
        return None

    def _starts(self) -> bool:
        """Whether it makes runs: told for which DAG, and no TrainingWindow triggers that one."""
        document = self._document()
        return (
            self.dag_id is not None and document is not None and not document.triggers(self.dag_id)
        )

    def _window(self) -> Window | None:
        document = self._document()
        return None if document is None else document.window(self.window)

    def _document(self) -> Any:
        try:
            return windows_file.load(self.file)
        except BadDocument as error:
            _log.warning("%s", error)
            return None


def _ahead(window: Window) -> Iterator[Occurrence]:
    """Occurrences that something is left of and that were not withdrawn, one for each start."""
    seen: set[datetime] = set()
    for occurrence in window.occurrences:
        withdrawn = occurrence.state in FINAL_STATES and occurrence.trigger_time is None
        if occurrence.openings and occurrence.start not in seen and not withdrawn:
            seen.add(occurrence.start)
            yield occurrence


def _told(occurrence: Occurrence, face: Face) -> str:
    """Such as "Mon 23 Nov 22:00 - 06:00, planned for Tue 24 Nov 03:15"."""
    span = face.span(occurrence.start, occurrence.openings[-1][1])
    planned = occurrence.coming_start
    return span if planned is None else f"{span}, planned for {face.both(planned)}"


def _interval(occurrence: Occurrence) -> DataInterval:
    return DataInterval(
        pendulum.instance(occurrence.start), pendulum.instance(occurrence.openings[-1][1])
    )
