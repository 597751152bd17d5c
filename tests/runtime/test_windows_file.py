"""When the windows file is written: where something changed, seldom, and only by who acts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import Key, Kind
from slackwater.runtime.board import Board as TheBoard
from slackwater.runtime.board import News
from slackwater.runtime.windows_file import WindowsWriter
from slackwater_windows.document import Document
from slackwater_windows.wire import decode, encode
from tests.runtime.rig import CANARY, GPU, NS, Bay, SimClock, on_virtual_time
from tests.windows.make import document, occurrence, window


@dataclass
class Clock:
    steady: float = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, tzinfo=UTC) + timedelta(seconds=self.steady)

    def monotonic(self) -> float:
        return self.steady


@dataclass
class Lease:
    held: bool = True


@dataclass
class File:
    texts: list[str] = field(default_factory=list)
    error: StoreError | None = None

    async def write(self, text: str) -> None:
        if self.error is not None:
            raise self.error
        self.texts.append(text)


@dataclass
class Board:
    news: News = News.NONE
    is_complete: bool = True
    is_open: bool = False
    asked: int = 0

    def refresh(self) -> News:
        self.asked += 1
        news, self.news = self.news, News.NONE
        return news

    def document(self) -> Document:
        return document(window(occurrence()))


@dataclass
class Desk:
    clock: Clock = field(default_factory=Clock)
    lease: Lease = field(default_factory=Lease)
    file: File = field(default_factory=File)
    board: Board = field(default_factory=Board)
    ready: bool = True

    def __post_init__(self) -> None:
        parts: Any = (self.board, self.file, self.clock, self.lease)
        self.writer = WindowsWriter(*parts, lambda: self.ready)

    async def look(self, news: News = News.NONE, *, after: float = 5) -> int:
        self.clock.steady += after
        self.board.news = news
        await self.writer.look()
        return len(self.file.texts)


async def test_it_is_written_at_the_start_and_then_only_where_something_changed() -> None:
    desk = Desk()
    assert await desk.look() == 1
    assert decode(desk.file.texts[0]) == desk.board.document()
    for _ in range(2000):
        assert await desk.look() == 1
    assert await desk.look(News.SETTLED) == 2
    assert await desk.look() == 2


async def test_wording_and_numbers_wait_for_a_minute_or_a_quarter_of_an_hour() -> None:
    desk = Desk()
    desk.board.is_open = True
    await desk.look()
    assert await desk.look(News.LIVE) == 1
    assert await desk.look(after=54) == 1
    assert await desk.look(after=1) == 2, "it is not forgotten"

    desk.board.is_open = False
    assert await desk.look(News.LIVE, after=899) == 2
    assert await desk.look(after=1) == 3


async def test_who_does_not_hold_the_lease_or_has_not_read_all_writes_nothing() -> None:
    desk = Desk(lease=Lease(held=False))
    assert await desk.look(News.SETTLED) == 0
    desk.lease.held, desk.ready = True, False
    assert await desk.look(News.SETTLED) == 0
    assert desk.board.asked == 0
    desk.ready = True
    assert await desk.look() == 1
    desk.lease.held = False
    assert await desk.look(News.SETTLED) == 1
    desk.lease.held = True
    assert await desk.look() == 2, "another one may have written meanwhile"


async def test_calendars_are_waited_for_before_a_good_file_is_replaced() -> None:
    desk = Desk()
    desk.board.is_complete = False
    assert await desk.look() == 0
    assert await desk.look(after=59) == 0
    assert await desk.look(after=1) == 1, "but not for ever"


async def test_a_store_that_refuses_is_told_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk()
    desk.file.error = StoreError(Reason.FORBIDDEN, what="ConfigMap a/b")
    with caplog.at_level(logging.WARNING):
        await desk.look()
        await desk.look()
    assert len(caplog.records) == 1
    assert "ConfigMap a/b" in caplog.text
    desk.file.error = None
    assert await desk.look() == 1


@on_virtual_time
async def test_the_board_follows_the_engine_and_is_at_rest_when_nothing_happens(
    clock: SimClock,
) -> None:
    bay = Bay(clock)
    bay.apply_all()
    bay.window(gpu=GPU)
    bay.event(3, 5)
    bay.start()
    await bay.until(1)
    assert bay.engine is not None
    board = TheBoard(bay.engine.world)

    assert board.refresh() is News.SETTLED
    assert board.is_complete
    planned = board.document().windows[0]
    assert [o.state for o in planned.occurrences] == ["Planned"]
    assert (planned.gpus, planned.pool) == (8, f"{NS}/h100")
    assert board.document().pools[0].capacity == 32
    assert board.refresh() is News.NONE

    await bay.until(1.5)
    assert board.refresh() <= News.LIVE
    await bay.until(3.2)
    assert board.current().windows[0].occurrences[0].state in {"Triggered", "Running"}
    assert board.refresh() is News.SETTLED, "a reader does not swallow the news"
    assert board.is_open
    assert CANARY not in encode(board.document())

    bay.store.delete(Key(Kind.TRAINING_WINDOW, Ref(NS, "nightly")))
    await bay.until(3.3)
    assert board.refresh() is News.SETTLED
    assert board.document().windows == ()
    await bay.stop()
