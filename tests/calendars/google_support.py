"""What the tests of the Google provider share: the fake, a source that reads it, short times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from slackwater.core.spec import Privacy
from slackwater.errors import CalendarError
from slackwater.net import NetPolicy
from slackwater.ports import CalendarSource, Fetched, FetchState
from tests.calendars.support import CANARY, HORIZON, LOOPBACK, NOW, Secrets, opened
from tests.fakes.google import FakeGoogle

TEAM = "team@example.com"
READER = "slackwater@project.iam.gserviceaccount.com"
Json = dict[str, Any]


def times(start: str, end: str, zone: str | None = None) -> Json:
    """`start` and `end` of an event from `04-01T10:00` or `04-01`, all of 2026."""
    found: Json = {}
    for name, text in (("start", start), ("end", end)):
        if "T" not in text:
            found[name] = {"date": f"2026-{text}"}
        elif zone is None:
            found[name] = {"dateTime": f"2026-{text}:00Z"}
        else:
            found[name] = {"dateTime": f"2026-{text}:00", "timeZone": zone}
    return found


def event(start: str, end: str, zone: str | None = None, **more: Any) -> Json:
    """A body for `insert`, every readable part of it marked."""
    return {
        "summary": f"train: {CANARY}",
        "description": f"epochs=3 {CANARY}",
        "location": f"{CANARY} place",
        **times(start, end, zone),
        **more,
    }


def google_source(
    google: FakeGoogle,
    key: str,
    expander: Any,
    *,
    calendar: str = TEAM,
    subject: str | None = None,
    privacy: Privacy = Privacy.BASIC,
    zone: str | None = None,
    policy: NetPolicy = LOOPBACK,
) -> CalendarSource:
    config: Json = {
        "calendarId": calendar,
        "credentialsSecretRef": {"name": "google", "key": "key.json"},
    }
    if subject is not None:
        config["subject"] = subject
    return opened(
        "google",
        config,
        expander,
        privacy=privacy,
        zone=zone,
        secrets=Secrets({("research", "google", "key.json"): key}),
        policy=policy,
        endpoints={"google": google.url},
    )


async def look(
    source: CalendarSource, state: FetchState | None = None, now: datetime = NOW
) -> Fetched:
    return await source.fetch(HORIZON, state, now)


async def refused(source: CalendarSource, state: FetchState | None = None) -> CalendarError:
    """The error of a look, which shows nothing of what the calendar holds."""
    with pytest.raises(CalendarError) as caught:
        await look(source, state)
    error = caught.value
    assert CANARY not in f"{error!r}{error}{error.gaps}"
    assert error.__context__ is None
    return error
