"""One look at a Google calendar: a probe by sync token, a whole listing, or busy times."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from slackwater.calendars.google_client import GoogleClient, Refused
from slackwater.calendars.google_events import Reader, busy_times, events_of
from slackwater.calendars.provider import Opening, fetched, horizon_text
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.core.zone import UnknownZone
from slackwater.core.zone import zone as zone_of
from slackwater.errors import CalendarError
from slackwater.ports import Fetched, FetchState

PAGE: Final = 2_500  # the most that Google gives
MAX_EVENTS: Final = 20_000
MAX_PAGES: Final = 100

# Never asked for: descriptions below Details, and at all levels places, attendees other than the
# calendar itself, conference links and attachments.
_ITEM: Final = (
    "id,status,recurringEventId,originalStartTime,start,end,transparency,visibility,eventType,"
    "summary,organizer(email,self),attendees(self,responseStatus)"
)
_ITEMS: Final[Mapping[Privacy, str]] = {
    Privacy.BASIC: _ITEM,
    Privacy.DETAILS: f"{_ITEM},description",
}


class Look:
    """One look at a calendar, in a worker thread.

    Args:
        opening: of the Calendar.
        client: asks Google.
        calendar_id: Google's.
        horizon: what a snapshot covers.
        now: when it is taken.
        delegated: it is read in the name of a user.
    """

    def __init__(
        self,
        opening: Opening,
        client: GoogleClient,
        calendar_id: str,
        horizon: Span,
        now: datetime,
        *,
        delegated: bool,
    ) -> None:
        self._opening, self._client, self._calendar_id = opening, client, calendar_id
        self._horizon, self._now, self._delegated = horizon, now, delegated

    def fetch(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        """A snapshot, or word that nothing changed. Raises CalendarError."""
        try:
            if self._opening.privacy is Privacy.FREE_BUSY:
                return self._fetch_busy(cursor, config_hash)
            return self._fetch_events(cursor, config_hash)
        except Refused as refused:
            error = self._error(refused)
        raise error

    def _fetch_busy(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        body = {
            "timeMin": self._horizon.start.isoformat(),
            "timeMax": self._horizon.end.isoformat(),
            "items": [{"id": self._calendar_id}],
        }
        answer = self._client.busy(body, "kind,calendars")
        calendars = answer.get("calendars")
        found = calendars.get(self._calendar_id) if isinstance(calendars, dict) else None
        # What the answer leaves out is unknown, which is not free.
        if not isinstance(found, dict):
            raise self._refused(Reason.MALFORMED)
        if found.get("errors"):
            raise self._refused(_busy_refusal(found["errors"]))
        try:
            periods = found["busy"]
            expansion = busy_times(periods)
        except (KeyError, TypeError, ValueError):
            raise self._refused(Reason.MALFORMED) from None
        new = {"digest": _digest(periods)}
        if cursor.get("digest") == new["digest"]:
            return self._same(cursor, config_hash)
        return fetched(config_hash, self._horizon, new, expansion, self._now)

    def _fetch_events(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        if "token" in cursor:
            token = self._unchanged_since(cursor["token"])
            if token is not None:
                return self._same({**cursor, "token": token}, config_hash)
        items, last = self._list()
        new = {"digest": _digest([items, last.get("timeZone")])}
        if isinstance(last.get("nextSyncToken"), str):
            new["token"] = last["nextSyncToken"]
        if cursor.get("digest") == new["digest"]:
            return self._same(new, config_hash)
        reader = Reader(
            f"google:{self._calendar_id.lower()}",
            self._opening.privacy,
            self._zone(items, last),
            self._horizon,
        )
        return fetched(config_hash, self._horizon, new, events_of(items, reader), self._now)

    def _unchanged_since(self, token: str) -> str | None:
        """The token to ask with the next time, if nothing changed; None where a listing is due.

        Only the first page is looked at, and of it only whether there is anything: a series that
        never ends comes in pages that do not end (stackoverflow.com/q/30599745).
        """
        try:
            page = self._page(syncToken=token, fields="kind,nextPageToken,nextSyncToken,items(id)")
        except Refused as refused:
            # 410: the token has expired. 400: it is none (any more). A listing needs neither.
            if refused.status in {400, 410}:
                return None
            raise
        if page.get("items") or "nextPageToken" in page:
            return None
        following = page.get("nextSyncToken")
        return following if isinstance(following, str) else token

    def _list(self) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
        """Every item inside the horizon, and the last page."""
        fields = f"kind,timeZone,accessRole,nextPageToken,nextSyncToken,items({_ITEMS[self._opening.privacy]})"
        items: list[Mapping[str, Any]] = []
        further: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = self._page(
                timeMin=self._horizon.start.isoformat(),
                timeMax=self._horizon.end.isoformat(),
                fields=fields,
                **further,
            )
            # Who sees only free/busy is not shown private events at all: that would read as free.
            if page.get("accessRole") in {"freeBusyReader", "none"}:
                raise self._refused(Reason.NOT_SHARED)
            items += page.get("items", [])
            if len(items) > MAX_EVENTS:
                raise self._refused(Reason.LIMIT_EXCEEDED)
            if "nextPageToken" not in page:
                return items, page
            further = {"pageToken": str(page["nextPageToken"])}
        raise self._refused(Reason.LIMIT_EXCEEDED)

    def _page(self, **parameters: Any) -> Mapping[str, Any]:
        """One page; what is not said here must be equal in a listing and in what follows it."""
        page = self._client.events(
            calendarId=self._calendar_id,
            singleEvents=True,
            maxResults=PAGE,
            maxAttendees=1,  # the calendar itself
            **parameters,
        )
        items = page.get("items", [])
        if (
            page.get("kind") != "calendar#events"
            or not isinstance(items, list)
            or not all(isinstance(item, dict) for item in items)
        ):
            raise self._refused(Reason.MALFORMED)
        return page

    def _zone(self, items: list[Mapping[str, Any]], last: Mapping[str, Any]) -> ZoneInfo | None:
        """The zone of all-day events; it is asked for only where there are any."""
        told = last.get("timeZone")
        name = self._opening.zone or (told if isinstance(told, str) else None)
        if name is None or not any("date" in (item.get("start") or {}) for item in items):
            return None
        try:
            return zone_of(name)
        except UnknownZone:
            pass
        raise CalendarError(Reason.UNKNOWN_TIME_ZONE, field=self._opening.what, zone=name)

    def _same(self, cursor: Mapping[str, str], config_hash: str) -> Fetched:
        kept = {**cursor, "horizon": horizon_text(self._horizon)}
        return Fetched(None, FetchState(config_hash, kept))

    def _refused(self, reason: Reason) -> Refused:
        return Refused(reason, 200, {})

    def _error(self, refused: Refused) -> CalendarError:
        content = "busy times" if self._opening.privacy is Privacy.FREE_BUSY else "events"
        return refused.as_error(
            self._now,
            what=self._opening.what,
            account="the user that subject names"
            if self._delegated
            else self._client.account.shown,
            content=content,
        )


def _busy_refusal(errors: object) -> Reason:
    """Why there are no busy times of a calendar (`Error` of Calendar v3)."""
    said = {
        str(error.get("reason"))
        for error in (errors if isinstance(errors, list) else ())
        if isinstance(error, dict)
    }
    if said & {"notFound", "forbidden"}:
        return Reason.NOT_SHARED
    if said & {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}:
        return Reason.THROTTLED
    return Reason.UNAVAILABLE if "internalError" in said else Reason.BAD_REQUEST


def _digest(content: object) -> str:
    """Names what a snapshot is made of; kept in the state, so that it counts only once it arrived."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
