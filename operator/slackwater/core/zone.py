"""Time zones by their IANA names, and wall-clock time as instants (rule R1)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

# "Factory" is the database's word for "nobody has set a zone", and reads as UTC.
_NO_ZONE: Final = frozenset({"Factory"})
_SECOND: Final = timedelta(seconds=1)


class UnknownZone(ValueError):
    """A name that is not a time zone of the IANA database; never read as UTC.

    Attributes:
        name: what was given.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} is not a time zone of the IANA database")


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every zone name that is understood: the list of the tzdata package.

    The list is the package's and not the machine's, because a machine also offers names that mean
    something else elsewhere (`localtime`) or count leap seconds (`right/…`).
    """
    text = (resources.files("tzdata") / "zones").read_text(encoding="utf-8")
    return frozenset(text.split()) - _NO_ZONE


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The zone of this name.

    Raises:
        UnknownZone: there is none.

    >>> zone("Europe/Berlin").key
    'Europe/Berlin'
    """
    if name not in names():
        raise UnknownZone(name)
    return ZoneInfo(name)


def instant(wall: datetime, where: ZoneInfo) -> datetime:
    """The UTC instant at which clocks in `where` show `wall`.

    In a gap (clocks jump over `wall`) it is the first instant after the gap; in a fold (clocks
    show `wall` twice) the first of the two.

    Args:
        wall: naive wall-clock time.
        where: the zone of the clock.

    >>> instant(datetime(2026, 3, 29, 2, 30), zone("Europe/Berlin")).isoformat()
    '2026-03-29T01:00:00+00:00'
    >>> instant(datetime(2026, 10, 25, 2, 30), zone("Europe/Berlin")).isoformat()
    '2026-10-25T00:30:00+00:00'
    """
    found = wall.replace(tzinfo=where, fold=0).astimezone(UTC)
    if _wall(found, where) == wall:
        return found
    # Read by the offset after the gap, the same wall time lies before the change: the change is
    # in between, at the first whole second at which clocks show `wall` or later.
    low = wall.replace(tzinfo=where, fold=1).astimezone(UTC).replace(microsecond=0)
    high = found.replace(microsecond=0) + _SECOND
    while high - low > _SECOND:
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if _wall(middle, where) < wall:
            low = middle
        else:
            high = middle
    return high


def _wall(at: datetime, where: ZoneInfo) -> datetime:
    return at.astimezone(where).replace(tzinfo=None, fold=0)
