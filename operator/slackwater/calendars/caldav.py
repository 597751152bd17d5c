"""A calendar on a CalDAV server (RFC 4791): Nextcloud, Radicale, iCloud, Fastmail and others.

A snapshot is always complete. Sync token (RFC 6578), ctag and ETags only tell whether a new one is
needed and which objects to fetch for it: servers lose tokens, repeat or forget deletions, and none
of that can make an event appear or vanish here. Series are expanded by us, since servers differ.

The protocol is spoken directly (see `dav`) through the guarded client of `slackwater.net`, with
its deadline, size limit and address checks; objects are read only in the expander's child.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field

from slackwater.calendars import dav
from slackwater.calendars.caldav_collection import Collection, Marks, Probe, Stored
from slackwater.calendars.expand import Expansion, Source, unread
from slackwater.calendars.provider import (
    ICALENDAR_FIELDS,
    CalendarUrl,
    Opening,
    Provider,
    fetched,
    horizon_text,
    usable,
)
from slackwater.calendars.turns import Limits
from slackwater.core.event import Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.net import open_session
from slackwater.ports import Fetched, FetchState
from slackwater.wire import SecretKeyRef, WireModel

_MARGIN: Final = timedelta(days=1)  # floating times lie within a day of the same times in UTC


class CaldavConfig(WireModel):
    """A calendar on a CalDAV server, read with a user name and a password."""

    url: Annotated[
        CalendarUrl,
        Field(
            description="Address of the calendar itself, not of the server or the user; https.",
            repr=False,
        ),
    ]
    username_secret_ref: Annotated[
        SecretKeyRef, Field(description="Key of a Secret with the user name.")
    ]
    password_secret_ref: Annotated[
        SecretKeyRef,
        Field(description="Key of a Secret with the password, best one made for this purpose."),
    ]


class CaldavSource:
    """Reads one calendar.

    Requests of one source go one after the other. With an unchanged calendar there is one, small
    one a look; after a change three or four, and only changed objects travel.
    """

    def __init__(self, opening: Opening) -> None:
        assert isinstance(opening.config, CaldavConfig)
        self._opening, self._config = opening, opening.config
        self._policy = opening.policy_for(self._config.url)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._authorization: str | None = None
        self._config_hash = opening.digest()
        self._data = dav.BUSY_TIMES if opening.privacy is Privacy.FREE_BUSY else dav.WHOLE
        self._can_sync = True
        # What the last snapshot was made of, by href, so that only changed objects are fetched.
        self._stored: Mapping[str, Stored] = {}
        self._stored_for: Span | None = None

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """See `CalendarSource.fetch`."""
        collection = await self._open(now)
        cursor = usable(state, self._config_hash, horizon)
        probe, token = await self._probe(collection, cursor)
        if probe is Probe.SAME:
            return self._same(horizon, cursor, {"token": token})
        # Read before the objects are: what changes meanwhile is seen at the next look.
        marks = await collection.marks()
        probes = {"token": marks.token if self._can_sync else None, "ctag": marks.ctag}
        if probe is Probe.UNSUPPORTED and cursor.get("ctag", "") == marks.ctag:
            return self._same(horizon, cursor, probes)
        stored, withheld = None, 0
        if probe is not Probe.LOST and self._stored_for == horizon:
            stored = await self._renewed(collection, horizon)
        if stored is None:
            stored, withheld = await self._all(collection, horizon)
        objects = _digest(stored, marks)
        if cursor.get("objects") == objects:
            self._stored, self._stored_for = stored, horizon
            return self._same(horizon, cursor, probes)
        owners = await collection.addresses(marks.owner) if marks.owner else frozenset()
        source = Source(
            calendar_id=f"caldav:{self._config.url.rstrip('/')}",
            privacy=self._opening.privacy,
            zone=self._opening.zone,
            fallback_zone=marks.zone,
            owners=owners,
            tolerant=True,
        )
        documents = [one.data for one in stored.values()]
        expansion = await self._opening.expand(documents, horizon, source)
        self._stored, self._stored_for = stored, horizon
        warnings = []
        if withheld and (dark := unread(horizon)) is not None:
            warnings = [Warned(Reason.SERIES_SKIPPED, withheld)]
            expansion = Expansion((dark, *expansion.events), expansion.warnings)
        new = {"objects": objects, **_given(probes)}
        return fetched(self._config_hash, horizon, new, expansion, now, *warnings)

    async def aclose(self) -> None:
        """Let connections go; a fetch that is under way fails."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _open(self, now: datetime) -> Collection:
        if self._authorization is None:
            user = await self._opening.secret(self._config.username_secret_ref)
            password = await self._opening.secret(self._config.password_secret_ref)
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._authorization = f"Basic {pair}"
        if self._closed:  # while the secrets were read
            raise self._opening.failed(Reason.UNREACHABLE)
        if self._session is None:
            self._session = open_session(self._policy)
        host = urlsplit(self._config.url).netloc.lower()
        return Collection(
            self._opening,
            self._config.url,
            self._session,
            self._authorization,
            now,
            turn=lambda: self._opening.turn(PROVIDER, host),
        )

    async def _probe(
        self, collection: Collection, cursor: Mapping[str, str]
    ) -> tuple[Probe, str | None]:
        """What became of the calendar; without a token that is for its ctag and ETags to say."""
        if not cursor:
            return Probe.LOST, None
        if self._can_sync and "token" in cursor:
            probe, token = await collection.changed_since(cursor["token"])
            self._can_sync = probe is not Probe.UNSUPPORTED
            return probe, token
        return Probe.UNSUPPORTED, None

    async def _all(self, collection: Collection, horizon: Span) -> tuple[dict[str, Stored], int]:
        """All objects of now, and how many the server withholds."""
        stored, withheld = await collection.objects(_within(horizon), self._data)
        if withheld and self._data != dav.WHOLE:
            # Asked for some properties, Xandikos gives nothing of an event that lacks one of them.
            self._data = dav.WHOLE
            stored, withheld = await collection.objects(_within(horizon), self._data)
        return stored, withheld

    async def _renewed(self, collection: Collection, horizon: Span) -> dict[str, Stored] | None:
        """The objects of now, of which only those are fetched whose ETag differs.

        None where the server cannot do that.
        """
        etags = await collection.etags(_within(horizon))
        if any(etag is None for etag in etags.values()):
            return None
        same = {
            href: self._stored[href]
            for href, etag in etags.items()
            if href in self._stored and self._stored[href].etag == etag
        }
        wanted = [href for href in etags if href not in same]
        new = await collection.named(wanted, self._data) if wanted else {}
        return None if new is None else same | new

    def _same(
        self, horizon: Span, cursor: Mapping[str, str], probes: Mapping[str, str | None]
    ) -> Fetched:
        """Word that nothing changed, and what to probe with the next time."""
        new = {**cursor, **_given(probes), "horizon": horizon_text(horizon)}
        return Fetched(None, FetchState(self._config_hash, new))


def _given(probes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in probes.items() if value is not None}


def _digest(stored: Mapping[str, Stored], marks: Marks) -> str:
    """Names what a snapshot is made of.

    It is kept in the state and not here: that a snapshot was made does not mean that it arrived.
    """
    total = hashlib.sha256(f"{marks.zone}\0{marks.owner}".encode())
    for href in sorted(stored):
        total.update(hashlib.sha256(href.encode()).digest())
        total.update(hashlib.sha256(stored[href].data).digest())
    return total.hexdigest()


def _within(horizon: Span) -> Span:
    return Span(horizon.start - _MARGIN, horizon.end + _MARGIN)


PROVIDER: Final = Provider(
    name="caldav",
    config=CaldavConfig,
    fields=ICALENDAR_FIELDS,
    default_refresh=timedelta(minutes=1),
    limits=Limits(concurrent=2),
    open=CaldavSource,
)
