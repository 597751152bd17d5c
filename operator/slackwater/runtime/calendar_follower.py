"""One Calendar, read once for all TrainingWindows that refer to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from slackwater.core.event import Snapshot
from slackwater.core.seen import CalendarView, Trouble
from slackwater.core.span import Span
from slackwater.core.spec import Privacy, Ref
from slackwater.core.words import Reason
from slackwater.errors import DependencyError, HeldBack
from slackwater.ports import CalendarSource, Clock, Fetched, FetchState
from slackwater.runtime.backoff import Backoff, trouble_of

BEHIND: Final = timedelta(hours=48)
AHEAD: Final = timedelta(days=35)
QUANTUM: Final = timedelta(days=1)
LONGEST_BACKOFF: Final = timedelta(minutes=15)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def horizon_at(now: datetime) -> Span:
    """At least now - 48 h to now + 35 d (R11), in steps of a day so that cursors stay of use."""
    start = _EPOCH + (now - BEHIND - _EPOCH) // QUANTUM * QUANTUM
    end = _EPOCH + ((now + AHEAD - _EPOCH) // QUANTUM + 1) * QUANTUM
    return Span(start, end)


@dataclass(frozen=True, slots=True)
class CalendarSettings:
    """What following needs of a Calendar's spec."""

    refresh: timedelta
    max_staleness: timedelta
    privacy: Privacy
    fields: frozenset[str] | None = None
    """Attributes of `Event` that the provider gives at this level; None: not known yet."""


