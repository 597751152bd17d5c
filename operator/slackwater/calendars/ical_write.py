"""Events as an iCalendar file that people import into a calendar (RFC 5545)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from slackwater.core.event import Busy, Event

if TYPE_CHECKING:
    import icalendar

# The inverse of what is read, see `ical_fields`: MS-OXCICAL §2.1.3.1.1.20.31.
_BUSY: Final = {
    Busy.FREE: "FREE",
    Busy.TENTATIVE: "TENTATIVE",
    Busy.BUSY: "BUSY",
    Busy.OUT_OF_OFFICE: "OOF",
    Busy.WORKING_ELSEWHERE: "WORKINGELSEWHERE",
}


def write_feed(events: Iterable[tuple[Event, str]], owner: str, now: datetime) -> str:
    """A VCALENDAR with one VEVENT for each event, times in UTC, lines folded and ended as RFC 5545 has it.

    The UID follows from owner and start, so that importing the same time again makes no second
    event.

    Args:
        events: each with what its description is to say.
        owner: whose events they are, such as `research/nightly`.
        now: the present, for DTSTAMP.
    """
    import icalendar

    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//slackwater.dev//suggest//EN")
    calendar.add("version", "2.0")
    for event, said in events:
        calendar.add_component(_component(event, said, owner, now))
    return str(calendar.to_ical().decode("utf-8"))


def _component(event: Event, said: str, owner: str, now: datetime) -> icalendar.Event:
    import icalendar

    name = f"{owner} {event.span.start.isoformat()}"
    component = icalendar.Event()
    component.add("uid", f"{hashlib.sha256(name.encode()).hexdigest()[:32]}@slackwater.dev")
    component.add("dtstamp", now.replace(microsecond=0))
    component.add("dtstart", event.span.start)
    component.add("dtend", event.span.end)
    component.add("summary", event.summary or owner)
    component.add("description", said)
    if event.categories:
        component.add("categories", list(event.categories))
    component.add("transp", "TRANSPARENT" if event.busy is Busy.FREE else "OPAQUE")
    component.add("x-microsoft-cdo-busystatus", _BUSY[event.busy])
    return component
