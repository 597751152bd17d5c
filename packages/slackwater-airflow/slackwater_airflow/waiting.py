"""Whether a window that is waited for is open: the sensor's and its trigger's common sense."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from slackwater_airflow import file as windows_file
from slackwater_windows.document import FINAL_STATES, Occurrence, Window
from slackwater_windows.wire import BadDocument, parse_instant

_SHORTEST: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which window is waited for.

    Attributes:
        window: the TrainingWindow as `namespace/name`.
        occurrence: id of one occurrence of it; "" for whichever is open or opens next.
        start: when it opens by the run's conf, RFC 3339; "" where only the file can tell.
        end: when it ends by the run's conf.
        file: the windows file, where it is not at its usual place.
    """

    window: str
    occurrence: str = ""
    start: str = ""
    end: str = ""
    file: str = ""

    def to_wire(self) -> dict[str, str]:
        """As keyword arguments of a trigger are stored."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Wish:
        """What `to_wire` gave, also that of a newer version."""
        return cls(**{name: str(wire.get(name, "")) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look found.

    Attributes:
        open: the window is open.
        settled: there is nothing to wait for any more.
        why: one sentence.
        opens_at: when it is expected to open; None where that is not known.
        window: the TrainingWindow of the file.
        occurrence: the occurrence of the file.
    """

    open: bool
    settled: bool
    why: str
    opens_at: datetime | None = None
    window: Window | None = None
    occurrence: Occurrence | None = None

    def pause(self, most: float, now: datetime) -> float:
        """Seconds until another look is worth it: at the opening, and not later than `most`."""
        if self.opens_at is None or self.opens_at <= now:
            return most
        return max(_SHORTEST, min(most, (self.opens_at - now).total_seconds()))


def look(wish: Wish, now: datetime) -> Found:
    """Whether the window is open, by the windows file; by the run's conf where the file says nothing."""
    try:
        document = windows_file.load(wish.file or None)
    except BadDocument as error:
        return _by_conf(wish, now) or _wait(f"{error}.")
    if document is None:
        where = windows_file.place(wish.file or None)
        return _by_conf(wish, now) or _wait(f"There is no windows file at {where}.")
    window = document.window(wish.window)
    if window is None:
        return _by_conf(wish, now) or _wait(f"The windows file does not know {wish.window}.")
    if not wish.occurrence:
        occurrence = window.next_open(now)
        if occurrence is None:
            return _wait(f"{wish.window} has no window ahead.", window)
        return _seen(window, occurrence, now)
    for occurrence in window.occurrences:
        if occurrence.id == wish.occurrence:
            return _seen(window, occurrence, now)
    return _by_conf(wish, now) or _wait(f"{wish.window} does not tell of this occurrence.", window)


def _seen(window: Window, occurrence: Occurrence, now: datetime) -> Found:
    def found(*, is_open: bool, settled: bool, why: str, opens_at: datetime | None = None) -> Found:
        return Found(
            open=is_open,
            settled=settled,
            why=why,
            opens_at=opens_at,
            window=window,
            occurrence=occurrence,
        )

    running = occurrence.dag_run_id is not None and occurrence.state not in FINAL_STATES
    if occurrence.is_open(now) or (running and occurrence.start <= now < occurrence.until):
        return found(is_open=True, settled=True, why=f"{window.ref} is open.")
    ahead = [start for start, _ in occurrence.openings if start > now]
    if occurrence.state in FINAL_STATES and not running:
        return found(
            is_open=False,
            settled=True,
            why=f"{window.ref}: {occurrence.state} ({occurrence.reason}).",
        )
    if ahead:
        return found(is_open=False, settled=False, why=f"{window.ref} is shut.", opens_at=ahead[0])
    if occurrence.openings or occurrence.until <= now:
        return found(is_open=False, settled=True, why=f"The window of {window.ref} is over.")
    return found(
        is_open=False, settled=False, why=f"Nothing is left of the window of {window.ref}."
    )


def _by_conf(wish: Wish, now: datetime) -> Found | None:
    if not wish.start or not wish.end:
        return None
    try:
        start, end = parse_instant(wish.start), parse_instant(wish.end)
    except ValueError:
        return None
    if now < start:
        return Found(open=False, settled=False, why="The window is shut.", opens_at=start)
    if now < end:
        return Found(open=True, settled=True, why="The window is open.")
    return Found(open=False, settled=True, why="The window is over.")


def _wait(why: str, window: Window | None = None) -> Found:
    return Found(open=False, settled=False, why=why, window=window)


LONGEST: Final = timedelta(days=7)
"""How long a sensor waits unless it is told otherwise."""
