"""The turn of each request to a calendar service, so that no limit of a service is exceeded.

Providers declare their limits, and make each request inside `Opening.turn`; here is the only place
that keeps them. A limit belongs to an identity: a Google service account, a Microsoft app, a CalDAV
host, a feed. All calendars behind one identity share it, whichever namespace they are in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import HeldBack
from slackwater.net import NetError
from slackwater.net.bucket import Rate, TokenBucket
from slackwater.ports import Clock

# Longer than a start may wait for a fresh look at its events (R9), nobody stands in line.
PATIENCE: Final = timedelta(seconds=10)
_MANY: Final = 1_000

Counted = Callable[[Ref], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a service allows one identity.

    Attributes:
        rate: requests in a stretch of time; None for no limit.
        concurrent: requests at one time; None for no limit.
    """

    rate: Rate | None = None
    concurrent: int | None = None


class _Line:
    """The line before one service, for one identity."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.bucket = None if limits.rate is None else TokenBucket(limits.rate, now)
        self.slots = None if limits.concurrent is None else asyncio.Semaphore(limits.concurrent)
        self.users = 0

    def is_idle(self, now: float) -> bool:
        """Nobody stands in it, and it remembers nothing."""
        return self.users == 0 and (self.bucket is None or self.bucket.is_full(now))


class Turns:
    """Who may ask whom, and when. One for all calendars of a process.

    Args:
        clock: whose `monotonic` counts.
        counted: told of each request that is sent, with the calendar that it is for.
    """

    def __init__(self, clock: Clock, counted: Counted = lambda _: None) -> None:
        self._clock, self._counted = clock, counted
        self._lines: dict[tuple[str, str], _Line] = {}

    @asynccontextmanager
    async def turn(
        self, ref: Ref, provider: str, identity: str, limits: Limits
    ) -> AsyncIterator[None]:
        """Hold the turn for one request.

        A request that reached nobody does not count.

        Raises:
            HeldBack: it would have to wait for longer than `PATIENCE`.
        """
        line = self._line((provider, identity), limits)
        line.users += 1
        try:
            if line.bucket is not None:
                await self._wait(line.bucket)
            if line.slots is None:
                async with self._counting(ref, line):
                    yield
            else:
                async with line.slots, self._counting(ref, line):
                    yield
        finally:
            line.users -= 1

    async def _wait(self, bucket: TokenBucket) -> None:
        wait = bucket.take(self._clock.monotonic(), PATIENCE.total_seconds())
        if wait > PATIENCE.total_seconds():
            raise HeldBack(timedelta(seconds=wait))
        if wait > 0:
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                bucket.give_back()
                raise

    @asynccontextmanager
    async def _counting(self, ref: Ref, line: _Line) -> AsyncIterator[None]:
        try:
            yield
        except NetError as error:
            if error.reason is Reason.UNREACHABLE and line.bucket is not None:
                line.bucket.give_back()
            raise
        finally:
            self._counted(ref)

    def _line(self, key: tuple[str, str], limits: Limits) -> _Line:
        now = self._clock.monotonic()
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= _MANY:
                self._lines = {k: one for k, one in self._lines.items() if not one.is_idle(now)}
            line = self._lines[key] = _Line(limits, now)
        return line
