"""Who may use a thread next: writes one at a time per server, ends of runs before starts (R9).

The client blocks, so each call runs in a thread of a small pool. A thread cannot be stopped, so a
place in a lane is given back when its thread is done, not when its caller stops waiting: a
cancelled caller must not let the next write start beside its own.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

_READS: Final = 4
_WRITES: Final = 1
_T = TypeVar("_T")


class Urgency(IntEnum):
    """Which waiting call goes first: the lower number."""

    STOP = 0
    START = 1


class Lane:
    """Admits so many callers at a time; those who wait enter by urgency, then in order."""

    def __init__(self, width: int) -> None:
        self._free = width
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []
        self._arrival = count()

    async def enter(self, urgency: Urgency) -> None:
        """Wait for a place. Cancelled while waiting, it takes none."""
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._arrival), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # it was ours already when the cancellation came
            raise

    def leave(self) -> None:
        """Give the place to whoever is next."""
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Turn:
    """A place in a lane, held until the caller has left and its thread is done."""

    def __init__(self, lane: Lane, threads: ThreadPoolExecutor, urgency: Urgency) -> None:
        self._lane = lane
        self._threads = threads
        self._urgency = urgency
        self._work: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        await self._lane.enter(self._urgency)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._work is None or self._work.done():
            self._lane.leave()
        else:
            self._work.add_done_callback(lambda _: self._lane.leave())

    async def do(self, work: Callable[[], _T]) -> _T:
        """Run `work` in a thread. Cancelled, the thread goes on alone and nothing follows it."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._work = running
        return await asyncio.shield(running)


class Server:
    """What all connections to one server URL share, whoever opened them."""

    _known: Final[dict[str, Server]] = {}

    def __init__(self, url: str) -> None:
        self._url = url
        self._users = 0
        self._reads = Lane(_READS)
        self._writes = Lane(_WRITES)
        self._threads = ThreadPoolExecutor(_READS + _WRITES, thread_name_prefix="airflow")

    @classmethod
    def join(cls, url: str) -> Server:
        """The one server at this URL; each `join` needs its `part`."""
        name = same_server(url)
        if (server := cls._known.get(name)) is None:
            server = cls._known[name] = cls(name)
        server._users += 1
        return server

    def part(self) -> None:
        """One user less; without any, its threads end once they are idle."""
        self._users -= 1
        if self._users == 0:
            del self._known[self._url]
            self._threads.shutdown(wait=False)

    def reading(self) -> Turn:
        """A turn for a read; reads run side by side."""
        return Turn(self._reads, self._threads, Urgency.START)

    def writing(self, urgency: Urgency) -> Turn:
        """A turn for writes: nobody else writes to this server meanwhile."""
        return Turn(self._writes, self._threads, urgency)


def same_server(url: str) -> str:
    """A URL in the one spelling under which servers are told apart.

    >>> same_server("HTTPS://Airflow.example:443/team/")
    'https://airflow.example:443/team'
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
