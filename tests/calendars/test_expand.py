"""iCalendar as events, through the real child."""

from __future__ import annotations

import pytest

from slackwater.calendars.expand import Expander, Expansion, Source
from slackwater.core.event import Busy, Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from tests.calendars.support import (
    CANARY,
    HORIZON,
    at,
    calendar,
    dark,
    readable,
    spans,
    starts,
    timezone,
    vevent,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

SKIPPED_ONE = (Warned(Reason.SERIES_SKIPPED, 1),)


@pytest.fixture
def expand(expander: Expander):
    async def run(*documents: bytes, **source: object) -> Expansion:
        settings = {"calendar_id": "c", "privacy": Privacy.BASIC, **source}
        return await expander.expand(documents, HORIZON, Source(**settings))

    return run


PLAIN = vevent("plain", "DTSTART:20260401T100000Z", "DTEND:20260401T110000Z", "SUMMARY:plain")
NIGHT = (
    "DTSTART;TZID=Europe/Paris:20260320T100000",
    "DTEND;TZID=Europe/Paris:20260320T110000",
)


# --- times ---


async def test_a_single_event_keeps_its_key_when_it_moves(expand) -> None:
    before = await expand(calendar(vevent("a", "DTSTART:20260401T100000Z", "DURATION:PT1H")))
    after = await expand(calendar(vevent("a", "DTSTART:20260402T120000Z", "DURATION:PT1H")))
    assert starts(after.events) == ["04-02T12:00"]
    assert before.events[0].key == after.events[0].key
    assert before.events[0].original_start == "2026-04-01T10:00:00+00:00"


async def test_a_series_follows_the_wall_clock_across_summer_time(expand) -> None:
    found = await expand(calendar(vevent("a", *NIGHT, "RRULE:FREQ=WEEKLY;COUNT=3")))
    assert starts(found.events) == ["03-20T09:00", "03-27T09:00", "04-03T08:00"]
    assert len({event.key for event in found.events}) == 3
    assert len({event.series for event in found.events}) == 1


async def test_an_end_is_a_wall_clock_time_also_on_the_short_night(expand) -> None:
    found = await expand(
        calendar(
            vevent(
                "a",
                "DTSTART;TZID=Europe/Berlin:20260327T220000",
                "DTEND;TZID=Europe/Berlin:20260328T060000",
                "RRULE:FREQ=DAILY;COUNT=3",
            )
        )
    )
    assert spans(found.events) == [
        "03-27T21:00/03-28T05:00",
        "03-28T21:00/03-29T04:00",
        "03-29T20:00/03-30T04:00",
    ]


async def test_a_duration_in_hours_is_exact_and_in_days_by_the_calendar(expand) -> None:
    start = "DTSTART;TZID=Europe/Berlin:20260328T220000"
    found = await expand(
        calendar(vevent("hours", start, "DURATION:PT8H"), vevent("day", start, "DURATION:P1D"))
    )
    assert sorted(spans(found.events)) == ["03-28T21:00/03-29T05:00", "03-28T21:00/03-29T20:00"]


async def test_an_instance_in_the_gap_is_left_out_and_one_written_there_is_read(expand) -> None:
    rule = vevent(
        "rule",
        "DTSTART;TZID=Europe/Paris:20260328T023000",
        "DTEND;TZID=Europe/Paris:20260328T033000",
        "RRULE:FREQ=DAILY;COUNT=3",
    )
    written = vevent(
        "written",
        "DTSTART;TZID=Europe/Paris:20260329T023000",
        "DTEND;TZID=Europe/Paris:20260329T033000",
    )
    found = await expand(calendar(rule, written))
    assert spans(found.events) == [
        "03-28T01:30/03-28T02:30",
        "03-29T01:30/03-29T02:30",  # written: by the offset before the gap, an hour long
        "03-30T00:30/03-30T01:30",
    ]


async def test_a_floating_series_leaves_the_gap_out_once_its_zone_is_known(expand) -> None:
    feed = calendar(
        vevent("a", "DTSTART:20260328T023000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=3")
    )
    assert starts((await expand(feed, zone="Europe/Paris")).events) == [
        "03-28T01:30",
        "03-30T00:30",
    ]


async def test_of_a_fold_the_first_time_is_meant(expander: Expander) -> None:
    feed = calendar(
        vevent(
            "a",
            "DTSTART;TZID=Europe/Paris:20261024T023000",
            "DTEND;TZID=Europe/Paris:20261024T024500",
            "RRULE:FREQ=DAILY;COUNT=3",
        )
    )
    horizon = Span(at("2026-10-20"), at("2026-10-30"))
    source = Source(calendar_id="c", privacy=Privacy.BASIC)
    found = await expander.expand([feed], horizon, source)
    assert spans(found.events) == [
        "10-24T00:30/10-24T00:45",
        "10-25T00:30/10-25T00:45",
        "10-26T01:30/10-26T01:45",
    ]


async def test_an_event_without_length_is_still_an_interval(expand) -> None:
    found = await expand(calendar(vevent("a", "DTSTART:20260401T100000Z")))
    assert (found.events[0].span.length).total_seconds() == 1


async def test_a_flight_may_end_at_an_earlier_time_of_another_zone(expand) -> None:
    found = await expand(
        calendar(
            vevent(
                "a",
                "DTSTART;TZID=Europe/Berlin:20260401T100000",
                "DTEND;TZID=Europe/London:20260401T094500",
            )
        )
    )
    assert spans(found.events) == ["04-01T08:00/04-01T08:45"]


async def test_windows_and_vendor_names_of_zones_are_known(expand) -> None:
    found = await expand(
        calendar(
            vevent("w", "DTSTART;TZID=W. Europe Standard Time:20260401T100000", "DURATION:PT1H"),
            vevent(
                "v",
                "DTSTART;TZID=/freeassociation.sourceforge.net/Europe/Berlin:20260401T120000",
                "DURATION:PT1H",
            ),
        )
    )
    assert starts(found.events) == ["04-01T08:00", "04-01T10:00"]
    assert found.warnings == ()


async def test_an_unknown_zone_is_refused_and_never_read_as_another(expand) -> None:
    found = await expand(
        calendar(
            PLAIN,
            vevent("start", "DTSTART;TZID=Mars/Olympus:20260401T100000", "DURATION:PT1H"),
            vevent(
                "exdate",
                *NIGHT,
                "RRULE:FREQ=DAILY;COUNT=3",
                "EXDATE;TZID=Mars/Olympus:20260321T100000",
            ),
        )
    )
    assert starts(found.events) == ["04-01T10:00"]
    assert found.warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 2),)


