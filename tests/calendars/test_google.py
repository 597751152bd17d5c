"""The Google provider against the semantic fake: what it asks, and when it asks again."""

from __future__ import annotations

import asyncio
import threading

import pytest
import pytest_asyncio

from slackwater.calendars import google as provider
from slackwater.calendars.registry import PROVIDERS
from slackwater.core.event import Busy
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.ports import FetchState
from tests.calendars.google_support import (
    READER,
    TEAM,
    event,
    google_source,
    look,
    refused,
    times,
)
from tests.calendars.support import CANARY, HORIZON, NOW, spans, starts
from tests.fakes.google import FakeGoogle

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def google():
    async with FakeGoogle(lambda: NOW) as fake:
        fake.store.add_calendar(TEAM, "Europe/Berlin")
        yield fake
        assert fake.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def source(google, expander):
    made = google_source(google, google.add_reader(TEAM), expander)
    yield made
    await made.aclose()


async def events(source, state: FetchState | None = None):
    found = await look(source, state)
    assert found.snapshot is not None
    return found.snapshot.events


async def test_a_snapshot_is_everything_inside_the_horizon_expanded(google, source) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    google.store.insert(
        TEAM,
        **event("01-05T22:00", "01-06T06:00", "Europe/Berlin", recurrence=["RRULE:FREQ=WEEKLY"]),
    )
    google.store.insert(TEAM, **event("06-01T10:00", "06-01T12:00"))

    found = await look(source)
    assert found.snapshot is not None
    assert found.snapshot.horizon == HORIZON
    assert found.snapshot.fetched_at == NOW
    assert found.snapshot.warnings == ()
    # Summer time begins on 29 March: the series stays at 22:00 in Berlin.
    assert spans(found.snapshot.events) == [
        "03-16T21:00/03-17T05:00",
        "03-23T21:00/03-24T05:00",
        "03-30T20:00/03-31T04:00",
        "04-01T10:00/04-01T12:00",
        "04-06T20:00/04-07T04:00",
        "04-13T20:00/04-14T04:00",
    ]


async def test_an_unchanged_calendar_costs_one_request_that_reads_nothing(google, source) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    first = await look(source)
    google.asked.clear()
    sent = google.bytes_sent

    again = await look(source, first.state)
    assert again.snapshot is None
    assert [path for _, path, _ in google.asked] == [f"/calendar/v3/calendars/{TEAM}/events"]
    (asked,) = google.lists
    assert asked["fields"] == "kind,nextPageToken,nextSyncToken,items(id)"
    assert "timeMin" not in asked
    assert google.bytes_sent - sent < 200

    once_more = await look(source, again.state)
    assert once_more.snapshot is None


@pytest.mark.parametrize("edit", ["insert", "delete", "move"])
async def test_a_change_brings_a_complete_snapshot(google, source, edit) -> None:
    kept = google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    other = google.store.insert(TEAM, **event("04-02T10:00", "04-02T12:00"))
    state = (await look(source)).state

    match edit:
        case "insert":
            google.store.insert(TEAM, **event("04-03T10:00", "04-03T12:00"))
            expected = ["04-01T10:00", "04-02T10:00", "04-03T10:00"]
        case "delete":
            google.store.delete(TEAM, other)
            expected = ["04-01T10:00"]
        case _:
            google.store.patch(TEAM, kept, **times("04-05T10:00", "04-05T12:00"))
            expected = ["04-02T10:00", "04-05T10:00"]

    found = await look(source, state)
    assert found.snapshot is not None
    assert starts(found.snapshot.events) == expected
    assert (await look(source, found.state)).snapshot is None


async def test_a_change_outside_the_horizon_is_no_news(google, source) -> None:
    far = google.store.insert(TEAM, **event("09-01T10:00", "09-01T12:00"))
    state = (await look(source)).state
    google.store.patch(TEAM, far, summary="else")

    found = await look(source, state)
    assert found.snapshot is None
    assert (await look(source, found.state)).snapshot is None


async def test_a_new_series_without_end_is_read_once_and_not_page_by_page(google, source) -> None:
    state = (await look(source)).state
    google.lists.clear()
    google.page_limit = 20
    google.store.insert(
        TEAM, **event("03-01T10:00", "03-01T11:00", "UTC", recurrence=["RRULE:FREQ=DAILY"])
    )

    found = await look(source, state)
    assert found.snapshot is not None
    assert len(found.snapshot.events) == 36
    probes = [asked for asked in google.lists if "syncToken" in asked]
    assert len(probes) == 1


@pytest.mark.parametrize("lost", ["expired", "unknown"])
async def test_a_lost_sync_token_costs_one_listing(google, source, lost) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    state = (await look(source)).state
    google.store.insert(TEAM, **event("04-02T10:00", "04-02T12:00"))
    if lost == "expired":
        google.expire_sync_tokens()
    else:
        state = FetchState(state.config_hash, {**state.cursor, "token": "?"})
    google.asked.clear()

    found = await look(source, state)
    assert found.snapshot is not None
    assert starts(found.snapshot.events) == ["04-01T10:00", "04-02T10:00"]
    asked = google.lists
    assert ["syncToken" in one for one in asked] == [True, False]
    assert (await look(source, found.state)).snapshot is None


