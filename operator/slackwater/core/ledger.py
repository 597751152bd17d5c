"""The ledger: one line per occurrence, from before its window until after its run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from slackwater.core.span import Span
from slackwater.core.words import Reason

# A cancelled run may still hold its GPUs: its promise stands this long after its end (R6).
RELEASE_AFTER_CANCEL = timedelta(seconds=60)


_FINAL: Final = {"Succeeded", "Failed", "Cancelled", "Missed", "Skipped", "Superseded"}
_ACTIVE: Final = {"Intended", "Triggered", "Running"}
_STARTED: Final = {"Triggered", "Running", "Succeeded", "Failed", "Cancelled"}


class State(StrEnum):
    """Where an occurrence stands.

    Attributes:
        is_final: nothing more happens to it.
        is_active: a run of it is meant to exist or exists.
        has_started: a run of it exists or existed.
        is_unstarted: it may still start, and nothing was done about that yet.
    """

    is_final: bool
    is_active: bool
    has_started: bool
    is_unstarted: bool

    PLANNED = "Planned"
    WAITING = "Waiting"
    INTENDED = "Intended"
    TRIGGERED = "Triggered"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    MISSED = "Missed"
    SKIPPED = "Skipped"
    SUPERSEDED = "Superseded"

    def __init__(self, word: str) -> None:
        self.is_final, self.is_active = word in _FINAL, word in _ACTIVE
        self.has_started = word in _STARTED
        self.is_unstarted = not (self.is_final or self.is_active)

    __hash__ = str.__hash__  # as equality; Enum's own is ten times slower, and used all the time


@dataclass(frozen=True, slots=True)
class Waited:
    """Time an open occurrence spent held back by one condition."""

    condition: str
    reason: Reason
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known and recorded of one occurrence (design §2, `status.occurrences`).

    Attributes:
        id: the event's key, the same for all runs of the same instance (R2).
        entry: name of the Trigger entry it belongs to.
        series: hash shared by the instances of one series.
        original_start: as written by the provider, or the nominal start of an inline schedule.
        state: where it stands.
        reason: why.
        condition: which condition holds it back while it waits, else empty.
        since: when `reason` began; open time is added to `waited` when it changes.
        planned_start: when the off-peak plan means it to start (R18); None with `Earliest`.
        window: first start to last end of its pieces, None when nothing is left.
        intent_time: when the intent to start was written.
        dag_run_id: set from the intent on.
        trigger_time: when Airflow had accepted the run.
        start_time: when the run began to run.
        end_time: when it ended, or the occurrence was missed, skipped or superseded.
        cancel_time: when the run is to be cancelled, once that is known.
        promise: GPUs set aside for it, less what already showed in the pool's numbers.
        waited: what held it back and how long, in whole seconds.
        closest: the best moment while waiting, for people: "2026-03-23T03:40:00Z 14 of 16 GPUs".
        absent: complete snapshots in a row that lack its event.
        appeared: when its event came into the calendar; None where that was not seen.
        vanished: since when its event is absent.
        run_url: where its run stands in Airflow's user interface.
    """

    id: str
    entry: str
    series: str = ""
    original_start: str = ""
    state: State = State.PLANNED
    reason: Reason = Reason.AHEAD
    condition: str = ""
    since: datetime | None = None
    window: Span | None = None
    intent_time: datetime | None = None
    dag_run_id: str | None = None
    trigger_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    cancel_time: datetime | None = None
    promise: int = 0
    waited: tuple[Waited, ...] = field(default=())
    closest: str | None = None
    planned_start: datetime | None = None
    absent: int = 0
    appeared: datetime | None = None
    vanished: datetime | None = None
    run_url: str | None = None

    def holds(self, now: datetime) -> int:
        """GPUs that must count as taken for it at `now`, beyond what the pool's numbers show."""
        if self.state.is_active:
            return self.promise
        if self.state is State.CANCELLED and self.end_time is not None:
            return self.promise if now < self.end_time + RELEASE_AFTER_CANCEL else 0
        return 0


def linked(line: Line, dag_id: str, airflow: str) -> Line:
    """The line with the address of its run in Airflow, while it has a run there.

    Args:
        line: any line.
        dag_id: whose run it is.
        airflow: address of the server; empty where nothing is known of it.
    """
    has_run = line.dag_run_id is not None and line.trigger_time is not None
    if has_run and (line.run_url is not None or not airflow):
        return line
    if not has_run:
        return line if line.run_url is None else replace(line, run_url=None)
    # The path of Airflow 3's user interface; a run id holds nothing that would end a segment.
    url = f"{airflow.rstrip('/')}/dags/{quote(dag_id, safe='')}/runs/{line.dag_run_id}"
    return replace(line, run_url=url)
