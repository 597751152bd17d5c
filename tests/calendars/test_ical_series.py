"""Series without the child: what shortcuts must not change."""

from __future__ import annotations

import calendar as months
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import icalendar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.calendars import ical_series, ical_zones
from slackwater.calendars.ical_series import Horizon, expand
from slackwater.calendars.ical_text import Days, Document, LimitError, MalformedError, Reader
from tests.calendars.support import HORIZON, at, calendar, vevent

ZONES = ("", ";TZID=Europe/Paris", ";TZID=America/New_York", "Z", ";VALUE=DATE")
HERE = Horizon(HORIZON.start, HORIZON.start + timedelta(days=20), None)
naive = datetime.fromisoformat


def read(*events: str, raw: bytes | None = None) -> Document:
    reader = Reader(texts=True, description=True, owners=frozenset())
    document = reader.read(raw or calendar(*events))
    ical_zones.use(document)
    return document


def found(document: Document) -> list[tuple[str, str, str]]:
    return sorted(
        (i.recurrence, i.start.isoformat(), i.end.isoformat())
        for series in document.series.values()
        for i in expand(series, HERE)
    )


def written(name: str, kind: str, value: datetime) -> str:
    if kind == ";VALUE=DATE":
        return f"{name}{kind}:{value:%Y%m%d}"
    if kind == "Z":
        return f"{name}:{value:%Y%m%dT%H%M%S}Z"
    return f"{name}{kind}:{value:%Y%m%dT%H%M%S}"


def by(name: str, values: list[int] | list[str]) -> str:
    return f";{name}={','.join(map(str, values))}" if values else ""


