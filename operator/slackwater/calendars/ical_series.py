"""One series of iCalendar components as instances inside a horizon (RFC 5545 §3.8.5).

Runs in the expander's child only. Where the standard and practice differ:

- An instance that a rule puts at a wall-clock time which does not exist is left out (§3.3.10); one
  written out as DTSTART or RDATE is read by the offset before the gap (§3.3.5).
- An instance ends at the wall-clock time that DTEND says, also across a change to or from summer
  time, as every calendar program shows it; a DURATION counts days by the calendar and the rest
  exactly (§3.3.6).
- An instance without length lasts one second, so that it is still an interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final

import icalendar
import recurring_ical_events

from slackwater.calendars import ical_zones
from slackwater.calendars.ical_text import MAX_DATES, Series

MAX_STEPS: Final = 50_000  # of a rule from its start to the horizon's end
MAX_INSTANCES: Final = 5_000  # of one series inside the horizon

_MARGIN: Final = timedelta(days=1)  # more than any zone is from UTC
_SHORTEST: Final = timedelta(seconds=1)
_FLOATING: Final = timedelta(hours=14)
_PERIOD: Final = {
    "HOURLY": timedelta(hours=1),
    "DAILY": timedelta(days=1),
    "WEEKLY": timedelta(days=7),
    "MONTHLY": timedelta(days=28),
    "YEARLY": timedelta(days=365),
}
_DAYS: Final = {"HOURLY": 1, "DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}
_LONGEST_MONTHS: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_BY_DAY: Final = ("BYDAY", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO")


class SkippedError(ValueError):
    """The series cannot be expanded; the rest of the calendar can."""


class UnknownZoneError(SkippedError):
    """It is in a time zone that nobody knows: never read as another."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One event.

    Attributes:
        component: the VEVENT that holds for it.
        start: UTC; as if in UTC where `wall` is set.
        end: after `start`.
        wall: naive start and end where no zone is known.
        all_day: written as a date.
        original: the start as first written, ISO 8601.
        recurrence: which instance of its series, the same after a move; empty for a single event.
    """

    component: icalendar.Event
    start: datetime
    end: datetime
    wall: tuple[datetime, datetime] | None
    all_day: bool
    original: str
    recurrence: str


class _Adapter(recurring_ical_events.EventAdapter):  # type: ignore[misc]
    """Shows the component it stands for."""

    @property
    def component(self) -> icalendar.Event:
        return self._component


class _Occurrence(recurring_ical_events.Occurrence):  # type: ignore[misc]
    """Remembers where it comes from."""

    def __init__(
        self,
        adapter: _Adapter,
        start: date | None = None,
        end: date | None = None,
        sequence: int = -1,
    ) -> None:
        super().__init__(adapter, start, end, sequence)
        self.adapter = adapter
        self.own_times = start is None  # a single event or a changed instance, not a rule's


class _Occurrences(recurring_ical_events.Series):  # type: ignore[misc]
    occurrence = _Occurrence


@dataclass(frozen=True, slots=True)
class Horizon:
    """Where instances are wanted, and the zone of floating and all-day ones, if one is known."""

    start: datetime
    end: datetime
    zone: tzinfo | None


def expand(series: Series, horizon: Horizon) -> list[Instance]:
    """The instances of a series that overlap the horizon.

    Raises:
        SkippedError: the series is not to be expanded, or cannot be read.
        Exception: whatever the libraries raise on content nobody thought of.
    """
    if series.dates > MAX_DATES:
        raise SkippedError
    components = [_component(block.text) for block in series.blocks]
    masters = [c for c in components if "RECURRENCE-ID" not in c]
    for component in components:
        _check(component, horizon)
    if not any(block.onward for block in series.blocks):
        for component in masters:
            advance(component, horizon)
    master = max(masters, key=lambda c: int(c.get("SEQUENCE", 0)), default=None)
    repeats = len(masters) < len(components) or any("RRULE" in c or "RDATE" in c for c in masters)
    found = []
    for occurrence in _between(components, horizon):
        instance = _instance(occurrence, master, horizon, repeats=repeats)
        if instance is not None:
            found.append(instance)
            if len(found) > MAX_INSTANCES:
                raise SkippedError
    return found


def _component(text: str) -> icalendar.Event:
    component = icalendar.Event.from_ical(text)
    if component.errors:
        # What could not be read may be what leaves an instance out.
        raise SkippedError
    return component


def _between(components: Sequence[icalendar.Event], horizon: Horizon) -> Iterator[_Occurrence]:
    zone = horizon.zone or UTC
    occurrences = _Occurrences([_Adapter(component) for component in components])
    yield from occurrences.between(
        (horizon.start - _MARGIN).astimezone(zone), (horizon.end + _MARGIN).astimezone(zone)
    )


# --- what is refused ---------------------------------------------------------------------------


def _check(component: icalendar.Event, horizon: Horizon) -> None:
    """Refuse what would take for ever, or would be read as something else."""
    for name in ("DTSTART", "DTEND", "RECURRENCE-ID"):
        if name in component:
            _check_zone(component[name], component[name].dt)
    for name in ("RDATE", "EXDATE"):
        for dates in _all(component, name):
            for one in dates.dts:
                _check_zone(dates, one.dt)
    start = component["DTSTART"].dt
    if "DTEND" in component and _is_before(component["DTEND"].dt, start):
        raise SkippedError
    if "EXRULE" in component:  # of RFC 2445; nobody evaluates it any more
        raise SkippedError
    for rule in _all(component, "RRULE"):
        _check_rule(rule, start, horizon)


def _all(component: icalendar.Event, name: str) -> list[Any]:
    value = component.get(name, [])
    return value if isinstance(value, list) else [value]


def _is_before(one: date, other: date) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime) and one.tzinfo and other.tzinfo:
        return one.astimezone(UTC) < other.astimezone(UTC)
    return _naive(one) < _naive(other)


def _check_zone(prop: Any, value: object) -> None:
    first = value[0] if isinstance(value, tuple) else value
    if "TZID" in prop.params and isinstance(first, datetime) and first.tzinfo is None:
        raise UnknownZoneError


def _check_rule(rule: icalendar.vRecur, start: date, horizon: Horizon) -> None:
    frequency = str(rule.get("FREQ", [""])[0]).upper()
    interval = int(rule.get("INTERVAL", [1])[0])
    if frequency not in _PERIOD or interval < 1:
        raise SkippedError
    if _never(rule):
        raise SkippedError
    last = _naive(horizon.end)
    for until in rule.get("UNTIL", []):
        last = min(last, _naive(until))
    periods = max((last - _naive(start)) / (_PERIOD[frequency] * interval), 0.0)
    if periods * _per_period(rule, frequency) > MAX_STEPS:
        raise SkippedError


def _per_period(rule: icalendar.vRecur, frequency: str) -> int:
    """At most how many instances one period of the rule has."""
    steps = 1
    for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        steps *= max(1, len(rule.get(name, [])))
    if frequency == "WEEKLY":
        return steps * max(1, len(rule.get("BYDAY", [])))
    if any(name in rule for name in _BY_DAY):
        return steps * _DAYS[frequency]
    return steps * (12 if frequency == "YEARLY" and "BYMONTH" in rule else 1)


def _never(rule: icalendar.vRecur) -> bool:
    """Whether the rule asks only for days that no month has, as 30 February."""
    days = [int(day) for day in rule.get("BYMONTHDAY", [])]
    months = [int(month) for month in rule.get("BYMONTH", [])] or [1]
    return bool(days) and not any(
        1 <= abs(day) <= _LONGEST_MONTHS.get(month, 31) for day in days for month in months
    )


def advance(component: icalendar.Event, horizon: Horizon) -> None:
    """Let an old series begin shortly before the horizon, so that it is not counted up from 1990.

    Whole periods are skipped, by the wall clock, so every instance inside stays as it is. The new
    first start may be none of the rule's; it lies before anything that is looked at. Few steps
    lead through months and years, and a COUNT must be counted. Not for a series of which a part
    was moved onward: its instances may begin long after their original starts.
    """
    rules = _all(component, "RRULE")
    if len(rules) != 1 or "COUNT" in rules[0]:
        return
    interval = int(rules[0].get("INTERVAL", [1])[0])
    period = {
        "HOURLY": timedelta(days=math.lcm(interval, 24) // 24),
        "DAILY": timedelta(days=interval),
        "WEEKLY": timedelta(days=7 * interval),
    }.get(str(rules[0]["FREQ"][0]).upper())
    if period is None:
        return
    start = component["DTSTART"].dt
    end = component["DTEND"].dt if "DTEND" in component else start
    length = max(_naive(end) - _naive(start), timedelta())
    if "DURATION" in component:
        length = max(length, component["DURATION"].dt)
    skipped = (_naive(horizon.start) - 3 * _MARGIN - length - _naive(start)) // period - 1
    if skipped > 0:
        component["DTSTART"].dt = start + skipped * period
        if "DTEND" in component:
            component["DTEND"].dt = end + skipped * period


# --- one instance ------------------------------------------------------------------------------


def _instance(
    occurrence: _Occurrence,
    master: icalendar.Event | None,
    horizon: Horizon,
    *,
    repeats: bool,
) -> Instance | None:
    component = occurrence.adapter.component
    start, end = occurrence.start, occurrence.end
    if not occurrence.own_times and not _is_real(start, component, horizon.zone):
        return None
    all_day = not isinstance(start, datetime)
    if all_day and end <= start:
        end = start + timedelta(days=1)
    first, last = _naive(start), _naive(end)
    zone = start.tzinfo if isinstance(start, datetime) and start.tzinfo else horizon.zone
    wall = (first, max(last, first + _SHORTEST)) if zone is None else None
    begin = _utc(start, zone)
    finish = _finish(begin, start, end, component, zone)
    reach = _FLOATING if wall is not None else timedelta()
    if begin >= horizon.end + reach or finish <= horizon.start - reach:
        return None
    original = _original(occurrence, master)
    return Instance(
        component=component,
        start=begin,
        end=finish,
        wall=wall,
        all_day=all_day,
        original=original.isoformat(),
        recurrence=_recurrence(original) if repeats else "",
    )


def _finish(
    begin: datetime, start: date, end: date, component: icalendar.Event, zone: tzinfo | None
) -> datetime:
    finish = _utc(end, zone)
    length: timedelta = component["DURATION"].dt if "DURATION" in component else timedelta()
    # A PERIOD in an RDATE has a length of its own.
    is_usual = length and "DTEND" not in component and _naive(end) - _naive(start) == length
    if is_usual and isinstance(start, datetime):
        days = timedelta(days=length.days)
        finish = _utc(start + days, zone) + (length - days)
    if finish <= begin:
        # An hour around a gap has no length by the clock on the wall, but was meant to have one.
        finish = begin + max(_naive(end) - _naive(start), _SHORTEST)
    return finish


def _is_real(start: date, component: icalendar.Event, zone: tzinfo | None) -> bool:
    """False for an instance of a rule whose wall-clock time does not exist."""
    if not isinstance(start, datetime):
        return True
    aware = start.replace(tzinfo=start.tzinfo or zone or UTC)
    if ical_zones.exists(aware):
        return True
    written = [component["DTSTART"].dt]
    for dates in _all(component, "RDATE"):
        written += [one.dt[0] if isinstance(one.dt, tuple) else one.dt for one in dates.dts]
    return any(_naive(one) == _naive(start) for one in written)


def _original(occurrence: _Occurrence, master: icalendar.Event | None) -> date:
    """The start as first written, in the terms of the series.

    A changed instance may name its original start in UTC while the series is in Europe/Berlin;
    both must give the same identity as the instance had before it was changed.
    """
    component = occurrence.adapter.component
    if not occurrence.own_times:
        original: date = occurrence.start - occurrence.adapter.move_recurrences_by
    elif "RECURRENCE-ID" in component:
        original = component["RECURRENCE-ID"].dt
    else:
        original = component["DTSTART"].dt
    if master is None:
        return original
    first = master["DTSTART"].dt
    if not isinstance(original, datetime) or not isinstance(first, datetime):
        return _naive(original).date() if not isinstance(first, datetime) else original
    if original.tzinfo is not None and first.tzinfo is not None:
        return original.astimezone(first.tzinfo)
    return original


def _recurrence(original: date) -> str:
    """Which instance of the series: wall-clock, so that a new edition of tzdata changes nothing."""
    if not isinstance(original, datetime):
        return original.isoformat()
    text = original.replace(tzinfo=None, fold=0).isoformat()
    # The second of two equal wall-clock times; a rule never gives it, an RDATE in UTC may.
    return f"{text}/2" if original.fold else text


def _naive(value: date) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None, fold=0)
    return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a wall-clock time


def _utc(value: date, zone: tzinfo | None) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return _naive(value).replace(tzinfo=zone or UTC).astimezone(UTC)
