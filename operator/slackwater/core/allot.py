"""Who of a pool's rivals may start now: order, room and EASY backfill (R5, R7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from slackwater.core.ask import Ask, Promise
from slackwater.core.planned import Planned
from slackwater.core.queue import Standing, standings
from slackwater.core.reserve import Reservations, Reserved
from slackwater.core.sample import Sample
from slackwater.core.spec import PoolRules, Ref, StopPolicy
from slackwater.core.words import Reason

_NOTHING: Final = Reserved()
_QUEUED: Final = frozenset(
    {
        Reason.WAITING_FOR_GPUS,
        Reason.WAITING_FOR_TURN,
        Reason.RESERVED,
        Reason.MAX_CONCURRENT_RUNS,
    }
)
_AN_INSTANT: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool at one moment, as `allot` sees it.

    `fault` is why it cannot be read now; `runs_known` is False until every Airflow whose runs may
    hold GPUs here has answered once since the start. `plan` says when off-peak asks are to start;
    one that it leaves out waits for nothing but room.
    """

    rules: PoolRules
    sample: Sample | None = None
    fault: Reason | None = None
    promises: tuple[Promise, ...] = ()
    runs_known: bool = True
    reservations: Reservations = field(default_factory=Reservations)
    plan: Mapping[Ref, Planned] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the pool answers to one ask.

    Attributes:
        ask: the ask it answers; any other ask is unanswered.
        admitted: it may start now.
        reason: ENOUGH, or what holds it back.
        ahead: asks that wait before it.
        free: GPUs free for pods of its size, promises not yet subtracted.
        promised: how many of them are promised to runs of ours or to asks admitted before.
        holders: how many runs and asks that is.
        expected_at: when known ends make room for it, where they do.
        planned: when an off-peak ask is to start, where it was planned.
        standing: where it stands among those that wait, None where it does not wait for room.
        gaps: what else the reason's sentence needs.
    """

    ask: Ask
    admitted: bool
    reason: Reason
    ahead: int = 0
    free: int = 0
    promised: int = 0
    holders: int = 0
    expected_at: datetime | None = None
    planned: Planned | None = None
    standing: Standing | None = None
    gaps: Mapping[str, object] = field(default_factory=dict)


def unusable(pool: Pool, now: datetime) -> Reason | None:
    """Why the pool's numbers cannot carry a start, None when they can (R5)."""
    if pool.fault is not None:
        return pool.fault
    if pool.reservations.unread is not None:
        return Reason.RESERVATIONS_UNKNOWN
    return stale_or_thin(pool.rules, pool.sample, now)


def stale_or_thin(rules: PoolRules, sample: Sample | None, now: datetime) -> Reason | None:
    """Why a sample cannot carry a start: there is none, it is too old or covers too little."""
    if sample is None:
        return Reason.NOT_READ_YET
    if abs(now - sample.time) > rules.max_sample_age:  # or our clock has jumped back
        return Reason.STALE_SAMPLE
    enough = sample.coverage is None or sample.coverage * 100 >= rules.min_coverage_percent
    return None if enough else Reason.LOW_COVERAGE


def exceeds(sample: Sample, count: int, per_pod: int) -> bool:
    """True when the pool could not hold the ask even if it were empty."""
    if count > sample.capacity:
        return True
    if sample.fit_when_empty(1) < sample.capacity:
        return False  # nodes that are away now may come back with room
    return count > sample.fit_when_empty(per_pod)


