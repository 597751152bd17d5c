"""`python -m bench.gains`: the off-peak benchmark, resumable and in shards.

Each cell is one policy on one trace with one kind of training and one seed; in it the largest
training load is searched at which the service is equal (docs/offpeak/results.md). Every replay is
written to a file as soon as it is done, so that the command can be stopped and goes on where it
was; shards may run on several machines, and their files be put into one folder for the report.

    python -m bench.gains --traces DIR --hours 24 48 --seeds 10 --shard 1/8
    python -m bench.gains --traces DIR --hours 24 48 --seeds 10 --report

Without --traces it runs on the synthetic trace that ships.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from bench.figure import progress
from slackwater.backtest.bound import NAME as BOUND
from slackwater.backtest.known import KNOWN, load
from slackwater.backtest.metrics import Measures, base_of
from slackwater.backtest.policies import CRON, POLICIES
from slackwater.backtest.population import Release
from slackwater.backtest.search import Search, Service, Training
from slackwater.backtest.synthetic import Shape, synthetic
from slackwater.backtest.trace import Trace

OUT = Path(".build/gains")
SUFFIXES = (".csv", ".csv.gz")


class Cell(NamedTuple):
    """What is searched by itself."""

    trace: str
    utilization: float
    release: str
    hours: int
    policy: str
    seed: int


def main() -> int:
    """The command."""
    args = _arguments()
    names = _policies(args.policies)
    traces = _traces(args)
    cells = [
        Cell(trace, use, release, hours, policy, seed)
        for seed in range(args.seeds)
        for hours in args.hours
        for release in args.release
        for trace in traces
        for use in args.utilization
        for policy in names
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        sys.stdout.write("".join(_report(args, cells)))
        return 0
    shard, shards = (int(part) for part in args.shard.split("/"))
    mine = [cell for number, cell in enumerate(cells) if number % shards == shard - 1]
    known = _read(args.out)
    done: dict[tuple[str, float], tuple[Trace, Any]] = {}
    with (args.out / f"{shard}-of-{shards}.jsonl").open("a", encoding="utf-8") as file:
        for number, cell in enumerate(mine, start=1):
            progress(f"{number}/{len(mine)} {' '.join(map(str, cell))}")
            key = (cell.trace, cell.utilization)
            if key not in done:
                trace = traces[cell.trace](cell.utilization)
                done[key] = (trace, base_of(trace))

            def tell(_: str, __: int, step: int, found: Measures, cell: Cell = cell) -> None:
                file.write(json.dumps([*cell, step, asdict(found)]) + "\n")
                file.flush()

            search = _search(*done[key], cell, known, tell)
            for tax in args.tax:
                search.best(cell.policy, cell.seed, Service(tax))
    return 0


def _search(trace: Trace, base: Any, cell: Cell, known: Any, tell: Any) -> Search:
    training = Training(release=Release(cell.release), slack=cell.hours * 60)
    return Search(trace, base, training, known.setdefault(cell[:4], {}), tell)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gains",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="folder of trace files")
    parser.add_argument("--only", nargs="+", default=[], metavar="TRACE", help="of that folder")
    parser.add_argument("--policies", nargs="+", default=[], metavar="NAME", help="all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--hours", type=int, nargs="+", default=[24, 48], help="to the deadline")
    parser.add_argument("--release", nargs="+", default=["midnight"], choices=[*Release])
    parser.add_argument(
        "--utilization",
        type=float,
        nargs="+",
        default=[0.0],
        help="of the foreground; 0 is the trace's own pool",
    )
    parser.add_argument("--tax", type=float, nargs="+", default=[0.01], help="service levels")
    parser.add_argument("--shard", default="1/1", metavar="I/N")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="print tables of what was measured")
    return parser.parse_args()


def _policies(wanted: list[str]) -> list[str]:
    every = [*POLICIES, BOUND]
    if unknown := set(wanted) - set(every):
        raise SystemExit(f"no policy {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    return wanted or every


def _traces(args: argparse.Namespace) -> dict[str, Any]:
    """How to load each trace, by name."""
    if args.traces is None:
        return {"synthetic": lambda use: synthetic(Shape.TRAINING, utilization=use or 0.5)}
    found = {
        path.name.split(".")[0]: (lambda use, path=path: load(path, utilization=use or None))
        for path in sorted(args.traces.iterdir())
        if path.name.endswith(SUFFIXES) and (path.name.split(".")[0] in KNOWN or args.only)
    }
    if args.only:
        found = {name: one for name, one in found.items() if name in args.only}
    if not found:
        raise SystemExit(f"no trace in {args.traces}: see docs/offpeak/traces.md")
    return found


def _read(out: Path) -> dict[tuple[Any, ...], dict[tuple[str, int, int], Measures]]:
    """What was measured before, by anyone; a line that was cut off is measured again."""
    known: dict[tuple[Any, ...], dict[tuple[str, int, int], Measures]] = {}
    for path in sorted(out.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                *cell, step, found = json.loads(line)
            except ValueError:
                continue
            one = Cell(*cell)
            known.setdefault(one[:4], {})[one.policy, one.seed, step] = Measures(**found)
    return known


class _Unknown(Exception):
    """The search needs a replay that was not made yet."""


def _report(args: argparse.Namespace, cells: list[Cell]) -> Iterator[str]:
    known = _read(args.out)
    traces = _traces(args)
    groups = list(dict.fromkeys(cell[:4] for cell in cells))
    for group in groups:
        trace = traces[group[0]](group[1])
        base = base_of(trace)
        for tax in args.tax:
            yield from _table(group, trace, base, tax, known.get(group, {}), cells)


def _table(
    group: Any, trace: Trace, base: Any, tax: float, known: Any, cells: Any
) -> Iterator[str]:
    _, _, release, hours = group
    own = base.work / trace.capacity / trace.judged
    yield f"### {trace.name}, {hours} h to the deadline, released at {release}, tax ≤ {tax:.1%}\n\n"
    yield f"{trace.capacity} GPUs; the foreground alone uses {own:.3f}.\n\n"
    yield "| policy | U* | over cron | range over seeds | seeds |\n|---|---:|---:|---:|---:|\n"
    best: dict[str, dict[int, float]] = {}
    for cell in cells:
        if cell[:4] != group:
            continue
        search = _Told(trace, base, known)
        try:
            found = search.best(cell.policy, cell.seed, Service(tax))
        except _Unknown:
            continue
        best.setdefault(cell.policy, {})[cell.seed] = found.measures.utilization
    cron = best.get(CRON, {})
    for policy, by_seed in best.items():
        shared = sorted(set(by_seed) & set(cron))
        gains = [by_seed[seed] / cron[seed] - 1 for seed in shared]
        mean = sum(by_seed.values()) / len(by_seed)
        gain = f"{100 * sum(gains) / len(gains):+.1f} %" if gains else "-"
        spread = f"{100 * min(gains):+.1f} to {100 * max(gains):+.1f}" if gains else "-"
        title = POLICIES[policy].title if policy in POLICIES else "malleable upper bound"
        yield f"| {title} | {mean:.3f} | {gain} | {spread} | {len(by_seed)} |\n"
    yield "\n"


class _Told(Search):
    """Knows only what was measured."""

    def __init__(self, trace: Trace, base: Any, known: Any) -> None:
        super().__init__(trace, base, Training(), known)
        self._told = known

    def at(self, name: str, seed: int, step: int) -> Measures:
        """What was measured, or `_Unknown`."""
        if (name, seed, step) not in self._told:
            raise _Unknown
        return super().at(name, seed, step)


if __name__ == "__main__":
    sys.exit(main())
