"""A fake Graph behind TLS, and sources that read it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from slackwater.calendars.expand import Expander
from slackwater.calendars.microsoft_graph import MicrosoftGraphConfig, MicrosoftGraphSource
from slackwater.calendars.provider import Opening
from slackwater.calendars.turns import Turns
from slackwater.core.span import Span
from slackwater.core.spec import Privacy, Ref
from slackwater.errors import CalendarError
from slackwater.net import Identities, NetPolicy
from slackwater.ports import Fetched, FetchState
from tests.calendars.support import CANARY, HORIZON, LOOPBACK, NOW, HastyClock, Secrets
from tests.fakes.graph import FakeGraph
from tests.fakes.graph_entra import CLIENT, TENANT
from tests.fakes.graph_store import Mailbox

MAILBOX = "team@contoso.example"
SECRET = ("research", "entra", "secret")


class StillClock:
    """Its seconds pass only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Any:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class GraphRig:
    """The fake, its origin, and the team's mailbox."""

    fake: FakeGraph
    origin: str
    box: Mailbox
    secrets: Secrets
    clock: StillClock = field(default_factory=StillClock)
    sources: list[MicrosoftGraphSource] = field(default_factory=list)
    turns: Turns = field(default_factory=lambda: Turns(HastyClock()))

    def config(self, **over: Any) -> dict[str, Any]:
        found = {
            "tenantId": TENANT,
            "clientId": CLIENT,
            "mailbox": MAILBOX,
            "clientSecretRef": {"name": "entra", "key": "secret"},
            "authority": self.origin,
            "endpoint": self.origin,
            **over,
        }
        return {key: value for key, value in found.items() if value is not None}

    def open(
        self,
        privacy: Privacy = Privacy.BASIC,
        *,
        zone: str | None = None,
        policy: NetPolicy = LOOPBACK,
        hosts: frozenset[str] | None = None,
        identities: Identities | None = None,
        namespace: str = "research",
        **over: Any,
    ) -> MicrosoftGraphSource:
        opening = Opening(
            ref=Ref(namespace, "team"),
            config=MicrosoftGraphConfig.model_validate(self.config(**over)),
            privacy=privacy,
            zone=zone,
            secrets=self.secrets,
            policy=policy,
            expander=Expander(),
            turns=self.turns,
            clock=self.clock,
            identities=identities or Identities(),
            hosts=frozenset({urlsplit(self.origin).netloc}) if hosts is None else hosts,
        )
        source = MicrosoftGraphSource(opening)
        self.sources.append(source)
        return source

    @property
    def views(self) -> list[Mapping[str, str]]:
        """The queries of calendarViews since the last look."""
        found = [one.query for one in self.fake.asked]
        self.fake.asked.clear()
        return found


async def look(
    source: MicrosoftGraphSource, state: FetchState | None = None, horizon: Span = HORIZON
) -> Fetched:
    return await source.fetch(horizon, state, NOW)


async def events(source: MicrosoftGraphSource) -> Any:
    """The events of a first look."""
    fetched = await look(source)
    assert fetched.snapshot is not None
    return fetched.snapshot.events


async def refused(source: MicrosoftGraphSource, state: FetchState | None = None) -> CalendarError:
    """The error of a look; nothing of the calendar, the credential or the token is in it."""
    with pytest.raises(CalendarError) as caught:
        await look(source, state)
    shown = repr(caught.value) + str(caught.value) + repr(caught.value.gaps)
    for secret in (CANARY, "s3cret", "BEGIN", MAILBOX, "127.0.0.1"):
        assert secret not in shown
    assert caught.value.__context__ is None
    return caught.value


def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))
