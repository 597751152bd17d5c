"""An event that a TrainingWindow would take for its own, at a time that suits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from slackwater.core.event import Busy, Event
from slackwater.core.match import Answer, counts, for_effect, glob, matches
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Effect, Ref, TrainingWindow

_STARS: Final = re.compile(r"\*+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """An event to be put into a calendar.

    Attributes:
        calendar: which one.
        entry: the Trigger entry that will mean it.
        event: as that calendar will give it.
    """

    calendar: Ref
    entry: str
    event: Event


def importable(spec: TrainingWindow, window: Span, name: str) -> Import | None:
    """An event whose window is this one, for the first Trigger entry that can have one.

    Its own match holds for it, and no Deny or Deadline of the same calendar does. None where no
    entry reads a calendar, where offsets leave nothing, or where only a person can satisfy the
    entry's expression.

    Args:
        spec: of the TrainingWindow.
        window: when the run may start.
        name: of the TrainingWindow, for the title.
    """
    for entry in spec.calendars:
        span = window.shifted(-entry.start_offset, -entry.end_offset)
        if entry.effect is not Effect.TRIGGER or span is None:
            continue
        event = Event(
            key="suggested",
            series="suggested",
            original_start="",
            span=span,
            busy=(*entry.match.busy, Busy.BUSY)[0],
            summary=title(entry.match.summary, name),
            description="",
            categories=entry.match.categories[:1],
        )
        if _is_its_own(spec, entry, event):
            return Import(calendar=entry.calendar, entry=entry.name, event=event)
    return None


def title(pattern: str | None, name: str) -> str:
    """A title that fits a pattern: the name for the last `*`, nothing for others, x for each `?`.

    >>> title("train:*", "nightly"), title("[GPU]*train*", "nightly"), title(None, "nightly")
    ('train: nightly', '[GPU]train nightly', 'nightly')
    """
    if pattern is None:
        return name
    *before, last = _STARS.split(pattern) if "*" in pattern else [pattern]
    head = "".join(before).replace("?", "x")
    tail = last.replace("?", "x")
    if not before:
        return tail
    gap = " " if head and not head[-1].isspace() else ""
    spaced = f"{head}{gap}{name}{tail}"
    return spaced if glob(pattern, spaced) else f"{head}{tail}"


def _is_its_own(spec: TrainingWindow, entry: CalendarEntry, event: Event) -> bool:
    if matches(entry.match, event, spec.time_zone) is not Answer.YES:
        return False
    for other in spec.calendars:
        if other.calendar != entry.calendar or other.name == entry.name:
            continue
        answer = matches(for_effect(other.match, other.effect), event, spec.time_zone)
        if other.effect in (Effect.DENY, Effect.DEADLINE) and counts(other.effect, answer):
            return False
    return True
