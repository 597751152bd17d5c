"""What the calendar tests share: feeds as text, a fixed clock, secrets in a dict."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slackwater.calendars.expand import Expander
from slackwater.calendars.registry import PROVIDERS, Opening, open_calendar
from slackwater.calendars.turns import Turns
from slackwater.core.event import Event
from slackwater.core.span import Span
from slackwater.core.spec import Privacy, Ref
from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.net import NetPolicy
from slackwater.ports import CalendarSource

# One for each readable thing; none may appear in an error, a repr or a log record.
CANARY = "c4n4ry"

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
HORIZON = Span(datetime(2026, 3, 15, tzinfo=UTC), datetime(2026, 4, 20, tzinfo=UTC))
LOOPBACK = NetPolicy(loopback=True)


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class HastyClock(FixedClock):
    """Its seconds fly, so that no test waits for a rate limit that it is not about."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 3600.0
        return self._seconds


class Secrets:
    """Values by (namespace, name, key)."""

    def __init__(self, values: dict[tuple[str, str, str], str] | None = None) -> None:
        self.values = values or {}

    async def read(self, namespace: str, name: str, key: str) -> str:
        try:
            return self.values[namespace, name, key]
        except KeyError:
            raise SecretError(Reason.SECRET_NOT_FOUND, ref=f"{namespace}/{name}", key=key) from None


def opened(
    provider: str,
    config: dict[str, Any],
    expander: Expander,
    *,
    privacy: Privacy = Privacy.BASIC,
    zone: str | None = None,
    secrets: Secrets | None = None,
    policy: NetPolicy = LOOPBACK,
    directory: Path | None = None,
    name: str = "team",
    turns: Turns | None = None,
    endpoints: dict[str, str] | None = None,
) -> CalendarSource:
    return open_calendar(
        provider,
        Opening(
            ref=Ref("research", name),
            config=PROVIDERS[provider].config.model_validate(config),
            privacy=privacy,
            zone=zone,
            secrets=secrets or Secrets(),
            policy=policy,
            expander=expander,
            turns=turns or Turns(HastyClock()),
            clock=FixedClock(),
            directory=directory,
            endpoints=endpoints or {},
            hosts=frozenset({urlsplit(str(config.get("authority", ""))).netloc}),
        ),
    )


def vevent(uid: str, *lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT", ""])


def calendar(*parts: str) -> bytes:
    """A VCALENDAR of components and properties; properties first."""
    text = "".join(part if part.endswith("\r\n") else f"{part}\r\n" for part in parts)
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n"
    return f"{head}{text}END:VCALENDAR\r\n".encode()


def timezone(tzid: str, offset: str, *lines: str) -> str:
    """A VTIMEZONE without summer time."""
    return "\r\n".join(
        [
            "BEGIN:VTIMEZONE",
            f"TZID:{tzid}",
            "BEGIN:STANDARD",
            "DTSTART:16010101T000000",
            f"TZOFFSETFROM:{offset}",
            f"TZOFFSETTO:{offset}",
            *lines,
            "END:STANDARD",
            "END:VTIMEZONE",
            "",
        ]
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts(events: tuple[Event, ...]) -> list[str]:
    """When the events begin whose times could be read."""
    return [f"{event.span.start:%m-%dT%H:%M}" for event in readable(events)]


def spans(events: tuple[Event, ...]) -> list[str]:
    """When the events are whose times could be read."""
    shown = readable(events)
    return [f"{e.span.start:%m-%dT%H:%M}/{e.span.end:%m-%dT%H:%M}" for e in shown]


def readable(events: tuple[Event, ...]) -> list[Event]:
    return [event for event in events if not event.unread]


def dark(events: tuple[Event, ...]) -> list[str]:
    """All the time that events may take whose times could not be read."""
    shown = [event for event in events if event.unread]
    assert all(not event.key for event in shown)
    return [f"{e.span.start:%m-%dT%H:%M}/{e.span.end:%m-%dT%H:%M}" for e in shown]


def days(first: str, count: int) -> list[date]:
    start = date.fromisoformat(first)
    return [start + timedelta(days=n) for n in range(count)]
