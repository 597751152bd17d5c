"""One heap of wake-ups for everything (rule R4)."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from slackwater.ports import Clock

LONGEST_SLEEP: Final = 30.0  # seconds; so a jump of the wall clock is noticed within this time
JUMP: Final = timedelta(seconds=5)  # more than clocks drift apart in that time

KeyT = TypeVar("KeyT")


class Alarm(Generic[KeyT]):
    """Rings keys at instants.

    A key has one instant at a time: setting it again moves it. Old heap entries are dropped when
    they surface, and the heap is rebuilt when they outnumber the live ones.

    Args:
        clock: the present.
        ring: called with each key that is due.
        jumped: called with how far the wall clock jumped, forwards or backwards: what was reckoned
            from it before is off by as much.
    """

    def __init__(
        self,
        clock: Clock,
        ring: Callable[[KeyT], None],
        jumped: Callable[[timedelta], None] | None = None,
    ) -> None:
        self._clock, self._ring, self._jumped = clock, ring, jumped
        self._wall, self._monotonic = clock.now(), clock.monotonic()
        self._heap: list[tuple[datetime, int, KeyT]] = []
        self._due: dict[KeyT, datetime] = {}
        self._count = 0
        self._changed = asyncio.Event()
        self.ticked_at = clock.monotonic()

    def set(self, key: KeyT, at: datetime | None) -> None:
        """Ring `key` at `at`; None silences it."""
        if at is None:
            self._due.pop(key, None)
            return
        if self._due.get(key) == at:
            return
        self._due[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        if self._heap[0][2] == key:
            self._changed.set()
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._due):
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def soonest(self, key: KeyT, at: datetime) -> None:
        """Ring `key` at `at` unless it rings before."""
        due = self._due.get(key)
        if due is None or at < due:
            self.set(key, at)

    async def run(self) -> None:
        """Ring for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self.ticked_at = self._clock.monotonic()
            self._compare_clocks()
            wait = self._ring_due()
            self._changed.clear()
            # Thousands of times an hour: a timer of the loop costs a third of `asyncio.timeout`.
            timer = loop.call_later(min(wait, LONGEST_SLEEP), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()

    def _compare_clocks(self) -> None:
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        jump = (wall - self._wall) - timedelta(seconds=monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        if abs(jump) > JUMP and self._jumped is not None:
            self._jumped(jump)

    def _ring_due(self) -> float:
        """Ring what is due; give the seconds until the next one."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._due.get(key) != at:
                heapq.heappop(self._heap)
                continue
            wait = (at - self._clock.now()).total_seconds()
            if wait > 0:
                return wait
            heapq.heappop(self._heap)
            del self._due[key]
            self._ring(key)
        return LONGEST_SLEEP
