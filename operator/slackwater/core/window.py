"""When a run may start: an interval, less what is denied, inside what is allowed (rule R3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from slackwater.core.span import Span, intersect, subtract

Piece: TypeAlias = Span

OUTSIDE_ALLOW: Final = ""
"""`Cut.entry` of time that lies outside every Allow."""


@dataclass(frozen=True, slots=True, order=True)
class Cut:
    """Time taken from an interval, and by which Deny entry (or `OUTSIDE_ALLOW`)."""

    span: Span
    entry: str


def cut(
    interval: Span, allows: Sequence[Span] | None, denies: Sequence[tuple[Span, str]]
) -> tuple[tuple[Piece, ...], tuple[Cut, ...]]:
    """What is left of `interval`, and what took the rest.

    Pieces and cuts are sorted and disjoint, and together they are `interval`. Time that several
    entries deny is laid to the first of them by name, and to `OUTSIDE_ALLOW` only where none
    does, so the order of the arguments changes nothing.

    Args:
        interval: the Trigger interval, with offsets.
        allows: spans of the Allow entries; None where there are no Allow entries at all.
        denies: spans of the Deny entries, with the entry's name.
    """
    left: tuple[Span, ...] = (interval,)
    cuts: list[Cut] = []
    by_entry: dict[str, list[Span]] = {}
    for span, entry in denies:
        if span.overlaps(interval):
            by_entry.setdefault(entry, []).append(span)
    for entry in sorted(by_entry):
        cuts.extend(Cut(span, entry) for span in intersect(left, by_entry[entry]))
        left = subtract(left, by_entry[entry])
    if allows is not None:
        outside = subtract(left, allows)
        cuts.extend(Cut(span, OUTSIDE_ALLOW) for span in outside)
        left = subtract(left, outside)
    return left, tuple(sorted(cuts))
