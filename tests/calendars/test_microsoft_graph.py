"""Outlook calendars by Microsoft Graph, against a fake that demands what Graph demands."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from aiohttp import web

from slackwater.calendars import (
    microsoft_graph,
    microsoft_graph_events,
    microsoft_graph_requests,
)
from slackwater.core.event import Busy
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.net import CALENDAR_POLICY
from tests.calendars.graph_rig import MAILBOX, events, look, refused
from tests.calendars.support import CANARY, HORIZON, NOW, at, spans, starts
from tests.fakes.graph import GraphError
from tests.fakes.graph_json import calendar_id
from tests.fakes.graph_store import daily, weekly

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = {"subject", "categories", "organizer", "body", "attendees", "location", "bodyPreview"}


# --- snapshots ---


async def test_a_calendar_is_a_complete_snapshot(graph) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", subject="train: llm")
    graph.box.create(
        "2026-04-02T22:00", "2026-04-03T06:00", recurrence=weekly("2026-04-02", "thursday")
    )
    fetched = await look(graph.open())
    assert fetched.snapshot.horizon == HORIZON
    assert spans(fetched.snapshot.events) == [
        "04-01T08:00/04-01T09:00",
        "04-02T20:00/04-03T04:00",
        "04-09T20:00/04-10T04:00",
        "04-16T20:00/04-17T04:00",
    ]
    assert fetched.snapshot.warnings == ()
    assert "train" not in repr(fetched)


async def test_nothing_new_is_seen_without_reading_the_events(graph, monkeypatch) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    source = graph.open()
    first = await look(source)
    monkeypatch.setattr(source, "_read", None)  # it would fail
    again = await look(source, first.state)
    assert again.snapshot is None
    assert (await look(source, again.state)).snapshot is None
    assert len(graph.views) == 3  # one request a look


async def test_additions_changes_moves_and_deletions_are_seen(graph) -> None:
    one = graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    source = graph.open()
    state = (await look(source)).state
    two = graph.box.create("2026-04-02T10:00", "2026-04-02T11:00")
    added = await look(source, state)
    assert starts(added.snapshot.events) == ["04-01T08:00", "04-02T08:00"]
    graph.box.move(one, timedelta(days=3))
    moved = await look(source, added.state)
    assert starts(moved.snapshot.events) == ["04-02T08:00", "04-04T08:00"]
    graph.box.delete(two)
    gone = await look(source, moved.state)
    assert starts(gone.snapshot.events) == ["04-04T08:00"]


async def test_another_horizon_is_no_sign_of_nothing_new(graph) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    source = graph.open()
    state = (await look(source)).state
    later = Span(HORIZON.start + timedelta(hours=6), HORIZON.end + timedelta(hours=6))
    fetched = await look(source, state, later)
    assert fetched.snapshot.horizon == later


async def test_events_at_the_edges_of_the_horizon_are_in_or_out_to_the_second(graph) -> None:
    graph.box.create("2026-03-14T22:00", "2026-03-15T01:00")  # ends as the horizon begins
    graph.box.create("2026-03-14T22:00", "2026-03-15T01:00:01")
    graph.box.create("2026-04-20T02:00", "2026-04-20T03:00")  # begins as it ends
    graph.box.create("2026-04-20T01:59:59", "2026-04-20T03:00")
    found = await events(graph.open())
    assert spans(found) == ["03-14T21:00/03-15T00:00", "04-19T23:59/04-20T01:00"]


async def test_one_calendar_of_a_mailbox_is_read_by_its_id(graph) -> None:
    graph.box.add_calendar("gpus", "GPUs")
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    graph.box.create("2026-04-02T10:00", "2026-04-02T11:00", calendar="gpus")
    source = graph.open(calendarId=calendar_id(graph.box, "gpus"))
    assert starts(await events(source)) == ["04-02T08:00"]
    assert starts(await events(graph.open())) == ["04-01T08:00"]


# --- pages ---


@pytest.mark.parametrize("privacy", [Privacy.BASIC, Privacy.DETAILS])
async def test_every_page_is_asked_for_with_the_same_preferences(
    graph, privacy, monkeypatch
) -> None:
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, privacy, 7)
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    found = await events(graph.open(privacy))
    assert len(found) == 36
    pages = list(graph.fake.asked)
    assert len(pages) == 6
    assert {page.prefer for page in pages} == {microsoft_graph_requests.PREFER.format(size=7)}
    assert 'outlook.timezone="UTC", IdType="ImmutableId"' in pages[1].prefer
    assert "$skiptoken" in pages[1].query


async def test_unchanged_pages_are_nothing_new_though_their_links_differ(
    graph, monkeypatch
) -> None:
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, Privacy.BASIC, 10)
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    source = graph.open()
    first = await look(source)
    assert (await look(source, first.state)).snapshot is None


async def test_texts_that_look_like_a_link_to_the_next_page_are_none(graph) -> None:
    for text in ("@odata.nextLink", '"@odata.nextLink":"https://evil.example"', "\\"):
        graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", subject=text)
    assert len(await events(graph.open())) == 3
    assert len(graph.views) == 1


async def test_a_next_page_elsewhere_is_not_followed(graph, monkeypatch) -> None:
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, Privacy.BASIC, 10)
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    for foreign in ("https://evil.example", graph.origin + "1", graph.origin.replace("s:", ":")):
        graph.fake.next_origin = foreign
        assert (await refused(graph.open())).reason is Reason.BLOCKED_TARGET


async def test_a_page_that_leads_to_itself_ends(graph, monkeypatch) -> None:
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, Privacy.BASIC, 10)
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    graph.fake.same_link = True
    assert (await refused(graph.open())).reason is Reason.MALFORMED
    assert len(graph.views) == 2


async def test_a_list_that_is_lost_half_way_is_read_once_more(graph, monkeypatch) -> None:
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, Privacy.BASIC, 20)
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    lost = GraphError(410, "SyncStateNotFound")
    graph.fake.fail = [None, lost]
    assert len(await events(graph.open())) == 36
    assert len(graph.views) == 4
    graph.fake.fail = [None, GraphError(400, "syncStateNotFound"), None, lost]
    assert (await refused(graph.open())).reason is Reason.UNAVAILABLE


async def test_more_pages_or_events_than_a_calendar_can_have_are_refused(
    graph, monkeypatch
) -> None:
    graph.box.create("2026-03-10T10:00", "2026-03-10T11:00", recurrence=daily("2026-03-10"))
    monkeypatch.setattr(microsoft_graph_events, "MAX_EVENTS", 20)
    assert (await refused(graph.open())).reason is Reason.LIMIT_EXCEEDED
    monkeypatch.setitem(microsoft_graph._PAGE_SIZE, Privacy.BASIC, 5)
    monkeypatch.setattr(microsoft_graph_requests, "MAX_PAGES", 2)
    assert (await refused(graph.open())).reason is Reason.LIMIT_EXCEEDED


# --- privacy ---


async def test_only_the_fields_of_the_privacy_level_are_asked_for(graph) -> None:
    for privacy, allowed in (
        (Privacy.BASIC, {"subject", "categories", "organizer"}),
        (Privacy.DETAILS, {"subject", "categories", "organizer", "body"}),
    ):
        await look(graph.open(privacy))
        selected = set(graph.views[-1]["$select"].split(","))
        assert selected & TEXTS == allowed
    await look(graph.open(Privacy.FREE_BUSY, calendarId=calendar_id(graph.box, "default")))
    assert not set(graph.views[-1]["$select"].split(",")) & (TEXTS | {"seriesMasterId"})


async def test_descriptions_are_text_and_come_at_details_only(graph) -> None:
    graph.fake.entra.apps[next(iter(graph.fake.entra.apps))].roles = {"Calendars.Read"}
    graph.box.create(
        "2026-04-01T10:00", "2026-04-01T11:00", body="<html><p>lr=0.1</p><p>epochs=3</p></html>"
    )
    (basic,) = await events(graph.open())
    assert basic.description is None
    (detailed,) = await events(graph.open(Privacy.DETAILS))
    assert detailed.description.split() == ["lr=0.1", "epochs=3"]
    graph.fake.entra.apps[next(iter(graph.fake.entra.apps))].roles = {"Calendars.ReadBasic.All"}
    (withheld,) = await events(graph.open(Privacy.DETAILS))
    assert withheld.description is None


async def test_what_is_private_has_times_and_no_texts(graph) -> None:
    for sensitivity in ("private", "confidential", "personal", "normal"):
        graph.box.create(
            "2026-04-01T10:00",
            "2026-04-01T11:00",
            sensitivity=sensitivity,
            subject=CANARY,
            categories=("x",),
        )
    found = await events(graph.open())
    assert sorted(event.summary or "" for event in found) == ["", "", CANARY, CANARY]
    hidden = [event for event in found if event.summary is None]
    assert all(e.categories is None and e.organizer is None and e.key for e in hidden)


async def test_no_text_of_a_calendar_is_in_a_repr_or_a_log(graph) -> None:
    graph.box.create(
        "2026-04-01T10:00",
        "2026-04-01T11:00",
        subject=CANARY,
        body=CANARY,
        location=CANARY,
        categories=(CANARY,),
        organizer=(CANARY, f"{CANARY}@contoso.example"),
        attendees=((CANARY, f"{CANARY}@contoso.example"),),
    )
    for privacy in Privacy:
        source = graph.open(privacy)
        fetched = await look(source)
        shown = repr((fetched, source, source._opening, source._opening.config, source._graph))
        assert CANARY not in shown
        assert MAILBOX not in shown
        assert "s3cret" not in shown


# --- what events say ---


@pytest.mark.parametrize(
    ("show_as", "busy"),
    [
        ("free", Busy.FREE),
        ("tentative", Busy.TENTATIVE),
        ("busy", Busy.BUSY),
        ("oof", Busy.OUT_OF_OFFICE),
        ("workingElsewhere", Busy.WORKING_ELSEWHERE),
        ("unknown", Busy.BUSY),
    ],
)
async def test_how_an_event_blocks_time(graph, show_as, busy) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", show_as=show_as, online=True)
    assert [event.busy for event in await events(graph.open())] == [busy]


async def test_cancelled_and_declined_events_are_not_there(graph) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", cancelled=True)
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", response="declined")
    series = graph.box.create(
        "2026-04-02T10:00", "2026-04-02T11:00", recurrence=daily("2026-04-02", times=3)
    )
    graph.box.change_instance(series, "2026-04-03T10:00", cancelled=True)
    assert starts(await events(graph.open())) == ["04-02T08:00", "04-04T08:00"]


@pytest.mark.parametrize(
    ("organizer", "response", "own"),
    [
        ("team@contoso.example", "organizer", True),
        ("TEAM@contoso.example", "none", True),
        ("boss@contoso.example", "accepted", True),
        ("boss@contoso.example", "tentativelyAccepted", False),
        ("boss@contoso.example", "notResponded", False),
        ("boss@contoso.example", "none", False),
        (None, "none", True),
    ],
)
async def test_only_what_the_calendar_organised_or_accepted_is_its_own(
    graph, organizer, response, own
) -> None:
    who = None if organizer is None else ("Somebody", organizer)
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", organizer=who, response=response)
    (event,) = await events(graph.open())
    assert event.own is own
    assert event.organizer == (organizer and organizer.lower())


@pytest.mark.parametrize(
    ("zone", "written", "expected", "floats"),
    [
        (None, "W. Europe Standard Time", "03-31T22:00/04-01T22:00", False),
        ("America/New_York", "W. Europe Standard Time", "04-01T04:00/04-02T04:00", False),
        (None, "tzone://Microsoft/Custom", "04-01T00:00/04-02T00:00", True),
        (None, "", "04-01T00:00/04-02T00:00", True),  # Graph says UTC
        ("Asia/Tokyo", "", "03-31T15:00/04-01T15:00", False),
    ],
)
async def test_all_day_events_are_days_of_the_calendars_zone(
    graph, zone, written, expected, floats
) -> None:
    graph.box.create("2026-04-01", "2026-04-02", all_day=True, windows_zone=written)
    (event,) = await events(graph.open(zone=zone))
    assert event.all_day
    assert spans((event,)) == [expected]
    wall = (datetime(2026, 4, 1), datetime(2026, 4, 2))
    assert event.wall == (wall if floats else None)


async def test_instances_keep_their_wall_clock_over_a_change_of_clocks(graph) -> None:
    graph.box.create(
        "2026-03-27T22:00", "2026-03-28T06:00", recurrence=daily("2026-03-27", times=4)
    )
    assert spans(await events(graph.open())) == [
        "03-27T21:00/03-28T05:00",
        "03-28T21:00/03-29T04:00",  # seven hours of that night
        "03-29T20:00/03-30T04:00",
        "03-30T20:00/03-31T04:00",
    ]


# --- FreeBusy ---


async def test_free_busy_asks_for_the_schedule_and_keeps_times_alone(graph) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00", subject=CANARY, show_as="oof")
    graph.box.create("2026-04-02T10:00", "2026-04-02T11:00", show_as="free")
    source = graph.open(Privacy.FREE_BUSY)
    fetched = await look(source)
    assert [(e.key, e.series, e.summary, e.busy) for e in fetched.snapshot.events] == [
        ("", "", None, Busy.OUT_OF_OFFICE),
        ("", "", None, Busy.FREE),
    ]
    assert spans(fetched.snapshot.events) == ["04-01T08:00/04-01T09:00", "04-02T08:00/04-02T09:00"]
    assert [one.path for one in graph.fake.asked] == [f"/v1.0/users/{MAILBOX}/calendar/getSchedule"]
    assert (await look(source, fetched.state)).snapshot is None


async def test_a_merged_view_without_items_is_busy_time_too(graph) -> None:
    graph.fake.views_only.add(MAILBOX)
    graph.box.create("2026-04-01T10:00", "2026-04-01T10:30")
    found = await events(graph.open(Privacy.FREE_BUSY))
    assert spans(found) == ["04-01T08:00/04-01T08:15", "04-01T08:15/04-01T08:30"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ErrorMailRecipientNotFound", Reason.NOT_FOUND),
        ("ErrorNoFreeBusyAccess", Reason.FORBIDDEN),
        ("ErrorServerBusy", Reason.THROTTLED),
        ("ErrorProxyRequestProcessingFailed", Reason.UNAVAILABLE),
    ],
)
async def test_a_schedule_that_could_not_be_read_is_no_free_time(graph, code, reason) -> None:
    graph.fake.fail_schedules[MAILBOX] = (code, CANARY)
    assert (await refused(graph.open(Privacy.FREE_BUSY))).reason is reason


async def test_an_answer_about_nobody_is_no_free_time(graph) -> None:
    graph.fake.silent_schedules = True
    assert (await refused(graph.open(Privacy.FREE_BUSY))).reason is Reason.MALFORMED


async def test_a_long_horizon_is_asked_for_in_pieces_that_graph_takes(graph) -> None:
    graph.box.create("2026-07-01T10:00", "2026-07-01T11:00")
    year = Span(HORIZON.start, HORIZON.start + timedelta(days=130))
    fetched = await look(graph.open(Privacy.FREE_BUSY), horizon=year)
    assert starts(fetched.snapshot.events) == ["07-01T08:00"]
    assert len(graph.fake.asked) == 3


# --- faults ---


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "BadRequest", Reason.BAD_REQUEST),
        (400, "ErrorInvalidIdMalformed", Reason.NOT_FOUND),
        (401, "NoPermissionsInAccessToken", Reason.CONSENT_REQUIRED),
        (403, "ErrorAccessDenied", Reason.FORBIDDEN),
        (403, "Authorization_RequestDenied", Reason.FORBIDDEN),
        (404, "ErrorItemNotFound", Reason.NOT_FOUND),
        (404, "MailboxNotEnabledForRESTAPI", Reason.NOT_FOUND),
        (404, "Request_ResourceNotFound", Reason.NOT_FOUND),
        (410, "Gone", Reason.NOT_FOUND),
        (429, "ApplicationThrottled", Reason.THROTTLED),
        (500, "InternalServerError", Reason.UNAVAILABLE),
        (502, "BadGateway", Reason.UNAVAILABLE),
        (503, "ErrorServerBusy", Reason.THROTTLED),
        (503, "ServiceUnavailable", Reason.UNAVAILABLE),
        (504, "GatewayTimeout", Reason.TIMEOUT),
    ],
)
@pytest.mark.parametrize("privacy", [Privacy.FREE_BUSY, Privacy.BASIC])
async def test_each_refusal_has_its_reason(graph, privacy, status, code, reason) -> None:
    graph.fake.fail = [GraphError(status, code, CANARY)]
    error = await refused(graph.open(privacy))
    assert error.reason is reason
    assert error.sentence.startswith("Calendar research/team ")


@pytest.mark.parametrize("status", [429, 503])
async def test_patience_that_graph_asks_for_is_passed_on(graph, status) -> None:
    graph.fake.fail = [GraphError(status, "ErrorServerBusy", headers={"Retry-After": "37"})]
    assert (await refused(graph.open())).retry_after == timedelta(seconds=37)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>c4n4ry</html>",
        b"[]",
        b'{"value": 3}',
        b'{"error": {}}',
        b'{"value": [',
        b"\xff",
    ],
)
@pytest.mark.parametrize("privacy", [Privacy.FREE_BUSY, Privacy.BASIC])
async def test_an_answer_that_is_no_list_is_no_empty_calendar(graph, body, privacy) -> None:
    graph.fake.body = body
    assert (await refused(graph.open(privacy))).reason is Reason.MALFORMED


@pytest.mark.parametrize("where", ["view", "refusal", "link", "token"])
async def test_bottomless_json_is_no_answer(graph, where) -> None:
    deep = "[" * 60_000
    graph.fake.body = {
        "view": f'{{"value": {deep}',
        "link": f'{{"value": [], "@odata.nextLink":"{deep}"}}',
    }.get(where, "").encode() or None
    if where == "token":
        graph.fake.entra.token_faults = [web.Response(text=deep)]
    if where == "refusal":
        graph.fake.refusal_body = deep.encode()
        graph.fake.always = GraphError(400, "")
    reason = {"refusal": Reason.BAD_REQUEST, "link": Reason.BLOCKED_TARGET}
    assert (await refused(graph.open())).reason is reason.get(where, Reason.MALFORMED)


async def test_the_last_good_snapshot_can_be_confirmed_after_a_fault(graph) -> None:
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    source = graph.open()
    state = (await look(source)).state
    graph.fake.fail = [GraphError(500, "InternalServerError")]
    await refused(source, state)
    assert (await look(source, state)).snapshot is None


async def test_graph_is_reached_only_where_the_policy_allows(graph) -> None:
    error = await refused(graph.open(policy=CALENDAR_POLICY))
    assert error.reason is Reason.BLOCKED_TARGET
    assert graph.fake.asked == []
    assert graph.fake.entra.asked == []


async def test_an_application_makes_four_requests_at_a_time(graph) -> None:
    sources = [graph.open() for _ in range(9)]
    for source in sources:
        await look(source)  # tokens are got beforehand
    graph.fake.most_at_once = 0
    graph.fake.hold = asyncio.Event()
    looks = [asyncio.create_task(look(source)) for source in sources]
    while graph.fake.most_at_once < 4:
        await asyncio.sleep(0)
    graph.fake.hold.set()
    await asyncio.gather(*looks)
    assert graph.fake.most_at_once == 4


@pytest.mark.parametrize("during", ["token", "view"])
async def test_a_source_that_is_closed_while_it_reads_fails_quietly(graph, during) -> None:
    source = graph.open()
    if during == "view":
        graph.fake.hold = asyncio.Event()
        arrived = lambda: graph.fake.asked  # noqa: E731
    else:
        graph.fake.entra.hold = asyncio.Event()
        arrived = lambda: graph.fake.entra.asked  # noqa: E731
    reading = asyncio.create_task(look(source))
    while not arrived():
        await asyncio.sleep(0)
    closing = asyncio.create_task(source.aclose())
    await asyncio.sleep(0)
    (graph.fake.hold or graph.fake.entra.hold).set()
    await closing
    with pytest.raises(CalendarError) as caught:
        await reading
    assert caught.value.reason is Reason.UNREACHABLE


async def test_an_event_made_two_minutes_before_its_start_is_seen_at_the_next_look(graph) -> None:
    source = graph.open()
    state = (await look(source)).state
    start = NOW + timedelta(minutes=2)
    graph.box.create(f"{start:%Y-%m-%dT%H:%M}", "2026-03-20T18:00", zone="UTC")
    (event,) = (await look(source, state)).snapshot.events
    assert event.span.start == at("2026-03-20T12:02")
