"""What one VEVENT says beside its times: how it blocks, whose it is, and its readable fields.

Runs in the expander's child only, so that what a privacy level does not give stays there (R13).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import icalendar

from slackwater.calendars.ical_text import Block
from slackwater.core.event import Busy
from slackwater.core.spec import Privacy

MAX_SUMMARY: Final = 4_096
MAX_DESCRIPTION: Final = 65_536
MAX_CATEGORIES: Final = 64

# MS-OXCICAL §2.1.3.1.1.20.31; it says more than TRANSP, so it goes before it.
_BUSY_STATUS: Final = {
    "FREE": Busy.FREE,
    "TENTATIVE": Busy.TENTATIVE,
    "BUSY": Busy.BUSY,
    "OOF": Busy.OUT_OF_OFFICE,
    "WORKINGELSEWHERE": Busy.WORKING_ELSEWHERE,
}


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one component; those that are not to be read are None."""

    busy: Busy
    own: bool
    summary: str | None
    description: str | None
    categories: tuple[str, ...] | None
    organizer: str | None


def fields(
    component: icalendar.Event, privacy: Privacy, owners: frozenset[str] | None
) -> Fields | None:
    """The fields of a component; None when it is cancelled or its calendar's owner declined it.

    Args:
        component: a VEVENT.
        privacy: what may be read.
        owners: lower-case addresses of the calendar's owner; None for a feed, whose events are
            all its own.
    """
    if _word(component, "STATUS") == "CANCELLED":
        return None
    part = _part(component, owners or frozenset())
    if part == "DECLINED":
        return None
    organizer = _address(component.get("ORGANIZER"))
    own = (
        owners is None or "ORGANIZER" not in component or organizer in owners or part == "ACCEPTED"
    )
    # RFC 5545 §3.8.1.3: neither is for everybody who can read the calendar.
    hidden = _word(component, "CLASS") in {"PRIVATE", "CONFIDENTIAL"}
    if privacy is Privacy.FREE_BUSY or hidden:
        return Fields(_busy(component), own, None, None, None, None)
    return Fields(
        busy=_busy(component),
        own=own,
        summary=_text(component, "SUMMARY")[:MAX_SUMMARY],
        description=_description(component) if privacy is Privacy.DETAILS else None,
        categories=_categories(component),
        organizer=organizer,
    )


def told(block: Block, privacy: Privacy, owners: frozenset[str] | None) -> Fields | None:
    """The fields of a component whose times cannot be read; None as for `fields`."""
    try:
        component = icalendar.Event.from_ical(block.timeless)
        return fields(component, privacy, owners)
    except Exception:  # noqa: BLE001 - whatever the library raises, nothing is known then
        return unknown(owners)


def unknown(owners: frozenset[str] | None) -> Fields:
    """The fields of an event of which nothing can be read."""
    return Fields(Busy.BUSY, owners is None, None, None, None, None)


def _first(component: icalendar.Event, name: str) -> Any:
    value = component.get(name)
    return value[0] if isinstance(value, list) else value


def _text(component: icalendar.Event, name: str) -> str:
    value = _first(component, name)
    return "" if value is None else str(value)


def _word(component: icalendar.Event, name: str) -> str:
    return _text(component, name).strip().upper()


def _busy(component: icalendar.Event) -> Busy:
    written = _BUSY_STATUS.get(_word(component, "X-MICROSOFT-CDO-BUSYSTATUS"))
    if written is not None:
        return written
    if _word(component, "TRANSP") == "TRANSPARENT":
        return Busy.FREE
    return Busy.TENTATIVE if _word(component, "STATUS") == "TENTATIVE" else Busy.BUSY


def _description(component: icalendar.Event) -> str | None:
    # Parameters are read from it: half a description could mean something else.
    text = _text(component, "DESCRIPTION")
    return text if len(text) <= MAX_DESCRIPTION else None


def _categories(component: icalendar.Event) -> tuple[str, ...]:
    value = component.get("CATEGORIES", [])
    lists = value if isinstance(value, list) else [value]
    found = (str(one).strip() for many in lists for one in many.cats)
    return tuple(dict.fromkeys(one[:256] for one in found if one))[:MAX_CATEGORIES]


def _address(value: Any) -> str | None:
    """`user@host` of a calendar user; None for those who have none, such as a principal's URL."""
    if isinstance(value, list):
        value = value[0]
    if value is None:
        return None
    for text in (str(value), str(value.params.get("EMAIL", ""))):
        address = text.strip().lower().removeprefix("mailto:")
        if "@" in address and "/" not in address:
            return address
    return None


def _part(component: icalendar.Event, owners: frozenset[str]) -> str | None:
    """How the owner answered the invitation (PARTSTAT)."""
    value = component.get("ATTENDEE", [])
    for attendee in value if isinstance(value, list) else [value]:
        if str(attendee).strip().lower().removeprefix("mailto:") in owners or (
            _address(attendee) in owners
        ):
            return str(attendee.params.get("PARTSTAT", "NEEDS-ACTION")).upper()
    return None
