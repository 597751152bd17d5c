"""A plan as a table for people and as JSON for programs; JSON never holds a title."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from slackwater.api.status import write_instant as wire_instant
from slackwater.cli.laid_out import Laid, calendar_zone, original_start, warning
from slackwater.cli.opened import Opened
from slackwater.cli.reading import Screen, columns, counted, paragraph, write_instant, write_span
from slackwater.core.match import MAX_TITLE
from slackwater.core.occurrence import NO_TIME_LEFT, Edge, Near, Occurrence
from slackwater.core.report import sentence
from slackwater.core.seen import Trouble
from slackwater.core.spec import CalendarEntry, Effect, Overlap, TrainingWindow
from slackwater.core.window import OUTSIDE_ALLOW
from slackwater.core.words import WORDS, Reason, say
from slackwater.core.zone import zone
from slackwater_windows.prose import printable

OUTSIDE: Final = "outside Allow"
"""What stands for the entry where no Allow covers the time; no entry can have this name."""

_SHOWN: Final = 5
_INDENT: Final = "  "


# --- JSON --------------------------------------------------------------------------------------


def as_json(found: Opened, laid: Sequence[Laid]) -> list[dict[str, Any]]:
    """The occurrences of all TrainingWindows, by first start."""
    rows = [
        (_first_start(occurrence), window.ref, occurrence.key, _row(found, window, occurrence))
        for window in laid
        for occurrence in window.occurrences
    ]
    return [row[3] for row in sorted(rows, key=lambda row: row[:3])]


def _first_start(occurrence: Occurrence) -> datetime:
    return (occurrence.pieces[0] if occurrence.pieces else occurrence.interval).start


def _row(found: Opened, window: Laid, occurrence: Occurrence) -> dict[str, Any]:
    assert window.spec is not None
    there = calendar_zone(found, window.spec, occurrence.entry)
    original = original_start(occurrence, window.spec.time_zone, there)
    return {
        "trainingWindow": str(window.ref),
        "occurrence": occurrence.key,
        "originalStart": wire_instant(original),
        "pieces": [
            {"start": wire_instant(piece.start), "end": wire_instant(piece.end)}
            for piece in occurrence.pieces
        ],
        **_planned(window, occurrence),
        "cut": [
            {
                "start": wire_instant(cut.span.start),
                "end": wire_instant(cut.span.end),
                "entry": cutter(cut.entry),
            }
            for cut in occurrence.cuts
        ],
    }


def _planned(window: Laid, occurrence: Occurrence) -> dict[str, Any]:
    planned = window.planned.get(occurrence.key)
    if planned is None:
        return {}
    return {
        "plannedStart": wire_instant(planned.start),
        "latestStart": wire_instant(planned.latest_start),
        "expectedLoadPercent": planned.expected_percent,
    }


def cutter(entry: str) -> str:
    """The entry that cut, as programs read it."""
    return OUTSIDE if entry == OUTSIDE_ALLOW else entry


# --- a table -----------------------------------------------------------------------------------


def as_table(laid: Sequence[Laid], screen: Screen, *, titles: bool) -> Iterator[str]:
    """The plan for people, one part for each TrainingWindow.

    Args:
        laid: what is planned.
        screen: where it is shown.
        titles: whether titles of near misses may be shown.
    """
    if not laid:
        yield "There is no TrainingWindow."
    for number, window in enumerate(laid):
        if number:
            yield ""
        yield from _Part(window, screen, titles=titles).lines()


def trouble_lines(window: Laid) -> Iterator[str]:
    """Why a TrainingWindow could not be planned, each with its remedy."""
    time_zone = window.spec.time_zone if window.spec else "UTC"
    yield from dict.fromkeys(said(trouble, time_zone) for trouble in window.troubles)


def said(trouble: Trouble, time_zone: str) -> str:
    """A trouble in its sentence and its remedy."""
    remedy = WORDS[trouble.reason].remedy
    return f"{sentence(trouble.reason, trouble.gaps, time_zone)} {remedy}".rstrip()


class _Part:
    def __init__(self, window: Laid, screen: Screen, *, titles: bool) -> None:
        self.window, self.screen, self.titles = window, screen, titles
        self.where: ZoneInfo = zone(window.spec.time_zone) if window.spec else ZoneInfo("UTC")

    def lines(self) -> Iterator[str]:
        """Everything about one TrainingWindow."""
        window, spec = self.window, self.window.spec
        told = f"   times in {spec.time_zone}" if spec else ""
        yield self.screen.bold(str(window.ref)) + told
        if spec is not None and spec.suspend:
            yield from self.odd(say(Reason.SUSPENDED))
        for text in trouble_lines(window):
            yield from (self.screen.bad(line) for line in self.wrapped(text))
        if spec is None or window.layout is None:
            return
        yield from self.occurrences()
        yield from self.edges(window.layout.denies, window.layout.deadlines)
        yield from self.remarks(spec)

    def occurrences(self) -> Iterator[str]:
        found = self.window.occurrences
        if not found:
            yield f"{_INDENT}Nothing between {write_span(self.window.within, self.where)}."
            return
        rows = [("OCCURRENCE", "ENTRY", "MAY START", "CUT AWAY")]
        for occurrence in found:
            dated = occurrence.interval.length >= timedelta(days=6)
            pieces = [write_span(piece, self.where, dated=dated) for piece in occurrence.pieces]
            planned = self.window.planned.get(occurrence.key)
            if planned is not None:
                pieces.append(
                    f"planned for {write_instant(planned.start, self.where)}, "
                    f"load {planned.expected_percent} %"
                )
            cuts = [
                f"{write_span(cut.span, self.where, dated=dated)} {_by(cut.entry)}"
                for cut in occurrence.cuts
            ]
            interval = write_span(occurrence.interval, self.where)
            rows.append((interval, occurrence.entry, "\n".join(pieces) or "never", "\n".join(cuts)))
        lines = columns(rows, self.screen.width, _INDENT)
        yield self.screen.bold(next(lines))
        yield from lines

    def edges(self, denies: Sequence[Edge], deadlines: Sequence[Edge]) -> Iterator[str]:
        """Denies and Deadlines of the range with their names."""
        within = self.window.within
        rows = [
            (
                Effect.DENY.value,
                f"`{edge.entry}`",
                write_span(edge.span, self.where),
                f"whenRunning: {edge.when_running}",
            )
            for edge in denies
            if edge.span.overlaps(within)
        ] + [
            (Effect.DEADLINE.value, f"`{edge.entry}`", write_instant(edge.span.start, self.where))
            for edge in deadlines
            if edge.span.start in within
        ]
        yield from columns(rows, self.screen.width, _INDENT)

    def remarks(self, spec: TrainingWindow) -> Iterator[str]:
        """What deserves a look."""
        window, layout = self.window, self.window.layout
        assert layout is not None
        for ref, warned in window.warnings:
            text = warning(ref, warned)
            yield from self.odd(f"{text} {WORDS[warned.reason].remedy}".rstrip())
        empty = sum(not occurrence.pieces for occurrence in window.occurrences)
        if empty:
            yield from self.odd(f"{counted(empty, 'occurrence')}: {say(Reason.EMPTY_WINDOW)}")
        for names, count in window.twice:
            meant = " and ".join(f"`{name}`" for name in names)
            yield from self.odd(
                f"{counted(count, 'event')} matched by {meant}: each is one occurrence, of "
                f"`{names[0]}`."
            )
        yield from self.overlaps(spec)
        for reason, count in (
            (Reason.MATCH_UNREADABLE, layout.unreadable),
            (Reason.UNTRUSTED_ORGANIZER, layout.untrusted),
        ):
            if count:
                yield from self.odd(f"{say(reason, count=count)} {WORDS[reason].remedy}")
        yield from self.near(layout.near, spec)

    def overlaps(self, spec: TrainingWindow) -> Iterator[str]:
        pairs = overlapping(self.window.occurrences)
        if not pairs:
            return
        fate = (
            "the first start supersedes the others (overlap: Once)"
            if spec.overlap is Overlap.ONCE
            else f"each wants a run of its own (overlap: Each, concurrencyPolicy: "
            f"{spec.concurrency})"
        )
        yield from self.odd(f"{counted(len(pairs), 'overlap')} of occurrences; {fate}:")
        rows = [
            (
                f"{write_span(first.interval, self.where)} `{first.entry}`",
                f"{write_span(second.interval, self.where)} `{second.entry}`",
            )
            for first, second in pairs[:_SHOWN]
        ]
        yield from columns(rows, self.screen.width, _INDENT * 2)
        if len(pairs) > _SHOWN:
            yield f"{_INDENT * 2}and {len(pairs) - _SHOWN} more"

    def near(self, found: Sequence[Near], spec: TrainingWindow) -> Iterator[str]:
        by_entry: dict[str, list[Near]] = {}
        for one in found:
            by_entry.setdefault(one.entry, []).append(one)
        patterns: Mapping[str, CalendarEntry] = {e.name: e for e in spec.calendars}
        for name, events in by_entry.items():
            almost = "almost matches" if len(events) == 1 else "almost match"
            pattern = patterns[name].match.summary
            yield from self.odd(f"{counted(len(events), 'event')} {almost} `{pattern}`")
            if self.titles:
                rows = [
                    (write_span(one.event.span, self.where), _title(one)) for one in events[:_SHOWN]
                ]
                yield from columns(rows, self.screen.width, _INDENT * 2)
                if len(events) > _SHOWN:
                    yield f"{_INDENT * 2}and {len(events) - _SHOWN} more"

    # --- pieces

    def odd(self, text: str) -> Iterator[str]:
        for line in self.wrapped(text):
            yield self.screen.odd(line)

    def wrapped(self, text: str) -> Iterator[str]:
        return paragraph(text, self.screen.width, _INDENT)


def _by(entry: str) -> str:
    if entry == OUTSIDE_ALLOW:
        return OUTSIDE
    return "by its offsets" if entry == NO_TIME_LEFT else f"by `{entry}`"


def overlapping(occurrences: Sequence[Occurrence]) -> list[tuple[Occurrence, Occurrence]]:
    """Pairs of occurrences whose runs could start at the same time, by the start of the second."""
    pieces = sorted(
        (piece, number) for number, held in enumerate(occurrences) for piece in held.pieces
    )
    pairs: dict[tuple[int, int], None] = {}
    still: list[tuple[datetime, int]] = []
    for piece, number in pieces:
        still = [(end, other) for end, other in still if end > piece.start]
        for _, other in still:
            if other != number:
                pairs[min(other, number), max(other, number)] = None
        still.append((piece.end, number))
    return [(occurrences[first], occurrences[second]) for first, second in pairs]


def _title(near: Near) -> str:
    # A title is somebody else's text: it must not steer the terminal.
    return printable(near.event.summary or "")[:MAX_TITLE].replace("\n", " ").replace("\t", " ")
