"""`slackwater check`: one real round trip for everything that TrainingWindows refer to."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from slackwater.cli.reading import Screen, add_output_flag, add_source_flags

if TYPE_CHECKING:
    from slackwater.ports import Clock


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="ask calendars, pools and Airflow whether everything is in order",
        description="Reads each Calendar once, samples each GPUPool once, asks each "
        "AirflowInstance for its version and the DAGs that are used, tries the conf of every window "
        "ahead against its DAG's params, and checks every grant. Nothing is triggered.",
        epilog="Exit codes: 0, everything is in order; 1, something is not; 2, the manifests or "
        "flags cannot be used.",
    )
    add_source_flags(parser)
    add_output_flag(parser, "text")


def execute(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Print the findings. Raises SlackwaterError.

    Args:
        args: the flags.
        clock: the present, the machine's where none is given.
    """
    from slackwater.runtime.clock import SystemClock

    return asyncio.run(_check(args, clock or SystemClock()))


async def _check(args: argparse.Namespace, clock: Clock) -> int:
    from slackwater.cli.findings import Findings, as_json, as_text
    from slackwater.cli.opened import opened

    async with opened(args, clock) as found:
        for fault in found.faults:
            sys.stderr.write(f"slackwater: {fault}\n")
        if found.faults:
            return 2
        progress = _say_progress if sys.stderr.isatty() else _say_nothing
        findings = await Findings(found, progress).gather()
    if args.output == "json":
        print(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    else:
        for line in as_text(findings, Screen.of()):
            print(line)
    return 0 if all(finding.ok for finding in findings) else 1


def _say_progress(about: str) -> None:
    sys.stderr.write(f"{about} ...\n")
    sys.stderr.flush()


def _say_nothing(_: str) -> None:
    """Nobody watches."""
