"""The fake Google itself: its answers are those of the discovery document, its refusals Google's."""

from __future__ import annotations

import aiohttp
import pytest
import pytest_asyncio

from tests.calendars.google_support import TEAM, event, times
from tests.calendars.support import NOW
from tests.fakes.google import FakeGoogle
from tests.fakes.google_fields import BadMask, complaints, parse_mask, select

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = "https://www.googleapis.com/auth/calendar"


class Caller:
    def __init__(self, google: FakeGoogle, session: aiohttp.ClientSession, token: str) -> None:
        self.google, self._session, self._token = google, session, token

    async def ask(self, verb: str, path: str, body: object = None, **query: str):
        async with self._session.request(
            verb,
            f"{self.google.url}/calendar/v3/{path}",
            params=query,
            json=body,
            headers={"Authorization": f"Bearer {self._token}"},
        ) as reply:
            return reply.status, await reply.json() if await reply.read() else None

    async def events(self, **query: str):
        return await self.ask("GET", f"calendars/{TEAM}/events", **query)


@pytest_asyncio.fixture(loop_scope="session")
async def caller():
    async with FakeGoogle(lambda: NOW) as google, aiohttp.ClientSession() as session:
        google.store.add_calendar(TEAM, "Europe/Berlin")
        yield Caller(google, session, google.tokens.issue(TEAM, [ALL]))


async def test_every_answer_is_one_that_the_discovery_document_describes(caller) -> None:
    status, made = await caller.ask("POST", f"calendars/{TEAM}/events", event("04-01", "04-02"))
    assert status == 200
    series = event("03-02T22:00", "03-03T01:00", "Europe/Berlin", recurrence=["RRULE:FREQ=DAILY"])
    me = {"email": TEAM, "self": True, "responseStatus": "accepted"}
    caller.google.store.insert(TEAM, **series, attendees=[me, {"email": "eve@example.net"}])
    for query in ({}, {"singleEvents": "true", "maxAttendees": "1"}, {"showDeleted": "true"}):
        status, listed = await caller.events(**query)
        assert status == 200
        assert complaints("Events", listed) == []
        token = listed.get("nextSyncToken")
        if token is not None:
            assert (await caller.events(syncToken=token, **query))[0] == 200
    path = f"calendars/{TEAM}/events/{made['id']}"
    assert (await caller.ask("GET", path))[0] == 200
    assert (await caller.ask("PATCH", path, {"summary": "else"}))[1]["summary"] == "else"
    assert (await caller.ask("DELETE", path))[0] == 204
    assert (await caller.ask("DELETE", path))[0] == 410
    assert (await caller.ask("GET", "users/me/calendarList"))[0] == 200
    assert (await caller.ask("GET", f"calendars/{TEAM}"))[0] == 200
    body = {
        "timeMin": "2026-03-01T00:00:00Z",
        "timeMax": "2026-04-01T00:00:00Z",
        "items": [{"id": TEAM}, {"id": "nobody@example.com"}],
    }
    assert (await caller.ask("POST", "freeBusy", body))[0] == 200
    assert caller.google.complaints == []


async def test_an_answer_that_the_document_does_not_describe_is_noticed(caller) -> None:
    caller.google.store.insert(TEAM, **event("04-01", "04-02"), colour="red")
    await caller.events()
    assert any("colour" in complaint for complaint in caller.google.complaints)
    assert complaints("Event", {"start": {"dateTime": 3}})


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"syncToken": "sync-000000", "timeMin": "2026-03-01T00:00:00Z"}, "syncTokenWith"),
        ({"syncToken": "sync-000000", "showDeleted": "false"}, "syncTokenWith"),
        ({"syncToken": "?"}, "invalid"),
        ({"timeMin": "2026-03-01T00:00:00"}, "badRequest"),
        ({"timeMin": "2026-03-02T00:00:00Z", "timeMax": "2026-03-01T00:00:00Z"}, "timeRangeEmpty"),
        ({"fields": "items(summery)"}, "invalidParameter"),
        ({"colour": "red"}, "invalidParameter"),
    ],
)
async def test_what_google_refuses_is_refused(caller, query, reason) -> None:
    await caller.events()
    status, body = await caller.events(**query)
    assert status == 400
    assert body["error"]["errors"][0]["reason"].startswith(reason)


