"""Slackwater inside Apache Airflow.

Importing this package imports neither Airflow nor anything else that is heavy: every name below is
loaded when it is first used, because Airflow loads plugins in each component and each task.

* `current_window(context)`: the training window of this run, and `Deadline` to stop in time.
* `TrainingWindowSensor`: waits inside a DAG until its window opens, and holds no slot.
* `TrainingWindowTimetable`: the calendar as a DAG's schedule.
* `read_calendar(...)`, `parse_event(...)`: calendars and event descriptions in any task.
* `sample_conf(...)`: a conf for `dag.test()`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slackwater_airflow.calendar import CalendarEvent, CalendarUnreadable, read_calendar
    from slackwater_airflow.current import (
        CurrentWindow,
        Deadline,
        NoTrainingWindow,
        current_window,
        sample_conf,
    )
    from slackwater_airflow.event import BadParameters, parse_event
    from slackwater_airflow.sensor import TrainingWindowSensor
    from slackwater_airflow.timetable import TrainingWindowTimetable

__all__ = [
    "BadParameters",
    "CalendarEvent",
    "CalendarUnreadable",
    "CurrentWindow",
    "Deadline",
    "NoTrainingWindow",
    "TrainingWindowSensor",
    "TrainingWindowTimetable",
    "current_window",
    "parse_event",
    "read_calendar",
    "sample_conf",
]
__version__ = "0.1.0"

_HOMES = {
    "BadParameters": "event",
    "CalendarEvent": "calendar",
    "CalendarUnreadable": "calendar",
    "CurrentWindow": "current",
    "Deadline": "current",
    "NoTrainingWindow": "current",
    "TrainingWindowSensor": "sensor",
    "TrainingWindowTimetable": "timetable",
    "current_window": "current",
    "parse_event": "event",
    "read_calendar": "calendar",
    "sample_conf": "current",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
