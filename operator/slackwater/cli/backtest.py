"""`slackwater backtest`: what off-peak starts would have gained on a recorded load."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slackwater.cli.reading import add_source_flags, window_ref

if TYPE_CHECKING:
    from slackwater.backtest.trace import Trace
    from slackwater.ports import Clock

SHAPES: Final = ("training", "inference", "drifting", "office")
_BAR: Final = 24
_MOST_SEEDS: Final = 100

_EPILOG: Final = """\
Daily training DAGs are put on top of a foreground: a trace file (CSV or SWF, also gzipped; the
formats are in docs/offpeak/traces.md), the recorded load of a GPUPool, or a load that is made from
a seed. Then every policy starts the same runs. For each the command says what the training load of
--training costs everyone, and U*: the utilisation at the most training that still gives equal
service (--tax, --misses). Slackwater's policies are the operator's own code.

The same input gives the same output, to the byte. Nothing is started anywhere.
Policies: {names}.
Exit codes: 0; 1, the pool's history could not be had; 2, a file or flag cannot be used.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    from slackwater.backtest.compare import NAMES

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "backtest",
        help="show what off-peak starts would have gained on a recorded load",
        description="Replays a recorded GPU load under one way of starting training after another.",
        epilog=_EPILOG.format(names=", ".join(NAMES)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    load = parser.add_argument_group("load")
    one = load.add_mutually_exclusive_group()
    one.add_argument("--trace", type=Path, metavar="FILE", help="a trace file")
    one.add_argument(
        "--pool",
        type=window_ref,
        metavar="NS/NAME",
        help="a GPUPool of the manifests or the cluster: the load that its Prometheus recorded",
    )
    one.add_argument(
        "--synthetic",
        choices=SHAPES,
        default=SHAPES[0],
        help="a load made from a seed (this, of shape training)",
    )
    load.add_argument(
        "--days", type=_whole(1, 366), default=30, help="how far back to look with --pool (30)"
    )
    load.add_argument(
        "--capacity", type=_whole(1, 1_000_000), metavar="GPUS", help="size of the pool"
    )
    load.add_argument(
        "--utilization",
        type=_percent,
        metavar="PERCENT",
        help="choose the size so that the load alone uses this much of it (65 for a trace file)",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--training",
        type=_percent,
        default=0.1,
        metavar="PERCENT",
        help="training to offer, of the pool's GPU-hours (10)",
    )
    training.add_argument(
        "--hours", type=_whole(1, 168), default=24, help="from release to deadline (24)"
    )
    training.add_argument(
        "--release",
        choices=("midnight", "uniform"),
        default="midnight",
        help="when the day's data are ready (midnight)",
    )
    training.add_argument(
        "--seeds", type=_whole(1, _MOST_SEEDS), default=1, help="populations to average over (1)"
    )
    parser.add_argument(
        "--policies", nargs="+", choices=NAMES, metavar="POLICY", help="which to compare; see below"
    )
    parser.add_argument(
        "--tax", type=_percent, default=0.01, metavar="PERCENT", help="for U*: extra queueing (1)"
    )
    parser.add_argument(
        "--misses", type=_percent, default=0.01, metavar="PERCENT", help="for U*: late runs (1)"
    )
    parser.add_argument("--no-search", action="store_true", help="do not look for U*: much faster")
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "html"),
        default="table",
        help="how to print (table)",
    )
    add_source_flags(parser)


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the comparison. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given; for --pool alone.
    """
    from slackwater.backtest.compare import USUAL, compare, pieces_of_work
    from slackwater.backtest.page import as_html, as_table
    from slackwater.backtest.population import Release
    from slackwater.backtest.search import Service, Training

    trace = _trace(args, clock)
    names = tuple(dict.fromkeys(args.policies or USUAL))
    search = not args.no_search
    bar = _Bar(pieces_of_work(names, args.seeds, search=search))
    found = compare(
        trace,
        names,
        share=args.training,
        seeds=args.seeds,
        training=Training(release=Release(args.release), slack=args.hours * 60),
        service=Service(args.tax, args.misses),
        search=search,
        tell=bar.tell,
    )
    bar.done()
    if args.output == "json":
        print(json.dumps(found.as_json(), indent=2))
    else:
        sys.stdout.write(as_html(found) if args.output == "html" else as_table(found))
    return 0


def _trace(args: argparse.Namespace, clock: Clock | None) -> Trace:
    from slackwater.backtest.known import load
    from slackwater.backtest.synthetic import CAPACITY, Shape, synthetic

    if args.trace is not None:
        return load(args.trace, args.capacity, args.utilization)
    if args.pool is not None:
        from slackwater.runtime.clock import SystemClock

        return asyncio.run(_recorded(args, clock or SystemClock()))
    shape = Shape(args.synthetic)
    return synthetic(
        shape, capacity=args.capacity or CAPACITY, utilization=args.utilization or 0.55
    )


async def _recorded(args: argparse.Namespace, clock: Clock) -> Trace:
    """The load of a pool, as its Prometheus has it."""
    from slackwater.backtest.trace import from_points
    from slackwater.cli.opened import opened
    from slackwater.core.words import Reason
    from slackwater.errors import ConfigError, PoolError

    async with opened(args, clock, namespaces={args.pool.namespace}) as found:
        follower = found.world.pool(args.pool)
        if follower is None or follower.source is None:
            raise ConfigError(Reason.POOL_NOT_FOUND, ref=args.pool)
        points = await follower.source.demand_since(clock.now() - timedelta(days=args.days))
        sample = await follower.source.sample()
    trace = from_points(str(args.pool), points, args.capacity or sample.capacity)
    if trace is None:
        raise PoolError(Reason.NO_DATA, what=f"GPUPool {args.pool}: its last {args.days} days")
    return trace


class _Bar:
    """How far it is, on a terminal's stderr.

    Args:
        total: pieces of work.
    """

    def __init__(self, total: int) -> None:
        self._total, self._begun = total, 0
        self._shown = sys.stderr.isatty()

    def tell(self, what: str) -> None:
        """The next piece begins."""
        if self._shown:
            full = _BAR * self._begun // self._total
            bar = "#" * full + "." * (_BAR - full)
            sys.stderr.write(f"\r\x1b[K[{bar}] {self._begun}/{self._total} {what}")
            sys.stderr.flush()
        self._begun += 1

    def done(self) -> None:
        """Leave nothing behind."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _whole(least: int, most: int) -> Any:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} to {most}")
        return int(text)

    return read


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no percentage above 0, up to 100")
    return value / 100
