"""Calendar events as the core sees them: expanded, in UTC, silent about their content."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from slackwater.core.span import Span
from slackwater.core.words import Reason


class Busy(StrEnum):
    """How an event blocks time, in the words of the Calendar resource."""

    FREE = "Free"
    TENTATIVE = "Tentative"
    BUSY = "Busy"
    OUT_OF_OFFICE = "OutOfOffice"
    WORKING_ELSEWHERE = "WorkingElsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One instance of one calendar entry: one instance of a series is one event.

    The readable fields never show in `repr`, so no log line or traceback can leak them (R13).
    A readable field is None where it is not known: a private event, or a privacy level that does
    not ask for it. Cancelled and declined events are left out by the provider.

    Attributes:
        key: identity across moves (R2): `identity.event_key(calendar id, instance id, original start)`.
        series: the same hash for every instance of one series (`identity.series_key`).
        original_start: the start as first written, ISO 8601; a moved instance keeps it.
        span: when it happens. For a floating or zoneless all-day event, as if in UTC.
        wall: naive start and end of an event whose zone only the TrainingWindow knows, else None.
        all_day: a date, not a time, was written.
        busy: how it blocks time.
        own: organised by the calendar itself, accepted by its owner, or without an organiser (R14).
        summary: the title.
        description: free text, only at privacy `Details`.
        categories: labels.
        organizer: who organised it, as `user@host`.
        unread: its times could not be read, and `span` is all the time that it may take. Such an
            event has no key: it denies and reserves, and does nothing else.
    """

    key: str
    series: str
    original_start: str
    span: Span
    wall: tuple[datetime, datetime] | None = None
    all_day: bool = False
    busy: Busy = Busy.BUSY
    own: bool = True
    summary: str | None = field(default=None, repr=False)
    description: str | None = field(default=None, repr=False)
    categories: tuple[str, ...] | None = field(default=None, repr=False)
    organizer: str | None = field(default=None, repr=False)
    unread: bool = False

    def at(self, span: Span) -> Event:
        """The same event at other times."""
        return replace(self, span=span, wall=None)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a provider had to leave out or could not read, said without its content."""

    reason: Reason
    count: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a calendar holds inside `horizon`, complete and expanded, as of `fetched_at`."""

    horizon: Span
    events: tuple[Event, ...]
    fetched_at: datetime
    warnings: tuple[Warned, ...] = ()

    @property
    def count(self) -> int:
        """How many events there are whose times could be read."""
        return sum(not event.unread for event in self.events)
