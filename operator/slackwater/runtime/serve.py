"""The tide table, metrics and probes over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from errno import errorcode
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from slackwater import __version__
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.ports import Clock
from slackwater.runtime.board import Board
from slackwater.runtime.engine import Engine
from slackwater.runtime.settings import Address
from slackwater_windows.page import View, render
from slackwater_windows.style import headers

# The alarm ticks every 30 seconds even when nothing is due.
LONGEST_PAUSE: Final = timedelta(seconds=60)
_Handler = Callable[[web.Request], Awaitable[web.Response]]
_LINKS: Final = (
    ("Metrics", "metrics"),
    ("Healthy?", "healthz"),
    ("Ready?", "readyz"),
    (f"Slackwater {__version__}", "https://github.com/slackwater-dev/slackwater"),
)
_STANDBY: Final = (
    "This replica stands by: another one acts, and knows more of the windows than is shown here."
)


class Health:
    """Whether a process should be restarted, and whether it knows its objects.

    Args:
        engine: what is judged.
        clock: the present.
        trusted: False once the store does not hear of changes any more.
    """

    def __init__(self, engine: Engine, clock: Clock, trusted: Callable[[], bool]) -> None:
        self._engine, self._clock, self._trusted = engine, clock, trusted

    def fault(self) -> str | None:
        """What only a restart mends; None while all is well or still starting."""
        if not self._engine.ready:
            return None
        silent = self._clock.monotonic() - self._engine.alarm.ticked_at
        if silent > LONGEST_PAUSE.total_seconds():
            return f"no timer has been looked at for {silent:.0f} seconds"
        if not self._trusted():
            return "the watch of the Kubernetes API does not tell of all changes"
        return None

    def unready(self) -> str | None:
        """What is waited for before the first decision; None when nothing is."""
        return None if self._engine.ready else "not every object has been read yet"


class TidePage:
    """The tide table of what this process knows; it can be read and nothing else.

    Args:
        board: makes the document.
        clock: the present.
        acting: whether this process holds the lease.
    """

    def __init__(self, board: Board, clock: Clock, acting: Callable[[], bool]) -> None:
        self._board, self._clock, self._acting = board, clock, acting

    async def answer(self, request: web.Request) -> web.Response:
        """The page, as of now."""
        document = self._board.current()
        note = "" if self._acting() else _STANDBY
        view = replace(View.asked(request.query), links=_LINKS, note=note)
        now = self._clock.now()
        text = await asyncio.get_running_loop().run_in_executor(None, render, document, now, view)
        response = web.Response(body=text.encode(), headers=headers(framed=False))
        response.enable_compression()
        return response


@asynccontextmanager
async def serving(
    address: Address, health: Health, registry: CollectorRegistry, page: TidePage, flag: str
) -> AsyncIterator[Address]:
    """Serve until the block ends; gives the address, with the port that was taken.

    Args:
        address: where to listen.
        health: what the probes ask.
        registry: what a scrape reads.
        page: what a person sees.
        flag: how users choose the address.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    app = web.Application()
    app.router.add_get("/", page.answer)
    app.router.add_get("/healthz", _answer(health.fault, "ok\n"))
    app.router.add_get("/readyz", _answer(health.unready, "ok\n"))
    app.router.add_get("/metrics", _metrics(registry))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            why = "unknown host"
            if error.errno is not None and error.errno in errorcode:
                why = os.strerror(error.errno).lower()
            raise ConfigError(
                Reason.INVALID_SPEC,
                detail=f"{address} cannot be listened on ({why}); choose another with {flag}.",
            ) from error
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _answer(problem: Callable[[], str | None], text: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        found = problem()
        if found is None:
            return web.Response(text=text)
        return web.Response(status=503, text=f"{found}\n")

    return answer


def _metrics(registry: CollectorRegistry) -> _Handler:
    async def answer(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # What is read of the world is read in its own loop; the text of it takes longer.
        taken = _Taken(tuple(registry.collect()))
        body = await asyncio.get_running_loop().run_in_executor(None, encode, taken)
        response = web.Response(body=body, headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    return answer


class _Taken(Collector):
    """Metrics as they were at one moment."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = metrics

    def collect(self) -> tuple[Metric, ...]:
        return self._metrics
