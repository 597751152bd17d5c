"""The windows document of what the engine knows now, made row by row as things change."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Generic, TypeVar

from slackwater.api.status import conditions_from_wire
from slackwater.core.spec import Ref
from slackwater.core.status import Truth
from slackwater.core.windows_file import pool_row, still_pool, still_window, window_row
from slackwater.runtime.records import WindowRecord
from slackwater.runtime.world import World
from slackwater_windows.document import OPEN_STATES, Document, Pool, Window

_Row = TypeVar("_Row", Window, Pool)


class News(IntEnum):
    """What has changed; the larger, the more it matters."""

    NONE = 0
    LIVE = 1
    """Wording, or a pool's numbers."""
    SETTLED = 2
    """What readers act upon."""


@dataclass(slots=True)
class _Rows(Generic[_Row]):
    """Rows with what each was made of; parts are compared by identity where they are objects."""

    rows: dict[Ref, _Row] = field(default_factory=dict)
    made_of: dict[Ref, tuple[Any, ...]] = field(default_factory=dict)

    def is_made_of(self, ref: Ref, parts: tuple[Any, ...]) -> bool:
        old = self.made_of.get(ref, ())
        self.made_of[ref] = parts
        return len(old) == len(parts) and all(
            new is was or (isinstance(new, Hashable) and _is_plain(new) and new == was)
            for new, was in zip(parts, old, strict=True)
        )

    def take(self, ref: Ref, row: _Row, still: _Row, was_still: _Row | None) -> News:
        before = self.rows.get(ref)
        self.rows[ref] = row
        if before == row:
            return News.NONE
        return News.LIVE if was_still == still else News.SETTLED

    def drop_all_but(self, refs: Any) -> News:
        gone = self.rows.keys() - refs
        for ref in gone:
            del self.rows[ref], self.made_of[ref]
        return News.SETTLED if gone else News.NONE


def _is_plain(value: object) -> bool:
    return isinstance(value, datetime | str | int | tuple)


class Board:
    """Keeps the rows of the windows document.

    Args:
        world: what is known.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._windows: _Rows[Window] = _Rows()
        self._pools: _Rows[Pool] = _Rows()
        self._unsaid = News.NONE

    @property
    def is_complete(self) -> bool:
        """Every TrainingWindow that can be laid out has been."""
        return all(
            record.layout is not None or record.spec is None
            for record in self._world.windows.values()
        )

    @property
    def is_open(self) -> bool:
        """Some window is open or has a run."""
        return any(
            occurrence.state in OPEN_STATES
            for window in self._windows.rows.values()
            for occurrence in window.occurrences
        )

    def refresh(self) -> News:
        """Make anew the rows of what has changed, and say how much that matters."""
        news = max(self._unsaid, self._refreshed())
        self._unsaid = News.NONE
        return news

    def _refreshed(self) -> News:
        now = self._world.clock.now()
        return max(
            *(self._refresh_window(ref, one, now) for ref, one in self._world.windows.items()),
            *(self._refresh_pool(ref, now) for ref in self._world.pools),
            self._windows.drop_all_but(self._world.windows.keys()),
            self._pools.drop_all_but(self._world.pools.keys()),
        )

    def current(self) -> Document:
        """The document as of now, for a reader; what is new is still news to the next `refresh`."""
        news = self._refreshed()
        self._unsaid = max(self._unsaid, news)
        return self.document()

    def document(self) -> Document:
        """The rows as one document, as of the last refresh."""
        return Document(
            installation=self._world.installation,
            written_at=self._world.clock.now(),
            windows=tuple(row for _, row in sorted(self._windows.rows.items())),
            pools=tuple(row for _, row in sorted(self._pools.rows.items())),
        )

    def _refresh_window(self, ref: Ref, record: WindowRecord, now: datetime) -> News:
        spec = record.spec
        if spec is None:
            return News.NONE
        privacies = {
            entry.calendar: held.spec.privacy
            for entry in spec.calendars
            if (held := self._world.calendars.get(entry.calendar)) is not None
            and held.spec is not None
        }
        hour = now.replace(minute=0, second=0, microsecond=0)
        told = tuple(privacies.items())
        if self._windows.is_made_of(ref, (spec, record.status, record.layout, hour, told)):
            return News.NONE
        row = window_row(ref, spec, record.status, record.layout, privacies, now)
        before = self._windows.rows.get(ref)
        was = None if before is None else still_window(before)
        return self._windows.take(ref, row, still_window(row), was)

    def _refresh_pool(self, ref: Ref, now: datetime) -> News:
        follower, held = self._world.pool(ref), self._world.pools[ref]
        if follower is None:
            return News.NONE
        promised = sum(promise.unseen for promise in follower.promises)
        message = next(
            (
                condition.message
                for condition in conditions_from_wire(held.stored.status)
                if condition.status is Truth.FALSE
            ),
            "",
        )
        if self._pools.is_made_of(ref, (follower.sample, promised, message)):
            return News.NONE
        row = pool_row(ref, follower.sample, promised, follower.history, message, now)
        before = self._pools.rows.get(ref)
        was = None if before is None else still_pool(before)
        return self._pools.take(ref, row, still_pool(row), was)
