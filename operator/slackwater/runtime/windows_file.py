"""Keeps the windows file: written where it changed, seldom, and only by who acts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NoReturn

from slackwater.errors import StoreError
from slackwater.ports import Clock, Lease, WindowsFile
from slackwater.runtime.board import Board, News
from slackwater_windows.wire import encode

LOG: Final = logging.getLogger(__name__)

EVERY: Final = timedelta(seconds=5)
"""The least time between two looks, and so between two writes."""
LIVE: Final = timedelta(seconds=60)
"""How often wording and numbers are renewed while a window is open (R16)."""
IDLE: Final = timedelta(minutes=15)
"""The same while none is."""
PATIENCE: Final = timedelta(seconds=60)
"""How long after the start calendars are waited for before a first file is written."""


class WindowsWriter:
    """Writes the windows file when it is due.

    Args:
        board: makes the document.
        file: where it goes.
        clock: the present.
        lease: who does not hold it does not write.
        ready: whether every object has been read.
    """

    def __init__(
        self,
        board: Board,
        file: WindowsFile,
        clock: Clock,
        lease: Lease,
        ready: Callable[[], bool],
    ) -> None:
        self._board, self._file, self._clock, self._lease = board, file, clock, lease
        self._ready = ready
        self._pending = News.SETTLED
        self._began_at: float | None = None
        self._written_at: float | None = None
        self._failing = False

    async def run(self) -> NoReturn:
        """Look every few seconds until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                LOG.exception("the windows file: unexpected failure; it is tried again")
            await asyncio.sleep(EVERY.total_seconds())

    async def look(self) -> None:
        """Write if something is new and it is time; a store that refuses is told once."""
        now = self._clock.monotonic()
        if not self._lease.held or not self._ready():
            self._began_at, self._pending = None, News.SETTLED
            return
        if self._began_at is None:
            self._began_at = now
        # A file without the windows ahead would be worse than the one that stands.
        waited = now - self._began_at
        if not self._board.is_complete and waited < PATIENCE.total_seconds():
            return
        self._pending = max(self._pending, self._board.refresh())
        if not self._is_due(now):
            return
        text = encode(self._board.document())
        try:
            await self._file.write(text)
        except StoreError as error:
            if not self._failing:
                LOG.warning("the windows file for Airflow cannot be written: %s", error)
            self._failing = True
            return
        self._failing, self._pending, self._written_at = False, News.NONE, now

    def _is_due(self, now: float) -> bool:
        if self._pending is News.NONE:
            return False
        if self._pending is News.SETTLED or self._written_at is None:
            return True
        wait = LIVE if self._board.is_open else IDLE
        return now - self._written_at >= wait.total_seconds()
