"""CalDAV against a fake server with every weakness that real ones were seen with."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from aiohttp import web

from slackwater.calendars import caldav_collection
from slackwater.calendars.turns import Turns
from slackwater.core.event import Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, ConfigError
from slackwater.net import CALENDAR_POLICY
from slackwater.ports import FetchState
from tests.calendars.support import (
    CANARY,
    HORIZON,
    NOW,
    HastyClock,
    Secrets,
    at,
    calendar,
    dark,
    opened,
    readable,
    starts,
    vevent,
)
from tests.fakes.caldav import HEAD, HOME, FakeDav

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRETS = Secrets(
    {("research", "dav", "user"): "alice", ("research", "dav", "password"): "secret\n"}
)


def config(url: str) -> dict[str, object]:
    return {
        "url": url,
        "usernameSecretRef": {"name": "dav", "key": "user"},
        "passwordSecretRef": {"name": "dav", "key": "password"},
    }


def one(uid: str, day: int = 1, *lines: str) -> bytes:
    return calendar(
        vevent(
            uid, f"DTSTART:202604{day:02d}T100000Z", "DURATION:PT1H", f"SUMMARY:{CANARY}", *lines
        )
    )


@pytest.fixture
def dav() -> FakeDav:
    fake = FakeDav()
    fake.put("a.ics", one("a", 1))
    fake.put("b%20b.ics", one("b", 2))
    return fake


@pytest_asyncio.fixture(loop_scope="session")
async def source(serve, dav, expander):
    made = opened("caldav", config(f"{await serve(dav.answer)}{HOME}"), expander, secrets=SECRETS)
    yield made
    await made.aclose()


async def look(source, state: FetchState | None = None):
    return await source.fetch(HORIZON, state, NOW)


async def refused(source, state: FetchState | None = None) -> CalendarError:
    with pytest.raises(CalendarError) as caught:
        await look(source, state)
    assert CANARY not in repr(caught.value) + str(caught.value)
    assert "secret" not in repr(caught.value) + str(caught.value)
    assert caught.value.__context__ is None
    return caught.value


# --- snapshots ---


async def test_a_calendar_is_a_complete_snapshot(source, dav) -> None:
    fetched = await look(source)
    assert starts(fetched.snapshot.events) == ["04-01T10:00", "04-02T10:00"]
    assert fetched.snapshot.horizon == HORIZON
    assert dav.counts == {"marks": 1, "query": 1, "principal": 1}
    assert CANARY not in repr(fetched)
    assert "http://x/" not in repr(fetched.state)


async def test_nothing_new_costs_one_small_request(source, dav) -> None:
    state = (await look(source)).state
    dav.counts.clear()
    again = await look(source, state)
    assert again.snapshot is None
    assert (await look(source, again.state)).snapshot is None
    assert dav.counts == {"sync": 2}


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("ctags", [True, False])
@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("multiget", [True, False])
async def test_additions_changes_moves_and_deletions_are_seen_whatever_a_server_lacks(
    source, dav, tokens, ctags, etags, multiget
) -> None:
    dav.tokens, dav.ctags, dav.etags, dav.multiget = tokens, ctags, etags, multiget
    first = await look(source)
    unchanged = await look(source, first.state)
    assert unchanged.snapshot is None or unchanged.snapshot.events == first.snapshot.events
    dav.put("c.ics", one("c", 3))
    added = await look(source, unchanged.state)
    assert starts(added.snapshot.events) == ["04-01T10:00", "04-02T10:00", "04-03T10:00"]
    dav.put("a.ics", one("a", 9))
    moved = await look(source, added.state)
    assert starts(moved.snapshot.events) == ["04-02T10:00", "04-03T10:00", "04-09T10:00"]
    assert moved.snapshot.events[-1].key == first.snapshot.events[0].key
    dav.delete("b%20b.ics")
    dav.delete("c.ics")
    left = await look(source, moved.state)
    assert starts(left.snapshot.events) == ["04-09T10:00"]


async def test_only_changed_objects_are_fetched(source, dav) -> None:
    state = (await look(source)).state
    dav.put("c.ics", one("c", 3))
    assert dav.counts["query"] == 1
    fetched = await look(source, state)
    assert dav.counts == {"sync": 1, "marks": 1, "etags": 1, "multiget": 1, "principal": 1}
    assert dav.bodies[-2].count("href>") == 2  # c.ics alone, opened and closed
    assert len(fetched.snapshot.events) == 3


async def test_many_changed_objects_are_fetched_in_parts(source, dav, monkeypatch) -> None:
    monkeypatch.setattr(caldav_collection, "CHUNK", 2)
    state = (await look(source)).state
    for n in range(5):
        dav.put(f"n{n}.ics", one(f"n{n}", 5 + n))
    assert dav.counts
    assert len((await look(source, state)).snapshot.events) == 7
    assert dav.counts["multiget"] == 3


@pytest.mark.parametrize("status", [403, 412, 409])
async def test_a_lost_token_is_a_full_read_and_no_deletion_is_missed(source, dav, status) -> None:
    state = (await look(source)).state
    dav.forgets, dav.lost_token = True, status
    dav.delete("a.ics")
    assert dav.counts
    fetched = await look(source, state)
    assert starts(fetched.snapshot.events) == ["04-02T10:00"]
    assert dav.counts == {"sync": 1, "marks": 1, "query": 1, "principal": 1}
    dav.forgets = False
    assert (await look(source, fetched.state)).snapshot is None


async def test_a_server_that_always_names_the_collection_is_not_always_changed(source, dav) -> None:
    dav.noisy = True
    state = (await look(source)).state
    assert (await look(source, state)).snapshot is None


async def test_a_truncated_list_of_changes_is_a_change(source, dav) -> None:
    dav.truncates = True
    state = (await look(source)).state
    fetched = await look(source, state)
    assert fetched.snapshot is None  # the ETags say that all is as it was
    assert dav.counts["etags"] == 1


async def test_a_change_whose_content_is_the_same_is_none(source, dav) -> None:
    state = (await look(source)).state
    dav.version += 1  # something outside the horizon
    dav.log["far.ics"] = dav.version
    fetched = await look(source, state)
    assert fetched.snapshot is None
    assert (await look(source, fetched.state)).snapshot is None


async def test_another_horizon_is_read_in_full(source, dav) -> None:
    state = (await look(source)).state
    later = Span(at("2026-04-02"), at("2026-05-01"))
    fetched = await source.fetch(later, state, NOW)
    assert starts(fetched.snapshot.events) == ["04-02T10:00"]
    assert dav.counts["query"] == 2


async def test_a_state_of_another_process_is_of_use(source, dav, serve, expander) -> None:
    state = (await look(source)).state
    other = opened(
        "caldav", dict(source._config.model_dump(by_alias=True)), expander, secrets=SECRETS
    )
    assert (await look(other, state)).snapshot is None
    dav.put("c.ics", one("c", 3))
    assert len((await look(other, state)).snapshot.events) == 3
    await other.aclose()


async def test_a_snapshot_that_got_lost_on_its_way_is_given_again(source, dav) -> None:
    state = (await look(source)).state
    dav.put("c.ics", one("c", 3))
    lost = await look(source, state)
    again = await look(source, state)
    assert again.snapshot.events == lost.snapshot.events


# --- what objects hold ---


async def test_one_object_that_cannot_be_read_is_reported_and_the_rest_stands(source, dav) -> None:
    dav.put("bad.ics", "<html>c4n4ry</html>\nBEGIN:VCALENDAR\n")
    dav.put("worse.ics", calendar(vevent("w", "DTSTART:20260401T100000Z", "RRULE:FREQ=SECONDLY")))
    snapshot = (await look(source)).snapshot
    assert len(readable(snapshot.events)) == 2
    assert dark(snapshot.events) == ["03-15T00:00/04-20T00:00", "03-31T00:00/04-20T00:00"]
    assert snapshot.warnings == (Warned(Reason.SERIES_SKIPPED, 2),)


async def test_floating_times_are_of_the_collections_zone_unless_the_calendar_says_another(
    serve, dav, expander
) -> None:
    dav.zone = (
        "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Asia/Tokyo\r\nEND:VTIMEZONE\r\nEND:VCALENDAR"
    )
    dav.objects.clear()
    dav.put("day.ics", calendar(vevent("d", "DTSTART;VALUE=DATE:20260401")))
    url = f"{await serve(dav.answer)}{HOME}"
    found = []
    for zone in (None, "Europe/Berlin"):
        source = opened("caldav", config(url), expander, secrets=SECRETS, zone=zone)
        found += starts((await look(source)).snapshot.events)
        await source.aclose()
    dav.zone = dav.zone.replace("Asia/Tokyo", "Customized Time Zone")
    source = opened("caldav", config(url), expander, secrets=SECRETS)
    snapshot = (await look(source)).snapshot
    await source.aclose()
    assert found == ["03-31T15:00", "03-31T22:00"]
    assert snapshot.events[0].wall is not None
    assert snapshot.warnings == ()


ORGANISED = "ORGANIZER:mailto:boss@example.com"
ACCEPTED = "ATTENDEE;PARTSTAT=ACCEPTED:mailto:team@example.com"


@pytest.mark.parametrize(
    ("owner", "addresses", "own"),
    [
        ("/principals/team/", ("mailto:Team@Example.com", "/principals/team/"), True),
        ("/principals/team/", ("mailto:somebody@example.com",), False),
        ("/principals/team/", (), False),
        ("https://other.example/principals/team/", ("mailto:team@example.com",), False),
        (None, ("mailto:team@example.com",), False),
    ],
)
async def test_only_what_the_owner_accepted_is_the_calendars_own(
    source, dav, owner, addresses, own
) -> None:
    dav.owner, dav.addresses = owner, addresses
    dav.objects.clear()
    dav.put("x.ics", one("x", 1, ORGANISED, ACCEPTED))
    assert (await look(source)).snapshot.events[0].own is own


async def test_an_owner_who_may_not_be_looked_up_owns_nothing(source, dav) -> None:
    dav.refuse_reports = {"principal": 403}
    dav.put("x.ics", one("x", 5, ORGANISED, ACCEPTED))
    assert [event.own for event in (await look(source)).snapshot.events] == [True, True, False]


async def test_for_free_busy_only_times_are_asked_for(serve, dav, expander) -> None:
    url = f"{await serve(dav.answer)}{HOME}"
    source = opened("caldav", config(url), expander, secrets=SECRETS, privacy=Privacy.FREE_BUSY)
    snapshot = (await look(source)).snapshot
    await source.aclose()
    (asked,) = [body for body in dav.bodies if "calendar-data" in body]
    assert '<c:prop name="DTSTART"/>' in asked
    for name in ("SUMMARY", "DESCRIPTION", "ORGANIZER", "ATTENDEE", "<c:calendar-data/>"):
        assert name not in asked
    assert [event.summary for event in snapshot.events] == [None, None]


async def test_a_server_that_cannot_give_times_alone_is_asked_for_everything(
    serve, dav, expander
) -> None:
    dav.partial = False
    url = f"{await serve(dav.answer)}{HOME}"
    source = opened("caldav", config(url), expander, secrets=SECRETS, privacy=Privacy.FREE_BUSY)
    first = await look(source)
    assert starts(first.snapshot.events) == ["04-01T10:00", "04-02T10:00"]
    assert first.snapshot.warnings == ()
    assert first.snapshot.events[0].summary is None
    dav.put("c.ics", one("c", 3))
    assert len((await look(source, first.state)).snapshot.events) == 3
    await source.aclose()
    assert sum("c:prop" in body for body in dav.bodies) == 1


async def test_an_object_that_the_server_withholds_is_reported(source, dav) -> None:
    dav.withholds = frozenset({"a.ics"})
    first = await look(source)
    assert starts(first.snapshot.events) == ["04-02T10:00"]
    assert dark(first.snapshot.events) == ["03-15T00:00/04-20T00:00"]
    assert first.snapshot.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)
    dav.withholds = frozenset()
    dav.put("c.ics", one("c", 3))
    second = await look(source, first.state)
    assert len(second.snapshot.events) == 3
    assert second.snapshot.warnings == ()


# --- failures ---


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.UNAUTHORIZED),
        (403, Reason.FORBIDDEN),
        (404, Reason.NOT_FOUND),
        (301, Reason.REDIRECTED),
        (405, Reason.BAD_REQUEST),
        (429, Reason.THROTTLED),
        (500, Reason.UNAVAILABLE),
        (503, Reason.UNAVAILABLE),
        (504, Reason.TIMEOUT),
        (507, Reason.LIMIT_EXCEEDED),
    ],
)
async def test_what_a_server_answers_has_its_reason(source, dav, status, reason) -> None:
    state = (await look(source)).state
    dav.refuse, dav.headers = status, {"Retry-After": "7", "Location": f"http://127.0.0.1/{CANARY}"}
    for known in (None, state):
        error = await refused(source, known)
        assert error.reason is reason
        assert "research/team" in error.sentence


async def test_a_throttled_look_says_how_long_to_wait(source, dav) -> None:
    dav.refuse, dav.headers = 429, {"Retry-After": "7"}
    assert (await refused(source)).retry_after.total_seconds() == 7


async def test_a_wrong_password_is_refused(source, dav) -> None:
    dav.password = "changed"
    assert (await refused(source)).reason is Reason.UNAUTHORIZED


async def test_a_redirect_is_not_followed_with_the_password(serve, expander) -> None:
    seen = []

    async def other(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.Response()

    target = await serve(other)

    async def redirecting(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    source = opened("caldav", config(await serve(redirecting)), expander, secrets=SECRETS)
    assert (await refused(source)).reason is Reason.REDIRECTED
    await source.aclose()
    assert seen == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>c4n4ry: sign in</body></html>",
        b"c4n4ry",
        b"",
        HEAD.encode(),
        b'<!DOCTYPE x [<!ENTITY a "c4n4ry">]>' + HEAD.encode() + b"&a;</multistatus>",
        b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>',
    ],
    ids=["html", "text", "empty", "cut", "entity", "bomb"],
)  # fmt: skip
async def test_what_is_no_multistatus_is_malformed(source, dav, body) -> None:
    dav.body = body
    assert (await refused(source)).reason is Reason.MALFORMED


@pytest.mark.parametrize("resource", ["<collection/>", "<principal/>", ""])
async def test_the_address_of_something_else_is_no_empty_calendar(source, dav, resource) -> None:
    dav.resource = resource
    assert (await refused(source)).reason is Reason.BAD_REQUEST


async def test_a_list_that_is_cut_off_is_not_taken_for_deletions(source, dav) -> None:
    full = f"<response><href>{HOME}</href><status>HTTP/1.1 507 Insufficient Storage</status></response>"
    whole = dav._query('time-range start="20260401T000000Z" end="20260402T000000Z"').text
    dav._query = lambda body: web.Response(
        status=207, text=whole.replace("</multistatus>", f"{full}</multistatus>")
    )
    assert (await refused(source)).reason is Reason.LIMIT_EXCEEDED


async def test_a_missing_secret_is_named(serve, dav, expander) -> None:
    source = opened("caldav", config(f"{await serve(dav.answer)}{HOME}"), expander)
    error = await refused(source)
    assert error.reason is Reason.SECRET_NOT_FOUND
    assert "research/dav" in error.sentence


async def test_a_password_does_not_travel_without_tls(serve, dav, expander) -> None:
    with pytest.raises(ConfigError, match="https"):
        opened("caldav", config("http://dav.example/"), expander, policy=CALENDAR_POLICY)
    source = opened("caldav", config("http://93.184.216.34/"), expander, secrets=SECRETS)
    assert (await refused(source)).reason is Reason.BLOCKED_TARGET
    await source.aclose()


async def test_addresses_inside_are_blocked_in_a_cluster(serve, dav, expander) -> None:
    port = (await serve(dav.answer)).rsplit(":", 1)[1]
    url = f"https://localhost:{port}{HOME}"
    source = opened("caldav", config(url), expander, secrets=SECRETS, policy=CALENDAR_POLICY)
    assert (await refused(source)).reason is Reason.BLOCKED_TARGET
    await source.aclose()
    assert dav.asked == []


async def test_a_host_is_asked_by_two_at_a_time(serve, dav, expander) -> None:
    now = most = 0

    async def counted(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return await dav.answer(request)

    url = f"{await serve(counted)}{HOME}"
    turns = Turns(HastyClock())
    sources = [
        opened("caldav", config(url), expander, secrets=SECRETS, name=f"n{n}", turns=turns)
        for n in range(6)
    ]
    await asyncio.gather(*(look(source) for source in sources))
    for source in sources:
        await source.aclose()
    assert most == 2
