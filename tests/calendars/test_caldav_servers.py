"""CalDAV against Radicale and Xandikos, which disagree where the standard leaves room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.ports import Fetched, FetchState
from testbed.caldav import Collection, Radicale, Xandikos
from tests.calendars.support import (
    HORIZON,
    NOW,
    Secrets,
    calendar,
    opened,
    spans,
    starts,
    timezone,
    vevent,
)

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="session")]

_numbers = count()


@pytest.fixture(scope="module", params=[Radicale, Xandikos], ids=["radicale", "xandikos"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param() as started:
        yield started


@pytest.fixture
def collection(server) -> Collection:
    return server.collection(f"team{next(_numbers)}").make()


@pytest_asyncio.fixture(loop_scope="session")
async def read(collection, expander):
    sources = []

    def source_of(target: Collection, **options: Any):
        user, password = target.username or "anyone", target.password or "anything"
        config = {
            "url": target.url,
            "usernameSecretRef": {"name": "dav", "key": "user"},
            "passwordSecretRef": {"name": "dav", "key": "password"},
        }
        secrets = Secrets(
            {("research", "dav", "user"): user, ("research", "dav", "password"): password}
        )
        sources.append(opened("caldav", config, expander, secrets=secrets, **options))
        return sources[-1]

    default = source_of(collection)

    async def look(state: FetchState | None = None, source: Any = default, **options) -> Fetched:
        chosen = source_of(**options) if options else source
        return await chosen.fetch(HORIZON, state, NOW)

    yield look
    for source in sources:
        await source.aclose()


def day(number: int, hour: int = 10) -> datetime:
    return datetime(2026, 4, number, hour, tzinfo=UTC)


async def add(target: Collection, uid: str, number: int, *lines: str) -> None:
    start = day(number)
    await asyncio.to_thread(target.add, uid, uid, start, start + timedelta(hours=1), *lines)


async def put(target: Collection, uid: str, body: bytes) -> None:
    await asyncio.to_thread(target.put, uid, body.decode())


async def test_additions_changes_moves_and_deletions_come_by_the_token(read, collection) -> None:
    await add(collection, "a", 1)
    first = await read()
    assert "token" in first.state.cursor
    assert starts(first.snapshot.events) == ["04-01T10:00"]
    unchanged = await read(first.state)
    assert unchanged.snapshot is None

    await add(collection, "b@example.com", 2)
    added = await read(unchanged.state)
    assert starts(added.snapshot.events) == ["04-01T10:00", "04-02T10:00"]

    await add(collection, "a", 5)
    moved = await read(added.state)
    assert starts(moved.snapshot.events) == ["04-02T10:00", "04-05T10:00"]
    assert moved.snapshot.events[1].key == first.snapshot.events[0].key

    await asyncio.to_thread(collection.delete, "b@example.com")
    deleted = await read(moved.state)
    assert starts(deleted.snapshot.events) == ["04-05T10:00"]
    assert (await read(deleted.state)).snapshot is None


async def test_a_token_that_means_nothing_is_a_full_read(read, collection) -> None:
    await add(collection, "a", 1)
    state = (await read()).state
    await asyncio.to_thread(collection.delete, "a")
    await add(collection, "b", 2)
    for token in ("http://radicale.org/ns/sync/0000000000000000", "0" * 40, "nonsense"):
        lost = replace(state, cursor={**state.cursor, "token": token})
        fetched = await read(lost)
        assert starts(fetched.snapshot.events) == ["04-02T10:00"]
        assert fetched.state.cursor["token"] != token


async def test_series_with_changed_and_cancelled_instances_are_expanded(read, collection) -> None:
    zone = "TZID=Europe/Berlin"
    await put(
        collection,
        "series",
        calendar(
            vevent(
                "series",
                f"DTSTART;{zone}:20260326T220000",
                f"DTEND;{zone}:20260327T060000",
                "RRULE:FREQ=DAILY;COUNT=5",
                f"EXDATE;{zone}:20260328T220000",
            ),
            vevent(
                "series",
                f"RECURRENCE-ID;{zone}:20260327T220000",
                f"DTSTART;{zone}:20260327T230000",
                f"DTEND;{zone}:20260328T060000",
            ),
            vevent(
                "series",
                f"RECURRENCE-ID;{zone}:20260330T220000",
                f"DTSTART;{zone}:20260330T220000",
                f"DTEND;{zone}:20260331T060000",
                "STATUS:CANCELLED",
            ),
        ),
    )
    assert spans((await read()).snapshot.events) == [
        "03-26T21:00/03-27T05:00",
        "03-27T22:00/03-28T05:00",
        "03-29T20:00/03-30T04:00",
    ]


async def test_an_old_series_and_a_long_event_reach_into_the_horizon(read, collection) -> None:
    await put(
        collection,
        "old",
        calendar(
            vevent("old", "DTSTART:20200106T100000Z", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;BYDAY=MO")
        ),
    )
    await put(
        collection,
        "long",
        calendar(vevent("long", "DTSTART;VALUE=DATE:20260301", "DTEND;VALUE=DATE:20260501")),
    )
    await put(collection, "past", calendar(vevent("past", "DTSTART:20250301T100000Z")))
    events = (await read()).snapshot.events
    assert len(events) == 6
    assert sum(event.all_day for event in events) == 1


async def test_calendars_with_one_zone_name_do_not_shift_each_other(
    server, read, collection
) -> None:
    tzid = "Customized Time Zone"
    other = await asyncio.to_thread(server.collection(f"other{next(_numbers)}").make)
    line = f"DTSTART;TZID={tzid}:20260401T100000"
    rule = "RRULE:FREQ=DAILY;COUNT=2"
    await put(collection, "e", calendar(timezone(tzid, "+0530"), vevent("e", line, rule)))
    await put(other, "w", calendar(timezone(tzid, "-0300"), vevent("w", line, rule)))
    for _ in range(2):
        assert starts((await read()).snapshot.events) == ["04-01T04:30", "04-02T04:30"]
        west = (await read(target=other)).snapshot
        assert starts(west.events) == ["04-01T13:00", "04-02T13:00"]


async def test_free_busy_gives_times_and_nothing_else(read, collection) -> None:
    await add(collection, "a", 1, "CATEGORIES:training", "DESCRIPTION:gpus=8")
    for privacy, titled in ((Privacy.FREE_BUSY, False), (Privacy.BASIC, True)):
        snapshot = (await read(target=collection, privacy=privacy)).snapshot
        (found,) = snapshot.events
        assert starts(snapshot.events) == ["04-01T10:00"]
        assert (found.summary is not None) is titled
        assert (found.categories == ("training",)) is titled
        assert found.description is None


async def test_an_event_that_others_organise_is_not_the_calendars_own(read, collection) -> None:
    await add(collection, "own", 1)
    await add(collection, "other", 2, "ORGANIZER:mailto:boss@example.com")
    assert [event.own for event in (await read()).snapshot.events] == [True, False]


async def test_a_hundred_objects_are_read_and_one_change_among_them_is_found(
    read, collection
) -> None:
    for n in range(100):
        await put(
            collection,
            f"n{n}",
            calendar(vevent(f"n{n}", f"DTSTART:202604{n % 18 + 1:02d}T100000Z")),
        )
    first = await read()
    assert len(first.snapshot.events) == 100
    await put(collection, "n7", calendar(vevent("n7", "DTSTART:20260401T235900Z")))
    second = await read(first.state)
    assert len(second.snapshot.events) == 100
    assert "04-01T23:59" in starts(second.snapshot.events)


async def test_a_calendar_that_does_not_exist_is_not_found(server, read, collection) -> None:
    missing = server.collection("missing")
    with pytest.raises(CalendarError) as caught:
        await read(target=missing)
    assert caught.value.reason is Reason.NOT_FOUND
    await add(collection, "a", 1)
    state = (await read()).state
    await asyncio.to_thread(collection.remove)
    with pytest.raises(CalendarError) as caught:
        await read(state)
    assert caught.value.reason is Reason.NOT_FOUND


async def test_the_address_of_the_home_is_not_an_empty_calendar(server, read, collection) -> None:
    home = Collection(collection.url.rsplit("/", 2)[0], collection.username, collection.password)
    with pytest.raises(CalendarError) as caught:
        await read(target=home)
    assert caught.value.reason is Reason.BAD_REQUEST


async def test_a_server_that_restarts_goes_on_where_it_was(server, read, collection) -> None:
    await add(collection, "a", 1)
    state = (await read()).state
    await asyncio.to_thread(server.stop)
    with pytest.raises(CalendarError) as caught:
        await read(state)
    assert caught.value.reason is Reason.UNREACHABLE
    await asyncio.to_thread(server.start)
    assert (await read(state)).snapshot is None
    await add(collection, "b", 2)
    assert len((await read(state)).snapshot.events) == 2


# Xandikos gives a web page there.
@pytest.mark.parametrize("server", [Radicale], ids=["radicale"], indirect=True)
async def test_the_collection_as_a_feed_is_known_by_its_hash(server, collection, expander) -> None:
    await add(collection, "a", 1)
    url = collection.url.replace("//", f"//{collection.username}:{collection.password}@")
    secrets = Secrets({("research", "feed", "url"): url})
    config = {"urlSecretRef": {"name": "feed", "key": "url"}}
    source = opened("ical", config, expander, secrets=secrets)
    first = await source.fetch(HORIZON, None, NOW)
    assert starts(first.snapshot.events) == ["04-01T10:00"]
    assert (await source.fetch(HORIZON, first.state, NOW)).snapshot is None
    await add(collection, "b", 2)
    assert len((await source.fetch(HORIZON, first.state, NOW)).snapshot.events) == 2
    await source.aclose()


# Xandikos has no users.
@pytest.mark.parametrize("server", [Radicale], ids=["radicale"], indirect=True)
async def test_a_wrong_password_is_refused(server, read, collection) -> None:
    wrong = Collection(collection.url, collection.username, "wrong")
    with pytest.raises(CalendarError) as caught:
        await read(target=wrong)
    assert caught.value.reason is Reason.UNAUTHORIZED
    assert "wrong" not in str(caught.value)