async def test_an_iana_name_goes_before_a_definition_that_contradicts_it(expand) -> None:
    feed = calendar(
        timezone("Europe/Berlin", "-0900"),
        vevent("a", "DTSTART;TZID=Europe/Berlin:20260401T100000", "DURATION:PT1H"),
    )
    assert starts((await expand(feed)).events) == ["04-01T08:00"]


async def test_two_documents_may_mean_different_zones_by_one_name(expand) -> None:
    tzid = "Customized Time Zone"
    event = vevent("a", f"DTSTART;TZID={tzid}:20260401T100000", "DURATION:PT1H")
    east, west = calendar(timezone(tzid, "+0530"), event), calendar(event, timezone(tzid, "-0300"))
    assert starts((await expand(east)).events) == ["04-01T04:30"]
    assert starts((await expand(west)).events) == ["04-01T13:00"]
    assert starts((await expand(east, west)).events) == ["04-01T04:30", "04-01T13:00"]
    assert (await expand(calendar(event))).warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 1),)


async def test_a_definition_that_would_take_for_ever_is_not_evaluated(expand) -> None:
    feed = calendar(
        timezone("Trap", "+0100", "RRULE:FREQ=SECONDLY"),
        vevent("a", "DTSTART;TZID=Trap:20260401T100000", "DURATION:PT1H"),
        PLAIN,
    )
    found = await expand(feed)
    assert starts(found.events) == ["04-01T10:00"]
    assert found.warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 1),)