@st.composite
def series(draw: st.DrawFn) -> list[str]:
    kind = draw(st.sampled_from(ZONES))
    frequency = draw(st.sampled_from(("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    first = naive("2026-02-01" if frequency == "HOURLY" else "2025-02-01")
    start = draw(st.datetimes(first, naive("2026-05-01"))).replace(
        microsecond=0, second=0, minute=draw(st.sampled_from((0, 30)))
    )
    length = draw(st.integers(0, 20)) * timedelta(hours=draw(st.sampled_from((1, 24))))
    if kind == ";VALUE=DATE":
        length = timedelta(days=length.days + 1)
    rule = f"RRULE:FREQ={frequency};INTERVAL={draw(st.integers(1, 30))}"
    if frequency != "YEARLY":
        rule += by(
            "BYDAY", draw(st.lists(st.sampled_from(("MO", "WE", "SA")), max_size=2, unique=True))
        )
    if frequency == "DAILY" and kind != ";VALUE=DATE":
        rule += by("BYHOUR", draw(st.lists(st.integers(0, 23), max_size=2, unique=True)))
    if draw(st.booleans()):
        until = draw(st.datetimes(naive("2026-01-01"), naive("2026-05-01")))
        rule += (
            f";UNTIL={until:%Y%m%d}" if kind == ";VALUE=DATE" else f";UNTIL={until:%Y%m%dT%H%M%S}Z"
        )
    elif draw(st.booleans()):
        rule += f";COUNT={draw(st.integers(1, 400))}"
    lines = [written("DTSTART", kind, start), rule]
    if draw(st.booleans()) or kind == ";VALUE=DATE":
        lines.append(written("DTEND", kind, start + length))
    else:
        lines.append(f"DURATION:PT{int(length.total_seconds() // 3600)}H")
    return lines


@given(series())
@settings(max_examples=40, deadline=None)
def test_skipping_whole_periods_changes_no_instance(lines: list[str]) -> None:
    quick = found(read(vevent("a", *lines)))
    with patch.object(ical_series, "advance"):
        assert found(read(vevent("a", *lines))) == quick


@given(st.lists(series(), max_size=3), st.lists(st.integers(0, 2000), max_size=3))
@settings(max_examples=25, deadline=None)
def test_what_is_dropped_unread_could_not_touch_the_horizon(rules, single_days) -> None:
    first = naive("2022-01-01")
    singles = [
        vevent(
            f"s{n}",
            written("DTSTART", ";TZID=Europe/Paris", first + timedelta(days=day)),
            "DURATION:P3D",
        )
        for n, day in enumerate(single_days)
    ]
    document = read(*singles, *(vevent(f"r{n}", *lines) for n, lines in enumerate(rules)))
    days = Days((HERE.start - timedelta(days=2)).date(), (HERE.end + timedelta(days=2)).date())
    everything = found(document)
    near = {uid: part for uid, one in document.series.items() if (part := one.near(days))}
    assert found(Document(series=near)) == everything


@pytest.mark.parametrize("length", ["PT336H", "PT20160M", "PT1209600S", "P2W", "P14D", "P13DT24H"])
def test_an_event_that_began_two_weeks_ago_still_counts(length: str) -> None:
    rule = "RRULE:FREQ=DAILY;UNTIL=20260301T000000Z"
    for lines in (["DTSTART:20260301T000000"], ["DTSTART:20260201T000000", rule]):
        document = read(vevent("a", *lines, f"DURATION:{length}"))
        days = Days((HERE.start - timedelta(days=2)).date(), HERE.end.date())
        near = document.series["a"].near(days)
        assert near is not None
        assert found(Document(series={"a": near})) == found(document)


def test_a_series_moved_onward_by_a_month_is_found_there() -> None:
    rule = "RRULE:FREQ=WEEKLY;UNTIL=20260310T100000Z"
    master = vevent("a", "DTSTART:20230103T100000Z", "DURATION:PT1H", rule)
    onward = vevent(
        "a",
        "DTSTART:20260209T100000Z",
        "DURATION:PT1H",
        "RECURRENCE-ID;RANGE=THISANDFUTURE:20260106T100000Z",
    )
    document = read(master, onward)
    near = document.series["a"].near(Days(HERE.start.date(), HERE.end.date()))
    assert near is not None
    assert [start[:10] for _, start, _ in found(Document(series={"a": near}))] == [
        "2026-03-16",
        "2026-03-23",
        "2026-03-30",
    ]


def test_a_far_changed_instance_is_dropped_and_a_near_one_kept() -> None:
    rule = vevent("a", "DTSTART:20250101T100000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY")
    changes = [
        vevent("a", f"DTSTART:{day}T120000Z", "DURATION:PT1H", f"RECURRENCE-ID:{was}T100000Z")
        for day, was in (
            ("20250301", "20250302"),
            ("20260401", "20250303"),
            ("20270101", "20260402"),
        )
    ]
    days = Days(HORIZON.start.date(), HORIZON.end.date())
    near = read(rule, *changes).series["a"].near(days)
    assert near is not None
    assert [block.values.get("RECURRENCE-ID") for block in near.blocks] == [
        None,
        "20250303T100000Z",
        "20260402T100000Z",
    ]


def test_an_old_series_costs_no_more_than_a_new_one() -> None:
    component = icalendar.Event.from_ical(
        vevent("a", "DTSTART;TZID=Europe/Paris:19900101T100000", "DTEND;TZID=Europe/Paris:19900101T110000", "RRULE:FREQ=WEEKLY;INTERVAL=2")
    )  # fmt: skip
    ical_series.advance(component, HERE)
    start = component["DTSTART"].dt
    assert HERE.start - timedelta(days=60) < start.astimezone(UTC) < HERE.start
    assert (start.replace(tzinfo=None) - naive("1990-01-01T10:00")) % timedelta(
        days=14
    ) == timedelta()
    assert component["DTEND"].dt - start == timedelta(hours=1)


def test_the_number_of_components_is_bounded() -> None:
    events = "".join(vevent(str(n), "DTSTART:20200101") for n in range(20_001))
    with pytest.raises(LimitError):
        read(raw=calendar(events))


@pytest.mark.parametrize(
    "text", ["BEGIN:VCALENDAR", "END:VEVENT", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR"]
)
def test_components_must_be_closed(text: str) -> None:
    with pytest.raises(MalformedError):
        read(raw=text.encode())


@given(st.binary(max_size=300))
def test_bytes_that_are_no_calendar_are_read_or_refused_and_never_raise_otherwise(raw) -> None:
    for body in (raw, b"BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + raw + b"\nEND:VEVENT\nEND:VCALENDAR"):
        try:
            Reader(texts=True, description=True, owners=frozenset({"a@b"})).read(body)
        except MalformedError:
            continue


@pytest.mark.parametrize("month", range(1, 13))
def test_no_real_day_of_a_month_is_taken_for_impossible(month: int) -> None:
    last = months.monthrange(2024, month)[1]
    rule = f"RRULE:FREQ=DAILY;BYMONTH={month};BYMONTHDAY={last}"
    horizon = Horizon(
        at(f"2024-{month:02d}-01"), at(f"2024-{month:02d}-01") + timedelta(days=35), None
    )
    document = read(vevent("a", "DTSTART:20240101T100000Z", "DURATION:PT1H", rule))
    instances = expand(document.series["a"], horizon)
    assert f"2024-{month:02d}-{last}" in {f"{i.start:%Y-%m-%d}" for i in instances}
