"""The drawings of the tide table, as SVG that style sheets colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Final

from slackwater_windows.document import OPEN_STATES, Occurrence, Pool, Window
from slackwater_windows.times import Face

WIDTH: Final = 1000
_HEIGHT: Final = 34
_CLASSES: Final = {
    "Planned": "p",
    "Waiting": "w",
    "Intended": "r",
    "Triggered": "r",
    "Running": "r",
    "Succeeded": "s",
    "Failed": "f",
}
MARK: Final = (
    '<svg width="46" height="46" viewBox="0 0 46 46" aria-hidden="true">'
    '<rect width="46" height="46" rx="12" fill="#0b7285"/>'
    '<g fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round">'
    '<path d="M9 18q7-8 14 0t14 0"/><path d="M9 26q7-4 14 0t14 0" opacity=".8"/>'
    '<path d="M9 33h28" opacity=".6"/></g></svg>'
)
PATTERNS: Final = (
    '<svg width="0" height="0" aria-hidden="true"><defs><pattern id="cut" width="6" height="6" '
    'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0v6" '
    'stroke-width="2.4"/></pattern></defs></svg>'
)


class Axis:
    """Where instants lie on the days that are shown.

    Args:
        midnights: first instants of the days, and of the one after the last.
    """

    def __init__(self, midnights: Sequence[datetime]) -> None:
        self.midnights = midnights
        self._first = midnights[0]
        self._scale = WIDTH / (midnights[-1] - midnights[0]).total_seconds()

    def definitions(self, now: datetime) -> str:
        """What every strip shows alike: the days under it and the present over it."""
        days = "".join(
            f'<path class="day" d="M{self.x(at):.1f} 0v{_HEIGHT}"/>' for at in self.midnights[1:-1]
        )
        return (
            '<svg width="0" height="0" class="hidden" aria-hidden="true"><defs><g id="days">'
            f'<rect class="bg" width="{WIDTH}" height="{_HEIGHT}" rx="4"/>{days}</g>'
            f'<path id="now" class="nowline" stroke-width="2" d="M{self.x(now):.1f} 0v{_HEIGHT}"/>'
            "</defs></svg>"
        )

    def x(self, at: datetime) -> float:
        """From 0 to `WIDTH`; outside of it for what is outside of the days."""
        return (at - self._first).total_seconds() * self._scale

    def bar(self, start: datetime, end: datetime, kind: str, top: int, height: int) -> str:
        """The beginning of a rectangle; empty where nothing of it would show."""
        first, scale = self._first, self._scale
        left = (start - first).total_seconds() * scale
        right = (end - first).total_seconds() * scale
        if right <= 0 or left >= WIDTH:
            return ""
        left = max(left, 0.0)
        width = max(2.5, min(right, WIDTH) - left)
        return (
            f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" '
            f'height="{height}" rx="2">'
        )


@lru_cache(maxsize=4096)
def escaped(text: str) -> str:
    """Text as HTML; names and reasons come again and again."""
    return escape(text)


def state_class(state: str) -> str:
    """The class that colours a state."""
    return _CLASSES.get(state, "g")


def day_labels(face: Face, axis: Axis) -> str:
    """The days above the strips."""
    labels = []
    for number, midnight in enumerate(axis.midnights[:-1]):
        percent = axis.x(midnight) / WIDTH * 100
        today = ' class="today"' if number == 0 else ""
        text = "Today" if number == 0 else _day_label(face.day(midnight))
        labels.append(f'<text x="{percent:.2f}%" y="15"{today}>{text}</text>')
    return f'<svg aria-hidden="true">{"".join(labels)}</svg>'


def _day_label(day: str) -> str:
    """The weekday, and the date where there is room for it."""
    weekday, _, date = day.partition(" ")
    return f'{weekday}<tspan class="date"> {date}</tspan>'


def strip(window: Window, face: Face, axis: Axis) -> str:
    """Seven days of one TrainingWindow: its windows, what cuts them, and now."""
    first, last = axis.midnights[0], axis.midnights[-1]
    shapes: list[str] = []
    count = 0
    for occurrence in window.occurrences:
        if occurrence.cuts or (occurrence.end > first and occurrence.start < last):
            bars = _shapes(occurrence, face, axis)
            count += bool(bars)
            shapes += bars
    words = "1 window" if count == 1 else f"{count} windows"
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{words} in seven days"><use href="#days"/>{"".join(shapes)}'
        '<use href="#now"/></svg>'
    )


def _shapes(occurrence: Occurrence, face: Face, axis: Axis) -> list[str]:
    found = []
    for cut in occurrence.cuts:
        if bar := axis.bar(cut.start, cut.end, "cut", 9, 16):
            why = f"cut by {escaped(cut.entry)}" if cut.entry else "outside every Allow"
            found.append(f"{bar}<title>{face.span(cut.start, cut.end)}: {why}</title></rect>")
    for start, end in occurrence.openings:
        if bar := axis.bar(start, end, state_class(occurrence.state), 6, 22):
            words = f"{face.span(start, end)}: {escaped(occurrence.state)}"
            found.append(f"{bar}<title>{words}</title></rect>")
    if (planned := occurrence.coming_start) is not None and (
        bar := axis.bar(planned, planned, "plan", 2, 30)
    ):
        found.append(f"{bar}<title>planned for {face.both(planned)}</title></rect>")
    return found


def stock(pool: Pool) -> str:
    """What a pool holds as one bar: used, promised, free; nothing where that is not known."""
    if pool.capacity is None:
        return ""
    capacity = max(1, pool.capacity)
    free = min(capacity, max(0, pool.free or 0))
    promised = min(free, max(0, pool.promised))
    parts = (("used", capacity - free), ("promised", promised), ("free", free - promised))
    at, shapes = 0.0, []
    for name, count in parts:
        width = count / capacity * 300
        if count:
            shapes.append(
                f'<rect class="{name}" x="{at:.1f}" width="{width:.1f}" height="12">'
                f"<title>{count} {name}</title></rect>"
            )
        at += width
    words = ", ".join(f"{count} {name}" for name, count in parts)
    return (
        f'<svg height="12" viewBox="0 0 300 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{words}">{"".join(shapes)}</svg>'
    )


def tide(pool: Pool, now: datetime) -> str:
    """The load of the last day as a tide; nothing where it is not measured."""
    if len(pool.load) < 2:
        return ""
    begin = now - timedelta(hours=24)
    points = [
        (
            min(300.0, max(0.0, (at - begin) / timedelta(hours=24) * 300)),
            54 - min(100.0, max(0.0, percent)) * 0.5,
        )
        for at, percent in pool.load
    ]
    points[0] = (0.0, points[0][1])  # what is missing before it is not a gap worth showing
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    last = points[-1][0]
    peak = max(percent for _, percent in pool.load)
    return (
        f'<svg class="tide" viewBox="0 0 300 56" preserveAspectRatio="none" role="img" '
        f'aria-label="load of the last 24 hours, at most {peak:.0f} %">'
        f'<polygon class="area" points="{points[0][0]:.1f},56 {line} {last:.1f},56"/>'
        f'<polyline class="crest" vector-effect="non-scaling-stroke" points="{line}"/></svg>'
    )


def is_now(occurrence: Occurrence) -> bool:
    """Whether it is open or has a run."""
    return occurrence.state in OPEN_STATES
