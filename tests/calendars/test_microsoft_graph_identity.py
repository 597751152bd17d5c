"""What people do to Outlook events, against the whole engine: never a second run, never a lost one.

The engine runs on virtual time; each of its looks goes through the real provider, over TLS, to the
fake Graph, which lives in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any

import pytest

from slackwater.calendars import microsoft_graph
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.net import open_session
from slackwater.ports import Fetched, FetchState, Key, Kind
from tests.calendars.graph_rig import MAILBOX, SECRET, GraphRig
from tests.calendars.support import Secrets
from tests.fakes.graph import FakeGraph
from tests.fakes.graph_json import calendar_id
from tests.fakes.graph_store import Mailbox, daily
from tests.fakes.serving import serving
from tests.runtime.rig import EPOCH, HOUR, NS, Bay, SimClock, on_virtual_time

TITLE = "nightly llm"


class Shore:
    """A fake Graph and sources that read it, on a loop in a thread."""

    def __init__(self, tls: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self.rig: GraphRig = self.wait(self._open(tls))

    def wait(self, what: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            return await what

        return asyncio.run_coroutine_threadsafe(whole(), self._loop).result(30)

    async def _open(self, tls: Any) -> GraphRig:
        fake = FakeGraph()
        origin = await self._stack.enter_async_context(serving(fake.answer, tls[0]))
        fake.entra.resource = origin
        return GraphRig(fake, origin, fake.mailbox(MAILBOX), Secrets({SECRET: "s3cret"}))

    def close(self) -> None:
        for source in self.rig.sources:
            self.wait(source.aclose())
        self.wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


class Ferry:
    """The source of the engine: what it asks is asked on the shore, while virtual time stands."""

    def __init__(self, shore: Shore, source: Any) -> None:
        self._shore, self._source = shore, source

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        return self._shore.wait(self._source.fetch(horizon, state, now))

    async def aclose(self) -> None:
        return


class Story:
    """A day of a window that runs for each event of a mailbox's calendar."""

    def __init__(self, clock: SimClock, shore: Shore, **config: Any) -> None:
        self.bay = Bay(clock)
        self.box: Mailbox = shore.rig.box
        self.bay.calendar = Ferry(shore, shore.rig.open(**config))  # type: ignore[assignment]
        # Few and slow parts: what is looked at here is the calendar's.
        self.bay.apply_all(pollIntervalSeconds=300)
        self.bay.store.objects.pop(Key(Kind.GPU_POOL, Ref(NS, "h100")))
        team = Key(Kind.CALENDAR, Ref(NS, "team"))
        spec = self.bay.store.objects[team].spec
        self.bay.store.apply(
            Kind.CALENDAR,
            team.ref,
            {**spec, "refreshIntervalSeconds": 2700, "maxStalenessSeconds": 9000},
        )
        self.bay.window()
        self.bay.start()

    def create(self, start: float, hours: float = 1, **values: Any) -> int:
        return self.box.create(
            wall(start),
            wall(start + hours),
            subject=TITLE,
            zone="UTC",
            windows_zone="UTC",
            **values,
        )

    def series(self, start: float, **values: Any) -> int:
        return self.create(start, recurrence=daily(wall(start)[:10]), **values)

    async def until(self, hour: float) -> int:
        """How many runs there are by then."""
        await self.bay.until(hour)
        return len(self.bay.airflow.runs)

    @property
    def states(self) -> list[str]:
        return sorted(self.bay.states())


def wall(hours: float) -> str:
    return (EPOCH + hours * HOUR).replace(tzinfo=None).isoformat()


def told(test: Callable[[Story], Awaitable[None]]) -> Callable[[Shore], None]:
    """Run a story from its beginning to its end, in virtual time."""

    @wraps(test)
    def run(shore: Shore) -> None:
        @on_virtual_time
        async def begin(clock: SimClock) -> None:
            story = Story(clock, shore)
            await test(story)
            await story.bay.stop()

        begin()

    del run.__wrapped__  # type: ignore[attr-defined]
    return run


@pytest.fixture
def shore(tls: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shore]:
    monkeypatch.setattr(microsoft_graph, "open_session", partial(open_session, ssl=tls[1]))
    made = Shore(tls)
    yield made
    made.close()


@pytest.mark.server  # a minute for all of them
@told
async def test_an_instance_that_is_moved_before_it_ran_runs_once_at_its_new_time(story) -> None:
    series = story.series(4)
    await story.until(2)
    story.box.move_instance(series, wall(4), 3 * HOUR)
    assert await story.until(6.5) == 0
    assert await story.until(12) == 1


@told
async def test_an_instance_that_is_moved_after_it_ran_does_not_run_again(story) -> None:
    series = story.series(2)
    assert await story.until(5) == 1
    story.box.move_instance(series, wall(2), 6 * HOUR)
    assert await story.until(12) == 1
    story.box.move_instance(series, wall(2), 10 * HOUR)
    assert await story.until(20) == 1
    assert await story.until(29) == 2, "the next day's runs as ever"


@pytest.mark.server  # a minute for all of them
@told
async def test_an_instance_that_is_deleted_does_not_run_and_the_others_do(story) -> None:
    series = story.series(4)
    await story.until(2)
    story.box.delete_instance(series, wall(4))
    assert await story.until(12) == 0
    assert await story.until(31) == 1


@pytest.mark.server  # a minute for all of them
@told
async def test_a_series_that_is_moved_before_it_ran_runs_at_its_new_time_only(story) -> None:
    series = story.series(4)
    await story.until(2)
    story.box.move(series, 3 * HOUR)
    assert await story.until(6.5) == 0
    assert await story.until(12) == 1
    assert await story.until(36) == 2


