"""`slackwater run`: serve a directory of manifests, without a cluster."""

from __future__ import annotations

import argparse
import os
from typing import Any

from slackwater.cli.flags import add_addresses, add_trust


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run",
        help="serve a directory of manifests, without a cluster",
        description="Does what the operator does in a cluster, for the same manifests in "
        "directories. Manifests are read again when they change; state is kept in one directory, "
        "and only one `slackwater run` may use it. Ends at SIGTERM or Ctrl-C.",
        epilog="Each flag may also be given as a variable: --data as SLACKWATER_DATA, and so on.",
    )
    parser.add_argument(
        "--manifests",
        metavar="DIR",
        nargs="+",
        action="extend",
        help="directories, read recursively, or files with manifests",
    )
    parser.add_argument("--data", metavar="DIR", help="where state is kept (./.slackwater)")
    parser.add_argument(
        "--secrets", metavar="DIR", help="where secrets are: DIR/<namespace>/<name>/<key>"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where the tide table, metrics and health are served (127.0.0.1:8750)",
    )
    parser.add_argument(
        "--installation",
        metavar="ID",
        help="stands in the ids of runs; the data directory's own where it is not given",
    )
    parser.add_argument(
        "--allow-network",
        "--allow-networks",
        metavar="CIDR",
        action="append",
        help="a range of addresses besides public, private and this machine's that calendars, "
        "Prometheus and Airflow may be at; may be repeated",
    )
    add_trust(parser)
    add_addresses(parser)


def execute(args: argparse.Namespace) -> int:
    """Serve until a signal comes. Raises SlackwaterError."""
    from slackwater.runtime.app import run_directory
    from slackwater.runtime.process import run_until_signal
    from slackwater.runtime.settings import directory_settings

    settings = directory_settings(vars(args), os.environ)
    return run_until_signal(lambda stop: run_directory(settings, stop))