async def test_deletions_and_undeletions_come_by_sync_token(caller) -> None:
    store = caller.google.store
    one = store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    series = store.insert(
        TEAM, **event("04-01T10:00", "04-01T12:00", "UTC", recurrence=["RRULE:FREQ=DAILY;COUNT=3"])
    )
    _, first = await caller.events(singleEvents="true")
    store.delete(TEAM, one)
    store.delete(TEAM, f"{series}_20260402T100000Z")
    _, second = await caller.events(singleEvents="true", syncToken=first["nextSyncToken"])
    gone = {item["id"] for item in second["items"] if item["status"] == "cancelled"}
    assert gone == {one, f"{series}_20260402T100000Z"}
    assert all("summary" not in item for item in second["items"] if item["id"] in gone)
    store.undelete(TEAM, one)
    _, third = await caller.events(singleEvents="true", syncToken=second["nextSyncToken"])
    assert [(item["id"], item["status"]) for item in third["items"]] == [(one, "confirmed")]
    caller.google.expire_sync_tokens()
    assert (await caller.events(singleEvents="true", syncToken=third["nextSyncToken"]))[0] == 410


async def test_who_may_see_what_depends_on_the_role(caller) -> None:
    store, google = caller.google.store, caller.google
    store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
    store.insert(TEAM, **event("04-02T10:00", "04-02T12:00", visibility="private"))
    seen = {}
    for role in ("freeBusyReader", "reader", "writer"):
        store.share(TEAM, "bob@example.com", role)
        bob = Caller(google, caller._session, google.tokens.issue("bob@example.com", [ALL]))
        _, listed = await bob.events()
        assert listed["accessRole"] == role
        seen[role] = ["summary" in item for item in listed["items"]]
    assert seen == {"freeBusyReader": [False], "reader": [True, False], "writer": [True, True]}
    assert (await Caller(google, caller._session, "forged").events())[0] == 401
    narrow = google.tokens.issue(TEAM, ["https://www.googleapis.com/auth/calendar.freebusy"])
    assert (await Caller(google, caller._session, narrow).events())[0] == 403


async def test_a_series_is_expanded_on_the_clock_of_its_zone(caller) -> None:
    series = event("03-28T10:00", "03-28T11:00", "Europe/Berlin", recurrence=["RRULE:FREQ=DAILY"])
    identifier = caller.google.store.insert(TEAM, **series)
    caller.google.store.patch(
        TEAM, f"{identifier}_20260329T080000Z", **times("03-29T15:00", "03-29T16:00")
    )
    _, listed = await caller.events(singleEvents="true", timeMax="2026-03-31T00:00:00Z")
    assert [item["start"]["dateTime"] for item in listed["items"]] == [
        "2026-03-28T10:00:00+01:00",
        "2026-03-29T17:00:00+02:00",
        "2026-03-30T10:00:00+02:00",
    ]
    assert [item["originalStartTime"]["dateTime"] for item in listed["items"]][1] == (
        "2026-03-29T10:00:00+02:00"
    )


async def test_a_mask_lets_through_what_it_names() -> None:
    mask = parse_mask("kind,items(id,start/date,organizer(self))", "Events")
    body = {"kind": "k", "etag": "e", "items": [{"id": "1", "start": {"date": "d", "x": 1}}]}
    assert select(body, mask) == {"kind": "k", "items": [{"id": "1", "start": {"date": "d"}}]}
    for bad in ("items(", "a", "items(start(b))", "items(id))", ""):
        with pytest.raises(BadMask):
            parse_mask(bad, "Events")
