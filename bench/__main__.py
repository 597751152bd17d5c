"""`python -m bench [section ...]`: measure, and print one table.

Sections: decisions, off_peak, burst and calendars (in memory, seconds), plugin (inside Airflow's environment),
airflow (a real Airflow API), runs (a real Airflow with its tasks), idle (a real kube-apiserver,
minutes). All of them where none is named. Nothing is judged: what a figure should be stands beside
it, since a busy machine is no fault of the code.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.figure import Figure, progress, table

SECTIONS = ("decisions", "off_peak", "burst", "calendars", "plugin", "airflow", "runs", "idle")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    chosen = parser.parse_args().sections or SECTIONS
    for name in chosen:
        if name not in SECTIONS:
            parser.error(f"there is no section {name}; there are {', '.join(SECTIONS)}")
    found: list[Figure] = []
    for name in chosen:
        progress(name)
        found += importlib.import_module(f"bench.{name}").figures()
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
