from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
import pytest_asyncio

from slackwater.calendars import microsoft_graph
from slackwater.calendars.expand import Expander
from slackwater.net import open_session
from tests.calendars.graph_rig import MAILBOX, SECRET, GraphRig, trusting
from tests.calendars.support import CANARY, Secrets
from tests.fakes.graph import FakeGraph
from tests.fakes.graph_tls import server_tls
from tests.fakes.serving import Handler, serving

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
        yield lambda handler: stack.enter_async_context(serving(handler))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and one that trusts it."""
    context, authority = server_tls(tmp_path_factory.mktemp("tls"))
    return context, trusting(authority)


@pytest_asyncio.fixture(loop_scope="session")
async def serve_tls(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serve]:
    """The same over TLS, with a certificate that the providers which need it trust."""
    monkeypatch.setattr(microsoft_graph, "open_session", partial(open_session, ssl=tls[1]))
    async with AsyncExitStack() as stack:
        yield lambda handler: stack.enter_async_context(serving(handler, tls[0]))


@pytest_asyncio.fixture(loop_scope="session")
async def graph(serve_tls: Serve) -> AsyncIterator[GraphRig]:
    """Microsoft Graph with one mailbox."""
    fake = FakeGraph()
    origin = fake.entra.resource = await serve_tls(fake.answer)
    rig = GraphRig(fake, origin, fake.mailbox(MAILBOX), Secrets({SECRET: "s3cret\n"}))
    yield rig
    for source in rig.sources:
        await source.aclose()
    assert fake.violations == []


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test of this folder may log what a calendar holds, at any level."""
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.get_records("call"):
        if not record.name.startswith(_SERVERS):
            assert CANARY not in record.getMessage()
            assert CANARY not in str(record.exc_info)
