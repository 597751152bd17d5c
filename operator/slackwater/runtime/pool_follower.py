"""One GPUPool: its samples, its queue of asks and the promises made from it (R5 to R7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from slackwater.core.allot import Pool, Verdict, allot
from slackwater.core.ask import Ask, Promise, pay_down
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Sample
from slackwater.core.seen import Trouble
from slackwater.core.spec import PoolRules, Ref
from slackwater.core.words import Reason
from slackwater.errors import DependencyError, SlackwaterError
from slackwater.ports import Clock, PoolSource
from slackwater.runtime.backoff import Backoff, trouble_of
from slackwater.runtime.off_peak import OffPeak

IDLE_INTERVAL: Final = timedelta(seconds=60)
LONGEST_BACKOFF: Final = timedelta(minutes=2)
LONGEST_BACKOFF_HISTORY: Final = timedelta(minutes=15)  # the past is a heavy question
BACKFILL: Final = timedelta(hours=6)
HISTORY: Final = timedelta(hours=25)  # `forSeconds` may be a day


@dataclass(slots=True)
class _Book:
    asks: dict[Ref, Ask]
    promises: dict[Ref, tuple[Promise, ...]]
    verdicts: dict[Ref, Verdict]
    dirty: bool = False


class PoolFollower:
    """Samples one pool for all who ask, and answers their asks together.

    Args:
        ref: the GPUPool.
        clock: the present.
        random: jitters back-off.
        changed: called after the first sample and when a fault comes or goes; those with an
            open window (`watchers`) look after each sample.
    """

    def __init__(self, ref: Ref, clock: Clock, random: Random, changed: Callable[[], None]) -> None:
        self.ref = ref
        self._clock, self._changed = clock, changed
        self.source: PoolSource | None = None
        self.rules = PoolRules(ref=ref)
        self.interval = timedelta(seconds=15)
        self.trouble: Trouble | None = None
        self.overlap: Trouble | None = None  # an older pool has a node of this one
        self.sample: Sample | None = None
        self.failure: Trouble | None = None
        self.history: deque[tuple[datetime, float]] = deque()
        self.watchers: set[Ref] = set()  # TrainingWindows with an open window here
        self.runs_known = True
        self.off_peak = OffPeak(ref, clock)
        self.reservations = Reservations()
        self.next_at: datetime | None = None
        self._backoff = Backoff(random, LONGEST_BACKOFF)
        self._backfilled = False
        self._history_backoff = Backoff(random, LONGEST_BACKOFF_HISTORY)
        self._requests: int | None = None
        self._unseen: dict[str, int] = {}
        self._book = _Book({}, {}, {})

    def configure(self, source: PoolSource | None, rules: PoolRules, interval: timedelta) -> None:
        """Follow another source or other rules; a sample of another source is no sample."""
        if source is not self.source:
            self.sample, self.failure = None, None
            self.history.clear()
            self._backfilled = False
            self._requests = None
            self._backoff.ended()
            self._history_backoff.ended()
            self.off_peak.forget()
        self.source, self.rules, self.interval = source, rules, interval
        self._book.dirty = True

    def clock_jumped(self, by: timedelta) -> None:  # noqa: ARG002 - all followers are told alike
        """The wall clock jumped: the age of what was sampled before cannot be known (R4)."""
        self.sample = None
        self.history.clear()
        self._backfilled = False
        self._backoff.clock_jumped()
        self._history_backoff.clock_jumped()
        self.off_peak.forget()
        self._book.dirty = True

    @property
    def fault(self) -> Reason | None:
        """Why the last look failed, None after a success."""
        return None if self.failure is None else self.failure.reason

    # --- sampling

    async def look(self) -> None:
        """Take one sample."""
        source = self.source
        if source is None:
            return
        if self._backoff.holds(self._clock.now()):
            self.next_at = self._backoff.until
            return
        try:
            if not self._backfilled:
                await self._backfill(source)
            await self.off_peak.look_back(source)
            asked_at = self._clock.now()
            sample = await source.sample()
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is a fault like others
            if source is self.source:
                self._failed(error)
            return
        if source is self.source:
            self._take(sample, asked_at)
            self._backoff.ended()
            self._settle(None)

    def _failed(self, error: Exception) -> None:
        """A server that answers badly is asked at the pool's own pace, others are left alone."""
        now = self._clock.now()
        asked = error.retry_after if isinstance(error, DependencyError) else None
        patience: datetime | None = None
        if asked is not None or not isinstance(error, SlackwaterError):
            patience = self._backoff.failed(now, asked)
        else:
            self._backoff.ended()
        self._settle(trouble_of(error, f"GPUPool {self.ref}", self.failure))
        if patience is not None and self.next_at is not None:
            self.next_at = max(self.next_at, patience)

    def _settle(self, failure: Trouble | None) -> None:
        first = self.next_at is None
        before, self.failure = self.fault, failure
        # Often enough that a quiet time is seen without a gap.
        idle = min(IDLE_INTERVAL, self.rules.max_sample_age / 2)
        live = bool(self.watchers) or bool(self._book.asks)
        wait = self.interval if live else max(self.interval, idle)
        self.next_at = self._clock.now() + wait
        self._book.dirty = True
        if first or before is not self.fault:
            self._changed()

    async def _backfill(self, source: PoolSource) -> None:
        """What happened before we looked, so that a hold begun then counts.

        Where it cannot be had now it is asked for again later; the present does not wait.
        """
        if self._history_backoff.holds(self._clock.now()):
            return
        try:
            past = await source.utilization_since(self._clock.now() - BACKFILL)
        except SlackwaterError:
            self._history_backoff.failed(self._clock.now())
            return
        if source is self.source:
            self.history, self._backfilled = self._joined(past), True
            self._history_backoff.ended()

    def _joined(self, past: tuple[tuple[datetime, float], ...]) -> deque[tuple[datetime, float]]:
        """The past, and what was sampled since."""
        newest = past[-1][0] if past else None
        since = (point for point in self.history if newest is None or point[0] > newest)
        return deque((*past, *since))

    def watch(self, user: Ref, *, watching: bool) -> bool:
        """A TrainingWindow's window opens or shuts; True when sampling should begin at once."""
        if not watching:
            self.watchers.discard(user)
            return False
        if user in self.watchers:
            return False
        self.watchers.add(user)
        soon = self._clock.now() + self.interval
        return self.next_at is None or self.next_at > soon or self._is_old()

    def _is_old(self) -> bool:
        return self.sample is None or self._clock.now() - self.sample.time > self.interval

    def _take(self, sample: Sample, asked_at: datetime) -> None:
        self.sample = sample
        if sample.utilization is not None and (
            not self.history or sample.time > self.history[-1][0]
        ):
            self.history.append((sample.time, sample.utilization))
        while self.history and self.history[0][0] < sample.time - HISTORY:
            self.history.popleft()
        requests = sample.used + sample.waiting
        if sample.visible is not None:
            for promise in self.promises:
                shown = sample.shown(promise.run_id) or 0
                self._unseen[promise.run_id] = max(0, promise.count - shown)
        elif self._requests is not None:
            # What was promised since the question was asked cannot show in the answer.
            older = tuple(promise for promise in self.promises if promise.since <= asked_at)
            self._unseen.update(pay_down(older, requests - self._requests))
        self._requests = requests
        self.off_peak.observe(sample.time, self.foreground or 0)

    @property
    def foreground(self) -> int | None:
        """GPUs that others use or wait for; None where the pool was not read."""
        if self.sample is None:
            return None
        ours = sum(promise.count - promise.unseen for promise in self.promises)
        return max(0, self.sample.used + self.sample.waiting - ours)

    def reserve(self, reservations: Reservations) -> None:
        """Calendars say what is kept for others."""
        if reservations != self.reservations:
            self.reservations = reservations
            self._book.dirty = True

    # --- the book

    @property
    def unseen(self) -> Mapping[str, int]:
        """What the pool's numbers do not show yet of each promise, by run id."""
        return self._unseen

    def _current(self, promise: Promise) -> Promise:
        unseen = self._unseen.get(promise.run_id, promise.unseen)
        return promise if unseen == promise.unseen else replace(promise, unseen=unseen)

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Every promise made from this pool, as of now."""
        return tuple(
            self._current(promise) for group in self._book.promises.values() for promise in group
        )

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The queue, in order."""
        return tuple(sorted(self._book.asks.values(), key=lambda ask: ask.rank))

    @property
    def owners(self) -> frozenset[Ref]:
        """Everybody who asks, holds or watches anything here."""
        return frozenset((*self._book.asks, *self._book.promises, *self.watchers))

    def put(self, owner: Ref, ask: Ask | None) -> bool:
        """Replace one owner's ask; True when the queue changed and wants allotting."""
        if self._book.asks.get(owner) == ask:
            return False
        if ask is None:
            del self._book.asks[owner]
        else:
            self._book.asks[owner] = ask
        self._book.verdicts.pop(owner, None)
        self._book.dirty = True
        return True

    def promise(self, owner: Ref, promises: tuple[Promise, ...]) -> bool:
        """Replace one owner's promises; True when what they hold changed."""
        before = self._book.promises.get(owner, ())
        if before == promises:
            return False
        if promises:
            self._book.promises[owner] = promises
        else:
            self._book.promises.pop(owner, None)
        for promise in promises:
            self._unseen.setdefault(promise.run_id, promise.unseen)
        kept = {promise.run_id for promise in promises}
        for promise in before:
            if promise.run_id not in kept:
                self._unseen.pop(promise.run_id, None)
        self._book.dirty = True
        return True

    def consume(self, owner: Ref, promise: Promise) -> None:
        """Turn an admitted ask into a promise: nobody else's answer changes by it."""
        self._book.asks.pop(owner, None)
        self._book.verdicts.pop(owner, None)
        self._book.promises[owner] = (*self._book.promises.get(owner, ()), promise)
        self._unseen[promise.run_id] = promise.unseen

    def verdict(self, owner: Ref) -> Verdict | None:
        """The answer to the owner's present ask, if there is one yet."""
        return self._book.verdicts.get(owner)

    def answer(self) -> set[Ref]:
        """Answer all asks anew where anything changed; give the owners whose answer differs."""
        if not self._book.dirty:
            return set()
        self._book.dirty = False
        now = self._clock.now()
        promises = self.promises
        fresh = allot(
            Pool(
                rules=self.rules,
                sample=self.sample,
                fault=self.fault,
                promises=promises,
                runs_known=self.runs_known,
                reservations=self.reservations,
                plan=self.off_peak.plan(
                    self._book.asks.values(), promises, self.reservations, self.sample
                ),
            ),
            self._book.asks.values(),
            now,
        )
        before, self._book.verdicts = self._book.verdicts, fresh
        return {owner for owner, verdict in fresh.items() if before.get(owner) != verdict}

    def redo(self) -> None:
        """Something outside the book changed: answer anew at the next chance."""
        self._book.dirty = True
