"""Inline schedules through every change of clocks (R1)."""

import itertools
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.schedule import BadSchedule, check, instances
from slackwater.core.span import Span
from slackwater.core.zone import UnknownZone, names, zone

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# Half an hour, two hours, midnight, negative summer time, a new rule each year, the date line.
TELLING = (
    "Europe/Berlin",
    "Europe/Dublin",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "UTC",
)


def span(start: str, end: str) -> Span:
    return Span(
        datetime.fromisoformat(start).replace(tzinfo=UTC),
        datetime.fromisoformat(end).replace(tzinfo=UTC),
    )


def opened(expression, within, zone_name="Europe/Berlin", duration=HOUR):
    return [
        (nominal, found.start.isoformat()[:16], found.length)
        for nominal, found in instances(expression, duration, zone_name, within)
    ]


# --- every zone, every change ------------------------------------------------------------------


def changes(name: str) -> list[datetime]:
    """Instants from 2020 to 2030 at which clocks in the zone jump."""
    where = zone(name)

    def offset(at: datetime) -> timedelta | None:
        return at.astimezone(where).utcoffset()

    found = []
    week = datetime(2020, 1, 1, tzinfo=UTC)
    before = offset(week)
    while week.year < 2031:
        after = offset(week + 7 * DAY)
        if after != before:
            low, high = 0, 7 * 24 * 60
            while high - low > 1:
                middle = (low + high) // 2
                if offset(week + middle * MINUTE) == before:
                    low = middle
                else:
                    high = middle
            found.append(week + high * MINUTE)
        week, before = week + 7 * DAY, after
    return found


@lru_cache(maxsize=1)
def distinct_zones() -> tuple[str, ...]:
    """Every zone; of those that are links to one another (same bytes), one."""
    root = resources.files("tzdata") / "zoneinfo"
    by_content = {root.joinpath(*name.split("/")).read_bytes(): name for name in sorted(names())}
    return tuple(sorted(by_content.values()))


def clock(name: str, change: datetime) -> tuple[timedelta, ...]:
    """How far clocks are off UTC in each minute from four hours before a change to eight after."""
    where = zone(name)
    return tuple(
        (change + minute * MINUTE).astimezone(where).utcoffset() or 0 * HOUR
        for minute in range(-4 * 60, 8 * 60)
    )


def check_change(name: str, change: datetime, offsets: tuple[timedelta, ...]) -> None:
    """Compare with a clock that is watched minute by minute.

    A window opens when the clock first shows its time, or first shows a later one; windows that
    open in the same minute are one.
    """
    duration = 50 * MINUTE
    begin = (change - 4 * HOUR).replace(tzinfo=None)
    shown = [begin + minute * MINUTE + offset for minute, offset in enumerate(offsets)]
    expected: dict[datetime, datetime] = {}
    wall = shown[0].replace(minute=0) + HOUR
    minute = 0
    while wall < shown[-1] - 4 * HOUR:  # Casey goes back by three hours
        while shown[minute] < wall:
            minute += 1
        expected.setdefault(change + (minute - 4 * 60) * MINUTE, wall)
        wall += 15 * MINUTE
    assert min(expected) < change < max(expected)
    within = Span(min(expected), max(expected) + MINUTE)
    found = [
        (nominal, window)
        for nominal, window in instances("*/15 * * * *", duration, name, within)
        if window.start >= within.start
    ]
    assert [(window.start, nominal) for nominal, window in found] == [
        (at, wall.isoformat(timespec="minutes")) for at, wall in sorted(expected.items())
    ]
    assert {window.length for _, window in found} == {duration}


@pytest.mark.parametrize("name", TELLING[::3])
def test_no_window_is_lost_doubled_or_stretched_where_clocks_change(name):
    for change in changes(name):
        check_change(name, change, clock(name, change))


