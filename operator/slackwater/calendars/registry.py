"""Every provider, by the name that it has in a Calendar's `spec.provider`."""

from __future__ import annotations

from typing import Final

from slackwater.calendars import caldav, google, ical, microsoft_graph, static
from slackwater.calendars.provider import Opening, Provider
from slackwater.ports import CalendarSource

__all__ = ["PROVIDERS", "Opening", "Provider", "open_calendar"]

PROVIDERS: Final[dict[str, Provider]] = {
    provider.name: provider
    for provider in (
        caldav.PROVIDER,
        google.PROVIDER,
        ical.PROVIDER,
        microsoft_graph.PROVIDER,
        static.PROVIDER,
    )
}


def open_calendar(name: str, opening: Opening) -> CalendarSource:
    """A source for one Calendar.

    Args:
        name: key of `PROVIDERS`.
        opening: what it is made of.

    Raises:
        ConfigError: its configuration cannot work.
    """
    return PROVIDERS[name].open(opening)