class CalendarFollower:
    """Keeps the last complete snapshot of one calendar, and how much it may be trusted.

    Args:
        ref: the Calendar.
        clock: the present.
        random: spreads polls by ±25 % and jitters back-off.
        changed: called after a look that changed what users see.
    """

    def __init__(self, ref: Ref, clock: Clock, random: Random, changed: Callable[[], None]) -> None:
        self.ref = ref
        self._clock, self._random, self._changed = clock, random, changed
        self.source: CalendarSource | None = None
        self.settings = CalendarSettings(timedelta(minutes=1), timedelta(hours=1), Privacy.BASIC)
        self.trouble: Trouble | None = None
        self.snapshot: Snapshot | None = None
        self.checked_at: datetime | None = None
        self.changed_at: datetime | None = None
        self.compared = False  # two readings with content were made, so their identities compare
        self._tried_at: datetime | None = None
        self._backoff = Backoff(random, LONGEST_BACKOFF)
        self.next_at: datetime | None = None
        self.failure: Trouble | None = None
        self.throttled = 0
        """Looks that a rate limit put off, the service's or our own."""
        self.changes = 0
        """Looks that found something changed."""
        self._since: datetime | None = None  # followed from then on
        self._held = timedelta()  # by our own limits, since the last success
        self._read = False
        self._state: FetchState | None = None
        self._before: frozenset[str] | None = None
        self._recent: frozenset[str] | None = None
        self._appeared: dict[str, datetime] | None = None
        self._blind: tuple[Span, ...] = ()
        self._looking: asyncio.Task[Fetched] | None = None
        self._renewal: Callable[[], None] | None = None

    def configure(self, source: CalendarSource | None, settings: CalendarSettings) -> None:
        """Follow another source: what is known stays until the new one has answered.

        A look at the old one ends at once, whatever it waits for: its answer would not count.
        """
        if self._looking is not None:
            self._looking.cancel()
        self._renewal = None
        self.source, self.settings = source, settings
        self._since = self._since or self._clock.now()
        self._state = None
        self._read = self.compared = False
        self._before = self._recent = self._appeared = None
        self._backoff.ended()

    def renew(self, renewal: Callable[[], None]) -> None:
        """Have the source made anew from the same spec, after the look that is under way.

        That look has used up what our limits allow for now, so its answer must not be lost: a
        feed is asked once in five minutes.
        """
        if self._looking is None:
            renewal()
        else:
            self._renewal = renewal

    def clock_jumped(self, by: timedelta) -> None:
        """The wall clock jumped: what was read before is as old as it was (R4)."""
        if self.checked_at is not None:
            self.checked_at += by
        if self._since is not None:
            self._since += by
        self._tried_at = None
        self._backoff.clock_jumped()
        self._blind = ()

    @property
    def fault(self) -> Reason | None:
        """Why the last look failed, None after a success."""
        return None if self.failure is None else self.failure.reason

    @property
    def blocks_at(self) -> datetime | None:
        """When the snapshot becomes too old to start anything."""
        return None if self.checked_at is None else self.checked_at + self.settings.max_staleness

    def view(self, refused: Trouble | None) -> CalendarView:
        """The calendar as one user sees it."""
        return CalendarView(
            ref=self.ref,
            refused=refused or self.trouble,
            snapshot=self.snapshot,
            checked_at=self.checked_at,
            tried_at=self._tried_at,
            retry_at=self._backoff.until,
            fault=self.fault,
            blocks_at=self.blocks_at,
            recent=self._recent,
            appeared=self._appeared,
            blind=self._blind,
            privacy=self.settings.privacy,
            fields=self.settings.fields,
        )

    async def look(self) -> None:
        """Read the calendar once, unless it asked for patience."""
        now = self._clock.now()
        if self.source is None:
            return
        if self._backoff.holds(now):
            self.next_at = self._backoff.until
            return
        source = self.source
        look = self._looking = asyncio.ensure_future(
            source.fetch(horizon_at(now), self._state, now)
        )
        try:
            await asyncio.wait((look,))
        finally:
            look.cancel()  # of no effect unless we are cancelled ourselves
            if self._looking is look:
                self._looking = None
        if source is not self.source or look.cancelled():
            return  # configured anew meanwhile: its own look follows
        self._heard(look)
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal()

    def _heard(self, look: asyncio.Task[Fetched]) -> None:
        try:
            fetched = look.result()
        except HeldBack as held:
            self._held_back(held)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is a fault like others
            self._failed(error)
        else:
            self._state = fetched.state
            self._succeeded(fetched.snapshot)

    def _held_back(self, held: HeldBack) -> None:
        """A limit that we keep forbids a look: no fault, and what is known stands (R9)."""
        self.throttled += 1
        now = self._clock.now()
        # Spread, so that all who were held back together do not come back together.
        spread = self._random.uniform(0.0, 0.25) * self.settings.refresh
        wait = (held.retry_after or timedelta()) + spread
        self.next_at = self._backoff.held(now + wait)
        self._held += wait

    def _failed(self, error: Exception) -> None:
        now = self._clock.now()
        self._tried_at = now
        asked = error.retry_after if isinstance(error, DependencyError) else None
        self.next_at = self._backoff.failed(now, asked)
        before = self.fault
        self.failure = trouble_of(error, f"Calendar {self.ref}", self.failure)
        self.throttled += self.fault is Reason.THROTTLED
        if before is not self.fault or self.snapshot is None:
            self._changed()

    def _succeeded(self, snapshot: Snapshot | None) -> None:
        now = self._clock.now()
        healed = self.fault is not None or (self.blocks_at is not None and now >= self.blocks_at)
        self._note_blind(now)
        self._tried_at = self.checked_at = now
        self.failure = None
        self._held = timedelta()
        self._backoff.ended()
        self.next_at = now + self.settings.refresh * self._random.uniform(0.75, 1.25)
        renewed = snapshot is not None and (
            self.snapshot is None
            or snapshot.events != self.snapshot.events
            or snapshot.horizon != self.snapshot.horizon
            or snapshot.warnings != self.snapshot.warnings
        )
        if snapshot is not None:
            self.compared = self._read
            self._read = True
            if renewed:
                self.changed_at = now
                self.changes += 1
            self.snapshot = snapshot
        if self.snapshot is None:
            return
        recent = self._recent
        keys = frozenset(event.key for event in self.snapshot.events) if renewed else None
        if keys is None:
            keys = self._before or frozenset(event.key for event in self.snapshot.events)
        if self._before is not None:
            self._note_appeared(keys - self._before - (self._recent or frozenset()), now)
            self._recent = keys | self._before
        self._before = keys
        if renewed or healed or recent != self._recent:
            self._changed()

    def _note_appeared(self, new: frozenset[str], now: datetime) -> None:
        known = self._appeared or {}
        if new or self._appeared is None or any(at <= now - BEHIND for at in known.values()):
            kept = {key: at for key, at in known.items() if at > now - BEHIND}
            self._appeared = kept | dict.fromkeys(new, now)

    def _note_blind(self, now: datetime) -> None:
        """Remember a time without a successful look that was longer than was planned."""
        self._blind = tuple(span for span in self._blind if span.end > now - BEHIND)
        since = self.checked_at or self._since
        if since is not None and now - since > 3 * self.settings.refresh + self._held:
            self._blind = (*self._blind, Span(since, now))