@pytest.mark.parametrize(
    ("zone", "header", "fallback", "expected"),
    [
        ("Europe/Berlin", "X-WR-TIMEZONE:America/New_York", "Asia/Tokyo", "03-31T22:00"),
        (None, "X-WR-TIMEZONE:America/New_York", "Asia/Tokyo", "04-01T04:00"),
        (None, "X-OTHER:1", "Asia/Tokyo", "03-31T15:00"),
        (None, "X-WR-TIMEZONE:W. Europe Standard Time", None, "03-31T22:00"),
    ],
)
async def test_the_zone_of_an_all_day_event_is_the_nearest_that_is_given(
    expand, zone, header, fallback, expected
) -> None:
    feed = calendar(header, vevent("a", "DTSTART;VALUE=DATE:20260401"))
    found = await expand(feed, zone=zone, fallback_zone=fallback)
    (event,) = found.events
    assert starts(found.events) == [expected]
    assert event.all_day
    assert event.wall is None


async def test_times_without_any_zone_are_left_to_the_training_window(expand) -> None:
    found = await expand(
        calendar(
            vevent("day", "DTSTART;VALUE=DATE:20260401", "DTEND;VALUE=DATE:20260403"),
            vevent("float", "DTSTART:20260404T100000", "DURATION:PT1H"),
        )
    )
    assert [[f"{w:%m-%dT%H:%M}" for w in event.wall] for event in found.events] == [
        ["04-01T00:00", "04-03T00:00"],
        ["04-04T10:00", "04-04T11:00"],
    ]


async def test_a_feed_in_an_unknown_zone_leaves_its_days_to_the_training_window(expand) -> None:
    found = await expand(
        calendar("X-WR-TIMEZONE:Mars/Olympus", vevent("a", "DTSTART;VALUE=DATE:20260401"), PLAIN)
    )
    assert [event.wall is None for event in found.events] == [False, True]
    assert found.warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 1),)


async def test_a_day_at_the_edge_of_the_horizon_is_found_in_its_own_zone(expand) -> None:
    # 15 March in Paris ends at 23:00Z on the 15th; the 14th ended an hour before the horizon.
    feed = calendar(
        vevent("a", "DTSTART;VALUE=DATE:20260314"),
        vevent("b", "DTSTART;VALUE=DATE:20260420"),
    )
    assert starts((await expand(feed, zone="Europe/Paris")).events) == ["04-19T22:00"]
    assert starts((await expand(feed, zone="America/New_York")).events) == ["03-14T04:00"]


async def test_an_event_that_began_long_before_the_horizon_and_lasts_is_found(expand) -> None:
    feed = calendar(
        vevent("a", "DTSTART:20251201T000000Z", "DTEND:20260601T000000Z"),
        vevent("b", "DTSTART:20251201T000000Z", "DURATION:P26W"),
        vevent("c", "DTSTART:20260301T000000Z", "DTEND:20260303T000000Z"),
        vevent("d", "DTSTART:20250316T000000Z", "DURATION:P2W", "RRULE:FREQ=YEARLY"),
    )
    assert spans((await expand(feed)).events) == [
        "12-01T00:00/06-01T00:00",
        "12-01T00:00/06-01T00:00",
        "03-16T00:00/03-30T00:00",
    ]


# --- series ---


async def test_a_moved_instance_keeps_its_key_however_its_original_start_is_written(expand) -> None:
    rule = vevent("a", *NIGHT, "RRULE:FREQ=DAILY;COUNT=4")
    plain = (await expand(calendar(rule))).events
    for written in (";TZID=Europe/Paris:20260321T100000", ":20260321T090000Z"):
        moved = vevent(
            "a",
            "DTSTART;TZID=Europe/Paris:20260321T150000",
            "DTEND;TZID=Europe/Paris:20260321T160000",
            f"RECURRENCE-ID{written}",
        )
        found = (await expand(calendar(rule, moved))).events
        assert [e.key for e in found] == [e.key for e in plain]
        assert starts(found)[1] == "03-21T14:00"
        assert found[1].original_start == "2026-03-21T10:00:00+01:00"


