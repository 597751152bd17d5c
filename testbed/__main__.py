"""`python -m testbed build|smoke|up|which|clean`: the servers, for people and for make."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time

from testbed import airflow, cache, helm, kubernetes, postgres, prometheus
from testbed.caldav import Radicale, Xandikos
from testbed.gpus import PoolProcess
from testbed.smoke import BUILDS, SMOKES, smoke

SERVERS = ("airflow", "airflow-api", "gpus", "kubernetes", "postgres", "prometheus", "radicale",
           "xandikos")  # fmt: skip


def build(names: list[str]) -> int:
    for name in names:
        began = time.monotonic()
        BUILDS[name]()
        cache.say(f"build {name}: ready in {time.monotonic() - began:.1f} s")
    return 0


def up(names: list[str]) -> int:
    """Start servers, say how to reach them, and keep them until interrupted."""
    with contextlib.ExitStack() as stack:
        for name in names:
            print(_up(name, stack), flush=True)
        print("Ctrl-C stops them.", flush=True)
        done = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: done.set())
        done.wait()
    return 0


def _up(name: str, stack: contextlib.ExitStack) -> str:
    match name:
        case "airflow" | "airflow-api":
            components = airflow.EVERYTHING if name == "airflow" else airflow.API_ONLY
            server = stack.enter_context(airflow.Airflow(components=components))
            return f"{name}: {server.url} (user admin, password admin)"
        case "gpus":
            pool = stack.enter_context(PoolProcess())
            return f"gpus: {pool.url}/metrics"
        case "kubernetes":
            plane = stack.enter_context(kubernetes.ControlPlane())
            return f"kubernetes: export KUBECONFIG={plane.kubeconfig}"
        case "postgres":
            database = stack.enter_context(postgres.Postgres())
            return f"postgres: {database.database_url()}"
        case "prometheus":
            pool = stack.enter_context(PoolProcess())
            metrics = stack.enter_context(prometheus.Prometheus([pool.target]))
            return f"prometheus: {metrics.url} scraping {pool.url}/metrics"
        case "radicale":
            radicale = stack.enter_context(Radicale())
            return f"radicale: {radicale.url} (user alice, password secret)"
        case _:
            xandikos = stack.enter_context(Xandikos())
            return f"xandikos: {xandikos.url}"


def which(name: str) -> int:
    """Print where an executable is, building it first if need be."""
    if name in kubernetes.binaries.PACKAGES:
        print(kubernetes.binaries.find(name))
    elif name in ("prometheus", "promtool"):
        print(getattr(prometheus.find(), name))
    elif name == "helm":
        print(helm.find())
    else:
        print(airflow.find())
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, choices, text in (
        ("build", BUILDS, "download and build into the cache"),
        ("smoke", SMOKES, "start each, use it once, stop it"),
        ("up", SERVERS, "start and keep running"),
    ):
        parts = commands.add_parser(command, help=text)
        many = "+" if command == "up" else "*"
        parts.add_argument("names", nargs=many, choices=[*choices, "all"], default="all")
    executables = [
        *kubernetes.binaries.PACKAGES,
        "prometheus",
        "promtool",
        "helm",
        "airflow-python",
    ]
    commands.add_parser("which", help="print the path of an executable").add_argument(
        "name", choices=executables
    )
    commands.add_parser("clean", help=f"delete what is in {cache.root()}")
    options = parser.parse_args()
    try:
        match options.command:
            case "build":
                return build(_names(options.names, list(BUILDS)))
            case "smoke":
                return 0 if smoke(_names(options.names, list(SMOKES))) else 1
            case "up":
                return up(_names(options.names, list(SERVERS)))
            case "which":
                return which(options.name)
            case _:
                cache.clean()
                return 0
    except cache.BuildError as error:
        cache.say(str(error))
        return 1


def _names(chosen: list[str] | str, everything: list[str]) -> list[str]:
    return everything if "all" in chosen else list(chosen)


if __name__ == "__main__":
    sys.exit(main())
