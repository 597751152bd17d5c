"""The fake Google before clients that know nothing of us, and the provider before a server that
knows nothing of us."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from slackwater.core.event import Event
from slackwater.core.spec import Privacy
from slackwater.core.zone import zone
from testbed import pythons
from tests.calendars.google_support import READER, TEAM, event, google_source, look, refused, times
from tests.calendars.support import HORIZON, NOW, starts
from tests.fakes.google import FakeGoogle

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="session")]

DRIVER = Path(__file__).with_name("gcal_sync_driver.py")
GCAL_SYNC = "gcal_sync==8.0.0"
SCOPE = "https://www.googleapis.com/auth/calendar.events"


@pytest.fixture(scope="module")
def python_of_gcal_sync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has gcal_sync; nothing of it is among our dependencies."""
    uv = str(pythons.uv())
    home = tmp_path_factory.mktemp("gcal_sync")
    python = home / "bin" / "python"
    for words in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        ["pip", "install", "--quiet", "--python", str(python), GCAL_SYNC],
    ):
        done = subprocess.run([uv, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"gcal_sync cannot be installed: {done.stderr.strip()[-200:]}")
    return python


class Driven:
    """gcal_sync in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str) -> list[list[object]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        if not line:
            assert self._process.stderr is not None
            raise AssertionError((await self._process.stderr.read()).decode()[-2000:])
        return json.loads(line)


@pytest_asyncio.fixture(loop_scope="session")
async def google():
    async with FakeGoogle(lambda: NOW) as fake:
        fake.store.add_calendar(TEAM, "Europe/Berlin")
        yield fake
        assert fake.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def driven(google, python_of_gcal_sync):
    google.store.share(TEAM, READER, "writer")
    process = await asyncio.create_subprocess_exec(
        str(python_of_gcal_sync),
        str(DRIVER),
        f"{google.url}/calendar/v3",
        google.tokens.issue(READER, [SCOPE]),
        TEAM,
        HORIZON.start.isoformat(),
        HORIZON.end.isoformat(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    yield Driven(process)
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 30)


def shown(one: Event) -> list[object]:
    """As the driver tells an event: days by their dates, times by their instants."""
    if one.all_day:
        days = (
            at.astimezone(zone("Europe/Berlin")).date() for at in (one.span.start, one.span.end)
        )
        return [*(day.isoformat() for day in days), one.summary]
    return [one.span.start.timestamp(), one.span.end.timestamp(), one.summary]


async def test_another_client_sees_the_same_events_through_every_edit(
    google, driven, expander
) -> None:
    """gcal_sync keeps masters and exceptions by sync token and expands them by itself; Google's
    expansion in the fake and our snapshots must come to the same events."""
    source = google_source(google, google.tokens.add_account(READER), expander)
    store, state = google.store, None
    kept: dict[str, str] = {}

    async def compare(edit: str) -> None:
        nonlocal state, ours
        fetched = await look(source, state)
        state = fetched.state
        if fetched.snapshot is not None:
            ours = sorted(map(shown, fetched.snapshot.events), key=str)
        for command in ("sync", "list"):
            assert await driven.ask(command) == ours, (edit, command)

    ours: list[list[object]] = []
    await compare("nothing yet")
    kept["single"] = store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    kept["days"] = store.insert(TEAM, **event("04-02", "04-04"))
    await compare("inserts")
    rule = ["RRULE:FREQ=WEEKLY;BYDAY=MO,TH"]
    kept["series"] = store.insert(
        TEAM, **event("03-02T22:00", "03-03T01:00", "Europe/Berlin", recurrence=rule)
    )
    await compare("a series across the change to summer time")
    # 26 March, 22:00 in Berlin; then 30 March, in summer time.
    store.patch(TEAM, f"{kept['series']}_20260326T210000Z", **times("03-27T09:00", "03-27T11:00"))
    store.delete(TEAM, f"{kept['series']}_20260330T200000Z")
    await compare("an instance moved, another deleted")
    store.undelete(TEAM, f"{kept['series']}_20260330T200000Z")
    store.patch(TEAM, kept["single"], summary="train: else", **times("04-05T10:00", "04-05T11:00"))
    await compare("an instance undeleted, an event moved and renamed")
    store.split(TEAM, f"{kept['series']}_20260402T200000Z", summary="train: bigger")
    await compare("a series split")
    store.delete(TEAM, kept["single"])
    await compare("an event deleted")
    google.expire_sync_tokens()
    store.undelete(TEAM, kept["single"])
    await compare("a lost sync token and an event undeleted")
    google.page_limit = 3
    store.copy(TEAM, kept["single"])
    await compare("a copy, in small pages")
    assert len(ours) > 8
    await source.aclose()


# --- @emulators/google -------------------------------------------------------------------------

EMULATOR = Path(__file__).with_name("google_emulator.mjs")
# 0.11.2 asks for a core that was never published; 0.6.1 works.
PACKAGES = {"@emulators/google": "0.11.2", "@emulators/core": "0.6.1"}
SEED = {
    "users": [{"email": TEAM, "name": "Team"}],
    "calendars": [
        {"id": TEAM, "user_email": TEAM, "summary": "Team", "primary": True, "time_zone": "UTC"}
    ],
    "calendar_events": [
        {
            "id": "one",
            "user_email": TEAM,
            "calendar_id": TEAM,
            "summary": "train",
            "start_date_time": "2026-04-01T10:00:00Z",
            "end_date_time": "2026-04-01T12:00:00Z",
        }
    ],
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of the emulator, which knows no service accounts."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node and npm are not on PATH: the emulator cannot be installed")
    home = tmp_path_factory.mktemp("emulator")
    manifest = {
        "private": True,
        "dependencies": PACKAGES,
        "overrides": {"@emulators/core": PACKAGES["@emulators/core"]},
    }
    (home / "package.json").write_text(json.dumps(manifest))
    shutil.copy(EMULATOR, home)
    words = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the emulator cannot be installed: {done.stderr.strip()[-200:]}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [node, EMULATOR.name, str(port), json.dumps(SEED)],
        cwd=home,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest_asyncio.fixture(loop_scope="session")
async def front(emulator, serve):
    """The emulator behind a token endpoint."""
    async with aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            if request.path == "/token":
                return web.json_response({"access_token": "tok", "expires_in": 3599})
            async with session.request(
                request.method,
                f"{emulator}{request.raw_path}",
                data=await request.read(),
                headers={
                    name: request.headers[name]
                    for name in ("Authorization", "Content-Type")
                    if name in request.headers
                },
            ) as reply:
                return web.Response(
                    status=reply.status,
                    body=await reply.read(),
                    content_type="application/json",
                )

        yield await serve(forward)


class Front(FakeGoogle):
    """Stands for the emulator where a source is made."""

    url = ""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


async def test_a_server_that_others_wrote_is_read(front, expander) -> None:
    key = FakeGoogle().tokens.add_account(READER)
    events = google_source(Front(front), key, expander)
    first = await look(events)
    assert first.snapshot is not None
    assert starts(first.snapshot.events) == ["04-01T10:00"]
    # It gives no sync tokens, so each look is a listing.
    assert (await look(events, first.state)).snapshot is None
    await events.aclose()

    busy = google_source(Front(front), key, expander, privacy=Privacy.FREE_BUSY)
    found = await look(busy)
    assert found.snapshot is not None
    assert starts(found.snapshot.events) == ["04-01T10:00"]
    await busy.aclose()

    # A calendar that it does not know is left out of its answer, which is not "free".
    nobody = google_source(
        Front(front), key, expander, calendar="nobody@example.com", privacy=Privacy.FREE_BUSY
    )
    assert (await refused(nobody)).reason == "Malformed"
    await nobody.aclose()