def test_no_window_is_lost_doubled_or_stretched_in_any_zone_from_2020_to_2030():
    count = 0
    seen = set()
    for name in distinct_zones():
        for change in changes(name):
            count += 1
            sides = [at.astimezone(zone(name)).utcoffset() for at in (change - MINUTE, change)]
            jump = (change, *sides)
            if jump not in seen:  # else clocks there do just the same
                seen.add(jump)
                check_change(name, change, clock(name, change))
    assert count > 1500


# --- by example --------------------------------------------------------------------------------


def test_a_start_in_a_gap_opens_at_the_first_instant_after_it():
    within = span("2026-03-28T12:00", "2026-03-30T12:00")
    assert opened("30 2 * * *", within) == [
        ("2026-03-29T02:30", "2026-03-29T01:00", HOUR),
        ("2026-03-30T02:30", "2026-03-30T00:30", HOUR),
    ]


def test_several_starts_in_one_gap_open_one_window_under_the_first_name():
    within = span("2026-03-29T00:30", "2026-03-29T01:30")
    assert opened("0,20,40 2,3 * * *", within, duration=timedelta(minutes=10)) == [
        ("2026-03-29T02:00", "2026-03-29T01:00", timedelta(minutes=10)),
        ("2026-03-29T03:20", "2026-03-29T01:20", timedelta(minutes=10)),
    ]


def test_a_start_in_a_fold_opens_once_at_the_first():
    within = span("2026-10-24T12:00", "2026-10-26T12:00")
    assert opened("30 2 * * *", within) == [
        ("2026-10-25T02:30", "2026-10-25T00:30", HOUR),
        ("2026-10-26T02:30", "2026-10-26T01:30", HOUR),
    ]


def test_a_start_before_a_fold_is_not_lost_when_time_ends_inside_it():
    until_the_second_0210 = span("2026-10-25T00:00", "2026-10-25T01:10")
    assert opened("30 2 * * *", until_the_second_0210) == [
        ("2026-10-25T02:30", "2026-10-25T00:30", HOUR)
    ]
    from_the_second_0210 = span("2026-10-25T01:10", "2026-10-25T01:20")
    assert opened("30 2 * * *", from_the_second_0210) == [
        ("2026-10-25T02:30", "2026-10-25T00:30", HOUR)
    ]


def test_a_night_lasts_eight_hours_also_when_clocks_change():
    eight = 8 * HOUR
    spring = opened("0 22 * * *", span("2026-03-28T12:00", "2026-03-29T12:00"), duration=eight)
    autumn = opened("0 22 * * *", span("2026-10-24T12:00", "2026-10-25T12:00"), duration=eight)
    assert spring == [("2026-03-28T22:00", "2026-03-28T21:00", eight)]
    assert autumn == [("2026-10-24T22:00", "2026-10-24T20:00", eight)]


def test_a_window_over_midnight_and_the_end_of_the_week_is_one_interval():
    within = span("2026-06-05T00:00", "2026-06-08T12:00")
    found = opened("0 22 * * 5", within, zone_name="UTC", duration=60 * HOUR)
    assert found == [("2026-06-05T22:00", "2026-06-05T22:00", 60 * HOUR)]


def test_an_instance_that_began_before_and_still_lasts_is_given():
    within = span("2026-06-10T06:00", "2026-06-10T07:00")
    assert len(opened("0 0 1 * *", within, zone_name="UTC", duration=20 * 24 * HOUR)) == 1
    assert opened("0 0 1 * *", within, zone_name="UTC", duration=9 * 24 * HOUR) == []


def test_an_instance_that_only_touches_is_not_given():
    within = span("2026-06-10T06:00", "2026-06-10T07:00")
    assert opened("0 5,7 * * *", within, zone_name="UTC") == []


