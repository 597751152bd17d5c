"""`slackwater suggest`: better times for a DAG, and which events to move for them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from slackwater.cli.reading import Screen, add_source_flags, named_window, window_ref
from slackwater.core.span import Span

if TYPE_CHECKING:
    from slackwater.cli.suggest_text import Advice
    from slackwater.core.spec import Ref
    from slackwater.ports import Clock

USUAL: Final = 7
LONGEST: Final = 28

_EPILOG: Final = """\
Nothing is changed or triggered. Each Calendar is read once, and Prometheus is asked for the pool's
numbers and their last five weeks. A time is suggested where calendars allow a start, the run is
expected to finish in time, and room is likelier than not. They are ranked by the chance of room,
then by what they cost others, then by the expected wait.

With -o ics: the suggestions as events to import. Each has a title that the TrainingWindow's own
match means, so that it triggers a run: import those that you want, and take away what they replace.
Exit codes: 0; 1, nothing can be suggested; 2, the manifests or flags cannot be used.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "suggest",
        help="suggest better times for a DAG, from calendars and the expected load",
        description="Ranks the times at which a TrainingWindow's DAG could start by the chance of "
        "room, the expected wait and what it costs others, and says which events to move.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "window", metavar="NS/NAME", type=window_ref, nargs="?", help="the TrainingWindow"
    )
    add_source_flags(parser)
    parser.add_argument(
        "--days",
        type=_days,
        default=USUAL,
        metavar="DAYS",
        help=f"how far to look ahead, 1 to {LONGEST} ({USUAL})",
    )
    parser.add_argument(
        "--titles",
        action="store_true",
        help="show titles of events to move also where the output is no terminal",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "ics"),
        default="table",
        help="how to print (table); ics: as events to import",
    )


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to {LONGEST}")
    return int(text)


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the suggestions. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given.
    """
    from slackwater.runtime.clock import SystemClock

    return asyncio.run(_suggest(named_window(args, "suggest"), clock or SystemClock()))


async def _suggest(args: argparse.Namespace, clock: Clock) -> int:
    from slackwater.cli.advice import advise
    from slackwater.cli.opened import opened
    from slackwater.cli.plan_text import said

    ref: Ref = args.window
    async with opened(args, clock, namespaces=(ref.namespace,)) as found:
        record = found.world.windows.get(ref)
        if record is None:
            for fault in found.faults:  # it may stand in what cannot be read
                _complain(str(fault))
            _complain(f"There is no TrainingWindow {ref}.")
            return 2
        now = clock.now()
        advice = await advise(found, record, Span(now, now + timedelta(days=args.days)))
    if isinstance(advice, tuple):
        zone = record.spec.time_zone if record.spec else "UTC"
        for trouble in advice:
            _complain(f"{ref}: {said(trouble, zone)}")
        return 1
    return _print(args, advice, clock)


def _print(args: argparse.Namespace, advice: Advice, clock: Clock) -> int:
    from slackwater.cli import suggest_text

    if args.output == "json":
        print(json.dumps(suggest_text.as_json(advice), indent=2))
    elif args.output == "ics":
        text = suggest_text.as_ics(advice, clock.now())
        if text is None:
            _complain(suggest_text.why_no_import(advice))
            return 1
        sys.stdout.write(text)  # its lines end in CRLF, as RFC 5545 has it
    else:
        screen = Screen.of()
        for line in suggest_text.as_table(advice, screen, titles=args.titles or screen.terminal):
            print(line)
    return 0 if advice.suggestions else 1


def _complain(text: str) -> None:
    sys.stderr.write(f"slackwater: {text}\n")
