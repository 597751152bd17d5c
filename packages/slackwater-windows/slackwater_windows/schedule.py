"""How the timetable of the Airflow package names itself, so that the operator knows it again."""

from __future__ import annotations

from typing import Final

_SHOWN: Final = "Slackwater: "


def shown(window: str) -> str:
    """The summary of a timetable that shows a TrainingWindow and starts nothing.

    >>> shown("research/nightly-llm")
    'Slackwater: research/nightly-llm'
    """
    return f"{_SHOWN}{window}"


def started_by(window: str) -> str:
    """The summary of a timetable that starts a run at each window."""
    return f"At each window of {window}"


def is_shown(summary: str | None) -> bool:
    """Whether a DAG's schedule is such that it starts nothing by itself."""
    return summary is not None and summary.startswith(_SHOWN)
