"""When a process says that it should be restarted, and the end of its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from slackwater.errors import ConfigError
from slackwater.runtime.process import Parts
from slackwater.runtime.serve import Health, TidePage, serving
from slackwater.runtime.settings import Address
from slackwater_windows.document import Document
from tests.windows.make import document as windows_document
from tests.windows.make import occurrence
from tests.windows.make import window as windows_row

HERE = Address("127.0.0.1", 0)


@dataclass
class Clock:
    steady: float = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.steady


@dataclass
class FakeAlarm:
    ticked_at: float = 1000.0


@dataclass
class FakeEngine:
    ready: bool = True
    alarm: FakeAlarm = field(default_factory=FakeAlarm)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def health(engine: Any, clock: Clock, *, trusted: bool = True) -> Health:
    return Health(engine, clock, lambda: trusted)


class FakeBoard:
    def current(self) -> Document:
        return windows_document(windows_row(occurrence()), windows_row(name="another"))


def page(clock: Clock, *, acting: bool = True) -> TidePage:
    board: Any = FakeBoard()
    return TidePage(board, clock, lambda: acting)


async def test_the_tide_table_is_served_to_be_read_and_nothing_else(
    engine: FakeEngine, clock: Clock
) -> None:
    shown = page(clock)
    async with (
        serving(HERE, health(engine, clock), CollectorRegistry(), shown, "--listen") as address,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://{address}/?q=night") as reply:
            text = await reply.text()
            policy = reply.headers["Content-Security-Policy"]
        async with session.post(f"http://{address}/") as refused:
            status = refused.status

    assert "nightly" in text
    assert "another" not in text
    assert "stands by" not in text
    assert 'href="metrics"' in text
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert status == 405


async def test_a_replica_without_the_lease_says_so_on_its_page(
    engine: FakeEngine, clock: Clock
) -> None:
    shown = page(clock, acting=False)
    async with serving(HERE, health(engine, clock), CollectorRegistry(), shown, "--x") as address:
        assert "This replica stands by" in (await ask(address, "/"))[1]


def test_a_process_that_starts_is_well_and_not_ready(engine: FakeEngine, clock: Clock) -> None:
    engine.ready = False
    clock.steady += 1000

    assert health(engine, clock).fault() is None
    assert health(engine, clock).unready() == "not every object has been read yet"


def test_an_alarm_that_does_not_tick_is_a_fault_after_a_minute(
    engine: FakeEngine, clock: Clock
) -> None:
    clock.steady += 60
    assert health(engine, clock).fault() is None
    clock.steady += 1
    assert health(engine, clock).fault() == "no timer has been looked at for 61 seconds"


def test_a_watch_that_misses_changes_is_a_fault(engine: FakeEngine, clock: Clock) -> None:
    assert "watch of the Kubernetes API" in (health(engine, clock, trusted=False).fault() or "")


async def test_a_fault_is_503_with_its_reason(engine: FakeEngine, clock: Clock) -> None:
    engine.ready = False
    registry = CollectorRegistry()
    async with serving(HERE, health(engine, clock), registry, page(clock), "--listen") as address:
        assert await ask(address, "/readyz") == (503, "not every object has been read yet\n")
        assert await ask(address, "/healthz") == (200, "ok\n")
        engine.ready, clock.steady = True, 1100.0
        assert await ask(address, "/readyz") == (200, "ok\n")
        assert await ask(address, "/healthz") == (
            503,
            "no timer has been looked at for 100 seconds\n",
        )


async def ask(address: Address, path: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://{address}{path}") as reply,
    ):
        return reply.status, await reply.text()


async def test_metrics_come_in_the_format_that_is_asked_for(
    engine: FakeEngine, clock: Clock
) -> None:
    registry = CollectorRegistry()
    Counter("tides", "How many.", registry=registry).inc(2)
    async with serving(HERE, health(engine, clock), registry, page(clock), "--listen") as address:
        _, text = await ask(address, "/metrics")
        _, openmetrics = await ask(
            address, "/metrics", Accept="application/openmetrics-text; version=1.0.0"
        )

    assert "tides_total 2.0" in text.splitlines()
    assert openmetrics.endswith("# EOF\n")
    assert not text.endswith("# EOF\n")


async def test_a_name_that_is_no_address_is_told(engine: FakeEngine, clock: Clock) -> None:
    nowhere = Address("nowhere.invalid", 8080)
    with pytest.raises(ConfigError, match=r"nowhere\.invalid:8080 cannot be listened on"):
        async with serving(
            nowhere, health(engine, clock), CollectorRegistry(), page(clock), "--listen"
        ):
            pass


# --- parts


@pytest.fixture
def stop() -> Iterator[asyncio.Event]:
    return asyncio.Event()


async def test_parts_run_until_they_are_asked_to_stop(stop: asyncio.Event) -> None:
    parts = Parts()
    parts.start("tide", asyncio.Event().wait())
    stop.set()

    assert await parts.wait(stop) is True
    await parts.end("tide", timedelta(seconds=1))


async def test_a_part_that_does_not_stop_is_left_behind_and_named(
    stop: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    parts = Parts()
    parts.start("tide", stubborn())
    await asyncio.sleep(0)
    await parts.end("tide", timedelta(milliseconds=1))
    assert "the tide took too long to stop" in caplog.text
    release.set()
    await parts.gone("tide", timedelta(seconds=1))


async def test_a_part_that_ends_is_told_even_when_a_stop_is_asked_at_the_same_time(
    stop: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    async def over() -> None:
        raise OSError("disk")

    parts = Parts()
    parts.start("tide", over())
    stop.set()

    assert await parts.wait(stop) is False
    assert "the tide ended unexpectedly" in caplog.text


async def test_ending_what_never_started_does_nothing() -> None:
    await Parts().end("tide", timedelta(seconds=1))
