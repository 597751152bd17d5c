"""Virtual time: an event loop whose clock jumps to the next timer, and a wall clock on top of it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 3, 23, 0, 0, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Never waits: moves the loop's clock on by what would have been waited."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return []  # callbacks are due: what a socket may have can wait for them
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits and no timer is set: a deadlock")
            self.loop.virtual += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time; a year takes as long as its callbacks."""

    def __init__(self, virtual: float = 0.0) -> None:
        self.virtual = virtual
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # After half a year the float that is the time has steps coarser than a nanosecond, and a
        # timer that is less than a step away would never be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.virtual


class SimClock:
    """`ports.Clock` on virtual time; its wall clock can be made to jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.jump = timedelta()
        self._last = (-1.0, EPOCH)

    def now(self) -> datetime:
        return self.true_now() + self.jump if self.jump else self.true_now()

    def true_now(self) -> datetime:
        """The time by which the world goes, whatever this clock says."""
        virtual = self._loop.virtual
        if virtual != self._last[0]:
            self._last = (virtual, EPOCH + timedelta(milliseconds=int(virtual * 1000)))
        return self._last[1]

    def monotonic(self) -> float:
        return self._loop.virtual


def run_virtual(main: Coroutine[Any, Any, Any], loop: VirtualLoop) -> Any:
    """Run a coroutine to its end in virtual time."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
