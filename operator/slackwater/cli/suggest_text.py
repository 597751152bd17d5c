"""Suggestions as a table for people, as JSON for programs, and as events to import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slackwater.api.status import write_instant as wire_instant
from slackwater.cli.reading import Screen, columns, counted, paragraph, write_length, write_span
from slackwater.core.bottleneck import Bottleneck, Hindrance, Move
from slackwater.core.imported import importable
from slackwater.core.match import MAX_TITLE
from slackwater.core.occurrence import Occurrence
from slackwater.core.room import MOST_WAIT, Odds
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Ref
from slackwater.core.suggest import Suggestion, Wanted
from slackwater.core.zone import zone
from slackwater_windows.prose import printable

_INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A window as it stands: its start, planned or the first; `odds` None without GPUs or start."""

    occurrence: Occurrence
    start: datetime | None
    odds: Odds | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Everything that is suggested for one TrainingWindow.

    Attributes:
        ref: which one.
        wanted: what was sought for.
        suggestions: the best times first.
        bottlenecks: windows that are in the way themselves.
        present: the windows as they stand.
        forecast_known: False where nothing of the pool's past is known, so that the present load
            stands for all of the future.
    """

    ref: Ref
    wanted: Wanted
    suggestions: tuple[Suggestion, ...]
    bottlenecks: tuple[Bottleneck, ...]
    present: tuple[Present, ...]
    forecast_known: bool

    @property
    def gpus(self) -> int:
        """GPUs of a run."""
        return self.wanted.spec.gpu.count if self.wanted.spec.gpu else 0

    def when(self, span: Span) -> str:
        """A time in the TrainingWindow's zone."""
        return write_span(span, zone(self.wanted.spec.time_zone))


# --- sentences ---------------------------------------------------------------------------------


def why(advice: Advice, odds: Odds) -> str:
    """What a start may expect and what it costs, in a sentence."""
    if not advice.gpus:
        return "Calendars allow it; no GPUs are asked for."
    room = f"Room for {counted(advice.gpus, 'GPU')} with a chance of {odds.chance:.0%}"
    wait = f"an expected wait of {_wait(odds)}" if round(odds.wait.total_seconds()) else "no wait"
    return f"{room} and {wait}; {_costs(odds)}."


def _wait(odds: Odds) -> str:
    return "a day or more" if odds.wait >= MOST_WAIT else write_length(odds.wait)


def _costs(odds: Odds) -> str:
    parts = []
    if odds.delayed:
        parts.append(f"delays {counted(odds.delayed, 'other ask')}")
    if round(odds.busy_gpu_hours):
        parts.append(
            f"takes {counted(round(odds.busy_gpu_hours), 'GPU-hour')} while the pool is busier "
            "than usual"
        )
    return " and ".join(parts) or "costs others nothing"


def trouble(advice: Advice, one: Bottleneck) -> str:
    """What is wrong with a window, in a sentence without any title."""
    entries = " and ".join(f"`{name}`" for name in one.entries)
    takes = write_length(advice.wanted.length)
    chance = f"{one.odds.chance:.0%}" if one.odds is not None else ""
    also = f" (so are {one.alike - 1} more like it)" if one.alike > 1 else ""
    text = {
        Hindrance.COVERED: f"is wholly covered by {entries}",
        Hindrance.OUTSIDE_ALLOW: "lies outside every Allow",
        Hindrance.TOO_SHORT: f"is too short for a run of {takes}",
        Hindrance.CROSSES_DENY: f"is too near to {entries}, which would cancel a run of {takes}",
        Hindrance.MISSES_DEADLINE: f"is too late for the deadline {entries} with a run of {takes}",
        Hindrance.CROWDED: f"is crowded: {counted(one.others, 'other ask')} of the pool "
        f"for {one.gpus} GPUs in the same half-hour, chance of room {chance}",
        Hindrance.NO_ROOM: f"will hardly find room, the chance is {chance}",
    }[one.hindrance]
    entry = one.occurrence.entry
    return f"The window {advice.when(one.occurrence.interval)} of `{entry}` {text}{also}."


def remedy(advice: Advice, move: Move | None) -> str:
    """Which event to move where, in a sentence without any title."""
    if move is None:
        return "No time in this range suits; ask for fewer GPUs, or look further with --days."
    chance = f", room {move.odds.chance:.0%}" if move.odds is not None and advice.gpus else ""
    where = _place(advice, move.entry)
    was, will = advice.when(move.span), advice.when(move.to)
    longer = move.to.start == move.span.start and move.to.end > move.span.end
    verb = "Lengthen" if longer else "Move"
    return f"{verb} {where} from {was} to {will}{chance}."


def _place(advice: Advice, name: str) -> str:
    """Where an entry's events are."""
    for entry in advice.wanted.spec.entries:
        if entry.name == name and isinstance(entry, CalendarEntry):
            return f"the event of `{name}` in Calendar {entry.calendar}"
    return f"the inline window `{name}`"


# --- a table -----------------------------------------------------------------------------------


