"""What the demo says, line by line, while it happens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime


def now() -> datetime:
    """The present, to the second, as calendars have it."""
    return datetime.now(UTC).replace(microsecond=0)


class Console:
    """Lines on standard output, whole even when several threads write."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._turn = threading.Lock()
        self._acts = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def line(self, text: str = "") -> None:
        """One line as it is."""
        with self._turn:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def step(self, text: str) -> None:
        """Progress before the story begins."""
        self.line(f"  [{self.elapsed:5.1f} s] {text}")

    def act(self, text: str) -> None:
        """What has just happened in the story, in one line."""
        self._acts += 1
        self.line(f"  {now():%H:%M:%S}  {self._acts}  {text}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their widest cell."""
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        for row in (head, ["-" * width for width in widths], *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.line(f"  {'  '.join(cells).rstrip()}")