async def test_an_instance_moved_into_or_out_of_the_horizon_is_seen_there(expand) -> None:
    rule = vevent("a", *NIGHT, "RRULE:FREQ=DAILY;COUNT=2")
    away = vevent("a", "DTSTART:20270101T090000Z", "RECURRENCE-ID:20260321T090000Z")
    old = vevent("b", "DTSTART:20250101T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2")
    here = vevent("b", "DTSTART:20260401T090000Z", "RECURRENCE-ID:20250102T090000Z")
    found = await expand(calendar(rule, away, old, here))
    assert starts(found.events) == ["03-20T09:00", "04-01T09:00"]


async def test_an_instance_whose_series_is_not_ours_to_see_stands_alone(expand) -> None:
    orphan = vevent(
        "a", "DTSTART:20260401T090000Z", "DURATION:PT1H", "RECURRENCE-ID:20260401T080000Z"
    )
    (event,) = (await expand(calendar(orphan))).events
    assert event.original_start == "2026-04-01T08:00:00+00:00"


async def test_this_and_future_moves_what_follows_and_keeps_the_keys(expand) -> None:
    rule = vevent("a", *NIGHT, "RRULE:FREQ=DAILY;COUNT=4")
    onward = vevent(
        "a",
        "DTSTART;TZID=Europe/Paris:20260322T120000",
        "DTEND;TZID=Europe/Paris:20260322T140000",
        "RECURRENCE-ID;RANGE=THISANDFUTURE:20260322T090000Z",
    )
    before, after = await expand(calendar(rule)), await expand(calendar(rule, onward))
    assert spans(after.events) == [
        "03-20T09:00/03-20T10:00",
        "03-21T09:00/03-21T10:00",
        "03-22T11:00/03-22T13:00",
        "03-23T11:00/03-23T13:00",
    ]
    assert [e.key for e in before.events] == [e.key for e in after.events]


@pytest.mark.parametrize("onward", ["", ";RANGE=THISANDFUTURE"])
async def test_cancelled_instances_are_left_out(expand, onward) -> None:
    rule = vevent("a", *NIGHT, "RRULE:FREQ=DAILY;COUNT=4")
    cancelled = vevent("a", *NIGHT, f"RECURRENCE-ID{onward}:20260322T090000Z", "STATUS:CANCELLED")
    cancelled = cancelled.replace("20260320", "20260322")
    left = ["03-20T09:00", "03-21T09:00"] + ([] if onward else ["03-23T09:00"])
    assert starts((await expand(calendar(rule, cancelled))).events) == left


@pytest.mark.parametrize(
    "exdate",
    [
        "EXDATE;TZID=Europe/Paris:20260321T100000",
        "EXDATE:20260321T090000Z",
        "EXDATE;VALUE=DATE:20260321",
    ],
)
async def test_an_excluded_date_is_left_out_however_it_is_written(expand, exdate) -> None:
    found = await expand(calendar(vevent("a", *NIGHT, "RRULE:FREQ=DAILY;COUNT=3", exdate)))
    assert starts(found.events) == ["03-20T09:00", "03-22T09:00"]


async def test_added_dates_and_periods_are_instances_of_the_series(expand) -> None:
    found = await expand(
        calendar(
            vevent(
                "a",
                *NIGHT,
                "RDATE;TZID=Europe/Paris:20260325T100000",
                "RDATE;VALUE=PERIOD:20260327T100000Z/PT3H",
            )
        )
    )
    assert spans(found.events) == [
        "03-20T09:00/03-20T10:00",
        "03-25T09:00/03-25T10:00",
        "03-27T10:00/03-27T13:00",
    ]
    assert len({e.series for e in found.events}) == 1


async def test_a_period_lasts_as_long_as_it_says_also_in_a_series_with_a_duration(expand) -> None:
    """RFC 7265 appendix B.2.2: an RDATE of two hours in a series of one hour."""
    lines = (
        "DTSTART;TZID=US/Eastern:20260402T120000",
        "DURATION:PT1H",
        "RRULE:FREQ=DAILY;COUNT=2",
        "RDATE;TZID=US/Eastern;VALUE=PERIOD:20260402T150000/PT2H",
    )
    assert spans((await expand(calendar(vevent("a", *lines)))).events) == [
        "04-02T16:00/04-02T17:00",
        "04-02T19:00/04-02T21:00",
        "04-03T16:00/04-03T17:00",
    ]


