"""`python -m demo [--cluster] [--calendar NAME] [--keep]`: bring everything up, play the story, check it, take it down.

Exit status: 0 when everything happened as it should, 1 when not, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

from demo.calendars import CALENDARS
from demo.cluster import Cluster
from demo.console import Console
from demo.ledger import Row
from demo.stage import Stage
from demo.story import Story

# A machine that needs longer than this for Airflow gets more patience in the story.
_USUAL_AIRFLOW_START = 20.0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="against a Kubernetes API server instead of `slackwater run`; with CLUSTER=current "
        "the one that KUBECONFIG names",
    )
    parser.add_argument(
        "--calendar",
        choices=CALENDARS,
        default="caldav",
        help="where the team plans: a real CalDAV server, an iCalendar file, or Google's or "
        "Microsoft's service, both simulated",
    )
    parser.add_argument("--keep", action="store_true", help="leave all up at the end")
    parser.add_argument("--data", type=Path, help="folder for all data (a temporary one)")
    options = parser.parse_args()
    if options.cluster and options.calendar == "ical":
        parser.error("a resource in a cluster names no file: choose caldav, google or outlook")

    for number in (signal.SIGTERM, signal.SIGINT):  # a shell may have had the latter ignored
        signal.signal(number, _interrupt)
    console = Console()
    data = options.data or Path(tempfile.mkdtemp(prefix="slackwater-demo-"))
    data = data.absolute()
    current = os.environ.get("CLUSTER") == "current"
    cluster = Cluster(data / "cluster", current=current) if options.cluster else None
    try:
        calendar = CALENDARS[options.calendar](data / "calendar")
        with Stage(console, data, calendar, cluster) as stage:
            good = _perform(stage, console)
            if options.keep:
                _keep(stage, console)
    except KeyboardInterrupt:
        console.line("\ninterrupted; everything is down again")
        _forget(data, options.data)
        return 130
    except (RuntimeError, OSError) as trouble:  # of servers, builds, the story: all say enough
        console.line(f"\nFAILED: {trouble}\n\nthe logs are in {data}")
        return 1
    if not good:
        console.line(f"the logs are in {data}")
        return 1
    _forget(data, options.data)
    return 0


def _perform(stage: Stage, console: Console) -> bool:
    console.line("Slackwater's story, with real servers on 127.0.0.1; times are UTC.")
    stage.open()
    assert stage.airflow.started_in is not None
    story = Story(stage, console, max(1.0, stage.airflow.started_in / _USUAL_AIRFLOW_START))
    story.prepare()
    stage.open_controller()
    console.line()
    rows = story.play()
    console.line()
    good = _show(console, rows)
    console.line(f"{console.elapsed:.1f} s in all")
    return good


def _show(console: Console, rows: list[Row]) -> bool:
    cells = [
        (row.event, row.story, row.slackwater, row.airflow, "differs" if row.differences else "ok")
        for row in rows
    ]
    console.table(
        ("event", "what should have happened", "Slackwater says", "Airflow says", ""), cells
    )
    console.line()
    differing = [row for row in rows if row.differences]
    for row in differing:
        console.line(f"DIFFERS: {row.event}: {'; '.join(row.differences)}")
    if not differing:
        console.line("Airflow's own record agrees with every line.")
    return not differing


def _keep(stage: Stage, console: Console) -> None:
    console.line()
    for line in stage.addresses():
        console.line(f"  {line}")
    console.line("\nAll of it stays up; Ctrl-C takes it down.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _forget(data: Path, given: Path | None) -> None:
    """Remove the data, unless its folder was chosen by the user."""
    if given is None:
        shutil.rmtree(data, ignore_errors=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
