"""One measured figure, and how a section tells what it is doing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the number.
        unit: of the number; empty for a count or a ratio.
        reference: what to hold it against: a target, or the same thing done otherwise.
    """

    name: str
    value: float
    unit: str
    reference: str


def progress(text: str) -> None:
    """Say on stderr what is going on; stdout is for the table."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns, numbers to the right."""
    rows = [(one.name, _number(one.value), one.unit, one.reference) for one in figures]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "".join(
        f"{name:<{widths[0]}}  {number:>{widths[1]}} {unit:<{widths[2]}}  {reference}".rstrip()
        + "\n"
        for name, number, unit, reference in rows
    )


def _number(value: float) -> str:
    """Three digits that count; whole numbers as they are."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
