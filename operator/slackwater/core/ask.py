"""What a TrainingWindow wants of a pool now, and what runs of ours hold of it (R6, R7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from slackwater.core.ledger import Line
from slackwater.core.span import Span
from slackwater.core.spec import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One TrainingWindow's wish, made only when every other condition holds.

    Attributes:
        owner: the TrainingWindow.
        occurrence: which of its occurrences wants to start.
        count: GPUs.
        per_pod: GPUs of each pod, so that free GPUs count in whole pods.
        priority: higher first, already capped by the pool's grant.
        latest_start: no start after this instant.
        window_start: start of the piece that is open.
        duration: expected, None when unknown: then it can neither overtake nor be projected.
        pieces: when it may start: the piece that is open first, then those that follow.
        off_peak: it waits for its planned moment before it competes (R18).
        unconditional: starts whatever the numbers say (an override that the pool's grant allows).
    """

    owner: Ref
    occurrence: str
    count: int
    per_pod: int
    priority: int
    latest_start: datetime
    window_start: datetime
    duration: timedelta | None = None
    pieces: tuple[Span, ...] = ()
    off_peak: bool = False
    unconditional: bool = False

    def until(self, now: datetime) -> datetime:
        """When its run would end if it started now: of unknown duration, with the open piece."""
        if self.duration is not None:
            return now + self.duration
        return self.pieces[0].end if self.pieces else self.latest_start

    @property
    def rank(self) -> tuple[int, datetime, datetime, Ref]:
        """Sorts asks in the order in which a pool serves them (R7)."""
        return (-self.priority, self.latest_start, self.window_start, self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """GPUs of a pool that belong to a run of ours.

    Attributes:
        run_id: the run.
        owner: the TrainingWindow that started it.
        count: GPUs that the run was promised.
        unseen: how many of them the pool's numbers do not show yet (R6).
        since: when the intent was written.
        ends: when the run is expected to end; None when unknown.
        per_pod: GPUs of each of its pods.
    """

    run_id: str
    owner: Ref
    count: int
    unseen: int
    since: datetime
    ends: datetime | None = None
    per_pod: int = 1


def pay_down(promises: tuple[Promise, ...], rise: int) -> dict[str, int]:
    """How a rise of a pool's bound and waiting requests pays promises, oldest first (R6).

    Args:
        promises: those of the pool.
        rise: by how many GPUs the requests rose since the last sample; 0 or less pays nothing.

    Returns:
        The new `unseen` of each promise that changes, by run id.
    """
    paid: dict[str, int] = {}
    for promise in sorted(promises, key=lambda p: (p.since, p.run_id)):
        if rise <= 0:
            break
        part = min(promise.unseen, rise)
        if part > 0:
            paid[promise.run_id] = promise.unseen - part
            rise -= part
    return paid


def promises_of(
    owner: Ref,
    lines: Iterable[Line],
    *,
    gpus: int,
    duration: timedelta | None,
    now: datetime,
    per_pod: int = 1,
) -> tuple[Promise, ...]:
    """What the ledger of one TrainingWindow holds of its pool.

    Args:
        owner: the TrainingWindow.
        lines: its ledger.
        gpus: what each of its runs asks for.
        duration: expected of a run, None when unknown.
        now: a cancelled run's promise stands for a while (R6).
        per_pod: GPUs of each pod of its runs.
    """
    found = []
    for line in lines:
        if line.dag_run_id is None or line.intent_time is None:
            continue
        if not line.state.is_active and line.holds(now) == 0:
            continue
        began = line.start_time or line.trigger_time or line.intent_time
        found.append(
            Promise(
                run_id=line.dag_run_id,
                owner=owner,
                count=gpus,
                unseen=line.holds(now),
                since=line.intent_time,
                ends=None if duration is None else began + duration,
                per_pod=per_pod,
            )
        )
    return tuple(found)
