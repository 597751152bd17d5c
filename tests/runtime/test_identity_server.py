"""Real edits of real calendars, seen by a whole `slackwater run` (R2).

Whatever people do to an event in their calendar: never a second run of it, never a lost one, and
`slackwater plan` shows what became of it. On Radicale, and the same edits in an `.ics` file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from testbed.caldav import Radicale
from tests.calendars.support import calendar, vevent
from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import NAMESPACE, Process, Quay, document, until

pytestmark = pytest.mark.server

NOW = datetime.now(UTC).replace(microsecond=0, second=0)
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
OPEN = NOW - 5 * MINUTE
LATER = NOW + 3 * HOUR

Objects = dict[str, tuple[str, ...]]
"""The components of each calendar object, by its UID."""


def utc(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def single(uid: str, start: datetime, *lines: str) -> str:
    return vevent(uid, f"DTSTART:{utc(start)}", f"DTEND:{utc(start + 2 * HOUR)}", *lines)


def series(uid: str, start: datetime, rule: str = "FREQ=DAILY") -> str:
    """A series whose fourth instance is today's, at the time of day of `start`."""
    return single(uid, start - 3 * DAY, f"RRULE:{rule}")


def moved(uid: str, original: datetime, start: datetime) -> str:
    return single(uid, start, f"RECURRENCE-ID:{utc(original)}", "SEQUENCE:1")


@dataclass(frozen=True)
class Story:
    """What is in the calendar, what becomes of it in one step or more, and how many runs that is.

    `planned` is where today's occurrence is planned at the end; None where it is not any more.
    """

    before: Objects
    steps: tuple[Objects, ...]
    runs_before: int
    runs: int
    planned: datetime | None
    superseded: int = 0


ONE = {"e": (single("e", OPEN),)}
SERIES = {"s": (series("s", OPEN),)}

