"""`slackwater queue`: who waits for a GPU pool, who holds its GPUs, and who may start when."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from slackwater.cli.reading import Screen, add_output_flag, add_source_flags, named
from slackwater.core.spec import Ref

if TYPE_CHECKING:
    from slackwater.ports import Clock

_EPILOG: Final = """\
For whoever runs the pool: it shows the TrainingWindows of all namespaces that its rights let it
read, by name. Asks and runs are those of the TrainingWindows' status, as the operator last wrote
it. The pool's numbers are read from its source where that answers from here, else they are those
of its status. A start is a projection from the ends that are known, and no promise: it may be
sooner when a run ends early, and later when others take what became free.

With -o json: the pool, its numbers, and the lists waiting, planned and runs; times in UTC.
Exit codes: 0; 1, the pool's numbers are not known; 2, the manifests or flags cannot be used.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "queue",
        help="show who waits for a GPU pool, in order",
        description="Shows who waits for a GPU pool, in the order in which it serves them, who "
        "holds its GPUs, and when those that wait may start.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pool", metavar="NS/POOL", type=pool_ref, nargs="?", help="the GPUPool")
    add_source_flags(parser)
    add_output_flag(parser, "table")


def pool_ref(text: str) -> Ref:
    """`NS/POOL` as a reference."""
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise argparse.ArgumentTypeError(
            f"{text} names no GPUPool; write NAMESPACE/NAME, such as research/h100"
        )
    return Ref(namespace, name)


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the queue. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given.
    """
    from slackwater.runtime.clock import SystemClock

    otherwise = "Name a GPUPool: slackwater queue NAMESPACE/NAME."
    named_args = named(args, "pool", pool_ref, otherwise)
    return asyncio.run(_queue(named_args, clock or SystemClock()))


async def _queue(args: argparse.Namespace, clock: Clock) -> int:
    from slackwater.cli import queue_text
    from slackwater.cli.opened import opened
    from slackwater.cli.queued import queued

    async with opened(args, clock) as found:
        supporting = found.world.pools.get(args.pool)
        if supporting is None or supporting.spec is None:
            for fault in found.faults:  # it may stand in what cannot be read
                sys.stderr.write(f"slackwater: {fault}\n")
            if supporting is None:
                sys.stderr.write(f"slackwater: There is no GPUPool {args.pool}.\n")
            elif not found.faults:
                sys.stderr.write(f"slackwater: The spec of GPUPool {args.pool} cannot be used.\n")
            return 2
        line = await queued(found, args.pool)
    if args.output == "json":
        print(json.dumps(queue_text.as_json(line), indent=2))
    else:
        for text in queue_text.as_table(line, Screen.of()):
            print(text)
    return 0 if line.sample is not None else 1
