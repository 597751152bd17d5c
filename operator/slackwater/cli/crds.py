"""`slackwater crds`: the CustomResourceDefinitions, as text or as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command and its flags."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "crds",
        help="print the CustomResourceDefinitions",
        description="Prints the CustomResourceDefinitions of this version, for "
        "`slackwater crds | kubectl apply --server-side -f -`.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="yaml|DIR",
        default="yaml",
        help="yaml: all of them on standard output; else a directory for one file each",
    )


def execute(args: argparse.Namespace) -> int:
    """Print or write them. Raises ConfigError where the directory cannot be written."""
    from slackwater.api.crd import file_name, render
    from slackwater.core.words import Reason
    from slackwater.errors import ConfigError
    from slackwater.ports import Kind

    if args.output == "yaml":
        sys.stdout.write("---\n".join(render(kind) for kind in Kind))
        return 0
    directory = Path(args.output)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for kind in Kind:
            (directory / file_name(kind)).write_text(render(kind), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"{directory} cannot be written ({error.strerror}); name another directory "
            "with -o DIR.",
        ) from None
    sys.stderr.write(f"{len(Kind)} files written to {directory}\n")
    return 0
