"""The time zones of one iCalendar document.

`icalendar` keeps TZIDs in a cache of the process in which the first definition wins, so one feed
would shift another that uses the same name for another zone (Outlook writes `Customized Time Zone`
for all of them). `use` empties it before each document; since that is a matter of the whole
process, it is done in the expander's child only, one document at a time.
"""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, tzinfo
from typing import Final

import icalendar
from icalendar.timezone import tzp

from slackwater.calendars.ical_text import Document

# Any other frequency in a VTIMEZONE is no time zone's, and can cost hours to evaluate.
_FREQUENCY: Final = re.compile(r"^RRULE[^:]*:.*FREQ=(?!YEARLY)", re.IGNORECASE | re.MULTILINE)
_MAX_LINES: Final = 2_000


def use(document: Document) -> None:
    """Make this document's zones, and no others but the IANA's, known to `icalendar`.

    A name of the IANA database or of Windows means that zone, whatever the document defines. A
    definition that cannot be read leaves its name unknown.
    """
    icalendar.use_zoneinfo()
    for tzid, text in document.timezones.items():
        if named(tzid) is None and text.count("\n") <= _MAX_LINES and not _FREQUENCY.search(text):
            _define(text)


def _define(text: str) -> None:
    try:
        icalendar.Timezone.from_ical(text)  # which puts it into the cache
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        return


def named(name: str) -> tzinfo | None:
    """The zone of an IANA, Windows or vendor-prefixed name, or of the document; None if unknown."""
    try:
        with warnings.catch_warnings():
            # It guesses at "/vendor.example/Europe/Berlin", which is right, and warns.
            warnings.simplefilter("ignore")
            found: tzinfo | None = tzp.timezone(name)
    except (ValueError, OSError):
        return None
    return found


def exists(wall: datetime) -> bool:
    """Whether clocks in the zone of an aware time ever show it: False in a gap."""
    back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return back.replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None, fold=0)
