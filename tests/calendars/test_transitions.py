"""Series of calendars where clocks change: nothing is lost, doubled or stretched but as R1 says.

Inline schedules have the same test in `tests/core/test_schedule.py`. A series keeps the wall-clock
ends that its provider gives: so it lasts an hour less or more in the night of the change, and an
instance whose start no clock shows is left out (RFC 5545 §3.3.10).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.calendars import ical_zones
from slackwater.calendars.ical_series import Horizon, Instance, expand
from slackwater.calendars.ical_text import Reader
from tests.calendars.support import calendar, vevent

HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
ZONES = sorted(available_timezones() - {"localtime", "Factory"})
READER = Reader(texts=False, description=False, owners=frozenset())


def changes(name: str) -> list[datetime]:
    """The instants at which clocks of a zone change, from 2020 to 2030."""
    where = ZoneInfo(name)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(where).utcoffset() or timedelta()

    found = []
    at = FIRST
    while at < LAST:
        low, high = at, at + 7 * DAY
        at = high
        if offset(low) == offset(high):
            continue
        while high - low > MINUTE:
            middle = low + (high - low) / 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        found.append(high.replace(second=0, microsecond=0))
    return found


def shown(wall: datetime, where: ZoneInfo) -> bool:
    """Whether clocks ever show this."""
    back = wall.replace(tzinfo=where).astimezone(UTC).astimezone(where)
    return back.replace(tzinfo=None) == wall


def expanded(name: str, start: datetime, length: timedelta, around: datetime) -> list[Instance]:
    """A daily series that begins a week before the change."""
    first = start - 7 * DAY
    text = calendar(
        vevent(
            "s",
            f"DTSTART;TZID={name}:{first:%Y%m%dT%H%M%S}",
            f"DTEND;TZID={name}:{first + length:%Y%m%dT%H%M%S}",
            "RRULE:FREQ=DAILY",
        )
    )
    document = READER.read(text)
    ical_zones.use(document)
    horizon = Horizon(around - 4 * DAY, around + 4 * DAY, None)
    return expand(document.series["s"], horizon)


def check(name: str, change: datetime) -> None:
    """Series that begin before, in, and after the change, and one over the whole night."""
    where = ZoneInfo(name)
    before = (change - MINUTE).astimezone(where)
    after = change.astimezone(where)
    jump = (after.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())
    wall = before.replace(tzinfo=None) + MINUTE  # what the clock would show without the change
    half = abs(jump) / 2
    nights = [wall - 8 * HOUR, wall - half, wall + half, wall, wall + HOUR]
    for start in (night.replace(second=0) for night in nights):
        length = 8 * HOUR
        found = expanded(name, start, length, change)
        walls = [one.start.astimezone(where).replace(tzinfo=None) for one in found]
        assert len(set(walls)) == len(walls), "none is doubled"
        assert {at.time() for at in walls} <= {start.time()}
        inside = [start + n * DAY for n in range(-3, 3)]
        assert {at for at in inside if shown(at, where)} <= set(walls), "none is lost"
        assert not {at for at in inside if not shown(at, where)} & set(walls)
        for one, begins in zip(found, walls, strict=True):
            ends = begins + length
            took = one.end - one.start
            assert length - abs(jump) <= took <= length + abs(jump), "none is stretched further"
            if shown(ends, where):
                assert one.end.astimezone(where).replace(tzinfo=None) == ends
            if not one.start <= change <= one.end:
                assert took == length
            assert one.start.astimezone(where).fold == 0, "of a fold the first is meant"


CHANGING = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]


@pytest.mark.parametrize("name", CHANGING)
def test_a_series_keeps_its_nights_where_clocks_change(name: str) -> None:
    for change in changes(name)[:6]:
        check(name, change)


@given(name=st.sampled_from(ZONES), pick=st.integers(0, 40))
@settings(max_examples=25)
def test_a_series_keeps_its_nights_in_any_zone(name: str, pick: int) -> None:
    for change in changes(name)[pick : pick + 1]:
        check(name, change)


@pytest.mark.server  # no server, but as slow as one
def test_a_series_keeps_its_nights_in_every_zone_and_at_every_change_from_2020_to_2030() -> None:
    count = 0
    known: set[tuple[object, ...]] = set()
    for name in ZONES:
        found = changes(name)
        clocks = (*found, *(change.astimezone(ZoneInfo(name)).utcoffset() for change in found))
        if clocks in known:
            continue  # another name of a zone that was looked at
        known.add(clocks)
        for change in found:
            check(name, change)
            count += 1
    assert count > 700