def as_table(advice: Advice, screen: Screen, *, titles: bool) -> Iterator[str]:
    """For people; titles of their own events only where they may be shown."""
    spec = advice.wanted.spec
    yield screen.bold(str(advice.ref)) + f"   times in {spec.time_zone}"
    yield f"{_INDENT}{_asked(advice)}"
    if not advice.forecast_known:
        text = "Nothing is known of the pool's past load: the present one is taken to go on."
        yield from (screen.odd(line) for line in paragraph(text, screen.width, _INDENT))
    if spec.suspend:
        yield _INDENT + screen.odd("It is suspended: nothing starts until it is resumed.")
    yield ""
    if advice.suggestions:
        yield screen.bold("Better times:")
        rows = [
            (f"{number}.", advice.when(one.window), why(advice, one.odds))
            for number, one in enumerate(advice.suggestions, start=1)
        ]
        yield from columns(rows, screen.width, _INDENT)
    else:
        yield screen.bad("No time in this range suits.")
    if advice.present:
        yield ""
        yield screen.bold("As it stands:")
        rows = [
            (
                advice.when(one.occurrence.interval),
                one.occurrence.entry,
                why(advice, one.odds) if one.odds else "" if one.start else "No start is possible.",
            )
            for one in advice.present
        ]
        yield from columns(rows, screen.width, _INDENT)
    if advice.bottlenecks:
        yield ""
        yield screen.bold("What to move:")
        for found in advice.bottlenecks:
            text = f"{trouble(advice, found)} {remedy(advice, found.move)}"
            yield from paragraph(text, screen.width, _INDENT)
            title = found.occurrence.event.summary if found.occurrence.event else None
            if titles and title:
                yield f"{_INDENT}{_INDENT}Its title: {printable(title[:MAX_TITLE])}"


def _asked(advice: Advice) -> str:
    wanted = advice.wanted
    guess = "" if wanted.known else " (a guess: set expectedDurationSeconds)"
    gpu = wanted.spec.gpu
    what = f"{counted(gpu.count, 'GPU')} of {gpu.pool}" if gpu else "No GPUs"
    return f"{what} for {write_length(wanted.length)}{guess}"


# --- JSON --------------------------------------------------------------------------------------


def as_json(advice: Advice) -> dict[str, Any]:
    """For programs; times in UTC, never a title."""
    gpu = advice.wanted.spec.gpu
    return {
        "trainingWindow": str(advice.ref),
        "pool": str(gpu.pool) if gpu else None,
        "gpus": advice.gpus,
        "durationSeconds": round(advice.wanted.length.total_seconds()),
        "durationKnown": advice.wanted.known,
        "forecastKnown": advice.forecast_known,
        "suggestions": [
            {**_span(one.window), **_odds(one.odds), "why": why(advice, one.odds)}
            for one in advice.suggestions
        ],
        "present": [
            {
                "occurrence": one.occurrence.key,
                "entry": one.occurrence.entry,
                **_span(one.occurrence.interval),
                "expectedStart": wire_instant(one.start) if one.start else None,
                **(_odds(one.odds) if one.odds else {}),
            }
            for one in advice.present
        ],
        "moves": [
            {
                "occurrence": one.occurrence.key,
                "hindrance": one.hindrance.value,
                "entries": list(one.entries),
                "alike": one.alike,
                "move": None if one.move is None else _move(one.move),
                "why": f"{trouble(advice, one)} {remedy(advice, one.move)}",
            }
            for one in advice.bottlenecks
        ],
    }


def _move(move: Move) -> dict[str, Any]:
    return {"entry": move.entry, "from": _span(move.span), "to": _span(move.to)}


def _span(span: Span) -> dict[str, str]:
    return {"start": wire_instant(span.start), "end": wire_instant(span.end)}


def _odds(odds: Odds) -> dict[str, Any]:
    return {
        "chance": round(odds.chance, 3),
        "expectedWaitSeconds": round(odds.wait.total_seconds()),
        "busyGPUHours": round(odds.busy_gpu_hours, 1),
        "othersDelayed": odds.delayed,
        "expectedLoadPercent": odds.load_percent,
    }


# --- events to import --------------------------------------------------------------------------


def as_ics(advice: Advice, now: datetime) -> str | None:
    """The suggestions as an iCalendar file; None where no event could be one of this window's."""
    from slackwater.calendars.ical_write import write_feed

    if not advice.suggestions:
        return None
    events = []
    for one in advice.suggestions:
        found = importable(advice.wanted.spec, one.window, advice.ref.name)
        if found is None:
            return None
        events.append((found.event, why(advice, one.odds)))
    return write_feed(events, str(advice.ref), now)


def why_no_import(advice: Advice) -> str:
    """Why there is nothing to import, and what to do instead."""
    if not advice.suggestions:
        return f"{advice.ref}: no time in this range suits; -o table says what is in the way."
    if any(isinstance(e, CalendarEntry) for e in advice.wanted.spec.entries):
        return (
            f"{advice.ref}: no event can be made up that its Trigger entries would match for sure "
            "(see match.expression, and Deny entries of the same Calendar). Use -o table and write "
            "the event yourself."
        )
    return (
        f"{advice.ref} has no calendar to import into: its windows are inline. Use -o table and "
        "change their schedule."
    )
