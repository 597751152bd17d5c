"""An event loop with real sockets, threads and children whose time passes by itself when all rest.

As long as a thread or a child works, time goes at its real pace; when nothing is under way and no
socket of this process has news, it jumps to the next timer. So hours of an operator with real
adapters take seconds, and no time-out fires because the machine is slow.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any

SETTLE = 0.0005  # seconds in which what was written to a socket of ours has arrived
TURN = 0.02  # seconds between two looks at whether threads and children are done


class _Selector(selectors.DefaultSelector):
    loop: WarpLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if not self.loop.working:
            ready = super().select(SETTLE)
            if not ready and timeout is not None:
                self.loop.virtual += timeout
            return ready
        began = time.monotonic()
        ready = super().select(TURN if timeout is None else min(timeout, TURN))
        self.loop.virtual += time.monotonic() - began
        return ready


class WarpLoop(asyncio.SelectorEventLoop):
    """See above; `virtual` is the time in seconds since it began."""

    def __init__(self) -> None:
        self.virtual = 0.0
        self.working = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        running = super().run_in_executor(executor, func, *args)
        self.working += 1
        running.add_done_callback(self._rested)
        return running

    def _rested(self, _: object) -> None:
        self.working -= 1


def run_warped(main: Coroutine[Any, Any, Any], loop: WarpLoop) -> Any:
    """Run a coroutine to its end."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
