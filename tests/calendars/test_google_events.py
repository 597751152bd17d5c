"""What one item of Google's becomes: times, how it blocks, whose it is, what may be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.calendars.google_events import MAX_DESCRIPTION, Reader, busy_times, events_of
from slackwater.core.event import Busy, Event, Warned
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import zone
from tests.calendars.google_support import Json, times
from tests.calendars.support import CANARY, HORIZON, dark, readable, spans

BERLIN = zone("Europe/Berlin")
READER = Reader("google:team@example.com", Privacy.BASIC, BERLIN, HORIZON)
DETAILS = Reader("google:team@example.com", Privacy.DETAILS, BERLIN, HORIZON)


def item(identifier: str = "a", **more: Any) -> Json:
    return {
        "id": identifier,
        "status": "confirmed",
        "summary": f"train {CANARY}",
        **times("04-01T10:00", "04-01T12:00"),
        **more,
    }


def one(body: Json, reader: Reader = READER) -> Event:
    found = events_of([body], reader)
    assert found.warnings == ()
    (event,) = found.events
    return event


def none(body: Json) -> bool:
    found = events_of([body], READER)
    return found.events == () and found.warnings == ()


# --- times -------------------------------------------------------------------------------------


def test_a_time_means_its_offset() -> None:
    shifted = item(
        start={"dateTime": "2026-04-01T10:00:00+05:30", "timeZone": "Europe/Berlin"},
        end={"dateTime": "2026-04-01T01:00:00-05:00"},
    )
    assert spans((one(shifted),)) == ["04-01T04:30/04-01T06:00"]


def test_a_time_without_an_offset_is_in_its_zone() -> None:
    assert spans((one(item(**times("04-01T10:00", "04-01T12:00", "Asia/Tokyo"))),)) == [
        "04-01T01:00/04-01T03:00"
    ]


def test_days_are_those_of_the_calendars_zone() -> None:
    event = one(item(**times("03-28", "03-30")))
    assert event.all_day
    assert event.wall is None
    # From midnight to midnight, one of these days is 23 hours long.
    assert spans((event,)) == ["03-27T23:00/03-29T22:00"]
    assert event.original_start == "2026-03-28"


def test_days_of_a_calendar_without_a_zone_are_for_the_window_to_place() -> None:
    event = one(item(**times("03-28", "03-30")), Reader("c", Privacy.BASIC, None, HORIZON))
    assert event.wall == (datetime(2026, 3, 28), datetime(2026, 3, 30))
    assert spans((event,)) == ["03-28T00:00/03-30T00:00"]


def test_what_has_no_length_still_takes_an_instant() -> None:
    instant = one(item(**times("04-01T10:00", "04-01T10:00")))
    assert instant.span.length == timedelta(seconds=1)
    assert one(item(**times("04-01", "04-01"))).span.length == timedelta(days=1)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.timedeltas(timedelta(), timedelta(days=3)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_an_instant_is_the_same_in_whatever_zone_it_is_shown(start, length, where) -> None:
    at = start.replace(tzinfo=UTC, microsecond=0)
    end = at + max(length, timedelta(seconds=1))
    shown = {
        "start": {"dateTime": at.astimezone(zone(where)).isoformat()},
        "end": {"dateTime": end.astimezone(zone(where)).isoformat()},
    }
    plain = {"start": {"dateTime": at.isoformat()}, "end": {"dateTime": end.isoformat()}}
    series = {"recurringEventId": "s"}
    first = one(item(**shown, **series, originalStartTime=shown["start"]))
    second = one(item(**plain, **series, originalStartTime=plain["start"]))
    assert first == second


# --- identity ----------------------------------------------------------------------------------


def test_a_single_event_keeps_its_key_when_it_is_moved() -> None:
    moved = item(**times("04-05T10:00", "04-05T12:00"))
    assert one(item()).key == one(moved).key
    assert one(item()).key != one(item("b")).key


def test_an_instance_is_its_series_and_its_original_start() -> None:
    original = {"dateTime": "2026-04-01T12:00:00+02:00", "timeZone": "Europe/Berlin"}
    instance = item("s_1", recurringEventId="s", originalStartTime=original)
    moved = {**instance, **times("04-05T10:00", "04-05T12:00")}
    following = {**instance, "originalStartTime": {"dateTime": "2026-04-02T12:00:00+02:00"}}

    assert one(instance).key == one(moved).key != one(following).key
    assert one(instance).series == one(following).series
    assert one(moved).original_start == "2026-04-01T10:00:00+00:00"


def test_the_parts_of_a_split_series_are_one_series_of_different_events() -> None:
    original = {"dateTime": "2026-04-01T12:00:00+02:00"}
    before = one(item("s_1", recurringEventId="s", originalStartTime=original))
    for suffix in ("_R20260401T100000", "_R20260401T100000Z", "_R20260401"):
        after = one(item("x", recurringEventId=f"s{suffix}", originalStartTime=original))
        assert before.series == after.series
        assert before.key != after.key
    assert one(item("x", recurringEventId="s_R1", originalStartTime=original)).series != (
        before.series
    )


def test_calendars_keep_their_events_apart() -> None:
    assert one(item()).key != one(item(), Reader("google:else", Privacy.BASIC, BERLIN, HORIZON)).key


def test_of_an_event_that_two_pages_give_the_last_counts() -> None:
    found = events_of([item(), item(**times("04-05T10:00", "04-05T12:00"))], READER)
    assert spans(found.events) == ["04-05T10:00/04-05T12:00"]


# --- how it blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "busy"),
    [
        ({}, Busy.BUSY),
        ({"transparency": "opaque"}, Busy.BUSY),
        ({"transparency": "transparent"}, Busy.FREE),
        ({"status": "tentative"}, Busy.TENTATIVE),
        ({"eventType": "default"}, Busy.BUSY),
        ({"eventType": "focusTime"}, Busy.BUSY),
        ({"eventType": "fromGmail", "transparency": "transparent"}, Busy.FREE),
        ({"eventType": "outOfOffice"}, Busy.OUT_OF_OFFICE),
        ({"eventType": "somethingNew"}, Busy.BUSY),
    ],
)
def test_each_way_to_block(more, busy) -> None:
    assert one(item(**more)).busy is busy


@pytest.mark.parametrize(
    "more",
    [
        {"status": "cancelled"},
        {"eventType": "workingLocation"},
        {"eventType": "birthday"},
        {"attendees": [{"self": True, "responseStatus": "declined"}]},
    ],
)
def test_what_takes_no_time_is_left_out(more) -> None:
    assert none(item(**more))


def test_a_cancelled_instance_may_consist_of_its_identity_alone() -> None:
    original = {"dateTime": "2026-04-01T12:00:00+02:00"}
    bare = {"id": "s_1", "recurringEventId": "s", "originalStartTime": original}
    assert none({**bare, "status": "cancelled"})
    assert none({"id": "s_1", "status": "cancelled"})


def test_anothers_refusal_is_not_the_calendars() -> None:
    body = item(attendees=[{"responseStatus": "declined"}])
    assert one(body).busy is Busy.BUSY


# --- whose it is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "own"),
    [
        ({}, True),
        ({"organizer": {"email": "Team@Example.com", "self": True}}, True),
        ({"organizer": {"email": "eve@example.net"}}, False),
        ({"organizer": {"email": "eve@example.net", "self": False}}, False),
        ({"organizer": {"displayName": "team@example.com"}}, False),
    ],
)
def test_only_the_calendars_own_events_have_authority(more, own) -> None:
    assert one(item(**more)).own is own


@pytest.mark.parametrize(
    ("answer", "own"),
    [("accepted", True), ("tentative", False), ("needsAction", False), (None, False)],
)
def test_an_invitation_counts_once_it_is_accepted(answer, own) -> None:
    me = {"self": True} | ({} if answer is None else {"responseStatus": answer})
    body = item(organizer={"email": "Eve@Example.net"}, attendees=[{"self": False}, me])
    event = one(body)
    assert event.own is own
    assert event.organizer == "eve@example.net"


def test_anothers_acceptance_gives_no_authority() -> None:
    body = item(organizer={"email": "eve@example.net"}, attendees=[{"responseStatus": "accepted"}])
    assert one(body).own is False


# --- what may be read --------------------------------------------------------------------------


@pytest.mark.parametrize("visibility", ["private", "confidential"])
def test_a_private_event_keeps_its_time_and_shows_nothing(visibility) -> None:
    body = item(visibility=visibility, organizer={"email": "eve@example.net"}, description=CANARY)
    event = one(body, DETAILS)
    assert event.busy is Busy.BUSY
    assert (event.summary, event.description, event.organizer) == (None, None, None)


@pytest.mark.parametrize("visibility", ["default", "public"])
def test_an_event_without_a_title_is_one_with_an_empty_title(visibility) -> None:
    body = item(visibility=visibility)
    del body["summary"]
    assert one(body).summary == ""
    assert one(body, DETAILS).description == ""


def test_half_a_description_is_none() -> None:
    assert one(item(description="x" * MAX_DESCRIPTION), DETAILS).description is not None
    assert one(item(description="x" * (MAX_DESCRIPTION + 1)), DETAILS).description is None
    assert one(item(description=CANARY)).description is None


# --- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"start": {}},
        {"start": None},
        {"start": {"dateTime": "soon"}},
        {"start": {"dateTime": 3}},
        {"end": {"date": "2026-04-02"}},
        {"start": {"date": "2026-04-05"}, "end": {"date": "2026-04-01"}},
        times("04-01T12:00", "04-01T10:00"),
        {"attendees": [None]},
        {"organizer": "eve"},
        {"recurringEventId": "s", "originalStartTime": {"dateTime": "x"}},
    ],
)
def test_one_broken_item_is_counted_and_the_rest_stands(broken) -> None:
    found = events_of([item("a", **broken), item("b")], READER)
    assert len(readable(found.events)) == len(dark(found.events)) == 1
    assert found.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)
    assert CANARY not in repr(found)


def test_a_zone_that_nobody_knows_is_told() -> None:
    lost = {"dateTime": "2026-04-01T10:00:00", "timeZone": "Mars/Olympus"}
    found = events_of([item("a", start=lost), item("b")], READER)
    assert len(readable(found.events)) == len(dark(found.events)) == 1
    assert found.warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 1),)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("2026-04-01"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
NAMES = ["id", "status", "start", "end", "attendees", "organizer", "visibility", "eventType"]
NAMES += ["recurringEventId", "originalStartTime", "summary", "transparency"]


@given(st.sampled_from(NAMES), json)
def test_no_item_can_break_the_reading_of_a_calendar(name, value) -> None:
    found = events_of([{**item("a"), name: value}, item("b")], READER)
    assert one(item("b")).key in {event.key for event in found.events}


def test_busy_times_are_sorted_and_never_empty() -> None:
    found = busy_times(
        [
            {"start": "2026-04-02T10:00:00+02:00", "end": "2026-04-02T11:00:00+02:00"},
            {"start": "2026-04-01T10:00:00Z", "end": "2026-04-01T10:00:00Z"},
        ]
    )
    assert [event.span.start.hour for event in found.events] == [10, 8]
    assert found.events[0].span.length == timedelta(seconds=1)
    with pytest.raises(ValueError):
        busy_times([{"start": "2026-04-01T10:00:00", "end": "2026-04-01T11:00:00Z"}])
