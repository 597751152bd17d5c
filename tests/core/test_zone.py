"""Zones by name, and wall-clock time as instants (R1)."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.zone import UnknownZone, instant, names, zone


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/berlin",
        "Europe",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "right/Europe/Berlin",
        "posix/UTC",
        "Factory",
        "UTC ",
        "UTC+1",
        "zone.tab",
        "\x00",
        "GMT+2",
    ],
)
def test_an_unknown_zone_is_refused_and_never_read_as_utc(name):
    with pytest.raises(UnknownZone) as caught:
        zone(name)
    assert caught.value.name == name
    assert isinstance(caught.value, ValueError)


def test_every_zone_of_the_database_is_known_and_read_once():
    for name in zoneinfo.available_timezones() - {"Factory", "localtime"}:
        assert zone(name).key == name
    assert zone("Europe/Berlin") is zone("Europe/Berlin")
    assert len(names()) > 500


@pytest.mark.parametrize(
    ("where", "wall", "utc"),
    [
        ("UTC", "2026-01-01T00:00", "2026-01-01T00:00"),
        ("Europe/Berlin", "2026-01-01T00:00", "2025-12-31T23:00"),
        ("Europe/Berlin", "2026-03-29T01:59", "2026-03-29T00:59"),
        ("Europe/Berlin", "2026-03-29T02:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29T02:59", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29T03:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-10-25T02:00", "2026-10-25T00:00"),
        ("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30"),
        ("Antarctica/Troll", "2026-03-29T02:00", "2026-03-29T01:00"),
        ("Africa/Cairo", "2026-04-24T00:00", "2026-04-23T22:00"),  # no midnight that day
        ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00"),  # no such day at all
        ("Asia/Kathmandu", "2026-06-01T00:00", "2026-05-31T18:15"),
    ],
)
def test_wall_time_becomes_the_first_instant_that_shows_it_or_follows_its_gap(where, wall, utc):
    found = instant(datetime.fromisoformat(wall), zone(where))
    assert found == datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert found.tzinfo is UTC


@given(
    st.sampled_from(
        ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca"]
    ),
    st.datetimes(datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2031-01-01")),
    st.integers(0, 86400),
)
def test_later_wall_time_is_never_an_earlier_instant(where, wall, later):
    first = instant(wall, zone(where))
    assert first <= instant(wall + timedelta(seconds=later), zone(where))
    shown = first.astimezone(zone(where)).replace(tzinfo=None)
    assert shown >= wall.replace(microsecond=0)
