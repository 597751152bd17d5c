"""What goes wrong next in the fake Airflow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web


@dataclass
class Hold:
    """Requests that wait in the server until they are released."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.released.set()


@dataclass
class Fault:
    method: str
    path: str
    times: int
    done: bool
    reply: Callable[[], web.Response] | None = None
    hold: Hold | None = None


class Faults:
    """What goes wrong next. `path` is a part of the path, `times` how many requests it hits.

    With `done` the request is carried out first, and only its reply is spoilt.
    """

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def answer(
        self,
        status: int,
        method: str = "",
        path: str = "",
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        done: bool = False,
    ) -> None:
        """Another answer: `body` is JSON, or a text that is none."""
        text = (
            body
            if isinstance(body, str)
            else json.dumps({"detail": "fault"} if body is None else body)
        )
        kind = "text/html" if isinstance(body, str) else "application/json"
        reply = partial(web.Response, status=status, text=text, content_type=kind, headers=headers)
        self._waiting.append(Fault(method, path, times, done, reply=reply))

    def drop(self, method: str = "", path: str = "", *, times: int = 1, done: bool = False) -> None:
        """The connection breaks without a reply."""
        self._waiting.append(Fault(method, path, times, done))

    def hold(self, method: str = "", path: str = "", *, times: int = 1, done: bool = False) -> Hold:
        """The reply waits for `release`."""
        hold = Hold()
        self._waiting.append(Fault(method, path, times, done, hold=hold))
        return hold

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        for fault in self._waiting:
            if fault.method in {"", method} and fault.path in path:
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.remove(fault)
                return fault
        return None
