"""Every way in which a calendar cannot be read: condition, sentence, last snapshot, block (R12)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from slackwater.core.event import Snapshot, Warned
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.words import WORDS, Reason
from slackwater.errors import CalendarError, SlackwaterError
from slackwater.ports import Fetched, FetchState, Key, Kind
from tests.core.builders import event
from tests.runtime.rig import HOUR, MINUTE, NS, SECOND, Bay, on_virtual_time

TEAM = Key(Kind.CALENDAR, Ref(NS, "team"))
SECRET = {"ref": "research/team", "key": "password"}

# The classes of errors that a provider can raise, and how they show.
CLASSES = {
    "throttled": CalendarError(
        Reason.THROTTLED, retry_after=timedelta(seconds=90), what="Calendar research/team"
    ),
    "transient": CalendarError(Reason.UNAVAILABLE, what="Calendar research/team"),
    "unreachable": CalendarError(Reason.UNREACHABLE, what="Calendar research/team"),
    "timeout": CalendarError(Reason.TIMEOUT, what="Calendar research/team"),
    "credentials": CalendarError(Reason.UNAUTHORIZED, what="Calendar research/team"),
    "secret": CalendarError(Reason.SECRET_NOT_FOUND, **SECRET),
    "secret key": CalendarError(Reason.SECRET_KEY_NOT_FOUND, **SECRET),
    "forbidden": CalendarError(Reason.FORBIDDEN, what="Calendar research/team"),
    "not found": CalendarError(Reason.NOT_FOUND, what="Calendar research/team"),
    "bad request": CalendarError(Reason.BAD_REQUEST, what="Calendar research/team"),
    "redirected": CalendarError(Reason.REDIRECTED, what="Calendar research/team"),
    "malformed": CalendarError(Reason.MALFORMED, what="Calendar research/team"),
    "too large": CalendarError(Reason.TOO_LARGE, what="Calendar research/team"),
    "limit": CalendarError(Reason.LIMIT_EXCEEDED, what="Calendar research/team"),
    "not shared": CalendarError(
        Reason.NOT_SHARED, what="Calendar research/team", account="a@b", content="events"
    ),
    "consent": CalendarError(Reason.CONSENT_REQUIRED, what="Calendar research/team"),
    "credentials unreadable": CalendarError(
        Reason.CREDENTIALS_UNREADABLE, what="Calendar research/team", credentials="a key"
    ),
    "identity": CalendarError(Reason.IDENTITY_UNREADABLE, identity="graph"),
    "zone": CalendarError(
        Reason.UNKNOWN_TIME_ZONE, field="Calendar research/team", zone="Mars/Olympus"
    ),
    "blocked target": CalendarError(Reason.BLOCKED_TARGET, what="Calendar research/team"),
}


class Source:
    """A calendar with one event far away, that fails when it is told to."""

    def __init__(self, events=()) -> None:
        self.events = events
        self.error: SlackwaterError | None = None
        self.warnings: tuple[Warned, ...] = ()

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        if self.error is not None:
            raise self.error
        return Fetched(Snapshot(horizon, self.events, now, self.warnings), FetchState("x"))

    async def aclose(self) -> None:
        return


class Harbour(Bay):
    """A bay whose calendar is `source`, and a Trigger of every hour that a Deny of it could stop."""

    def __init__(self, clock, events=()) -> None:
        super().__init__(clock)
        self.calendar = Source(events)  # type: ignore[assignment]

    def open(self) -> None:
        self.apply_all()
        entry = {
            "name": "reserved",
            "calendarRef": {"name": "team"},
            "effect": "Deny",
            "match": {"summary": "reserved*"},
        }
        hourly = {
            "name": "hourly",
            "effect": "Trigger",
            "schedule": "30 * * * *",
            "durationSeconds": 600,
        }
        self.window(calendars=[entry], windows=[hourly])
        self.start()

    @property
    def told(self) -> dict[str, object]:
        return dict(self.store.objects[TEAM].status)

    @property
    def ready(self) -> dict[str, str]:
        (condition,) = self.told["conditions"]
        return condition


def when(text: object) -> datetime:
    return datetime.fromisoformat(str(text))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_failing_calendar_says_why_counts_for_an_hour_and_then_blocks(name) -> None:
    error = CLASSES[name]

    @on_virtual_time
    async def story(clock) -> None:
        harbour = Harbour(clock, (event("e1", 300, 301),))
        harbour.open()
        begin = clock.now()
        await harbour.until(begin + 20 * MINUTE)
        assert harbour.ready["status"] == "True"
        assert "blocksAt" not in harbour.told
        read_at = harbour.engine.world.calendar(TEAM.ref).checked_at

        harbour.calendar.error = error
        await harbour.until(begin + 29 * MINUTE)
        assert (harbour.ready["status"], harbour.ready["reason"]) == ("False", error.reason)
        assert harbour.ready["message"] == error.sentence
        assert "{" not in harbour.ready["message"], "every gap of the sentence is filled"
        follower = harbour.engine.world.calendar(TEAM.ref)
        assert len(follower.snapshot.events) == harbour.told["eventCount"] == 1
        blocks_at = follower.blocks_at
        assert timedelta(0) <= blocks_at - read_at - HOUR <= 10 * MINUTE
        assert abs(when(harbour.told["blocksAt"]) - blocks_at) <= SECOND

        await harbour.until(begin + 45 * MINUTE)
        assert len(harbour.airflow.runs) == 1, "until then its last reading counts"
        await harbour.until(begin + 3 * HOUR)
        assert len(harbour.airflow.runs) == 1, "from then on nothing starts"
        (synced,) = [c for c in harbour.status()["conditions"] if c["type"] == "CalendarsSynced"]
        assert (synced["status"], synced["reason"]) == ("False", "Stale")
        missed = [line for line in harbour.lines() if line["state"] == "Missed"]
        assert missed
        assert {line["reason"] for line in missed} == {"Stale"}

        harbour.calendar.error = None
        await harbour.until(begin + 5 * HOUR)
        assert harbour.ready["status"] == "True"
        assert "blocksAt" not in harbour.told
        assert len(harbour.airflow.runs) >= 2, "it goes on by itself"
        await harbour.stop()

    story()


@on_virtual_time
async def test_a_calendar_that_was_never_read_is_not_free(clock) -> None:
    harbour = Harbour(clock)
    harbour.calendar.error = CLASSES["credentials"]
    harbour.open()
    await harbour.until(clock.now() + 3 * HOUR)
    assert harbour.airflow.runs == {}
    assert harbour.ready["reason"] == "Unauthorized"
    await harbour.stop()


@pytest.mark.parametrize(
    "reason", [Reason.SERIES_SKIPPED, Reason.UNKNOWN_EVENT_ZONE, Reason.UNSTABLE_UIDS]
)
def test_what_had_to_be_left_out_is_said_and_the_rest_stands(reason) -> None:
    @on_virtual_time
    async def story(clock) -> None:
        harbour = Harbour(clock, (event("e1", 300, 301),))
        harbour.calendar.warnings = (Warned(reason, 3),)
        harbour.open()
        await harbour.until(clock.now() + HOUR)
        assert (harbour.ready["status"], harbour.ready["reason"]) == ("True", reason)
        assert "{" not in harbour.ready["message"]
        assert len(harbour.airflow.runs) == 1
        await harbour.stop()

    story()


def test_every_error_of_a_calendar_tells_what_to_do() -> None:
    for error in CLASSES.values():
        assert WORDS[error.reason].remedy
