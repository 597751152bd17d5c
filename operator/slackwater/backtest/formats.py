"""Trace files: jobs or a measured load as CSV, jobs as SWF, all of them also gzipped.

A CSV of jobs has the columns `submit_s`, `duration_s` and `gpus`; a CSV of a load has `time_s` and
`gpus`, and what it says holds until the next row. Further columns are ignored, lines that begin
with `#` are comments, seconds count from a Monday 00:00. SWF is the Parallel Workloads Archive's
Standard Workload Format (its fields 2, 4, 5 and 8; its time 0 is given by `UnixStartTime`).
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from slackwater.backtest.trace import DAY, WEEK, Jobs, Loads, jobs_of
from slackwater.core.words import Reason
from slackwater.errors import ConfigError

JOBS: Final = ("submit_s", "duration_s", "gpus")
LOAD: Final = ("time_s", "gpus")
_MINUTE: Final = 60
_FURTHEST: Final = 10 * 366 * DAY * 60
_MOST_GPUS: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a file holds.

    Attributes:
        jobs: as submitted, minutes from a Monday 00:00.
        demand: GPUs wanted in each minute; None for jobs.
    """

    jobs: Jobs
    demand: Loads | None = None


def read(path: Path) -> Recorded:
    """Read a trace file.

    Raises:
        ConfigError: with the line, if the file cannot be read, is cut off, is not in order, or
            has a value that means nothing.
    """
    swf = path.name.removesuffix(".gz").endswith(".swf")
    lines = _Lines(path)
    try:
        with _opened(path) as text:
            return _swf(lines.of(text)) if swf else _csv(lines.of(text))
    except _Wrong as wrong:
        raise _fault(path, wrong.text, lines.number) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _fault(path, "the file is cut off or no gzip file", lines.number) from None
    except UnicodeDecodeError:
        raise _fault(path, "this is no text", lines.number) from None
    except csv.Error:
        raise _fault(path, "this is no CSV", lines.number) from None
    except OSError as error:
        raise _fault(path, error.strerror or "it cannot be read", 0) from None


def write_jobs(path: Path, jobs: Jobs) -> None:
    """Write jobs as CSV, gzipped where the name ends so; the same jobs give the same bytes."""
    rows = np.stack((jobs.submit * _MINUTE, jobs.duration * _MINUTE, jobs.gpus), axis=1).tolist()
    write_rows(path, JOBS, rows)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV, gzipped where the name ends so."""
    text = "".join(",".join(map(str, row)) + "\n" for row in (header, *rows))
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


class _Wrong(Exception):
    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


class _Lines:
    """Lines that remember their number."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0

    def of(self, text: TextIO) -> Iterator[str]:
        for line in text:
            self.number += 1
            if not line.startswith("#") and line.strip():
                if not line.endswith("\n"):
                    raise _Wrong("the last line has no end: the file is cut off")
                yield line


def _fault(path: Path, text: str, line: int) -> ConfigError:
    where = f"{path.name}, line {line}" if line else path.name
    return ConfigError(Reason.INVALID_SPEC, detail=f"Trace {where}: {text}.")


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _csv(lines: Iterator[str]) -> Recorded:
    rows = csv.reader(lines, strict=True)
    header = [name.strip() for name in next(rows, [])]
    if set(JOBS) <= set(header):
        return Recorded(_jobs(rows, [header.index(name) for name in JOBS], len(header)))
    if set(LOAD) <= set(header):
        found = _load(rows, [header.index(name) for name in LOAD], len(header))
        return Recorded(jobs_of(*(np.zeros(0, dtype=np.int64) for _ in range(3))), found)
    raise _Wrong(f"the first line names no columns {', '.join(JOBS)}, nor {', '.join(LOAD)}")