@told
async def test_a_series_that_is_moved_after_todays_run_does_not_run_today_again(story) -> None:
    series = story.series(2)
    assert await story.until(5) == 1
    story.box.move(series, 6 * HOUR)
    assert await story.until(20) == 1
    assert "Superseded" in story.states
    assert await story.until(36) == 2


@pytest.mark.server  # a minute for all of them
@told
async def test_a_series_that_is_split_for_the_days_to_come_runs_once_a_day(story) -> None:
    series = story.series(2)
    assert await story.until(5) == 1
    story.box.split(series, wall(26))
    assert await story.until(24) == 1
    assert await story.until(30) == 2


@told
async def test_a_series_that_is_split_at_an_instance_that_ran_does_not_run_it_again(story) -> None:
    series = story.series(2, hours=8)
    assert await story.until(4) == 1
    story.box.split(series, wall(2))
    assert await story.until(20) == 1
    assert "Superseded" in story.states
    assert await story.until(30) == 2


@pytest.mark.server  # a minute for all of them
@told
async def test_a_series_with_another_rule_keeps_what_ran(story) -> None:
    series = story.series(2)
    assert await story.until(2.5) == 1
    rule = {"type": "weekly", "interval": 1, "daysOfWeek": ["monday", "tuesday", "wednesday"]}
    rule["daysOfWeek"] += ["thursday", "friday", "saturday", "sunday"]
    whole = {"pattern": rule, "range": {"type": "noEnd", "startDate": wall(2)[:10]}}
    story.box.update(series, recurrence=whole)
    assert await story.until(20) == 1
    assert await story.until(30) == 2


@pytest.mark.server  # a minute for all of them
@told
async def test_an_event_that_becomes_a_series_after_it_ran_does_not_run_again(story) -> None:
    event = story.create(2)
    assert await story.until(2.5) == 1
    story.box.update(event, recurrence=daily(wall(2)[:10]))
    assert await story.until(20) == 1
    assert await story.until(30) == 2


@told
async def test_an_event_that_is_moved_keeps_its_run(story) -> None:
    event = story.create(4)
    await story.until(2)
    story.box.move(event, 2 * HOUR)
    assert await story.until(5.5) == 0
    assert await story.until(8) == 1
    story.box.move(event, 6 * HOUR)
    assert await story.until(20) == 1


@told
async def test_an_event_that_is_deleted_and_undeleted_runs_once(story) -> None:
    event = story.create(4)
    await story.until(2)
    story.box.delete(event)
    await story.until(3)
    story.box.undelete(event)
    assert await story.until(4.9) == 1
    story.box.delete(event)
    await story.until(6)
    story.box.undelete(event)
    story.box.move(event, 6 * HOUR)
    assert await story.until(20) == 1


@pytest.mark.server  # a minute for all of them
@told
async def test_an_event_that_is_deleted_before_its_start_does_not_run(story) -> None:
    event = story.create(4)
    await story.until(3.9)
    story.box.delete(event)
    assert await story.until(12) == 0


@pytest.mark.server  # a minute for all of them
@told
async def test_a_copy_is_an_event_of_its_own(story) -> None:
    event = story.create(2)
    assert await story.until(4) == 1
    start = EPOCH.replace(tzinfo=None) + 8 * HOUR
    story.box.copy(event, start=start, end=start + HOUR)
    assert await story.until(12) == 2


@pytest.mark.server  # a minute for all of them
@told
async def test_an_event_that_goes_to_another_calendar_and_back_runs_once(story) -> None:
    story.box.add_calendar("other", "Other")
    event = story.create(2)
    assert await story.until(4) == 1
    story.box.move_to(event, "other")
    await story.until(6)
    story.box.move(event, 8 * HOUR)
    story.box.move_to(event, "default")
    assert await story.until(20) == 1


def test_an_event_keeps_its_key_in_another_calendar_of_its_mailbox(shore) -> None:
    rig = shore.rig
    rig.box.add_calendar("other", "Other")
    number = rig.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    horizon = Span(
        EPOCH.replace(year=2026, month=3, day=20), EPOCH.replace(year=2026, month=4, day=20)
    )

    def keys(calendar: str | None) -> list[str]:
        over = {} if calendar is None else {"calendarId": calendar_id(rig.box, calendar)}
        fetched = shore.wait(rig.open(**over).fetch(horizon, None, horizon.start))
        return [event.key for event in fetched.snapshot.events]

    before = keys(None)
    assert before == keys("default")
    rig.box.move_to(number, "other")
    assert keys("other") == before
    assert keys(None) == []
    twin = rig.box.copy(number)
    assert len(set(keys("other"))) == 2
    assert twin != number


def test_instances_keep_their_keys_when_clocks_change_and_when_they_are_moved(shore) -> None:
    rig = shore.rig
    series = rig.box.create(
        "2026-03-27T22:00", "2026-03-28T06:00", recurrence=daily("2026-03-27", times=4)
    )
    horizon = Span(
        EPOCH.replace(year=2026, month=3, day=20), EPOCH.replace(year=2026, month=4, day=20)
    )

    def keys() -> dict[str, datetime]:
        fetched = shore.wait(rig.open().fetch(horizon, None, horizon.start))
        return {event.key: event.span.start for event in fetched.snapshot.events}

    before = keys()
    assert len(before) == 4
    rig.box.move_instance(series, "2026-03-29T22:00", timedelta(hours=5))
    after = keys()
    assert after.keys() == before.keys()
    assert sum(after[key] != before[key] for key in before) == 1