STORIES = {
    "move-event": Story(ONE, ({"e": (single("e", LATER),)},), 1, 1, LATER),
    "move-instance": Story(
        SERIES, ({"s": (series("s", OPEN), moved("s", OPEN, LATER))},), 1, 1, LATER
    ),
    "move-series": Story(
        SERIES,
        ({"s": (series("s", OPEN + HOUR / 2),)},),
        1, 1, OPEN + HOUR / 2, superseded=1,
    ),
    "split-series": Story(
        SERIES,
        (
            {"s": (series("s", OPEN, f"FREQ=DAILY;UNTIL={utc(OPEN - HOUR)}"),)},
            {
                "s": (series("s", OPEN, f"FREQ=DAILY;UNTIL={utc(OPEN - HOUR)}"),),
                "t": (single("t", OPEN + HOUR / 4, "RRULE:FREQ=DAILY"),),
            },
        ),
        1, 1, OPEN + HOUR / 4, superseded=1,
    ),
    "change-rule": Story(
        SERIES, ({"s": (series("s", OPEN, "FREQ=DAILY;INTERVAL=3"),)},), 1, 1, OPEN
    ),
    "exclude-and-restore": Story(
        SERIES,
        ({"s": (single("s", OPEN - 3 * DAY, "RRULE:FREQ=DAILY", f"EXDATE:{utc(OPEN)}"),)}, SERIES),
        1, 1, OPEN,
    ),
    "delete-and-undelete": Story(ONE, ({}, ONE), 1, 1, OPEN),
    "delete": Story(ONE, ({},), 1, 1, None),
    "copy": Story(ONE, (ONE | {"c": (single("c", OPEN),)},), 1, 2, OPEN),
    "bring-forward": Story({"e": (single("e", LATER),)}, (ONE,), 0, 1, OPEN),
    "bring-instance-forward": Story(
        {"s": (series("s", LATER),)},
        ({"s": (series("s", LATER), moved("s", LATER, OPEN))},),
        0, 1, OPEN,
    ),
    "arrives-from-elsewhere": Story({}, (ONE,), 0, 1, OPEN),
    "leaves-for-elsewhere": Story(ONE, ({},), 1, 1, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def radicale() -> Iterator[Radicale]:
    with Radicale() as server:
        yield server


class DavCalendars:
    """A collection for each story."""

    refresh = 5

    def __init__(self, quay: Quay, radicale: Radicale) -> None:
        self._radicale = radicale
        self._collections = {
            name: radicale.collection(name).make() for name in (f"dav-{n}" for n in STORIES)
        }
        self._held: dict[str, set[str]] = {name: set() for name in self._collections}
        folder = quay.settings.secrets / NAMESPACE / "dav"
        folder.mkdir()
        for key, text in zip(("user", "password"), next(iter(radicale.users.items())), strict=True):
            (folder / key).write_text(text)

    def provider(self, name: str) -> dict[str, Any]:
        return {
            "caldav": {
                "url": self._collections[name].url,
                "usernameSecretRef": {"name": "dav", "key": "user"},
                "passwordSecretRef": {"name": "dav", "key": "password"},
            }
        }

    def write(self, name: str, objects: Objects) -> None:
        target = self._collections[name]
        for uid in self._held[name] - objects.keys():
            target.delete(uid)
        for uid, components in objects.items():
            target.put(uid, calendar(*components).decode())
        self._held[name] = set(objects)


class FileCalendars:
    """A file for each story, beside the manifests."""

    refresh = 5

    def __init__(self, quay: Quay) -> None:
        self._folder = quay.manifests

    def provider(self, name: str) -> dict[str, Any]:
        return {"ical": {"file": f"{name}.ics"}}

    def write(self, name: str, objects: Objects) -> None:
        text = calendar(*(one for components in objects.values() for one in components))
        (self._folder / f"{name}.ics").write_bytes(text)


def manifests(name: str, calendars: Any) -> list[dict[str, Any]]:
    entry = {"name": "team", "calendarRef": {"name": name}, "effect": "Trigger"}
    spec = {"provider": calendars.provider(name), "refreshIntervalSeconds": calendars.refresh}
    window = {
        "calendars": [entry],
        "dag": {"airflowRef": {"name": "default"}, "dagId": name},
        "concurrencyPolicy": "Allow",
    }
    return [document("Calendar", name, spec), document("TrainingWindow", name, window)]


async def readings(process: Process) -> dict[str, float]:
    """When each calendar was read last."""
    _, text = await process.get("/metrics")
    line = "slackwater_calendar_sync_timestamp_seconds{"
    found = [text for text in text.splitlines() if text.startswith(line)]
    return {one.split('"')[1]: float(one.rpartition(" ")[2]) for one in found}


async def read_again(process: Process, names: Collection[str], times: int) -> None:
    """Wait until each calendar has been read so many times more."""
    for _ in range(times):
        before = await readings(process)
        async with asyncio.timeout(90):
            while True:
                now = await readings(process)
                if all(now.get(name, 0) > before.get(name, 0) for name in names):
                    break
                await asyncio.sleep(0.1)


def lines(quay: Quay, name: str) -> list[dict[str, Any]]:
    """The ledger of a window."""
    with sqlite3.connect(quay.settings.database) as database:
        tables = [
            row[0]
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        rows = [row for table in tables for row in database.execute(f"SELECT * FROM {table}")]
    status = next(
        json.loads(cell)
        for row in rows
        if "TrainingWindow" in row and name in row
        for cell in row
        if isinstance(cell, str) and cell.startswith("{") and '"conditions"' in cell
    )
    return list(status.get("occurrences", ()))


def plan(quay: Quay, path: Path) -> dict[str, list[dict[str, Any]]]:
    """What `slackwater plan` shows of today, by window."""
    said = subprocess.run(
        [
            *(sys.executable, "-m", "slackwater", "plan", "--manifests", str(quay.manifests)),
            *("--secrets", str(quay.settings.secrets), "-o", "json"),
            *("--from", f"{NOW - 6 * HOUR:%Y-%m-%dT%H:%M:%SZ}"),
            *("--to", f"{NOW + 6 * HOUR:%Y-%m-%dT%H:%M:%SZ}"),
        ],
        cwd=path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in json.loads(said.stdout):
        found[one["trainingWindow"].partition("/")[2]].append(one)
    return found


async def test_edits_make_no_second_run_and_lose_none(
    quay: Quay, airflow: FakeAirflow, radicale: Radicale, tmp_path: Path
) -> None:
    makers = {"dav": DavCalendars(quay, radicale), "file": FileCalendars(quay)}
    stories = {f"{kind}-{name}": (kind, STORIES[name]) for kind in makers for name in STORIES}
    for name, (kind, story) in stories.items():
        airflow.add_dag(name, starts_after=timedelta(milliseconds=50))
        makers[kind].write(name, story.before)
        quay.write(f"{name}.yaml", *manifests(name, makers[kind]))

    def counts() -> dict[str, int]:
        return {name: len(quay.runs(name)) for name in stories}

    async with quay.running() as process:
        await until(lambda: counts() == {n: s.runs_before for n, (_, s) in stories.items()}, 90)
        await read_again(process, stories, 1)
        for step in range(max(len(story.steps) for _, story in stories.values())):
            for name, (kind, story) in stories.items():
                if step < len(story.steps):
                    await asyncio.to_thread(makers[kind].write, name, story.steps[step])
            await read_again(process, stories, 3)
        await until(lambda: counts() == {n: s.runs for n, (_, s) in stories.items()}, 60)
        for name in stories:  # with their runs over, nothing follows
            for run in quay.runs(name):
                airflow.finish(run.run_id)
        await read_again(process, stories, 2)
    assert counts() == {name: story.runs for name, (_, story) in stories.items()}

    planned = plan(quay, tmp_path)
    for name, (_, story) in stories.items():
        ledger = lines(quay, name)
        started = [line for line in ledger if line.get("dagRunId")]
        assert {line["dagRunId"] for line in started} == {run.run_id for run in quay.runs(name)}
        gone = [line for line in ledger if line["state"] == "Superseded"]
        assert len(gone) == story.superseded, name
        starts = {when(one["pieces"][0]["start"]) for one in planned[name]}
        assert starts == ({story.planned} if story.planned else set()), name
        if story.planned:
            ids = {line["id"] for line in (gone or started)}
            assert {one["occurrence"] for one in planned[name]} == ids, "both name the same"


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)
