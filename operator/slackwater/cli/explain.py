"""`slackwater explain`: why a TrainingWindow does or does not run, now or in a past night."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from slackwater.cli.reading import (
    Moment,
    Screen,
    add_output_flag,
    add_source_flags,
    instant_of,
    moment,
    named_window,
    window_ref,
)
from slackwater.core.span import Span
from slackwater.core.zone import zone

if TYPE_CHECKING:
    from slackwater.cli.account import Account
    from slackwater.cli.explain_text import Explanation
    from slackwater.cli.opened import Opened
    from slackwater.core.occurrence import Layout
    from slackwater.core.spec import Ref
    from slackwater.ports import Clock
    from slackwater.runtime.records import WindowRecord

_BEHIND: Final = timedelta(days=2)
_AHEAD: Final = timedelta(days=7)
_MARGIN: Final = timedelta(days=1)
# A line of the ledger that is further away is not looked at in the calendars as well.
_NEAR: Final = timedelta(days=14)


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="say why a TrainingWindow does or does not run",
        description="Says in one paragraph what became of an occurrence of a TrainingWindow and "
        "what held it back, then shows the conditions and what would change it.",
        epilog="The past is told from the TrainingWindow's status, as far back as its "
        "historyLimit reaches. Time that was denied is told where the calendars can be read.",
    )
    parser.add_argument(
        "window", metavar="NS/NAME", type=window_ref, nargs="?", help="the TrainingWindow"
    )
    add_source_flags(parser)
    parser.add_argument(
        "--at",
        metavar="TIME",
        type=moment,
        help="the occurrence at or nearest to this time: RFC 3339, or a date for one that begins "
        "on that day",
    )
    add_output_flag(parser, "text")


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the explanation. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given.
    """
    from slackwater.runtime.clock import SystemClock

    return asyncio.run(_explain(named_window(args, "explain"), clock or SystemClock()))


async def _explain(args: argparse.Namespace, clock: Clock) -> int:
    from slackwater.cli.opened import opened

    ref: Ref = args.window
    async with opened(args, clock, namespaces=(ref.namespace,)) as found:
        record = found.world.windows.get(ref)
        if record is None:
            for fault in found.faults:  # it may stand in what cannot be read
                sys.stderr.write(f"slackwater: {fault}\n")
            sys.stderr.write(f"slackwater: There is no TrainingWindow {ref}.\n")
            return 2
        explanation = await _explanation(found, record, args.at, clock.now())
    if args.output == "json":
        print(json.dumps(explanation.as_json(), indent=2))
        return 0
    for line in explanation.lines(Screen.of()):
        print(line)
    return 0


async def _explanation(
    found: Opened, record: WindowRecord, at: Moment | None, now: datetime
) -> Explanation:
    from slackwater.cli.account import accounts, at_present, nearest
    from slackwater.cli.explain_text import Explanation

    spec, status = record.spec, record.status
    chosen: Account | None = None
    if spec is not None:
        recorded = accounts(spec, status, None, now)
        known = at_present(recorded, now) if at is None else nearest(recorded, at, spec.time_zone)
        when = now if at is None else instant_of(at, zone(spec.time_zone))
        layout = await _layout(found, record, _within(when, known))
        all_of_them = accounts(spec, status, layout, now)
        chosen = (
            at_present(all_of_them, now) if at is None else nearest(all_of_them, at, spec.time_zone)
        )
    return Explanation(
        ref=record.stored.key.ref,
        spec=spec,
        status=status,
        config=record.config,
        account=chosen,
        past=at is not None,
    )


def _within(when: datetime, known: Account | None) -> Span:
    """What the calendars are looked at for: the time that was asked for, and what is on record."""
    start, end = when - _BEHIND, when + _AHEAD
    span = None if known is None else known.span
    if span is not None and when - _NEAR < span.end and span.start < when + _NEAR:
        start, end = min(start, span.start - _MARGIN), max(end, span.end + _MARGIN)
    return Span(start, end)


async def _layout(found: Opened, record: WindowRecord, within: Span) -> Layout | None:
    """What the calendars say now; None where they cannot be read."""
    from slackwater.cli.laid_out import laid_out

    laid = await laid_out(found, [record], {record.stored.key.ref: within})
    return laid[0].layout
