"""Announced demand: GPUs of a pool that calendar events keep for others (R5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from slackwater.core.event import Event
from slackwater.core.expression import (
    BadExpression,
    ExpressionFailed,
    compile_expression,
    event_variables,
)
from slackwater.core.match import (
    MATCH_VARIABLES,
    Answer,
    matches,
    missing,
    missing_in,
    trusted,
)
from slackwater.core.occurrence import anchored
from slackwater.core.span import Span
from slackwater.core.spec import Ref, ReservationRule
from slackwater_windows.parameters import BadParameters, parameters

MOST_GPUS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs that one event keeps for others.

    Attributes:
        span: when.
        gpus: how many.
        namespaces: whose pods they are for; their use counts towards the reservation, and asks
            of TrainingWindows there are not held back by it.
    """

    span: Span
    gpus: int
    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reservations:
    """All announced demand of a pool, as far as its calendars can be read.

    Attributes:
        known: sorted by time.
        unread: a calendar of them that cannot be read (now), or does not give what a rule looks
            at; then nothing may start.
        misuse: index, field and what it needs, of the first such rule.
        unreadable: events that might reserve, but for which `match` or `gpus` has no answer.
    """

    known: tuple[Reservation, ...] = ()
    unread: Ref | None = None
    misuse: tuple[int, str, str] | None = None
    unreadable: int = 0

    def highest(
        self, namespace: str, start: datetime, end: datetime, used: Mapping[str, int]
    ) -> Reserved:
        """The most GPUs kept from a namespace at any instant of a time.

        Args:
            namespace: of the TrainingWindow that asks.
            start: of the time.
            end: of the time, itself not part of it.
            used: GPUs that pods use now, by namespace; one that is left out uses none.
        """
        edges: list[tuple[datetime, int]] = []
        last: datetime | None = None
        for one in self.known:
            if one.span.start >= end:
                break
            if one.span.end <= start or namespace in one.namespaces:
                continue
            kept = max(0, one.gpus - sum(used.get(name, 0) for name in one.namespaces))
            if kept:
                edges += ((max(start, one.span.start), kept), (one.span.end, -kept))
                last = one.span.end if last is None else max(last, one.span.end)
        most = level = 0
        for _, change in sorted(edges):  # ends come before starts at one instant
            level += change
            most = max(most, level)
        return Reserved(most, last)


@dataclass(frozen=True, slots=True)
class Reserved:
    """How many GPUs are kept from an ask, and when the last of those reservations ends."""

    gpus: int = 0
    until: datetime | None = None


def reservations(
    rules: Iterable[ReservationRule],
    events: Mapping[Ref, Sequence[Event]],
    zone: str = "UTC",
) -> Reservations:
    """What a pool's rules make of the events of its calendars.

    Only trusted events reserve (R14). An event that cannot be judged reserves nothing and is
    counted. Where two rules mean one event, the first counts.

    Args:
        rules: of the pool.
        events: complete, by calendar.
        zone: for floating events, and for expressions.
    """
    sorter = _Sorter(zone)
    for rule in rules:
        for event in events.get(rule.calendar, ()):
            sorter.take(rule, event)
    found = sorted(sorter.found, key=lambda one: (one.span, one.gpus, sorted(one.namespaces)))
    return Reservations(tuple(found), unreadable=sorter.unreadable)


def misuse(rule: ReservationRule, fields: frozenset[str]) -> tuple[str, str] | None:
    """The first part of a rule that its calendar cannot serve, and what it needs."""
    found = missing(rule.match, fields)
    if found is not None:
        return f"match.{found[0]}", found[1]
    needs = missing_in(rule.gpus, "gpus", fields) if isinstance(rule.gpus, str) else None
    return None if needs is None else ("gpus", needs)


@dataclass(slots=True)
class _Sorter:
    zone: str
    found: list[Reservation] = field(default_factory=list)
    taken: set[tuple[Ref, str]] = field(default_factory=set)
    unreadable: int = 0

    def take(self, rule: ReservationRule, event: Event) -> None:
        event = anchored(event, self.zone)
        if event.key and (rule.calendar, event.key) in self.taken:
            return
        answer = matches(rule.match, event, self.zone)
        if answer is Answer.NO or not trusted(event, rule.match):
            return
        gpus = self.gpus(rule.gpus, event) if answer is Answer.YES else None
        if gpus is None:
            self.unreadable += 1
            return
        self.taken.add((rule.calendar, event.key))
        if gpus:
            self.found.append(Reservation(event.span, gpus, frozenset(rule.namespaces)))

    def gpus(self, wanted: int | str, event: Event) -> int | None:
        """How many, None where the expression has no number for this event.

        What people wrote is looked at in memory, as for matching; only the number leaves.
        """
        if isinstance(wanted, int):
            return wanted
        try:
            expression = compile_expression(wanted, "gpus", MATCH_VARIABLES)
            seen = event_variables(event, self.zone, details=True)
            if event.description is not None and expression.reads("event", "parameters"):
                seen["parameters"] = parameters(event.description)
            value = expression.evaluate({"event": seen})
        except (BadExpression, BadParameters, ExpressionFailed):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not math.isfinite(value) or not 0 <= value <= MOST_GPUS:
            return None
        return math.ceil(value)