@given(
    st.sampled_from(
        [
            "0 22 * * 1-5",
            "*/20 8-10 * * *",
            "0 0 L * *",
            "15 3 1,15 * MON",
            "0 12 * * 5L",
            "5 4 * * SUN",
        ]
    ),
    st.sampled_from(TELLING),
    st.integers(0, 365 * 24 * 60),
    st.integers(1, 40 * 24 * 60),
    st.integers(1, 3 * 24 * 60),
)
@settings(max_examples=40)
def test_a_part_of_time_gives_the_instances_of_the_whole_that_overlap_it(
    expression, name, start, length, duration
):
    year = span("2025-12-01T00:00", "2027-03-01T00:00")
    begin = datetime(2026, 1, 1, tzinfo=UTC) + start * MINUTE
    part = Span(begin, begin + length * MINUTE)
    whole = list(instances(expression, duration * MINUTE, name, year))
    assert list(instances(expression, duration * MINUTE, name, part)) == [
        (nominal, found) for nominal, found in whole if found.overlaps(part)
    ]


@given(st.datetimes(datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2030-01-01")))
@settings(max_examples=15)
def test_the_starts_are_those_of_cron(start):
    within = Span(start.replace(tzinfo=UTC), start.replace(tzinfo=UTC) + 400 * HOUR)
    for expression in ("7 */5 * * *", "0 9 13 * 5", "30 6 */3 * 1-5", "0 0 29 2 *", "1 1 * * 1#2"):
        theirs = itertools.takewhile(
            lambda at: at < within.end.replace(tzinfo=None),
            CronSim(expression, start - timedelta(seconds=1)),
        )
        ours = [found.start for _, found in instances(expression, MINUTE, "UTC", within)]
        begun = [at.replace(tzinfo=UTC) for at in theirs]
        assert [at for at in ours if at >= within.start] == [
            at for at in begun if at >= within.start
        ]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        ("", "five fields, this one has 0"),
        ("0 22 * *", "five fields, this one has 4"),
        ("0 0 22 * * 1-5", "five fields, this one has 6"),
        ("@daily", "five fields"),
        ("60 * * * *", "the minute field"),
        ("0 24 * * *", "the hour field"),
        ("0 0 32 * *", "the day-of-month field"),
        ("0 0 * 13 *", "the month field"),
        ("0 0 * FOO *", "the month field"),
        ("0 0 * * 8", "the day-of-week field"),
        ("*/0 * * * *", "the minute field"),
        ("5-1 * * * *", "the minute field"),
        ("é * * * *", "the minute field"),
        ("1" * 5000 + " * * * *", "longer than 128"),
        ("* * * * *", "more than 5,000 times"),
        ("*/10 * * * *", "more than 5,000 times"),
    ],
)
def test_a_bad_schedule_is_refused_and_its_field_named(expression, detail):
    with pytest.raises(BadSchedule) as caught:
        check(expression, "spec.windows[0].schedule")
    assert caught.value.field == "spec.windows[0].schedule"
    assert detail in caught.value.detail
    assert not caught.value.never_fires


@pytest.mark.parametrize(
    "expression",
    ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 */2", "0 0 */31 * MON#5"],
)
def test_a_schedule_that_names_no_day_is_told_apart(expression):
    with pytest.raises(BadSchedule) as caught:
        check(expression, "f")
    assert caught.value.never_fires


@pytest.mark.parametrize(
    "expression",
    [
        "0 22 * * 1-5",
        "*/15 * * * *",
        "0 0 29 2 *",
        "0 0 31 2 MON",
        "0 0 LW * *",
        "0 9 * jan-mar mon,fri",
        "  0\t22 * * 7 ",
        "0 0 * 2 MON#5",
    ],
)
def test_a_schedule_that_fires_at_last_is_accepted(expression):
    check(expression, "f")


def test_long_instances_that_pile_up_are_refused():
    check("*/15 * * * *", "f", HOUR)
    with pytest.raises(BadSchedule, match="more than 5,000 times"):
        check("*/15 * * * *", "f", 30 * 24 * HOUR)
    within = span("2026-06-01T00:00", "2026-07-08T00:00")
    with pytest.raises(BadSchedule, match="more than 5,000 times"):
        list(instances("*/15 * * * *", 30 * 24 * HOUR, "UTC", within))


def test_an_unknown_zone_is_refused():
    with pytest.raises(UnknownZone):
        list(instances("0 0 * * *", HOUR, "Mars/Olympus", span("2026-01-01", "2026-01-02")))