def allot(pool: Pool, asks: Iterable[Ask], now: datetime) -> dict[Ref, Verdict]:
    """Answer every ask of one pool at once, so that no GPU is given twice.

    Asks are served in order of rank, after those that start in any case. The first that does not
    fit is the head: whoever is behind it may start only if its own end is known and it cannot
    delay the head, whose room must come from ends that are known (EASY backfill). Otherwise the
    order is strict. Off-peak asks whose moment has not come stand in no queue (R18).
    """
    later: dict[Ref, Verdict] = {}
    present: list[Ask] = []
    for ask in asks:
        planned = pool.plan.get(ask.owner) if ask.off_peak and not ask.unconditional else None
        if planned is None or planned.is_due(now):
            present.append(ask)
        else:
            later[ask.owner] = Verdict(
                ask=ask, admitted=False, reason=Reason.OFF_PEAK, planned=planned
            )
    ordered = sorted(present, key=lambda ask: (not ask.unconditional, ask.rank))
    hindrance = unusable(pool, now)
    if pool.rules.stop_policy is not StopPolicy.NONE:
        hindrance = Reason.HELD
    elif hindrance is None and not pool.runs_known:
        hindrance = Reason.PROMISES_UNKNOWN
    if hindrance is not None or pool.sample is None:
        reason = hindrance or Reason.NOT_READ_YET
        return later | {
            ask.owner: Verdict(
                ask=ask,
                admitted=ask.unconditional and reason is not Reason.HELD,
                reason=reason,
                ahead=ahead,
                gaps={"calendar": pool.reservations.unread},
            )
            for ahead, ask in enumerate(ordered)
        }
    return later | _Round(pool, pool.sample, now).serve(ordered)