@pytest.mark.parametrize("line", ["RRULE:", "RDATE:", "EXDATE:", "RRULE: "])
async def test_an_empty_rule_is_none_as_publishers_of_holidays_write_it(expand, line) -> None:
    found = await expand(calendar(vevent("a", "DTSTART:20260401", "DTEND:20260401", line)))
    assert spans(found.events) == ["04-01T00:00/04-02T00:00"]
    assert found.events[0].all_day
    assert found.warnings == ()


async def test_the_newest_version_of_an_event_counts(expand) -> None:
    old = vevent("a", "DTSTART:20260401T100000Z", "SEQUENCE:1")
    new = vevent("a", "DTSTART:20260402T100000Z", "SEQUENCE:2")
    for feed in (calendar(old, new), calendar(new, old)):
        assert starts((await expand(feed)).events) == ["04-02T10:00"]


async def test_unrelated_events_of_one_uid_are_all_kept(expand) -> None:
    found = await expand(
        calendar(
            *(vevent("same", f"DTSTART:2026040{n}T100000Z", f"SUMMARY:{n}") for n in (1, 2, 3)),
            "BEGIN:VEVENT\r\nDTSTART:20260404T100000Z\r\nEND:VEVENT\r\n",
            "BEGIN:VEVENT\r\nDTSTART:20260405T100000Z\r\nEND:VEVENT\r\n",
        )
    )
    assert len(starts(found.events)) == 5
    assert len({event.key for event in found.events}) == 5


async def test_keys_differ_between_calendars_and_not_between_reads(expand) -> None:
    feed = calendar(PLAIN)
    one, again = await expand(feed), await expand(feed)
    other = await expand(feed, calendar_id="d")
    assert one == again
    assert one.events[0].key != other.events[0].key
    assert one.events[0].series == other.events[0].series, "a UID means one event everywhere"
    local = await expand(feed, uids="d")
    assert one.events[0].series != local.events[0].series


# --- what events say ---


@pytest.mark.parametrize(
    ("lines", "busy"),
    [
        ((), Busy.BUSY),
        (("TRANSP:OPAQUE",), Busy.BUSY),
        (("TRANSP:TRANSPARENT",), Busy.FREE),
        (("STATUS:TENTATIVE",), Busy.TENTATIVE),
        (("STATUS:CONFIRMED",), Busy.BUSY),
        (("X-MICROSOFT-CDO-BUSYSTATUS:OOF",), Busy.OUT_OF_OFFICE),
        (("X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE",), Busy.WORKING_ELSEWHERE),
        (("X-MICROSOFT-CDO-BUSYSTATUS:FREE", "TRANSP:OPAQUE"), Busy.FREE),
        (("X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE",), Busy.TENTATIVE),
        (("X-MICROSOFT-CDO-BUSYSTATUS:NONSENSE", "TRANSP:TRANSPARENT"), Busy.FREE),
    ],
)
async def test_how_an_event_blocks(expand, lines, busy) -> None:
    (event,) = (await expand(calendar(vevent("a", "DTSTART:20260401T100000Z", *lines)))).events
    assert event.busy is busy


SAID = (
    "DTSTART:20260401T100000Z",
    f"SUMMARY:{CANARY}\\, title",
    f"DESCRIPTION:{CANARY}\\ngpus=8",
    f"CATEGORIES:{CANARY}\\,1,training",
    "CATEGORIES:second",
    f"ORGANIZER;CN=Boss:MAILTO:{CANARY}@Example.com",
)


async def test_each_privacy_level_gives_its_fields_and_no_others(expand) -> None:
    feed = calendar(vevent("a", *SAID))
    (details,) = (await expand(feed, privacy=Privacy.DETAILS)).events
    (basic,) = (await expand(feed, privacy=Privacy.BASIC)).events
    (free_busy,) = (await expand(feed, privacy=Privacy.FREE_BUSY)).events
    assert details.summary == basic.summary == f"{CANARY}, title"
    assert details.categories == basic.categories == (f"{CANARY},1", "training", "second")
    assert details.organizer == basic.organizer == f"{CANARY}@example.com"
    assert details.description == f"{CANARY}\ngpus=8"
    assert basic.description is None
    readable = ("summary", "description", "categories", "organizer")
    assert all(getattr(free_busy, name) is None for name in readable)
    assert CANARY not in repr((details, basic, free_busy))


