"""How often a calendar is read, and what that asks of its other settings."""

import pytest

from slackwater.api.read import read_calendar
from slackwater.calendars.registry import PROVIDERS
from slackwater.errors import ConfigError

FEED = {"ical": {"url": "https://example.com/team.ics"}}
FILE = {"ical": {"file": "team.ics"}}


def read(provider, **spec):
    return read_calendar({"provider": provider, **spec}, files=True)


def test_a_feed_is_read_every_five_minutes_at_most():
    assert read(FEED, refreshIntervalSeconds=300).refresh_interval_seconds == 300
    with pytest.raises(ConfigError, match="at least 300 with provider ical"):
        read(FEED, refreshIntervalSeconds=299)


def test_a_file_beside_the_manifest_may_be_read_more_often():
    assert read(FILE, refreshIntervalSeconds=5).refresh_interval_seconds == 5


def test_a_calendar_outlives_the_default_time_between_two_reads():
    assert read(FEED, maxStalenessSeconds=900).max_staleness_seconds == 900
    for provider in (FEED, FILE):
        with pytest.raises(ConfigError, match="maxStalenessSeconds must not be less"):
            read(provider, maxStalenessSeconds=899)
    assert read(FEED, maxStalenessSeconds=300, refreshIntervalSeconds=300)


def test_no_provider_is_read_more_often_by_default_than_it_may_be():
    for provider in PROVIDERS.values():
        assert provider.default_refresh >= provider.least_refresh
