"""Answers that may be used again for a short while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from slackwater.ports import Clock

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    until: float = 0.0
    answer: list[V] = field(default_factory=list, repr=False)


class Recent(Generic[K, V]):
    """Remembers what was fetched, and lets those who ask at the same time share one fetch.

    A failure is not remembered: whoever asks next fetches again.

    Args:
        clock: gives the monotonic time.
        keep: how long an answer may be used again.
        limit: how many answers are kept at most.
    """

    def __init__(self, clock: Clock, keep: timedelta, limit: int = 1000) -> None:
        self._clock = clock
        self._keep = keep.total_seconds()
        self._limit = limit
        self._entries: dict[K, _Entry[V]] = {}

    async def get(self, key: K, fetch: Callable[[], Awaitable[V]], *, fresh: bool = False) -> V:
        """The answer for `key`, fetched unless it is recent; `fresh` always fetches."""
        entry = self._entries.get(key)
        if entry is None:
            self._make_room()
            entry = self._entries[key] = _Entry()
        async with entry.lock:
            if entry.answer and not fresh and self._clock.monotonic() < entry.until:
                return entry.answer[0]
            answer = await fetch()
            entry.answer[:] = [answer]
            entry.until = self._clock.monotonic() + self._keep
            return answer

    def _make_room(self) -> None:
        if len(self._entries) < self._limit:
            return
        now = self._clock.monotonic()
        idle = [key for key, entry in self._entries.items() if not entry.lock.locked()]
        expired = [key for key in idle if self._entries[key].until <= now]
        for key in expired or idle[:1]:
            del self._entries[key]
