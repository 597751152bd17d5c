"""The entries of a TrainingWindow: events of a calendar, or times written in place."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from slackwater.api.field import (
    DAY,
    DISTINCT,
    LIST_SET,
    EntryName,
    Glob,
    Instant,
    Rule,
    demand,
)
from slackwater.core.event import Busy
from slackwater.core.expression import MAX_LENGTH as EXPRESSION_LIMIT
from slackwater.core.spec import Effect, Ending
from slackwater.wire import ObjectRef, WireModel

_EFFECT: Final = (
    "Trigger: each event wants one run of the DAG. Allow: runs start only inside such times, if "
    "there are any. Deny: no run starts inside such times; Deny always wins. Deadline: a run must "
    "be expected to end before such a time begins (an all-day one: before it ends)."
)
_WHEN_RUNNING: Final = Rule(
    "self.effect == 'Deny' || self.whenRunning == 'Finish'",
    "whenRunning: Cancel acts with effect Deny only: remove whenRunning or set effect to Deny",
)
_WHEN_RUNNING_TEXT: Final = (
    "What the start of a Deny time does to a run in flight. Finish: the run goes on. Cancel: it is "
    "cancelled. Only for effect Deny."
)

Category = Annotated[str, Field(min_length=1, max_length=128)]


class Match(WireModel):
    """Which events of a calendar are meant: all given criteria must hold, none means all."""

    summary: Annotated[
        Glob | None,
        Field(
            description='The title must match this pattern, such as "train:*"; * stands for any '
            "text, ? for one character. Upper and lower case are the same."
        ),
    ] = None
    categories: Annotated[
        tuple[Category, ...],
        Field(
            max_length=32,
            description="The event must carry one of these categories (labels). Upper and lower "
            "case are the same.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ] = ()
    busy: Annotated[
        tuple[Busy, ...],
        Field(
            max_length=5,
            description="The event must show its owner in one of these ways. With effect Deny the "
            "default is Busy and OutOfOffice; with every other effect it is any of them.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ] = ()
    organizers: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=320)], ...],
        Field(
            max_length=32,
            description='Addresses, or patterns such as "*@example.com", whose events are trusted '
            "beside those that the calendar's owner made or accepted. Events of others never "
            "trigger a run.",
            json_schema_extra=LIST_SET,
        ),
        DISTINCT,
    ] = ()
    expression: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=EXPRESSION_LIMIT,
            description="A CEL expression over `event` that must be true, such as "
            "event.durationMinutes >= 60. What cannot be evaluated counts as true with effect "
            "Deny and as false with every other effect.",
        ),
    ] = None


class CalendarEntry(WireModel):
    """Events of one calendar and what they do."""

    rules = (_WHEN_RUNNING,)

    name: Annotated[
        EntryName,
        Field(description="Name of this entry, unique among calendars and windows together."),
    ]
    calendar_ref: Annotated[
        ObjectRef,
        Field(
            description="The Calendar to read. One of another namespace must name this namespace "
            "in its spec.allowedNamespaces."
        ),
    ]
    effect: Annotated[Effect, Field(description=_EFFECT)]
    match: Annotated[
        Match,
        Field(description="Which events of the calendar are meant; every event when left out."),
    ] = Match()
    when_running: Annotated[Ending, Field(description=_WHEN_RUNNING_TEXT)] = Ending.FINISH
    start_offset_seconds: Annotated[
        int,
        Field(
            ge=-7 * DAY,
            le=7 * DAY,
            description="Moves the start of each event: negative is earlier. At most 7 days.",
        ),
    ] = 0
    end_offset_seconds: Annotated[
        int,
        Field(
            ge=-7 * DAY,
            le=7 * DAY,
            description="Moves the end of each event: negative is earlier. At most 7 days.",
        ),
    ] = 0

    @model_validator(mode="after")
    def _cancel_needs_deny(self) -> Self:
        demand(self.effect is Effect.DENY or self.when_running is Ending.FINISH, _WHEN_RUNNING)
        return self


_ONE_FORM: Final = Rule(
    "has(self.schedule) == has(self.durationSeconds) && has(self.start) == has(self.end) && "
    "has(self.schedule) != has(self.start)",
    "set either schedule with durationSeconds or start with end: complete one pair and remove the "
    "other",
)
_ENDS_LATER: Final = Rule(
    "!has(self.start) || !has(self.end) || self.start < self.end",
    "end must be later than start: swap the two or correct the date",
)


class InlineWindow(WireModel):
    """Times written in the TrainingWindow itself: a cron schedule, or one span with fixed ends."""

    rules = (_ONE_FORM, _ENDS_LATER, _WHEN_RUNNING)

    name: Annotated[
        EntryName,
        Field(description="Name of this entry, unique among calendars and windows together."),
    ]
    effect: Annotated[Effect, Field(description=_EFFECT)]
    schedule: Annotated[
        str | None,
        Field(
            min_length=9,
            max_length=128,
            description='Starts, as five cron fields in the time zone of spec.timeZone, such as "0 '
            '22 * * 1-5" (22:00 from Monday to Friday). A start that a change to summer time '
            "skips happens right after the gap; one that comes twice happens once.",
        ),
    ] = None
    duration_seconds: Annotated[
        int | None,
        Field(
            ge=60,
            le=31 * DAY,
            description="How long each start of `schedule` lasts, in elapsed time; from one "
            "minute to 31 days.",
        ),
    ] = None
    start: Annotated[
        Instant | None,
        Field(description="Start of a single span, with zone, such as 2026-12-20T00:00:00Z."),
    ] = None
    end: Annotated[
        Instant | None,
        Field(description="End of a single span, with zone; itself no longer part of it."),
    ] = None
    when_running: Annotated[Ending, Field(description=_WHEN_RUNNING_TEXT)] = Ending.FINISH

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        by_schedule, by_span = self.schedule is not None, self.start is not None
        pairs = by_schedule == (self.duration_seconds is not None) and by_span == (
            self.end is not None
        )
        demand(pairs and by_schedule != by_span, _ONE_FORM)
        if self.start is not None and self.end is not None:
            demand(self.start < self.end, _ENDS_LATER)
        demand(self.effect is Effect.DENY or self.when_running is Ending.FINISH, _WHEN_RUNNING)
        return self
