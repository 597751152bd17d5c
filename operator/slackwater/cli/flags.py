"""Flags that `slackwater operator` and `slackwater run` share."""

from __future__ import annotations

import argparse


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Which hosts and identities the operator's configuration lends to objects (R14)."""
    parser.add_argument(
        "--calendar-host",
        metavar="HOST",
        action="append",
        help="a host besides those of Microsoft's clouds, as HOST or HOST:PORT, that a Calendar "
        "may name as authority or endpoint; may be repeated",
    )
    parser.add_argument(
        "--identities",
        metavar="FILE",
        help="identities that AirflowInstances and Calendars may name, and the namespaces and "
        "hosts they are lent to",
    )


def add_addresses(parser: argparse.ArgumentParser) -> None:
    """Where its own pages are opened, and a service in another place than usual."""
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="where people open its pages; stands in the notes of the runs it starts",
    )
    parser.add_argument(
        "--google-endpoint",
        metavar="URL",
        help="a server in place of Google's, such as an emulator: its origin",
    )
