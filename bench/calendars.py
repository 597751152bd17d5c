"""A large calendar, read as a feed: time, bytes, requests, our own processor time.

10,000 events, 500 of them series, as a department has after some years. And 200 calendars behind
one identity, on a virtual clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from bench.figure import Figure, percentile, progress
from slackwater.calendars.expand import Expander
from slackwater.calendars.registry import PROVIDERS, Opening, open_calendar
from slackwater.calendars.turns import Limits, Turns
from slackwater.core.spec import Privacy, Ref
from slackwater.net import NetPolicy
from slackwater.net.bucket import Rate
from slackwater.ports import CalendarSource, Fetched, FetchState
from slackwater.runtime.calendar_follower import CalendarFollower, CalendarSettings, horizon_at
from slackwater.runtime.clock import SystemClock
from tests.simulation.virtual import SimClock, VirtualLoop, run_virtual

EVENTS, SERIES = 10_000, 500
POLLS = 50
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HORIZON = horizon_at(NOW)


def _event(number: int) -> str:
    """Events two years back and one ahead, each 20th a weekly series."""
    start = NOW + timedelta(hours=number * 26_280 // EVENTS - 17_520)
    lines = [
        "BEGIN:VEVENT",
        f"UID:event-{number}@example.com",
        f"DTSTAMP:{NOW:%Y%m%dT%H%M%SZ}",
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}",
        f"DTEND:{start + timedelta(hours=1):%Y%m%dT%H%M%SZ}",
        f"SUMMARY:meeting {number}",
        "DESCRIPTION:" + "agenda " * 20,
    ]
    if number % (EVENTS // SERIES) == 0:
        lines.append("RRULE:FREQ=WEEKLY")
    return "\r\n".join((*lines, "END:VEVENT", ""))


def _calendar(*events: str) -> str:
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//bench//EN\r\n"
    return f"{head}{''.join(events)}END:VCALENDAR\r\n"


@dataclass
class Door:
    """Serves a feed, and counts requests and the bytes of their answers."""

    feed: bytes
    requests: int = 0
    received: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        etag = f'"{hash(self.feed)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        self.received += len(self.feed)
        return web.Response(body=self.feed, headers={"ETag": etag})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=256 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class _Secrets:
    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    async def read(self, namespace: str, name: str, key: str) -> str:
        return self._values[key]


class _Hasty(SystemClock):
    """No rate limit holds a measurement up."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 3600
        return self._seconds


def _open(
    provider: str, config: dict[str, Any], secrets: dict[str, str], expander: Expander
) -> CalendarSource:
    clock = _Hasty()
    opening = Opening(
        ref=Ref("bench", "team"),
        config=PROVIDERS[provider].config.model_validate(config),
        privacy=Privacy.BASIC,
        zone="UTC",
        secrets=_Secrets(secrets),
        policy=NetPolicy(loopback=True),
        expander=expander,
        turns=Turns(clock),
        clock=clock,
    )
    return open_calendar(provider, opening)


async def _measure(
    name: str, source: CalendarSource, door: Door, change: Callable[[], Awaitable[None]]
) -> list[Figure]:
    found: list[Figure] = []

    async def look(what: str, state: FetchState | None) -> Fetched:
        door.requests = door.received = 0
        began = time.perf_counter()
        fetched = await source.fetch(HORIZON, state, NOW)
        took = time.perf_counter() - began
        found.extend((
            Figure(f"{name}: {what}", took, "s", ""),
            Figure(f"{name}: {what}", door.received / 1e6, "MB", ""),
            Figure(f"{name}: {what}", door.requests, "requests", ""),
        ))  # fmt: skip
        return fetched

    first = await look("first reading", None)
    if first.snapshot is None:
        raise RuntimeError("the first reading gave nothing")
    found.append(Figure(f"{name}: events within the horizon", len(first.snapshot.events), "", ""))
    state = (await source.fetch(HORIZON, first.state, NOW)).state
    door.requests = 0
    for _ in range(POLLS):
        again = await source.fetch(HORIZON, state, NOW)
        if again.snapshot is not None:
            raise RuntimeError("it seemed changed")
        state = again.state
    found.append(Figure(f"{name}: unchanged poll", door.requests / POLLS, "requests", "at most 1"))
    await change()
    changed = await look("one event changed", state)
    if changed.snapshot is None:
        raise RuntimeError("the change was not seen")
    await source.aclose()
    return found


