"""`python -m bench.convert philly|helios SOURCE OUT.csv.gz`: published logs as trace files.

philly: `cluster_job_log` of https://github.com/msr-fiddle/philly-traces (in trace-data.tar.gz).
helios: `cluster_log.csv` of a cluster of https://github.com/S-Lab-System-Group/HeliosData.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from slackwater.backtest.formats import JOBS, write_rows

Row = tuple[datetime, float, int]


def philly(path: Path) -> Iterator[Row]:
    """Jobs of Microsoft's log: from the first attempt's start to the last one's end."""
    for job in json.loads(path.read_text(encoding="utf-8")):
        tries = [one for one in job["attempts"] if one["start_time"] and one["end_time"]]
        if not tries:
            continue  # it never ran
        lasted = sum(
            (_time(one["end_time"]) - _time(one["start_time"]) for one in tries), timedelta()
        )
        gpus = max(sum(len(node["gpus"]) for node in one["detail"]) for one in tries)
        yield _time(job["submitted_time"]), lasted.total_seconds(), gpus


def helios(path: Path) -> Iterator[Row]:
    """Jobs of S-Lab's log."""
    with path.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            yield _time(row["submit_time"]), float(row["duration"]), int(row["gpu_num"])


def converted(rows: Iterable[Row]) -> list[tuple[int, int, int]]:
    """Rows of a trace file: in order, seconds from the Monday before the first, GPU jobs alone."""
    found = sorted(row for row in rows if row[2] > 0 and row[1] >= 0)
    if not found:
        raise SystemExit("there is no GPU job in it")
    first = found[0][0]
    monday = (first - timedelta(days=first.weekday())).replace(hour=0, minute=0, second=0)
    return [(int((at - monday).total_seconds()), round(lasts), gpus) for at, lasts, gpus in found]


def _time(text: Any) -> datetime:
    return datetime.strptime(str(text)[:19], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - zone unknown


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", choices=("philly", "helios"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    read = philly if args.format == "philly" else helios
    write_rows(args.out, JOBS, converted(read(args.source)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
