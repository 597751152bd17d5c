"""`slackwater`, and `python -m slackwater`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from slackwater.cli.main import main as _main


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        argv: the words after `slackwater`; those of this process where none are given.
    """
    return _main(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
