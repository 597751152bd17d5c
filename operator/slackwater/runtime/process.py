"""The life of a process: its parts side by side, signals, and an end in good order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, Final

from slackwater.core.words import WORDS
from slackwater.errors import SlackwaterError

_log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Parts:
    """The tasks of a process, by the names that the log gives them. None of them is to end."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[object]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Start a part."""
        self._tasks[name] = asyncio.get_running_loop().create_task(work, name=name)

    async def wait(self, stop: asyncio.Event) -> bool:
        """Wait until `stop` is set (True), or until a part ended, which is logged (False)."""
        asked = asyncio.get_running_loop().create_task(stop.wait())
        try:
            await asyncio.wait([asked, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        ended = [name for name, task in self._tasks.items() if task.done()]
        for name in ended:
            _tell(name, self._tasks[name])
        return not ended

    async def end(self, name: str, limit: timedelta) -> None:
        """Cancel a part and wait until it is gone, but no longer than `limit`."""
        self.cancel(name)
        await self.gone(name, limit)

    def cancel(self, name: str) -> None:
        """Cancel a part; harmless when it has ended or never started."""
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    async def gone(self, name: str, limit: timedelta) -> None:
        """Wait until a cancelled part is gone, but no longer than `limit`."""
        task = self._tasks.get(name)
        if task is None:
            return
        _, late = await asyncio.wait([task], timeout=limit.total_seconds())
        if late:
            _log.warning("the %s took too long to stop and was left behind", name)
        elif not task.cancelled():
            task.exception()  # told before, or of no interest any more


def _tell(name: str, task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SlackwaterError):
        text = f"{error.sentence} {WORDS[error.reason].remedy}".strip()
        _log.error("the %s ended: %s", name, text, extra={"reason": error.reason.value})
    elif error is not None:
        _log.error("the %s ended unexpectedly", name, exc_info=error)
    else:
        _log.error("the %s ended", name)


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main` in a loop of its own; SIGTERM and SIGINT set the event that it is given.

    A second signal ends the process at once: what it was at is settled at the next start (R9).

    Args:
        main: gives the exit code.

    Returns:
        The exit code.
    """

    async def live() -> int:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def asked(number: signal.Signals) -> None:
            _log.info("%s: stopping", number.name)
            for one in _SIGNALS:
                loop.remove_signal_handler(one)
                signal.signal(one, signal.SIG_DFL)
            stop.set()

        for number in _SIGNALS:
            loop.add_signal_handler(number, asked, number)
        try:
            return await main(stop)
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    return asyncio.run(live())