@pytest.mark.parametrize("kind", ["PRIVATE", "CONFIDENTIAL", "private"])
async def test_a_private_event_blocks_and_says_nothing(expand, kind) -> None:
    feed = calendar(vevent("a", *SAID, f"CLASS:{kind}"))
    (event,) = (await expand(feed, privacy=Privacy.DETAILS)).events
    assert (event.summary, event.description, event.categories, event.organizer) == (None,) * 4
    assert event.busy is Busy.BUSY


async def test_what_is_not_said_is_empty_not_unknown(expand) -> None:
    feed = calendar(vevent("a", "DTSTART:20260401T100000Z"))
    (event,) = (await expand(feed, privacy=Privacy.DETAILS)).events
    assert (event.summary, event.description, event.categories, event.organizer) == (
        "",
        "",
        (),
        None,
    )


async def test_a_description_too_long_to_be_read_whole_is_not_read_at_all(expand) -> None:
    feed = calendar(vevent("a", "DTSTART:20260401T100000Z", f"DESCRIPTION:{'x' * 70_000}"))
    (event,) = (await expand(feed, privacy=Privacy.DETAILS)).events
    assert event.description is None


OWNERS = frozenset({"team@example.com"})


@pytest.mark.parametrize(
    ("lines", "own"),
    [
        ((), True),
        (("ORGANIZER:mailto:Team@Example.com",), True),
        (("ORGANIZER:mailto:other@example.com",), False),
        (("ORGANIZER:mailto:other@example.com", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:team@example.com"), True),
        (("ORGANIZER:mailto:other@example.com", "ATTENDEE;PARTSTAT=TENTATIVE:mailto:team@example.com"), False),
        (("ORGANIZER:mailto:other@example.com", "ATTENDEE:mailto:team@example.com"), False),
        (("ORGANIZER:mailto:other@example.com", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:not-team@example.com"), False),
        (("ORGANIZER:mailto:other@example.com", "ATTENDEE;EMAIL=team@example.com;PARTSTAT=ACCEPTED:/principals/7/"), True),
    ],
)  # fmt: skip
async def test_whose_an_event_is(expand, lines, own) -> None:
    feed = calendar(vevent("a", "DTSTART:20260401T100000Z", *lines))
    (event,) = (await expand(feed, owners=OWNERS)).events
    assert event.own is own
    (event,) = (await expand(feed)).events
    assert event.own  # a feed's events are all its own


async def test_what_the_owner_declined_is_left_out(expand) -> None:
    declined = vevent(
        "a",
        "DTSTART:20260401T100000Z",
        "ORGANIZER:mailto:other@example.com",
        "ATTENDEE;PARTSTAT=DECLINED:mailto:TEAM@example.com",
    )
    others = vevent(
        "b",
        "DTSTART:20260402T100000Z",
        "ORGANIZER:mailto:other@example.com",
        "ATTENDEE;PARTSTAT=DECLINED:mailto:somebody@example.com",
    )
    found = await expand(calendar(declined, others), owners=OWNERS)
    assert starts(found.events) == ["04-02T10:00"]


# --- what is refused ---


def many(count: int) -> str:
    return ",".join(
        f"2026{n // 28 % 12 + 1:02d}{n % 28 + 1:02d}T{n % 24:02d}0000Z" for n in range(count)
    )


@pytest.mark.parametrize(
    "lines",
    [
        ("RRULE:FREQ=SECONDLY",),
        ("RRULE:FREQ=MINUTELY;INTERVAL=30",),
        ("RRULE:FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",),
        ("RRULE:FREQ=DAILY;INTERVAL=0",),
        ("RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",),
        ("RRULE:FREQ=HOURLY;BYMINUTE=0,1,2,3,4,5,6,7,8,9,10,11",),
        ("RRULE:FREQ=FORTNIGHTLY",),
        ("RRULE:FREQ=DAILY;COUNT=x",),
        ("RRULE:COUNT=3",),
        ("RRULE:FREQ=DAILY", "EXDATE:20260322T1000"),
        ("RRULE:FREQ=DAILY", "EXRULE:FREQ=WEEKLY"),
        (f"RDATE:{many(5001)}",),
        ("RRULE:FREQ=DAILY", f"EXDATE:{many(5001)}"),
        ("DTEND:20260301T000000Z",),
        ("DTEND:20260320T095900Z",),
        ("DTSTART:20260321T100000Z",),
        ("RECURRENCE-ID:nonsense",),
    ],
    ids=lambda lines: lines[-1][:40],
)  # fmt: skip
async def test_one_poisonous_series_is_skipped_and_the_rest_stands(expand, lines) -> None:
    found = await expand(calendar(vevent("bad", "DTSTART:20260320T100000Z", *lines), PLAIN))
    assert [event.summary for event in readable(found.events)] == ["plain"]
    assert found.warnings == SKIPPED_ONE
    # What cannot be read is not free: it stands over all the time that it may take.
    (bad,) = [event for event in found.events if event.unread]
    assert (bad.key, bad.summary, bad.busy, bad.own) == ("", "", Busy.BUSY, True)


@pytest.mark.parametrize(
    ("start", "rule", "instances"),
    [
        ("16010101T000000Z", "FREQ=DAILY", None),
        ("19800101T000000Z", "FREQ=DAILY", 36),
        ("20180101T000000Z", "FREQ=HOURLY", None),
        ("20240101T000000Z", "FREQ=HOURLY", 36 * 24),
        ("16010101T000000Z", "FREQ=WEEKLY", 5),
        ("20200101T000000Z", "FREQ=YEARLY;BYDAY=MO;BYHOUR=8,9;BYMINUTE=0,15,30,45", 40),
        (
            "20200101T000000Z",
            "FREQ=YEARLY;BYDAY=MO;BYHOUR=8,9;BYMINUTE=0,15,30;BYSECOND=0,9,18,36",
            None,
        ),
    ],
)
async def test_a_series_is_refused_when_it_takes_too_many_steps_to_get_here(
    expand, start, rule, instances
) -> None:
    found = await expand(calendar(vevent("a", f"DTSTART:{start}", f"RRULE:{rule}")))
    assert (len(readable(found.events)) or None) == instances
    assert dark(found.events) == (["03-15T00:00/04-20T00:00"] if instances is None else [])
    assert found.warnings == (SKIPPED_ONE if instances is None else ())


async def test_what_is_broken_beside_the_point_breaks_nothing(expand) -> None:
    alarm = "BEGIN:VALARM\r\nTRIGGER:nonsense\r\nACTION:DISPLAY\r\nEND:VALARM"
    feed = calendar(
        vevent("a", "DTSTART:20260401T100000Z", alarm, "X-ODD", "CREATED:yesterday", "GEO:here"),
        "BEGIN:VTODO\r\nDUE:nonsense\r\nEND:VTODO\r\n",
        timezone("Unused", "nonsense"),
    )
    found = await expand(feed)
    assert starts(found.events) == ["04-01T10:00"]
    assert found.warnings == ()


async def test_series_that_cannot_touch_the_horizon_cost_nothing(expand) -> None:
    past = "".join(
        vevent(f"p{n}", "DTSTART:20200101T100000Z", "RRULE:FREQ=DAILY;UNTIL=20200601T000000Z")
        for n in range(3_000)
    )
    found = await expand(calendar(past, PLAIN))
    assert starts(found.events) == ["04-01T10:00"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    "body",
    [
        calendar(PLAIN)[:-40],
        calendar(PLAIN).replace(b"END:VEVENT", b"END:VTODO"),
        b"END:VCALENDAR\r\n",
    ],
)
async def test_a_mangled_document_is_malformed_unless_it_is_one_of_many(expand, body) -> None:
    with pytest.raises(CalendarError) as caught:
        await expand(body)
    assert caught.value.reason is Reason.MALFORMED
    found = await expand(body, calendar(PLAIN), tolerant=True)
    assert starts(found.events) == ["04-01T10:00"]
    assert dark(found.events) == ["03-15T00:00/04-20T00:00"]
    assert found.warnings == SKIPPED_ONE


# --- what cannot be expanded ---


SECONDLY = "RRULE:FREQ=SECONDLY"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("DTSTART:20260405T100000Z", SECONDLY), ["04-04T00:00/04-20T00:00"]),
        (("DTSTART:20260405T100000Z", "EXRULE:FREQ=DAILY"), ["04-04T00:00/04-08T00:00"]),
        (("DTSTART:20260405T100000Z", "DTEND:20260403T100000Z"), ["04-02T00:00/04-07T00:00"]),
        (("DTSTART;TZID=Mars/Olympus:20260405T100000",), ["04-04T00:00/04-08T00:00"]),
        (("DTSTART:20260405T100000Z", SECONDLY, "RDATE:20260401T100000Z"),
         ["03-15T00:00/04-20T00:00"]),
        (("DTSTART:soon",), ["03-15T00:00/04-20T00:00"]),
        (("DTSTART:20260405T100000Z", SECONDLY, "STATUS:CANCELLED"), []),
        (("DTSTART:20270405T100000Z", SECONDLY), []),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, tuple) else "",
)  # fmt: skip
async def test_an_event_that_cannot_be_expanded_takes_all_the_time_that_it_may(
    expand, lines, expected
) -> None:
    found = await expand(calendar(vevent("bad", *lines), PLAIN))
    assert dark(found.events) == expected
    assert starts(found.events) == ["04-01T10:00"]


async def test_what_else_is_known_of_it_is_for_the_entries_to_judge_by(expand) -> None:
    lines = ("DTSTART:20260405T100000Z", SECONDLY, "TRANSP:TRANSPARENT", "CATEGORIES:a,b")
    feed = calendar(
        vevent("bad", *lines, "SUMMARY:maintenance", "ORGANIZER:mailto:eve@example.com")
    )
    (event,) = (await expand(feed, owners=frozenset({"team@example.com"}))).events
    assert (event.summary, event.categories, event.busy) == ("maintenance", ("a", "b"), Busy.FREE)
    assert (event.own, event.organizer) == (False, "eve@example.com")
    (event,) = (await expand(feed, privacy=Privacy.FREE_BUSY)).events
    assert (event.summary, event.categories, event.organizer) == (None, None, None)
    private = feed.replace(b"SUMMARY", b"CLASS:PRIVATE\r\nSUMMARY")
    (event,) = (await expand(private)).events
    assert (event.unread, event.summary) == (True, None)


async def test_a_changed_instance_of_a_series_left_out_keeps_its_own_day(expand) -> None:
    rule = vevent("bad", "DTSTART:20260410T100000Z", SECONDLY)
    moved = vevent("bad", "DTSTART:20260402T100000Z", "RECURRENCE-ID:20260411T100000Z")
    found = await expand(calendar(rule, moved))
    assert dark(found.events) == ["04-01T00:00/04-05T00:00", "04-09T00:00/04-20T00:00"]


async def test_odd_line_ends_folds_and_encodings_are_read(expand) -> None:
    text = calendar(vevent("a", "DTSTART:20260401T100000Z", "SUMMARY:Grüße und mehr")).decode()
    folded = (
        text.encode()
        .replace(b"Gr\xc3\xbc", b"Gr\xc3\r\n \xbc")
        .replace(b"DTSTART", b"DT\r\n\tSTART")
    )
    for body in (
        text.replace("\r\n", "\n").encode(),
        text.replace("\r\n", "\r").encode(),
        b"\xef\xbb\xbf" + text.encode(),
        folded,
        text.replace("DTSTART", "dtstart").replace("BEGIN:V", "begin:v").encode(),
    ):
        (event,) = (await expand(body)).events
        assert event.summary == "Grüße und mehr"
    (event,) = (await expand(text.encode("latin-1"))).events
    assert event.summary.startswith("Gr")
