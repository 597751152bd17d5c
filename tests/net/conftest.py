from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from slackwater.net import NetPolicy, open_session

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[str]]
Open = Callable[..., aiohttp.ClientSession]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start an in-process server that answers everything by one handler; gives its origin."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, host: str = "127.0.0.1") -> str:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.05)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, host, 0)
            await site.start()
            return f"http://{host}:{runner.addresses[0][1]}"

        yield start


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open sessions that are closed at the end; loopback is allowed unless a policy says no."""
    async with AsyncExitStack() as stack:

        def start(policy: NetPolicy | None = None, **options: object) -> aiohttp.ClientSession:
            session = open_session(policy or NetPolicy(loopback=True), **options)
            stack.push_async_callback(session.close)
            return session

        yield start
