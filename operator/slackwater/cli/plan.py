"""`slackwater plan`: when TrainingWindows may start runs, and what takes time away."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from slackwater.cli.reading import (
    Screen,
    add_output_flag,
    add_source_flags,
    instant_of,
    moment,
    window_ref,
)
from slackwater.core.span import Span
from slackwater.core.spec import StartPolicy
from slackwater.core.zone import zone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from slackwater.cli.laid_out import Laid
    from slackwater.cli.opened import Opened
    from slackwater.ports import Clock
    from slackwater.runtime.records import WindowRecord

USUAL: Final = timedelta(days=7)
LONGEST: Final = timedelta(days=35)
"""As far as the operator looks ahead (R11)."""

_EPILOG: Final = """\
Nothing is triggered and Airflow is not asked. Each Calendar is read once. Prometheus is asked only
where a TrainingWindow has startPolicy OffPeak: for its occurrences of the next seven days the plan
says when their runs would start, as the load of the pool looks now.

With -o json: a list by first start; of each occurrence its id, its start as first written, the
pieces of time in which a run may start, and what was cut from its interval: by the Deny entry of
this name, "outside Allow" where no Allow entry covers it, "(offsets)" where offsets leave nothing.
Exit codes: 0; 1, a TrainingWindow could not be planned; 2, the manifests or flags cannot be used.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "plan",
        help="show when manifests would start runs, before they are applied",
        description="Shows every occurrence of TrainingWindows: when its run may start, and what "
        "each Deny or missing Allow takes away.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_flags(parser)
    parser.add_argument(
        "--from",
        dest="start",
        metavar="TIME",
        type=moment,
        help="RFC 3339, or a date: the beginning of that day in each TrainingWindow's time zone "
        "(now)",
    )
    parser.add_argument(
        "--to",
        dest="end",
        metavar="TIME",
        type=moment,
        help="where to stop, as above; at most 35 days on (7 days on)",
    )
    parser.add_argument(
        "--window",
        dest="windows",
        metavar="NS/NAME",
        type=window_ref,
        nargs="+",
        action="extend",
        default=[],
        help="these TrainingWindows only",
    )
    parser.add_argument(
        "--titles",
        action="store_true",
        help="show titles of near misses also where the output is no terminal",
    )
    add_output_flag(parser, "table")


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the plan. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given.
    """
    from slackwater.runtime.clock import SystemClock

    return asyncio.run(_plan(args, clock or SystemClock()))


async def _plan(args: argparse.Namespace, clock: Clock) -> int:
    from slackwater.cli.laid_out import laid_out
    from slackwater.cli.opened import opened

    namespaces = {ref.namespace for ref in args.windows}
    async with opened(args, clock, namespaces=namespaces) as found:
        records = _chosen(args, found)
        if records is None:
            return 2
        now = clock.now()
        ranges = {
            record.stored.key.ref: _range(
                args, now, record.spec.time_zone if record.spec else "UTC"
            )
            for record in records
        }
        if any(span is None for span in ranges.values()):
            _complain("--to must be after --from, and at most 35 days after it.")
            return 2
        good = {ref: span for ref, span in ranges.items() if span is not None}
        laid = await laid_out(found, records, good)
        if any(window.spec and window.spec.start_policy is StartPolicy.OFF_PEAK for window in laid):
            from slackwater.cli.quiet_starts import with_planned

            laid = await with_planned(found, laid)
        _print(args, found, laid)
    return 1 if any(window.troubles for window in laid) else 0


def _chosen(args: argparse.Namespace, found: Opened) -> Sequence[WindowRecord] | None:
    """The TrainingWindows to plan; None, after a word about it, where that cannot be done."""
    for fault in found.faults:
        _complain(str(fault))
    unknown = [] if found.faults else [w for w in args.windows if w not in found.world.windows]
    for ref in unknown:
        _complain(f"There is no TrainingWindow {ref}.")
    return None if found.faults or unknown else found.windows(args.windows)


def _range(args: argparse.Namespace, now: datetime, time_zone: str) -> Span | None:
    """The time of interest; None where it is empty or too long."""
    where = zone(time_zone)
    start = now if args.start is None else instant_of(args.start, where)
    end = start + USUAL if args.end is None else instant_of(args.end, where)
    return Span(start, end) if start < end <= start + LONGEST + timedelta(hours=2) else None


def _print(args: argparse.Namespace, found: Opened, laid: Sequence[Laid]) -> None:
    from slackwater.cli import plan_text

    if args.output == "json":
        print(json.dumps(plan_text.as_json(found, laid), indent=2))
        for window in laid:
            for line in plan_text.trouble_lines(window):
                _complain(f"{window.ref}: {line}")
        return
    screen = Screen.of()
    for line in plan_text.as_table(laid, screen, titles=args.titles or screen.terminal):
        print(line)


def _complain(text: str) -> None:
    sys.stderr.write(f"slackwater: {text}\n")