async def test_a_calendar_that_never_gives_a_token_is_listed_each_time(google, source) -> None:
    body = {"kind": "calendar#events", "timeZone": "UTC", "accessRole": "reader", "items": []}
    google.faults.answer(200, "GET", "/events", body=body, times=2)
    first = await look(source)
    assert "token" not in first.state.cursor
    assert (await look(source, first.state)).snapshot is None


async def test_pages_short_or_empty_are_read_to_the_last(google, source) -> None:
    for day in range(1, 8):
        google.store.insert(TEAM, **event(f"04-{day:02d}T10:00", f"04-{day:02d}T12:00"))
    google.page_limit, google.empty_pages = 3, 2

    found = await look(source)
    assert found.snapshot is not None
    assert len(found.snapshot.events) == 7
    asked = google.lists
    assert len(asked) == 5
    assert all(one["timeMin"] == "2026-03-15T00:00:00+00:00" for one in asked)
    assert "token" in found.state.cursor


async def test_another_horizon_is_listed_anew(google, source) -> None:
    google.store.insert(TEAM, **event("04-30T10:00", "04-30T12:00"))
    state = (await look(source)).state
    later = Span(HORIZON.start, HORIZON.end.replace(month=5))

    found = await source.fetch(later, state, NOW)
    assert found.snapshot is not None
    assert starts(found.snapshot.events) == ["04-30T10:00"]


async def test_requests_at_both_ends_of_the_horizon_take_what_overlaps(google, source) -> None:
    google.store.insert(TEAM, **event("03-14T23:00", "03-15T01:00"))
    google.store.insert(TEAM, **event("03-14T22:00", "03-15T00:00"))
    google.store.insert(TEAM, **event("04-19T23:00", "04-20T01:00"))
    google.store.insert(TEAM, **event("04-20T00:00", "04-20T01:00"))

    assert starts(await events(source)) == ["03-14T23:00", "04-19T23:00"]


# --- privacy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("privacy", "scope"),
    [
        (Privacy.FREE_BUSY, "calendar.freebusy"),
        (Privacy.BASIC, "calendar.events.readonly"),
        (Privacy.DETAILS, "calendar.events.readonly"),
    ],
)
async def test_only_the_scope_that_a_privacy_level_needs_is_asked_for(
    google, expander, privacy, scope
) -> None:
    source = google_source(google, google.add_reader(TEAM), expander, privacy=privacy)
    await look(source)
    await source.aclose()
    (asked,) = google.tokens.asked
    assert asked["scope"] == f"https://www.googleapis.com/auth/{scope}"
    assert "sub" not in asked


async def test_basic_asks_for_no_text_but_titles_and_organizers(google, source) -> None:
    google.store.insert(
        TEAM,
        **event(
            "04-01T10:00",
            "04-01T12:00",
            attendees=[
                {"email": f"{CANARY}@example.com", "responseStatus": "accepted"},
                {"email": TEAM, "self": True, "responseStatus": "accepted"},
            ],
        ),
    )
    (found,) = await events(source)
    (asked,) = google.lists
    for word in ("description", "location", "email)", "attachments", "conference", "creator"):
        assert word not in asked["fields"].replace("organizer(email,self)", "")
    assert asked["maxAttendees"] == "1"
    assert found.summary == f"train: {CANARY}"
    assert found.description is None
    assert CANARY not in repr(found)


async def test_details_bring_descriptions_too(google, expander) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    source = google_source(google, google.add_reader(TEAM), expander, privacy=Privacy.DETAILS)
    (found,) = await events(source)
    assert found.description == f"epochs=3 {CANARY}"
    assert "location" not in google.lists[0]["fields"]
    await source.aclose()


async def test_the_state_of_a_calendar_shows_no_token(google, source) -> None:
    found = await look(source)
    assert "sync-" in found.state.cursor["token"]
    assert "sync-" not in repr(found)


async def test_what_a_level_gives_is_what_the_registry_says(google, source) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    (found,) = await events(source)
    given = PROVIDERS["google"].fields[Privacy.BASIC]
    assert ("categories" in given) is (found.categories is not None)
    assert ("summary" in given) is (found.summary is not None)
    assert ("description" in given) is (found.description is not None)


# --- free/busy ---------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def busy(google, expander):
    key = google.add_reader(TEAM, "freeBusyReader")
    made = google_source(google, key, expander, privacy=Privacy.FREE_BUSY)
    yield made
    await made.aclose()


