"""`slackwater operator`: serve a Kubernetes cluster."""

from __future__ import annotations

import argparse
import os
from typing import Any

from slackwater.cli.flags import add_addresses, add_trust


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "operator",
        help="serve a Kubernetes cluster",
        description="Serves TrainingWindows in a cluster: as the pod's service account, or by a "
        "kubeconfig. Of several, the one that holds the Lease acts.",
        epilog="Each flag may also be given as a variable: --lease-name as SLACKWATER_LEASE_NAME, "
        "and so on; several values separated by commas.",
    )
    parser.add_argument(
        "--namespace",
        metavar="NS",
        action="append",
        help="a namespace to serve, all of them where none is given; may be repeated",
    )
    parser.add_argument(
        "--installation",
        metavar="ID",
        help="stands in the ids of runs; the uid of kube-system where it is not given",
    )
    parser.add_argument(
        "--allow-network",
        "--allow-networks",
        metavar="CIDR",
        action="append",
        help="a range of addresses that calendars, Prometheus and Airflow may be at besides "
        "public ones (Prometheus and Airflow: and private ones); may be repeated",
    )
    add_trust(parser)
    add_addresses(parser)
    parser.add_argument(
        "--metrics-address",
        metavar="HOST:PORT",
        help="where the tide table, metrics and probes are served (0.0.0.0:8080)",
    )
    parser.add_argument(
        "--lease-namespace", metavar="NS", help="where the Lease stands (the pod's namespace)"
    )
    parser.add_argument("--lease-name", metavar="NAME", help="name of the Lease (slackwater)")
    parser.add_argument(
        "--windows-config-map",
        metavar="NS/NAME",
        action="append",
        help="a ConfigMap to keep the windows file for Airflow in; may be repeated",
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="instead of the pod's service account")
    parser.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig; its current one"
    )


def execute(args: argparse.Namespace) -> int:
    """Serve until a signal comes. Raises SlackwaterError."""
    from slackwater.runtime.app import run_operator
    from slackwater.runtime.process import run_until_signal
    from slackwater.runtime.settings import operator_settings

    settings = operator_settings(vars(args), os.environ)
    return run_until_signal(lambda stop: run_operator(settings, stop))
