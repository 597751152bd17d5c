"""Where an ask stands in its pool's queue, and when it may start: a projection, no promise (R7).

Each ask that waits is placed, in order, at the first moment at which known ends leave room for it
and for all before it. Runs of unknown length never end here, GPUs of others never become free,
and GPUs are counted, not places on nodes: what really happens may be sooner or later. Instants
are rounded up to five minutes, so that a status does not change with every look (R16).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from slackwater.core.ask import Ask, Promise
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Sample
from slackwater.core.spec import Ref

if TYPE_CHECKING:
    from slackwater.core.allot import Verdict

GRID: Final = timedelta(minutes=5)
MOST: Final = 20
"""Asks at the front of a queue that are projected; of those behind only the place is told."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One ask in the queue.

    Attributes:
        place: 1 is the head.
        of: how many wait.
        start: when it may start as things look, rounded up; None where no known end makes room.
        smaller: GPUs, fewer than it asks for, with which it would start now; 0 where none would.
        ending_by: a run of its size that ends by then would start now; None where that is no help.
    """

    place: int
    of: int
    start: datetime | None = None
    smaller: int = 0
    ending_by: datetime | None = None


def standings(
    waiting: Sequence[Verdict],
    runs: Iterable[Promise],
    sample: Sample,
    reservations: Reservations,
    most_runs: int | None,
    now: datetime,
) -> dict[Ref, Standing]:
    """Where each ask stands.

    Args:
        waiting: the answers to those that wait for their turn or for room, in order of rank.
        runs: what holds GPUs or was admitted just now.
        sample: of the pool.
        reservations: announced demand.
        most_runs: that the pool takes at a time, None for any number.
        now: the present.
    """
    calendar = _Calendar(tuple(runs), sample, reservations, most_runs, now)
    found: dict[Ref, Standing] = {}
    head: datetime | None = None
    latest = now  # the start of the last one so far
    for number, verdict in enumerate(waiting):
        ask = verdict.ask
        start: datetime | None = None
        smaller, ending_by = 0, None
        is_head = number == 0
        if number < MOST and (is_head or head is not None):
            # Who takes nobody knows how long may overtake nobody.
            first = latest if ask.duration is None else now
            start = verdict.expected_at if is_head else calendar.first(ask, first)
            short = ask.duration is not None and head is not None and now + ask.duration <= head
            if is_head or short:
                smaller = _whole(calendar.free_now(ask), ask)
            elif head is not None and calendar.free_now(ask) >= ask.count and head > now:
                ending_by = head
            if is_head:
                head = start
        if start is not None:
            latest = max(latest, start)
            calendar.take(ask, start)
        found[ask.owner] = Standing(
            place=number + 1,
            of=len(waiting),
            start=None if start is None else _rounded(start),
            smaller=smaller if smaller < ask.count else 0,
            ending_by=ending_by,
        )
    return found


def _whole(gpus: int, ask: Ask) -> int:
    return max(0, gpus) // ask.per_pod * ask.per_pod


def _rounded(at: datetime) -> datetime:
    return at + (_EPOCH - at) % GRID


@dataclass(frozen=True, slots=True)
class _Taken:
    """GPUs that one run or projected run holds from `start` until `end`."""

    gpus: int
    start: datetime
    end: datetime


class _Calendar:
    """What of a pool is free when, as far as ends are known."""

    def __init__(
        self,
        runs: tuple[Promise, ...],
        sample: Sample,
        reservations: Reservations,
        most_runs: int | None,
        now: datetime,
    ) -> None:
        self.sample, self.reservations, self.now = sample, reservations, now
        self.most_runs, self.runs = most_runs, len(runs)
        self.unseen = sum(run.unseen for run in runs)
        known = sorted((run.ends, run.count) for run in runs if run.ends and run.ends > now)
        self.ends = [end for end, _ in known]
        # What has become free when so many of them have ended.
        self.freed = [0, *accumulate(count for _, count in known)]
        self.taken: list[_Taken] = []
        self.rooms: dict[int, int] = {}

    def free_now(self, ask: Ask) -> int:
        """GPUs for pods of its size that nobody holds and nothing keeps from it now."""
        if self.most_runs is not None and self.runs >= self.most_runs:
            return 0
        return self._free(ask, self.now) - self._reserved(ask, self.now)

    def _free(self, ask: Ask, at: datetime) -> int:
        size = ask.per_pod
        ended = self.freed[bisect_right(self.ends, at)]
        held = sum(one.gpus for one in self.taken if one.start <= at < one.end)
        return min(self._room(size) + ended, self.sample.fit_when_empty(size)) - held

    def _room(self, size: int) -> int:
        if size not in self.rooms:
            self.rooms[size] = self.sample.fit(size) - self.sample.waiting - self.unseen
        return self.rooms[size]

    def _reserved(self, ask: Ask, at: datetime) -> int:
        if not self.reservations.known:
            return 0
        until = at + max(ask.until(self.now) - self.now, timedelta(seconds=1))
        found = self.reservations.highest(ask.owner.namespace, at, until, self.sample.used_by)
        return found.gpus

    def _places(self, at: datetime) -> bool:
        """Whether the pool takes one more run."""
        if self.most_runs is None:
            return True
        held = sum(1 for one in self.taken if one.start <= at < one.end)
        return self.runs - bisect_right(self.ends, at) + held < self.most_runs

    def first(self, ask: Ask, after: datetime) -> datetime | None:
        """The first moment from which on the ask has room as long as it lasts."""
        # So many runs have to end in any case, whatever was placed meanwhile.
        needed = bisect_left(self.freed, ask.count - self._room(ask.per_pod))
        if needed > len(self.ends):
            return None
        if needed:
            after = max(after, self.ends[needed - 1])
        moments = {after, *self.ends[needed:], *(one.end for one in self.taken)}
        moments |= {one.span.end for one in self.reservations.known}
        for at in sorted(moment for moment in moments if after <= moment < _NEVER):
            if self._holds(ask, at):
                return at
        return None

    def _holds(self, ask: Ask, at: datetime) -> bool:
        end = _NEVER if ask.duration is None else at + ask.duration
        reserved = self._reserved(ask, at)
        within = (at, *(one.start for one in self.taken if at < one.start < end))
        return all(
            self._places(moment) and self._free(ask, moment) - reserved >= ask.count
            for moment in within
        )

    def take(self, ask: Ask, start: datetime) -> None:
        """Keep the ask's GPUs from all that come after it."""
        end = _NEVER if ask.duration is None else start + ask.duration
        self.taken.append(_Taken(ask.count, start, end))
