"""Real edits in Google Calendar, read by the provider and decided on: one run each, and none lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from slackwater.core.ledger import State
from slackwater.core.run import RunState
from slackwater.ports import FetchState
from slackwater.runtime.calendar_follower import horizon_at
from tests.calendars.google_support import TEAM, google_source
from tests.core.builders import DAY, HOUR, Scene, clock, keys, spec, trigger
from tests.fakes.google import FakeGoogle

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEEK = 7 * 24


def when(start: float, end: float) -> dict[str, Any]:
    """Hours of the first Monday as a person writes them."""
    return {
        name: {"dateTime": (DAY + hours * HOUR).replace(tzinfo=None).isoformat(), "timeZone": "UTC"}
        for name, hours in (("start", start), ("end", end))
    }


class Story:
    """A calendar, the window that it triggers, and a person with a mouse."""

    def __init__(self, google: FakeGoogle, source: Any) -> None:
        self.google, self.source = google, source
        self.scene = Scene(spec=spec(trigger()))
        self._state: FetchState | None = None
        self._before: frozenset[str] | None = None

    async def at(self, hour: float) -> Story:
        """Read and decide; what is to start starts and runs until `done`."""
        now = clock(hour)
        fetched = await self.source.fetch(horizon_at(now), self._state, now)
        self._state = fetched.state
        scene = self.scene
        if fetched.snapshot is not None:
            scene.events = list(fetched.snapshot.events)
        found = keys(scene.events)
        scene.recent, self._before = found | (self._before or found), found
        scene.settle(hour)
        for line in scene.status.lines:
            if line.state is State.INTENDED:
                scene.start(hour, line.id)
                scene.hear(hour, line.id, RunState.RUNNING)
        return self

    def done(self, hour: float) -> None:
        for line in self.scene.status.lines:
            if line.state is State.RUNNING:
                self.scene.hear(hour, line.id, RunState.SUCCESS)

    @property
    def runs(self) -> int:
        """How many were started, each under an id of its own."""
        posts = self.scene.posts
        assert len(set(posts)) == len(posts), "an id was posted twice"
        return len(posts)

    def states(self) -> list[str]:
        return sorted(line.state.value for line in self.scene.status.lines)


@pytest_asyncio.fixture(loop_scope="session")
async def story(expander):
    async with FakeGoogle(lambda: datetime(2026, 6, 1, tzinfo=DAY.tzinfo)) as google:
        google.store.add_calendar(TEAM, "Europe/Berlin")
        source = google_source(google, google.add_reader(TEAM), expander)
        yield Story(google, source)
        await source.aclose()


def weekly(story: Story, start: float = 10, end: float = 12) -> str:
    body = {"summary": "train: llm", "recurrence": ["RRULE:FREQ=WEEKLY"], **when(start, end)}
    return story.google.store.insert(TEAM, **body)


def single(story: Story, start: float = 10, end: float = 12) -> str:
    return story.google.store.insert(TEAM, summary="train: llm", **when(start, end))


def instance(series: str, hour: float = 10) -> str:
    return f"{series}_{DAY + hour * HOUR:%Y%m%dT%H%M%SZ}"


async def test_a_week_of_a_series_runs_once_a_week(story) -> None:
    weekly(story)
    for hour in (9.9, 10, 10.5, 11.9, 12.1):
        await story.at(hour)
    assert story.runs == 1
    story.done(12.2)
    await story.at(WEEK + 10)
    assert story.runs == 2


async def test_a_single_event_moved_before_it_starts_runs_where_it_went(story) -> None:
    event = single(story)
    await story.at(9)
    story.google.store.patch(TEAM, event, **when(14, 16))
    await story.at(10.5)
    assert story.runs == 0
    await story.at(14)
    assert story.runs == 1


async def test_a_single_event_moved_after_its_start_does_not_run_again(story) -> None:
    event = single(story)
    await story.at(10)
    story.google.store.patch(TEAM, event, **when(14, 16))
    await story.at(10.5)
    story.done(11)
    await story.at(14.5)
    assert story.runs == 1


async def test_one_instance_moved_before_it_starts_runs_where_it_went(story) -> None:
    series = weekly(story)
    await story.at(9)
    story.google.store.patch(TEAM, instance(series), **when(14, 16))
    await story.at(10.5)
    assert story.runs == 0
    await story.at(14)
    story.done(15)
    await story.at(WEEK + 10)
    assert story.runs == 2


async def test_one_instance_moved_after_its_start_does_not_run_again(story) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.store.patch(TEAM, instance(series), **when(14, 16))
    await story.at(10.5)
    story.done(11)
    await story.at(14.5)
    assert story.runs == 1
    await story.at(WEEK + 10)
    assert story.runs == 2


@pytest.mark.parametrize("start", [11.0, 9.5, 20.0])
async def test_a_whole_series_moved_after_a_start_does_not_run_twice_that_day(story, start) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.store.patch(TEAM, series, **when(start, start + 2))
    for hour in (10.2, 10.4):
        await story.at(hour)
    story.done(10.5)
    for hour in (start + 0.1, start + 1):
        if hour > 10.5:
            await story.at(hour)
    assert story.runs == 1
    await story.at(WEEK + start + 0.1)
    assert story.runs == 2


async def test_a_whole_series_moved_before_a_start_runs_where_it_went(story) -> None:
    series = weekly(story)
    await story.at(9)
    story.google.store.patch(TEAM, series, **when(14, 16))
    await story.at(10.5)
    assert story.runs == 0
    await story.at(14)
    assert story.runs == 1


@pytest.mark.parametrize("start", [10.0, 11.0, 20.0])
async def test_a_series_split_at_the_running_instance_does_not_run_it_again(story, start) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.store.split(TEAM, instance(series), **when(start, start + 2))
    for hour in (10.2, 10.4):
        await story.at(hour)
    story.done(10.5)
    await story.at(start + 0.6)
    assert story.runs == 1
    await story.at(WEEK + start + 0.1)
    assert story.runs == 2


async def test_a_series_split_ahead_loses_none_of_its_instances(story) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.store.split(TEAM, instance(series, WEEK + 10), summary="train: bigger")
    await story.at(11)
    story.done(12)
    for week in (1, 2, 3):
        await story.at(week * WEEK + 10)
        story.done(week * WEEK + 11)
    assert story.runs == 4


async def test_a_new_rule_keeps_what_has_run_and_adds_the_rest(story) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.store.patch(TEAM, series, recurrence=["RRULE:FREQ=DAILY"])
    await story.at(10.5)
    story.done(11)
    await story.at(11.5)
    assert story.runs == 1
    await story.at(24 + 10)
    assert story.runs == 2


async def test_an_event_that_becomes_a_series_after_its_start_does_not_run_again(story) -> None:
    event = single(story)
    await story.at(10)
    story.google.store.patch(TEAM, event, recurrence=["RRULE:FREQ=WEEKLY"])
    for hour in (10.2, 10.4):
        await story.at(hour)
    story.done(10.5)
    await story.at(11)
    assert story.runs == 1
    await story.at(WEEK + 10)
    assert story.runs == 2


@pytest.mark.parametrize("one", [True, False], ids=["an instance", "the series"])
async def test_what_is_deleted_before_its_start_does_not_run_and_undeleted_does(story, one) -> None:
    series = weekly(story)
    what = instance(series) if one else series
    await story.at(9)
    story.google.store.delete(TEAM, what)
    for hour in (9.5, 9.6, 10.1):
        await story.at(hour)
    assert story.runs == 0
    story.google.store.undelete(TEAM, what)
    await story.at(10.5)
    assert story.runs == 1
    story.done(11)
    await story.at(11.5)
    assert story.runs == 1


@pytest.mark.parametrize("one", [True, False], ids=["an instance", "the series"])
async def test_what_is_deleted_and_undeleted_after_its_start_does_not_run_again(story, one) -> None:
    series = weekly(story)
    what = instance(series) if one else series
    await story.at(10)
    story.google.store.delete(TEAM, what)
    await story.at(10.2)
    await story.at(10.4)
    story.google.store.undelete(TEAM, what)
    await story.at(10.6)
    story.done(11)
    await story.at(11.5)
    assert story.runs == 1
    await story.at(WEEK + 10)
    assert story.runs == 2


async def test_a_copy_is_another_event(story) -> None:
    event = single(story)
    await story.at(10)
    copied = story.google.store.copy(TEAM, event)
    story.google.store.patch(TEAM, copied, **when(14, 16))
    await story.at(10.5)
    story.done(11)
    await story.at(14)
    assert story.runs == 2


async def test_a_copy_that_is_deleted_again_changes_nothing(story) -> None:
    series = weekly(story)
    copied = story.google.store.copy(TEAM, series)
    story.google.store.delete(TEAM, copied)
    await story.at(10)
    story.done(11)
    await story.at(11.5)
    assert story.runs == 1


async def test_an_event_moved_to_another_calendar_is_gone_from_this_one(story) -> None:
    story.google.store.add_calendar("else@example.com", "UTC")
    event = single(story)
    await story.at(9)
    story.google.store.move(TEAM, event, "else@example.com")
    for hour in (9.5, 9.6, 10.5):
        await story.at(hour)
    assert story.runs == 0
    assert story.states() in (["Cancelled"], ["Skipped"], [])


async def test_declining_forbids_a_start_and_accepting_again_allows_it(story) -> None:
    eve = {"email": "eve@example.net"}

    def me(answer: str) -> dict[str, Any]:
        return {"attendees": [{"email": TEAM, "self": True, "responseStatus": answer}]}

    invited = {"summary": "train: llm", "organizer": eve, **when(10, 12), **me("needsAction")}
    event = story.google.store.insert(TEAM, **invited)
    await story.at(10)
    assert story.runs == 0
    story.google.store.patch(TEAM, event, **me("declined"))
    await story.at(10.2)
    story.google.store.patch(TEAM, event, **me("accepted"))
    await story.at(10.4)
    assert story.runs == 1


async def test_a_lost_sync_token_in_the_middle_of_it_all_starts_nothing_twice(story) -> None:
    series = weekly(story)
    await story.at(10)
    story.google.expire_sync_tokens()
    story.google.store.patch(TEAM, instance(series), **when(11, 13))
    await story.at(10.5)
    story.done(11)
    await story.at(11.5)
    assert story.runs == 1