class _Round:
    """One pass over the asks of a pool that can be read."""

    def __init__(self, pool: Pool, sample: Sample, now: datetime) -> None:
        self.rules, self.sample, self.now = pool.rules, sample, now
        self.reservations, self.plan = pool.reservations, pool.plan
        self.taken = sum(promise.unseen for promise in pool.promises)
        self.holders = sum(1 for promise in pool.promises if promise.unseen)
        # Runs, and asks that were admitted in this round.
        self.runs = list(pool.promises)
        self.fits: dict[int, int] = {}
        self.waiting = 0
        self.shadow: datetime | None = None
        self.spare = 0
        self.head: Ask | None = None

    def serve(self, ordered: list[Ask]) -> dict[Ref, Verdict]:
        found = {ask.owner: self.judge(ask) for ask in ordered}
        waiting = [verdict for verdict in found.values() if verdict.reason in _QUEUED]
        if not waiting:
            return found
        standing = standings(
            waiting,
            self.runs,
            self.sample,
            self.reservations,
            self.rules.max_concurrent_runs,
            self.now,
        )
        return found | {
            verdict.ask.owner: replace(verdict, standing=standing[verdict.ask.owner])
            for verdict in waiting
        }

    def fit(self, per_pod: int) -> int:
        if per_pod not in self.fits:
            self.fits[per_pod] = max(0, self.sample.fit(per_pod) - self.sample.waiting)
        return self.fits[per_pod]

    def judge(self, ask: Ask) -> Verdict:
        free = self.fit(ask.per_pod)
        if ask.unconditional:
            return self.admit(ask, free)
        if exceeds(self.sample, ask.count, ask.per_pod):
            return self.refuse(ask, Reason.EXCEEDS_CAPACITY, free)
        limit = self.rules.max_concurrent_runs
        if limit is not None and len(self.runs) >= limit:
            return self.wait(ask, Reason.MAX_CONCURRENT_RUNS, free)
        if free - self.taken < ask.count:
            return self.wait(ask, Reason.WAITING_FOR_GPUS, free)
        reserved = self.reserved(ask)
        if free - self.taken - reserved.gpus < ask.count:
            return self.wait(ask, Reason.RESERVED, free, reserved)
        if self.head is not None and not self.may_overtake(ask):
            return self.wait(ask, Reason.WAITING_FOR_TURN, free)
        return self.admit(ask, free)

    def reserved(self, ask: Ask) -> Reserved:
        """What calendars keep for others while a run of the ask would last."""
        if not self.reservations.known:
            return _NOTHING
        until = max(ask.until(self.now), self.now + _AN_INSTANT)
        return self.reservations.highest(ask.owner.namespace, self.now, until, self.sample.used_by)

    def admit(self, ask: Ask, free: int) -> Verdict:
        verdict = Verdict(
            ask=ask,
            admitted=True,
            reason=Reason.ENOUGH,
            ahead=self.waiting,
            free=free,
            promised=self.taken,
            holders=self.holders,
            planned=self.plan.get(ask.owner),
        )
        self.taken += ask.count
        self.holders += 1
        self.runs.append(
            Promise(
                run_id=ask.occurrence,
                owner=ask.owner,
                count=ask.count,
                unseen=ask.count,
                since=self.now,
                ends=None if ask.duration is None else self.now + ask.duration,
                per_pod=ask.per_pod,
            )
        )
        return verdict

    def wait(
        self, ask: Ask, reason: Reason, free: int, reserved: Reserved | None = None
    ) -> Verdict:
        expected: datetime | None = None
        if self.head is None:
            self.head = ask
            if reserved is None:
                self.shadow, self.spare = self.room_for(ask)
            else:  # there is room; what holds it back ends at a known time
                self.shadow, self.spare = reserved.until, max(0, free - self.taken - ask.count)
            expected = self.shadow
        verdict = self.refuse(ask, reason, free, expected, reserved)
        self.waiting += 1
        return verdict

    def refuse(
        self,
        ask: Ask,
        reason: Reason,
        free: int,
        expected: datetime | None = None,
        reserved: Reserved | None = None,
    ) -> Verdict:
        gaps: dict[str, object] = {
            "capacity": self.sample.capacity,
            "limit": self.rules.max_concurrent_runs,
        }
        if reserved is not None:
            gaps |= {"reserved": reserved.gpus, "until": reserved.until}
        return Verdict(
            ask=ask,
            admitted=False,
            reason=reason,
            ahead=self.waiting,
            free=free,
            promised=min(self.taken, free),
            holders=self.holders,
            expected_at=expected,
            planned=self.plan.get(ask.owner),
            gaps=gaps,
        )

    def room_for(self, head: Ask) -> tuple[datetime | None, int]:
        """When known ends first can make room for the head, and how many GPUs are surely spare.

        A run past its expected end has no known end any more. Where a node is away, or pods are
        not whole multiples of the head's, nobody knows which ends leave room for a pod of the
        head: then the earliest instant at which they might counts, and nothing is spare.
        """
        size, limit = head.per_pod, self.rules.max_concurrent_runs
        sure = self.sample.fit_when_empty(1) >= self.sample.capacity and all(
            run.per_pod % size == 0 for run in self.runs
        )
        # Pods of odd sizes may still land where no pod of the head has a place.
        taken = sum(run.unseen for run in self.runs if run.per_pod % size == 0)
        left = self.sample.fit(size) - self.sample.waiting - taken - head.count
        if left >= 0 and not sure and (limit is None or len(self.runs) < limit):
            return self.now, 0
        freed, runs = 0, len(self.runs)
        for run in sorted(self.runs, key=lambda run: run.ends or self.now):
            if run.ends is None or run.ends <= self.now:
                continue
            if run.per_pod % size == 0:
                left += run.unseen
            freed += run.count - run.unseen
            runs -= 1
            room = left + (freed if sure else _at_best(self.sample, freed, size))
            if room >= 0 and (limit is None or runs < limit):
                return run.ends, room if sure else 0
        return None, 0

    def may_overtake(self, ask: Ask) -> bool:
        if self.head is None or self.shadow is None or ask.duration is None:
            return False
        if self.now + ask.duration <= self.shadow:
            return True
        # Still running when the head's room comes: only out of what the head leaves over, and
        # not where places are counted rather than GPUs. Each of its pods may spoil whole places.
        size = self.head.per_pod
        spoilt = ask.count // ask.per_pod * -(-ask.per_pod // size) * size
        if self.rules.max_concurrent_runs is None and spoilt <= self.spare:
            self.spare -= spoilt
            return True
        return False


def _at_best(sample: Sample, freed: int, size: int) -> int:
    """GPUs for pods of `size` that `freed` GPUs could add, wherever on the nodes they are."""
    missing: list[int] = []
    for room in sample.rooms:
        free = max(0, room.free)
        tops = range(free // size * size + size, room.allocatable + 1, size)
        missing.extend(top - max(free, top - size) for top in tops)
    found = 0
    for needed in sorted(missing):
        freed -= needed
        if freed < 0:
            break
        found += size
    return found
