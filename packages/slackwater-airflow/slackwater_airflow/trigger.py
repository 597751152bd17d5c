"""Waits in the triggerer until a training window opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from slackwater_airflow.waiting import Wish, look


class WindowOpens(BaseTrigger):
    """Fires once when the window is open, or when it will never be.

    It looks at the local windows file every `poll_interval` seconds, in a thread, and keeps nothing
    in memory that a restarted triggerer would miss: what it says is looked at again by the task.

    Args:
        wish: which window, as `Wish.to_wire` gives it.
        poll_interval: seconds between two looks.
    """

    def __init__(self, wish: dict[str, Any], poll_interval: float = 5.0) -> None:
        super().__init__()
        self.wish, self.poll_interval = wish, poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"wish": self.wish, "poll_interval": self.poll_interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is an answer."""
        wish = Wish.from_wire(self.wish)
        while True:
            found = await asyncio.to_thread(look, wish, datetime.now(UTC))
            if found.settled:
                yield TriggerEvent({"open": found.open, "why": found.why})
                return
            await asyncio.sleep(found.pause(self.poll_interval, datetime.now(UTC)))