async def _feed(expander: Expander) -> list[Figure]:
    door = Door(feed=_calendar(*map(_event, range(EVENTS))).encode())

    async def change() -> None:
        door.feed = door.feed.replace(b"meeting 6700", b"meeting moved")

    async with door.open() as url:
        source = _open("ical", {"url": f"{url}/team.ics"}, {}, expander)
        return await _measure("feed", source, door, change)


async def _unchanged_cpu(expander: Expander) -> list[Figure]:
    """Our own processor time of an unchanged poll: what is left when the network is taken away."""
    feed = _calendar(*map(_event, range(EVENTS))).encode()
    door = Door(feed=feed)
    async with door.open() as url:
        source = _open("ical", {"url": f"{url}/team.ics"}, {}, expander)
        first = await source.fetch(HORIZON, None, NOW)
        async with asyncio.timeout(60):
            etag = {"If-None-Match": first.state.cursor["etag"]}
            async with aiohttp.ClientSession() as bare:

                async def by_hand() -> None:
                    async with bare.get(f"{url}/team.ics", headers=etag) as reply:
                        await reply.read()

                plain = await _cpu(by_hand)

            async def poll() -> None:
                await source.fetch(HORIZON, first.state, NOW)

            ours = await _cpu(poll)
        await source.aclose()
    told = "unchanged poll: own processor time"
    return [
        Figure(f"{told}, HTTP client and server of the bench included", ours * 1e3, "ms", ""),
        Figure(f"{told}, beside a bare aiohttp request", (ours - plain) * 1e3, "ms", "at most 1"),
    ]


async def _cpu(poll: Callable[[], Awaitable[None]]) -> float:
    for _ in range(20):
        await poll()
    began = time.process_time()
    for _ in range(10 * POLLS):
        await poll()
    return (time.process_time() - began) / (10 * POLLS)


# --- many behind one identity


class _Behind:
    """A calendar behind an identity that allows 300 requests a minute and answers in 300 ms."""

    def __init__(self, ref: Ref, turns: Turns, asked: list[float], clock: SimClock) -> None:
        self._ref, self._turns, self._asked, self._clock = ref, turns, asked, clock

    async def fetch(self, horizon: Any, state: FetchState | None, now: datetime) -> Fetched:
        from slackwater.core.event import Snapshot

        limits = Limits(rate=Rate(requests=300, per=timedelta(minutes=1)))
        async with self._turns.turn(self._ref, "google", "account", limits):
            self._asked.append(self._clock.monotonic())
            await asyncio.sleep(0.3)
        return Fetched(Snapshot(horizon, (), now), FetchState("x"))

    async def aclose(self) -> None:
        return


async def _many(clock: SimClock, hours: int) -> tuple[list[float], list[float]]:
    from random import Random

    turns, asked, ages = Turns(clock), list[float](), list[float]()
    random = Random(1)
    followers = []
    for n in range(200):
        one = CalendarFollower(Ref("bench", f"c{n}"), clock, random, lambda: None)
        settings = CalendarSettings(timedelta(minutes=1), timedelta(hours=1), Privacy.BASIC)
        one.configure(_Behind(one.ref, turns, asked, clock), settings)
        followers.append(one)

    async def follow(one: CalendarFollower) -> None:
        while True:
            await one.look()
            assert one.next_at is not None
            await asyncio.sleep(max(0.0, (one.next_at - clock.now()).total_seconds()))

    tasks = [asyncio.create_task(follow(one)) for one in followers]
    await asyncio.sleep(300)
    for _ in range(hours * 120):
        await asyncio.sleep(30)
        ages += [
            (clock.now() - one.checked_at).total_seconds() for one in followers if one.checked_at
        ]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return asked, ages


def _identity() -> list[Figure]:
    loop = VirtualLoop()
    asked, ages = run_virtual(_many(SimClock(loop), 1), loop)
    first, most = 0, 0
    for last, at in enumerate(asked):
        while at - asked[first] >= 60:
            first += 1
        most = max(most, last - first + 1)
    told = "200 calendars of one identity, read every minute"
    return [
        Figure(f"{told}: most requests in a minute", most, "", "at most 300"),
        Figure(f"{told}: age, 99th percentile", percentile(ages, 0.99), "s", "at most 120"),
    ]


async def _all() -> list[Figure]:
    expander = Expander()
    try:
        progress(f"a feed of {EVENTS:,} events")
        found = await _feed(expander)
        found += await _unchanged_cpu(expander)
    finally:
        await expander.aclose()
    return found


def figures() -> list[Figure]:
    """First reading, unchanged poll and one change of a large calendar; many calendars at once."""
    return _identity() + asyncio.run(_all())
