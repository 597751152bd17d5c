"""A queue of keys in which each key is waiting at most once and worked on by one at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta
from random import Random
from typing import Final, Generic, TypeVar

FIRST_BACKOFF: Final = timedelta(seconds=1)
LONGEST_BACKOFF: Final = timedelta(seconds=60)

KeyT = TypeVar("KeyT")


class WorkQueue(Generic[KeyT]):
    """The semantics of client-go's work queue: `dirty` and `running` sets, per-key back-off.

    A key added while it is worked on is worked on once more afterwards, so no news is lost and no
    two workers hold the same key.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._dirty: OrderedDict[KeyT, None] = OrderedDict()
        self._running: set[KeyT] = set()
        self._again: set[KeyT] = set()
        self._failures: dict[KeyT, int] = {}
        self._ready = asyncio.Semaphore(0)  # wakes one worker for each key, not all of them

    def __len__(self) -> int:
        return len(self._dirty)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is worked on."""
        return not self._dirty and not self._running

    def add(self, key: KeyT) -> None:
        """Have `key` looked at; repeated calls before that count once."""
        if key in self._running:
            self._again.add(key)
            return
        if key not in self._dirty:
            self._dirty[key] = None
            self._ready.release()

    async def get(self) -> KeyT:
        """The next key; `done` must follow."""
        await self._ready.acquire()
        while not self._dirty:  # what it was for has been forgotten
            await self._ready.acquire()
        key, _ = self._dirty.popitem(last=False)
        self._running.add(key)
        return key

    def caught_up(self, key: KeyT) -> None:
        """Its worker looks anew at all there is: what was added before needs no look of its own."""
        self._again.discard(key)

    def done(self, key: KeyT) -> None:
        """The work on `key` ended, well or not."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def failed(self, key: KeyT) -> timedelta:
        """How long to leave `key` alone after one more failure: 1 s doubling to 60 s, jittered."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return self.rest_after(failures)

    def rest_after(self, failures: int) -> timedelta:
        """The rest after so many failures in a row before the last one."""
        longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * (1 << min(failures, 10)))
        return longest * self._random.uniform(0.5, 1.0)

    def succeeded(self, key: KeyT) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def forget(self, key: KeyT) -> None:
        """The object of `key` is gone."""
        self._failures.pop(key, None)
        self._dirty.pop(key, None)
        self._again.discard(key)