def _jobs(rows: Iterator[list[str]], places: Sequence[int], width: int) -> Jobs:
    submit: list[int] = []
    duration: list[int] = []
    gpus: list[int] = []
    before = -math.inf
    for row in rows:
        at, lasts, wants = _numbers(row, places, width, JOBS)
        if at < before:
            raise _Wrong(f"submit_s {at:g} comes after {before:g}: the rows are not in order")
        before = at
        if lasts < 0:
            raise _Wrong(f"duration_s is {lasts:g}: a job cannot end before it starts")
        if wants < 0 or wants != int(wants) or wants > _MOST_GPUS:
            raise _Wrong(f"gpus is {wants:g}: it must be a whole number from 0 on")
        if not wants:
            continue  # a job of the CPUs alone
        submit.append(int(at) // _MINUTE)
        duration.append(max(1, math.ceil(lasts / _MINUTE)))
        gpus.append(int(wants))
    if not submit:
        raise _Wrong("no job in it uses a GPU")
    return jobs_of(*(np.array(one, dtype=np.int64) for one in (submit, duration, gpus)))


def _load(rows: Iterator[list[str]], places: Sequence[int], width: int) -> Loads:
    times: list[int] = []
    levels: list[float] = []
    for row in rows:
        at, level = _numbers(row, places, width, LOAD)
        minute = int(at) // _MINUTE
        if times and minute < times[-1]:
            raise _Wrong(f"time_s {at:g} is before the row above: the rows are not in order")
        if level < 0 or level > _MOST_GPUS:
            raise _Wrong(f"gpus is {level:g}: a load is never negative")
        times.append(minute)
        levels.append(level)
    if len(times) < 2 or times[-1] - times[0] < DAY:
        raise _Wrong("a load needs a day at least")
    first = times[0] // DAY % 7 * DAY + times[0] % DAY
    place = np.array(times, dtype=np.int64) - times[0] + first
    last = int(place[-1]) + max(1, int(place[-1] - place[-2]))
    where = np.maximum(np.searchsorted(place, np.arange(last), side="right") - 1, 0)
    found: Loads = np.array(levels)[where]
    return found


def _swf(lines: Iterator[str]) -> Recorded:
    submit: list[int] = []
    duration: list[int] = []
    gpus: list[int] = []
    zero = 0
    before = -math.inf
    for line in lines:
        if line.startswith(";"):
            key, _, value = line.lstrip("; ").partition(":")
            if key.strip() == "UnixStartTime" and value.split():
                zero = _since_monday(value.split()[0])
            continue
        at, ran, held, wanted = _numbers(line.split(), (1, 3, 4, 7), 18, _SWF)
        if at < before:
            raise _Wrong(f"submit time {at:g} comes after {before:g}: the rows are not in order")
        before = at
        if ran < -1:
            raise _Wrong(f"run time is {ran:g}: a job cannot end before it starts")
        size = int(held if held > 0 else wanted)
        if ran < 0 or size <= 0:
            continue  # -1: never ran, or of unknown size
        submit.append((int(at) + zero) // _MINUTE)
        duration.append(max(1, math.ceil(ran / _MINUTE)))
        gpus.append(size)
    if not submit:
        raise _Wrong("no job in it ran")
    return Recorded(jobs_of(*(np.array(one, dtype=np.int64) for one in (submit, duration, gpus))))


_SWF: Final = ("submit time", "run time", "allocated processors", "requested processors")


def _since_monday(stamp: str) -> int:
    if not stamp.isdecimal() or int(stamp) > 10**11:
        raise _Wrong("UnixStartTime is no time")
    day = datetime.fromtimestamp(int(stamp), UTC)
    return day.weekday() * DAY * 60 + (day.hour * 60 + day.minute) * 60 + day.second


def _numbers(
    row: Sequence[str], places: Sequence[int], width: int, names: Sequence[str]
) -> tuple[float, ...]:
    if len(row) != width:
        raise _Wrong(f"{len(row)} fields where there must be {width}: is the file cut off?")
    found = []
    for place, name in zip(places, names, strict=True):
        try:
            value = float(row[place])
        except ValueError:
            raise _Wrong(f"{name} is no number") from None
        if not math.isfinite(value) or abs(value) > _FURTHEST:
            raise _Wrong(f"{name} is {row[place].strip()}: that is no usable number")
        found.append(value)
    return tuple(found)


def span_of(jobs: Jobs) -> tuple[int, int]:
    """The first Monday 00:00 and the last whole day of the submissions, in minutes."""
    first = int(jobs.submit[0]) // WEEK * WEEK
    return first, -(-(int(jobs.submit[-1]) + 1) // DAY) * DAY
