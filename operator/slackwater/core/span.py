"""Half-open intervals of time and their algebra (rule R1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The instants `start <= t < end`, both aware and in UTC, never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is not UTC or self.end.tzinfo is not UTC:
            raise ValueError(f"a span needs UTC instants, got {self.start!r} and {self.end!r}")
        if self.start >= self.end:
            raise ValueError(f"a span ends after it starts, got {self.start} to {self.end}")

    @property
    def length(self) -> timedelta:
        """Elapsed time from start to end."""
        return self.end - self.start

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def overlaps(self, other: Span) -> bool:
        """True when both have an instant in common."""
        return self.start < other.end and other.start < self.end

    def shifted(self, start: timedelta, end: timedelta) -> Span | None:
        """The span with both ends moved; None when nothing of it is left."""
        moved_start, moved_end = self.start + start, self.end + end
        return Span(moved_start, moved_end) if moved_start < moved_end else None


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same instants as sorted, disjoint spans; touching spans are joined."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            if span.end > merged[-1].end:
                merged[-1] = Span(merged[-1].start, span.end)
        else:
            merged.append(span)
    return tuple(merged)


def intersect(left: Iterable[Span], right: Iterable[Span]) -> tuple[Span, ...]:
    """The instants in both."""
    a, b = union(left), union(right)
    found: list[Span] = []
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i].start, b[j].start), min(a[i].end, b[j].end)
        if start < end:
            found.append(Span(start, end))
        if a[i].end <= b[j].end:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(left: Iterable[Span], right: Iterable[Span]) -> tuple[Span, ...]:
    """The instants of `left` that are not in `right`."""
    holes = union(right)
    left_over: list[Span] = []
    for span in union(left):
        start = span.start
        for hole in holes:
            if hole.end <= start:
                continue
            if hole.start >= span.end:
                break
            if hole.start > start:
                left_over.append(Span(start, hole.start))
            start = hole.end
            if start >= span.end:
                break
        if start < span.end:
            left_over.append(Span(start, span.end))
    return tuple(left_over)
