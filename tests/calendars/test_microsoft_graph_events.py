"""Reading what Graph answers: pure, one odd thing at a time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from slackwater.calendars import microsoft_graph_events, windows_zones
from slackwater.calendars.microsoft_graph_events import (
    SELECTED,
    Reading,
    ScheduleFailed,
    busy_times,
    events_of,
)
from slackwater.core.event import Busy, Warned
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import names
from tests.calendars.support import HORIZON, dark, readable, spans

STEP = timedelta(minutes=15)


def reading(privacy: Privacy = Privacy.DETAILS, zone: str | None = None) -> Reading:
    return Reading(
        calendar_id="g", mailbox="team@x.example", privacy=privacy, zone=zone, horizon=HORIZON
    )


def item(**over: Any) -> dict[str, Any]:
    found = {
        "id": "i1",
        "type": "singleInstance",
        "start": {"dateTime": "2026-04-01T10:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-04-01T11:00:00.0000000", "timeZone": "UTC"},
        "showAs": "busy",
        "subject": "train: llm",
        **over,
    }
    return {key: value for key, value in found.items() if value is not ...}


def page(*items: Any) -> bytes:
    return json.dumps({"value": items}).encode()


def read(*items: Any, privacy: Privacy = Privacy.DETAILS, zone: str | None = None) -> Any:
    return events_of([page(*items)], reading(privacy, zone))


def one(**over: Any) -> Any:
    expansion = read(item(**over))
    assert expansion.warnings == ()
    (event,) = expansion.events
    return event


def moment(text: str, zone: str = "UTC") -> dict[str, str]:
    return {"dateTime": text, "timeZone": zone}


# --- identity ---


def test_an_instance_is_its_series_and_its_original_start_wherever_it_was_moved() -> None:
    at_home = one(type="occurrence", seriesMasterId="m", originalStart="2026-04-01T10:00:00Z")
    moved = one(
        id="another",
        type="exception",
        seriesMasterId="m",
        originalStart="2026-04-01T12:00:00.0000000+02:00",
        start=moment("2026-04-03T08:00:00.0000000"),
        end=moment("2026-04-03T09:00:00.0000000"),
    )
    assert moved.key == at_home.key
    assert moved.series == at_home.series
    assert moved.original_start == at_home.original_start == "2026-04-01T10:00:00Z"
    other = one(type="occurrence", seriesMasterId="m", originalStart="2026-04-02T10:00:00Z")
    assert other.key != moved.key
    assert other.series == moved.series


def test_an_instance_without_its_original_start_begins_where_it_was_meant_to() -> None:
    written = one(type="occurrence", seriesMasterId="m", originalStart="2026-04-01T10:00:00Z")
    assert one(type="occurrence", seriesMasterId="m").key == written.key
    exception = one(id="x", type="exception", seriesMasterId="m")
    assert exception.key != written.key
    later = moment("2026-04-01T10:30:00.0000000")
    assert one(id="x", type="exception", seriesMasterId="m", start=later).key == exception.key


def test_a_single_event_is_its_id_whenever_it_is() -> None:
    moved = one(start=moment("2026-04-01T08:00:00.0000000"))
    assert moved.key == one().key
    assert one(id="i2").key != one().key


# --- what counts ---


@pytest.mark.parametrize(
    "over",
    [
        {"type": "seriesMaster"},
        {"type": "SeriesMaster"},
        {"isCancelled": True},
        {"responseStatus": {"response": "declined"}},
        {"responseStatus": {"response": "Declined"}},
        {"@removed": {"reason": "deleted"}},
    ],
)
def test_some_items_are_no_events(over) -> None:
    expansion = read(item(**over), item(id="i2"))
    assert len(expansion.events) == 1
    assert expansion.warnings == ()


def test_what_is_unknown_is_busy() -> None:
    for value in (..., None, "unknown", "somethingNew"):
        assert one(showAs=value).busy is Busy.BUSY


def test_a_new_kind_of_sensitivity_is_private() -> None:
    assert one(sensitivity="secretToo").summary is None
    assert one(sensitivity=None).summary == "train: llm"


def test_an_event_on_two_pages_counts_once() -> None:
    changed = item(start=moment("2026-04-01T10:30:00.0000000"))
    expansion = events_of([page(item()), page(changed)], reading())
    assert spans(expansion.events) == ["04-01T10:30/04-01T11:00"]


@pytest.mark.parametrize(
    "bad",
    [
        {"start": ...},
        {"start": None},
        {"start": moment("never")},
        {"start": moment("2026-04-01T12:00:00")},  # after its end
        {"id": ..., "seriesMasterId": ...},
        {"originalStart": "tomorrow", "seriesMasterId": "m"},
        {"responseStatus": "declined"},
        {"isAllDay": True, "start": moment("0000-00-00T00:00:00")},
        {"categories": 3},
    ],
)
def test_an_event_that_cannot_be_read_is_counted_and_the_rest_stands(bad) -> None:
    expansion = read(item(**bad), item(id="good"))
    assert len(readable(expansion.events)) == len(dark(expansion.events)) == 1
    assert expansion.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)


@pytest.mark.parametrize("bad", [3, None, [], "x"])
def test_an_item_that_is_no_object_is_counted_too(bad) -> None:
    expansion = read(bad, item())
    assert len(readable(expansion.events)) == len(dark(expansion.events)) == 1
    assert expansion.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)


def test_an_event_in_a_zone_that_nobody_knows_is_told() -> None:
    odd = moment("2026-04-01T10:00:00", "tzone://Microsoft/Custom")
    expansion = read(item(start=odd), item(id="good"))
    assert len(readable(expansion.events)) == len(dark(expansion.events)) == 1
    assert expansion.warnings == (Warned(Reason.UNKNOWN_EVENT_ZONE, 1),)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "04-01T10:00"),
        ("tzone://Microsoft/Utc", "04-01T10:00"),
        ("W. Europe Standard Time", "04-01T08:00"),
        ("Europe/Berlin", "04-01T08:00"),
        ("india standard time", "04-01T04:30"),
    ],
)
def test_a_server_that_does_not_heed_the_preference_is_read_by_what_it_writes(
    zone, expected
) -> None:
    event = one(
        start=moment("2026-04-01T10:00:00.0000000", zone),
        end=moment("2026-04-01T11:00:00.0000000", zone),
    )
    assert f"{event.span.start:%m-%dT%H:%M}" == expected


def test_an_event_without_length_lasts_a_second() -> None:
    event = one(end=moment("2026-04-01T10:00:00.0000000"))
    assert event.span.length == timedelta(seconds=1)


def test_an_all_day_event_that_is_given_as_instants_is_taken_at_its_word() -> None:
    event = one(
        isAllDay=True, start=moment("2026-03-31T22:00:00"), end=moment("2026-04-01T22:00:00")
    )
    assert event.all_day
    assert event.wall is None
    assert spans((event,)) == ["03-31T22:00/04-01T22:00"]


def test_an_all_day_event_lasts_a_day_at_least() -> None:
    day = moment("2026-04-01T00:00:00.0000000")
    event = one(isAllDay=True, start=day, end=day)
    assert spans((event,)) == ["04-01T00:00/04-02T00:00"]


def test_a_floating_day_beside_the_horizon_may_lie_in_it() -> None:
    before = {"start": moment("2026-03-14T00:00:00"), "end": moment("2026-03-15T00:00:00")}
    assert read(item(isAllDay=True, **before)).events
    assert not read(item(isAllDay=True, **before), zone="UTC").events


def test_an_html_description_is_text_and_half_a_one_is_none() -> None:
    html = {"contentType": "html", "content": "<p>lr=0.1</p><style>x{}</style><p>a&lt;b</p>"}
    assert one(body=html).description.split() == ["lr=0.1", "a<b"]
    assert one(body={"contentType": "text", "content": "a <b> c"}).description == "a <b> c"
    long = {"contentType": "text", "content": "x" * (microsoft_graph_events.MAX_DESCRIPTION + 1)}
    assert one(body=long).description is None
    heavy = {"contentType": "html", "content": "<p></p>" * 50_000 + "<p>lr=1</p>"}
    assert read(item(body=heavy)).events


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["value", "id", "start", "end", "dateTime", "type", "error", "scheduleId"]
                ),
                c,
                max_size=4,
            )
        ),
    )
)
def test_whatever_comes_is_read_or_refused_and_never_breaks_us(document) -> None:
    body = json.dumps(document).encode()
    for call in (
        lambda: events_of([body], reading()),
        lambda: events_of([page(document)], reading()),
        lambda: busy_times([(body, HORIZON)], STEP, reading()),
    ):
        try:
            call()
        except (ValueError, TypeError, AttributeError, KeyError, ScheduleFailed):
            continue


def test_the_levels_of_privacy_ask_for_more_and_more() -> None:
    fields = [set(SELECTED[level]) for level in Privacy]
    assert fields[0] < fields[1] < fields[2]
    assert fields[2] - fields[1] == {"body"}


# --- schedules ---


def schedule(**over: Any) -> bytes:
    return page({"scheduleId": "Team@X.example", "availabilityView": "", **over})


def busy(body: bytes) -> list[str]:
    return spans(busy_times([(body, HORIZON)], STEP, reading(Privacy.FREE_BUSY)).events)


def test_a_schedule_without_items_is_free_only_if_its_view_is() -> None:
    assert busy(schedule(scheduleItems=[], availabilityView="0000")) == []
    assert busy(schedule(scheduleItems=[], availabilityView="0020")) == ["03-15T00:30/03-15T00:45"]
    assert busy(schedule(availabilityView="009")) == ["03-15T00:30/03-15T00:45"]


@pytest.mark.parametrize("over", [{}, {"availabilityView": None}, {"scheduleId": "x@x.example"}])
def test_a_schedule_that_tells_nothing_is_not_free(over) -> None:
    with pytest.raises(ValueError, match=r"nothing about|neither"):
        busy(schedule(**over))


def test_a_schedule_with_an_error_is_not_free() -> None:
    with pytest.raises(ScheduleFailed):
        busy(schedule(error={"responseCode": "X"}, scheduleItems=[], availabilityView="00"))
    with pytest.raises(ScheduleFailed):
        busy(schedule(error={}, scheduleItems=[], availabilityView="00"))


# --- zones ---


def test_every_windows_zone_means_what_cldr_says() -> None:
    for name, iana in WINDOWS_TO_OLSON.items():
        found = windows_zones.zone_named(name)
        assert found is not None
        assert found.key == iana or windows_zones.is_utc(name)


def test_every_iana_zone_is_known_by_its_own_name() -> None:
    assert all(windows_zones.zone_named(name) is not None for name in names())


@pytest.mark.parametrize("name", ["", "Customized Time Zone", "tzone://Microsoft/Custom", "../x"])
def test_a_zone_without_rules_is_unknown(name) -> None:
    assert windows_zones.zone_named(name) is None
