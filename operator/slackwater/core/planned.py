"""What the off-peak plan says of one ask (R18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from slackwater.core.ledger import Line

REPLAN: Final = timedelta(minutes=15)
"""A plan is made anew this often, and whenever an ask or a promise changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """When an ask is to start, and why then.

    Attributes:
        start: planned; not after `due_by`.
        due_by: from then on the ask waits for room like any other: its latest start less a margin.
        latest_start: no start after this instant.
        expected_percent: predicted peak load of the pool while it runs, itself left out.
        present_percent: load of the pool when the plan was made.
    """

    start: datetime
    due_by: datetime
    latest_start: datetime
    expected_percent: int
    present_percent: int

    def is_due(self, now: datetime) -> bool:
        """Whether the ask competes for room now."""
        return now >= min(self.start, self.due_by)


def planned_start(line: Line, gaps: Mapping[str, object]) -> datetime | None:
    """When the off-peak plan means a waiting line to start, to the minute.

    What holds it back otherwise says nothing of the plan, so the last one stands.
    """
    start = gaps.get("planned_start")
    if isinstance(start, datetime):
        return start.replace(second=0, microsecond=0)
    return line.planned_start
