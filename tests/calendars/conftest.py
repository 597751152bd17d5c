from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from aiohttp import web

from slackwater.calendars.expand import Expander
from tests.calendars.support import CANARY

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]

# Test servers log what they are asked; that is not ours to keep secret.
_SERVERS = ("aiohttp.access", "aiohttp.server", "aiohttp.web")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def expander() -> AsyncIterator[Expander]:
    """One for all tests, so that its child starts once."""
    shared = Expander()
    yield shared
    await shared.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def serve() -> AsyncIterator[Serve]:
    """Start an in-process server that answers everything by one handler; gives its origin."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.05)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield start


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test of this folder may log what a calendar holds, at any level."""
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.get_records("call"):
        if not record.name.startswith(_SERVERS):
            assert CANARY not in record.getMessage()
            assert CANARY not in str(record.exc_info)
