"""What a decision asks the engine to do outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slackwater.core.ask import Ask
from slackwater.core.spec import Ref
from slackwater.core.status import Status


@dataclass(frozen=True, slots=True)
class Lookup:
    """Ask Airflow what it knows of a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Post:
    """Create the run; its intent is written. Not after `until`: the intent is valid till then."""

    run_id: str
    conf: Mapping[str, Any] = field(repr=False)
    note: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete a run that is still queued."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """Read these calendars, and the DAG's facts if `dag`, once more before a start (R9)."""

    calendars: tuple[Ref, ...] = ()
    dag: bool = False


Action = Lookup | Post | Withdraw | Cancel | Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one look at a TrainingWindow leads to.

    Actions are carried out only after `status` is written where it changed (R9). `ask` stands in
    the pool's queue until the next decision; None withdraws it. `pending` means that an answer is
    on its way (the pool's, or a calendar's), so `status` is not worth writing yet. `gaps` is what
    the sentences of lines that wait need, by the line's id. `wake_at` is when to look again even
    if nothing is heard.
    """

    status: Status
    actions: tuple[Action, ...] = ()
    ask: Ask | None = None
    pending: bool = False
    gaps: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    wake_at: datetime | None = None
