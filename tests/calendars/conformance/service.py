"""What the conformance suite needs to know of a provider's service: the fake behind each name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import web

from slackwater.core.words import Reason
from tests.calendars.support import CANARY

SECRET = "calendar"
"""The Secret of every configuration; its keys are the service's own."""

TITLE = f"train: {CANARY}-title"
PARTS = ("title", "description", "category", "location", "attendee", "organizer", "url")
"""Everything readable, each with a canary of its own; none may come out anywhere."""


@dataclass(frozen=True)
class Planned:
    """An event as a person puts it into a calendar; everything readable of it is a canary."""

    uid: str
    start: datetime
    end: datetime
    title: str = TITLE
    description: str = f"epochs=3\nThe {CANARY}-description is prose and no parameter."
    category: str = f"{CANARY}-category"
    location: str = f"{CANARY}-location"
    attendee: str = f"{CANARY}-attendee@example.com"
    organizer: str = f"{CANARY}-organizer@example.com"


def at(day: int, hour: int) -> datetime:
    """An hour of April 2026, inside `support.HORIZON`."""
    return datetime(2026, 4, day, hour, tzinfo=UTC)


@dataclass(frozen=True)
class Fault:
    """A way in which a service fails.

    Attributes:
        reason: what the Calendar's condition must say.
        cause: makes the service fail so, until `heal`.
    """

    reason: Reason
    cause: Callable[[], object] = field(repr=False)


class Service(Protocol):
    """A fake of one provider's service, with an empty calendar. A new one for each test.

    Attributes:
        readable: the members of `PARTS` that a Calendar of this provider can hold.
        asked: how many requests for the calendar arrived; token requests do not count.

    One whose client speaks TLS only says `tls = True`.
    """

    readable: tuple[str, ...]
    asked: int

    def config(self, origin: str) -> dict[str, Any]:
        """The provider's part of a Calendar's spec.

        `origin` is where `answer` is served; the operator's configuration names it as the
        provider's endpoint.
        """
        ...

    def secrets(self, origin: str) -> Mapping[str, str]:
        """The keys of the Secret `SECRET`; they may differ after `cause` and `heal`."""
        ...

    def put(self, event: Planned) -> None:
        """Add an event, or change the one of this uid."""
        ...

    def remove(self, uid: str) -> None:
        """Delete an event."""
        ...

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request to it. A provider that reaches nothing is never asked."""
        ...

    def faults(self) -> Mapping[str, Fault]:
        """Every way in which it can fail, by a name for the test; empty where it reaches nothing."""
        ...

    def heal(self) -> None:
        """Let it work again."""
        ...
