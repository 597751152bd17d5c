"""The test calendars of icalendar and recurring-ical-events, expanded by us and by them.

Both distributions come from the package index with their tests in them, pinned by the lock file.
Where we differ from the libraries' own answer, docs/calendars/conformance.md has a row that says so
and why; a file that begins or ceases to differ fails here.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import files
from pathlib import Path

import icalendar
import pytest
import recurring_ical_events

from slackwater.calendars.expand import Expander, Source
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.errors import CalendarError

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "calendars" / "conformance.md"
DAY = timedelta(days=1)

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="session")]

Times = list[tuple[datetime, datetime]]


def calendars() -> Iterator[tuple[str, bytes]]:
    """Every test calendar of the two libraries, by `<library>/<file>`."""
    for library in ("icalendar", "recurring-ical-events"):
        for path in sorted(files(library) or (), key=str):
            if path.suffix == ".ics":
                yield f"{library}/{path.name}", path.read_binary()


def horizons(raw: bytes) -> list[Span]:
    """Around the first and the last start that is written, and a year after the first."""
    found = []
    for year, month, day in re.findall(rb"(?im)^DTSTART[^:\r\n]*:(\d{4})(\d\d)(\d\d)", raw):
        if 1602 < int(year) < 9000:
            found.append(datetime(int(year), int(month), int(day), tzinfo=UTC))
    if not found:
        return [Span(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC))]
    first, last = min(found), max(found)
    around = [(first - 2 * DAY, 62), (first + 330 * DAY, 70), (last - 2 * DAY, 62)]
    return list(dict.fromkeys(Span(start, start + days * DAY) for start, days in around))


def instant(value: date) -> datetime:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def theirs(raw: bytes, horizon: Span) -> Times | None:
    """What the libraries say; None where they raise."""
    icalendar.use_zoneinfo()
    found = []
    try:
        for document in icalendar.Calendar.from_ical(raw, multiple=True):
            events = recurring_ical_events.of(document, skip_bad_series=True)
            found += events.between(horizon.start - DAY, horizon.end + DAY)
    except Exception:  # noqa: BLE001 - that is one of their answers
        return None
    times = []
    for event in found:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        start, end = instant(event.start), instant(event.end)
        end = max(end, start + timedelta(seconds=1))
        if start < horizon.end and end > horizon.start:
            times.append((start, end))
    return sorted(times)


async def ours(raw: bytes, horizon: Span, expander: Expander) -> tuple[Times, set[str]]:
    """What we say, and what we report beside it; a refused calendar has no times."""
    source = Source(calendar_id="x", privacy=Privacy.BASIC, fallback_zone="UTC")
    try:
        found = await expander.expand([raw], horizon, source)
    except CalendarError as error:
        return [], {str(error.reason)}
    times = sorted((event.span.start, event.span.end) for event in found.events if not event.unread)
    return times, {str(warned.reason) for warned in found.warnings}


def rows() -> dict[str, str]:
    """The table of the page: what we do with each file that we read otherwise."""
    found = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "`.ics" not in line and ".ics`" in line:
            for name in re.findall(r"`([^`]+\.ics)`", cells[0]):
                assert name not in found, f"{name} stands in two rows"
                assert cells[2], f"{name} has no reason"
                found[name] = cells[1]
    return found


async def test_every_disagreement_stands_in_the_table_with_its_reason(expander: Expander) -> None:
    differing: defaultdict[str, set[str]] = defaultdict(set)
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, raw in calendars():
            count += 1
            for horizon in horizons(raw):
                mine, said = await ours(raw, horizon, expander)
                if (expected := theirs(raw, horizon)) != mine and (expected or mine):
                    differing[name] |= said or {"read otherwise"}
    assert count > 200
    assert {name: ", ".join(sorted(said)) for name, said in sorted(differing.items())} == rows()
