"""Inline schedules: five cron fields of wall-clock time and an elapsed duration (rule R1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from slackwater.core.span import Span
from slackwater.core.zone import instant
from slackwater.core.zone import zone as zone_of

MAX_INSTANCES: Final = 5000
MAX_LENGTH: Final = 128
LOOK_AHEAD: Final = timedelta(days=37)
"""The length of the time that is laid out: 48 h back and 35 d ahead (R11)."""

# Clocks have never gone back by more (Alaska in 1867).
_LONGEST_FOLD: Final = timedelta(days=1)
# Any instant will do to find a first date from; this one keeps `check` the same every day.
_ORIGIN: Final = datetime(2026, 1, 1)  # noqa: DTZ001 - wall-clock time has no zone


class BadSchedule(ValueError):
    """A schedule that cannot be used.

    Attributes:
        field: where it is written, such as `spec.windows[0].schedule`.
        detail: what is wrong, in words that can follow the field.
        never_fires: it is well formed but names no day that exists.
    """

    def __init__(self, field: str, detail: str, *, never_fires: bool = False) -> None:
        self.field = field
        self.detail = detail
        self.never_fires = never_fires
        super().__init__(f"{field}: {detail}")


def check(expression: str, field: str, duration: timedelta = timedelta()) -> None:
    """Accept a schedule or say what is wrong with it.

    Args:
        expression: minute, hour, day of month, month, day of week.
        field: where it is written, for the error.
        duration: how long each instance lasts, where known: long ones overlap.

    Raises:
        BadSchedule: it is not five fields, names no day that exists, or begins so often that more
            than 5,000 instances would have to be watched.
    """
    fault = _fault(expression, duration)
    if fault is not None:
        detail, never_fires = fault
        raise BadSchedule(field, detail, never_fires=never_fires)


@lru_cache(maxsize=2048)
def _fault(expression: str, duration: timedelta) -> tuple[str, bool] | None:
    fields = expression.split()
    if len(expression) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters", False
    if len(fields) != 5:
        return f"a schedule has five fields, this one has {len(fields)}", False
    try:
        CronSim(" ".join((*fields[:3], "*", fields[4])), _ORIGIN)
        # The rest has no fault, so what is wrong with the month is its name or number, or that
        # it is shorter than the day wants.
        CronSim(f"0 0 * {fields[3]} *", _ORIGIN)
    except (CronSimError, ValueError) as error:
        return _word(error), False
    try:
        first = next(CronSim(expression, _ORIGIN), None)
    except (CronSimError, OverflowError):
        first = None
    if first is None:
        return "this schedule names no day that exists", True
    starts = _starts(expression, first, first + LOOK_AHEAD + duration)
    return (_too_many(), False) if sum(1 for _ in starts) > MAX_INSTANCES else None


def _starts(expression: str, earliest: datetime, latest: datetime) -> Iterator[datetime]:
    """Wall-clock starts from `earliest` to before `latest`.

    Walks days and lets cronsim say which of them are meant: its own iteration walks second by
    second, which takes 50 times as long for a schedule that begins every quarter of an hour.
    """
    cron = CronSim(expression, earliest)
    times = [time(hour, minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    day = earliest.date()
    while day <= latest.date():
        if day.month in cron.months and cron.match_day(day):
            for at in times:
                start = datetime.combine(day, at)
                if earliest <= start < latest:
                    yield start
        day += timedelta(days=1)


def _word(error: Exception) -> str:
    # cronsim says "Bad day-of-month"; int() quotes digits that are too many.
    text = str(error)
    return f"the {text[4:]} field is wrong" if text.startswith("Bad ") else "not a schedule"


def _too_many() -> str:
    return f"this schedule begins more than {MAX_INSTANCES:,} times in {LOOK_AHEAD.days} days"


def instances(
    expression: str, duration: timedelta, zone_name: str, within: Span
) -> Iterator[tuple[str, Span]]:
    """Every instance that overlaps `within`, in order.

    An instance begins when clocks in the zone show its time and lasts `duration` of elapsed time.
    A time that clocks skip begins at the first instant after the gap; times of one gap begin
    together, so they are one instance, under the earliest name. A time that clocks show twice
    begins at the first of the two.

    Args:
        expression: five cron fields.
        duration: elapsed; more than zero.
        zone_name: IANA name of the zone.
        within: the time of interest.

    Yields:
        The nominal start as wall-clock time ("2026-03-29T02:30") and the UTC span.

    Raises:
        BadSchedule: see `check`; also where more than 5,000 instances overlap `within`.
        UnknownZone: there is no such zone.
    """
    check(expression, "schedule")
    where = zone_of(zone_name)
    # Later wall-clock times never open earlier, so this is where overlap can begin.
    earliest = (within.start - duration).astimezone(where).replace(tzinfo=None, fold=0)
    # In a fold the clock at the end shows a time that has long been: look further.
    latest = within.end.astimezone(where).replace(tzinfo=None, fold=0) + _LONGEST_FOLD
    found = 0
    before: datetime | None = None
    for wall in _starts(expression, earliest, latest):
        start = instant(wall, where)
        if start == before:
            continue
        before = start
        if start >= within.end:
            return
        if start + duration > within.start:
            found += 1
            if found > MAX_INSTANCES:
                raise BadSchedule("schedule", _too_many())
            yield wall.isoformat(timespec="minutes"), Span(start, (start + duration))