async def test_free_busy_reads_busy_times_alone(google, busy) -> None:
    google.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    google.store.insert(TEAM, **event("04-01T11:00", "04-01T13:00", visibility="private"))
    google.store.insert(TEAM, **event("04-02T10:00", "04-02T12:00", transparency="transparent"))

    found = await look(busy)
    assert found.snapshot is not None
    assert spans(found.snapshot.events) == ["04-01T10:00/04-01T13:00"]
    (one,) = found.snapshot.events
    assert (one.key, one.series, one.summary, one.busy) == ("", "", None, Busy.BUSY)
    assert {path for _, path, _ in google.asked} == {"/token", "/calendar/v3/freeBusy"}

    assert (await look(busy, found.state)).snapshot is None
    google.store.insert(TEAM, **event("04-03T10:00", "04-03T12:00"))
    assert (await look(busy, found.state)).snapshot is not None


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("omitted", "Malformed"),
        ("internalError", "Unavailable"),
        ("notFound", "NotShared"),
        ("tooManyCalendarsRequested", "BadRequest"),
        ("rateLimitExceeded", "Throttled"),
    ],
)
async def test_a_calendar_without_an_answer_is_not_free(google, busy, why, reason) -> None:
    if why == "omitted":
        google.freebusy_omits.add(TEAM)
    else:
        google.freebusy_errors[TEAM] = why
    assert (await refused(busy)).reason == reason


@pytest.mark.parametrize(
    "periods",
    [None, [{"start": "2026-04-01T10:00:00Z"}], [{"start": "2026-04-01", "end": "2026-04-02"}]],
)
async def test_busy_times_that_cannot_be_read_are_not_free(google, busy, periods) -> None:
    body = {"kind": "calendar#freeBusy", "calendars": {TEAM: {"busy": periods}}}
    google.faults.answer(200, "POST", "freeBusy", body=body)
    assert (await refused(busy)).reason == "Malformed"


async def test_a_reader_of_free_busy_alone_is_no_reader_of_events(google, expander) -> None:
    # Private events are not shown to it at all: read as a listing, they would be free time.
    google.store.insert(TEAM, **event("04-01T11:00", "04-01T13:00", visibility="private"))
    key = google.add_reader(TEAM, "freeBusyReader")
    source = google_source(google, key, expander)
    error = await refused(source)
    assert error.reason == "NotShared"
    assert READER in error.sentence
    await source.aclose()


# --- accounts, threads, addresses --------------------------------------------------------------


async def test_a_subject_is_read_in_its_name(google, expander) -> None:
    google.store.add_calendar("anna@example.com", "UTC")
    google.store.insert("anna@example.com", **event("04-01T10:00", "04-01T12:00"))
    key = google.tokens.add_account(READER)
    google.tokens.users.add("anna@example.com")
    google.tokens.delegations[READER] = {provider.SCOPES[Privacy.BASIC]}

    source = google_source(google, key, expander, calendar="primary", subject="anna@example.com")
    assert starts(await events(source)) == ["04-01T10:00"]
    assert google.tokens.asked[0]["sub"] == "anna@example.com"
    await source.aclose()

    named = google_source(
        google, key, expander, calendar="Anna@example.com".lower(), subject="anna@example.com"
    )
    assert [e.key for e in await events(named)] == [e.key for e in await events(source_of(named))]
    await named.aclose()


def source_of(source):
    return source


async def test_one_token_serves_many_looks_and_a_revoked_one_is_renewed(google, source) -> None:
    state = (await look(source)).state
    await look(source, state)
    assert len(google.tokens.asked) == 1
    google.tokens.revoke()
    assert (await look(source, state)).snapshot is None
    assert len(google.tokens.asked) == 2


async def test_addresses_in_the_key_are_not_believed(google, source) -> None:
    # The fake's key names 169.254.169.254 and a universe of its own.
    await look(source)
    assert next(path for _, path, _ in google.asked) == "/token"


async def test_calendars_read_at_the_same_time_are_not_mixed_up(google, expander) -> None:
    sources = []
    for number in range(12):
        name = f"c{number}@example.com"
        google.store.add_calendar(name, "UTC")
        google.store.insert(name, **event("04-01T10:00", "04-01T12:00", summary=name))
        sources.append(google_source(google, google.add_reader(name), expander, calendar=name))

    for _ in range(3):
        found = await asyncio.gather(*(events(one) for one in sources))
        assert [one[0].summary for one in found] == [f"c{n}@example.com" for n in range(12)]
    threads = [t for t in threading.enumerate() if t.name.startswith("google-calendar")]
    assert 1 <= len(threads) <= 8
    for one in sources:
        await one.aclose()


async def test_google_itself_is_where_requests_go_by_default(expander) -> None:
    addresses = provider.Addresses.at(None)
    assert addresses.api == "https://www.googleapis.com/calendar/v3/"
    assert addresses.token == "https://oauth2.googleapis.com/token"


async def test_a_closed_source_asks_nobody(google, source) -> None:
    await look(source)
    google.asked.clear()
    await source.aclose()
    assert (await refused(source)).reason == "Unreachable"
    assert google.asked == []


async def test_closing_ends_a_look_that_waits(google, expander) -> None:
    source = google_source(google, google.add_reader(TEAM), expander)
    hold = google.faults.hold("GET", "/events")
    task = asyncio.create_task(refused(source))
    await hold.arrived.wait()
    await source.aclose()
    assert (await task).reason == "Unreachable"
    hold.release()
