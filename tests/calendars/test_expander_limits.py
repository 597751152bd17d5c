"""The expander's child, when content is too much for it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from slackwater.calendars.expand import Expander, ExpanderLimits, Source
from slackwater.core.event import Warned
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from tests.calendars.support import HORIZON, calendar, starts, vevent

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = Source(calendar_id="c", privacy=Privacy.BASIC)
PLAIN = vevent("plain", "DTSTART:20260401T100000Z")
LONG = timedelta(minutes=5)
SOON = timedelta(milliseconds=250)
Make = Callable[..., Awaitable[Expander]]


def endless(uid: str) -> str:
    """Passes every rule we have, and asks for the third Monday of one day until the year 9999."""
    rule = "RRULE:FREQ=DAILY;BYDAY=MO;BYSETPOS=3"
    return vevent(uid, "DTSTART:20260101T100000Z", rule, f"SUMMARY:{uid}")


@pytest_asyncio.fixture(loop_scope="session")
async def make() -> AsyncIterator[Make]:
    made: list[Expander] = []

    async def build(**limits: object) -> Expander:
        expander = Expander(ExpanderLimits(**{"children": 1, **limits}))
        made.append(expander)
        return expander

    yield build
    for expander in made:
        await expander.aclose()


def children() -> set[int]:
    """Our child processes that are expanders."""
    found = set()
    for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        try:
            if b"expand_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
        except FileNotFoundError:
            continue
    return found


def cpu_ticks(pid: int) -> int:
    """Processor time used so far, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_series_over_its_share_is_interrupted_and_not_tried_again(make) -> None:
    others = children()
    expander = await make(series_cpu=timedelta(milliseconds=300))
    feed = calendar(endless("a"), PLAIN, endless("b"))
    found = await expander.expand([feed], HORIZON, SOURCE)
    assert starts(found.events) == ["04-01T10:00"]
    assert found.warnings == (Warned(Reason.SERIES_SKIPPED, 2),)
    (pid,) = children() - others
    used = cpu_ticks(pid)
    assert await expander.expand([feed], HORIZON, SOURCE) == found
    assert cpu_ticks(pid) - used < 20  # a fifth of a second; both series would take three


async def test_what_kills_the_child_is_left_out_and_the_rest_stands(make) -> None:
    expander = await make(series_cpu=LONG, cpu=LONG, wall=SOON)
    feed = calendar(PLAIN, endless("a"), vevent("after", "DTSTART:20260402T100000Z"))
    found = await expander.expand([feed], HORIZON, SOURCE)
    assert starts(found.events) == ["04-01T10:00", "04-02T10:00"]
    assert found.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)
    assert await expander.expand([feed], HORIZON, SOURCE) == found


async def test_a_calendar_that_kills_again_and_again_is_refused(make) -> None:
    expander = await make(series_cpu=LONG, cpu=LONG, wall=SOON, deaths=1)
    feed = calendar(PLAIN, *(endless(str(n)) for n in range(20)))
    with pytest.raises(CalendarError) as caught:
        await expander.expand([feed], HORIZON, SOURCE)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


async def test_more_memory_than_allowed_is_refused_and_the_next_calendar_is_read(make) -> None:
    expander = await make(memory=128 * 1024 * 1024)
    swollen = calendar(vevent("a", "DTSTART:20260401T100000Z", f"SUMMARY:{'x' * 30_000_000}"))
    with pytest.raises(CalendarError) as caught:
        await expander.expand([swollen], HORIZON, SOURCE)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    assert starts((await expander.expand([calendar(PLAIN)], HORIZON, SOURCE)).events)


async def test_a_request_that_is_given_up_ends_its_child(make) -> None:
    expander = await make(series_cpu=LONG, cpu=LONG)
    await expander.expand([calendar(PLAIN)], HORIZON, SOURCE)
    before = children()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await expander.expand([calendar(endless("a"))], HORIZON, SOURCE)
    assert len(before - children()) == 1
    assert starts((await expander.expand([calendar(PLAIN)], HORIZON, SOURCE)).events)


async def test_many_requests_share_few_children_that_see_nothing_of_ours(expander) -> None:
    feeds = [[calendar(vevent(str(n), "DTSTART:20260401T100000Z"))] for n in range(12)]
    found = await asyncio.gather(*(expander.expand(f, HORIZON, SOURCE) for f in feeds))
    assert len({one.events[0].key for one in found}) == 12
    mine = children()
    assert len(mine) == 2
    for pid in mine:
        names = {entry.split(b"=", 1)[0] for entry in environment_of(pid).split(b"\0") if entry}
        assert names <= {b"PYTHONPATH", b"PYTHONUTF8", b"PYTHONTZPATH", b"PYTHONDONTWRITEBYTECODE"}
        limits = limits_of(pid)
        assert f"Max address space         {expander.limits.memory}" in limits
        assert "Max core file size        0" in limits
        assert re.search(r"Max cpu time +\d+ ", limits)
