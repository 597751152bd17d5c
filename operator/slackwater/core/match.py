"""Which events an entry means, and which of them may trigger (rules R3 and R14)."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from slackwater.core.event import Busy, Event
from slackwater.core.expression import (
    BadExpression,
    ExpressionFailed,
    compile_expression,
    event_variables,
)
from slackwater.core.spec import Effect, Match

MATCH_VARIABLES: Final = frozenset({"event"})
"""What the expression of a match may look at."""

MAX_TITLE: Final = 200
"""Characters of a title in which near misses are looked for."""

_DENY_BUSY: Final = (Busy.BUSY, Busy.OUT_OF_OFFICE)


class Answer(StrEnum):
    """Whether an event is meant."""

    YES = "Yes"
    NO = "No"
    UNREADABLE = "Unreadable"


def matches(match: Match, event: Event, zone: str) -> Answer:
    """Whether all given criteria hold for the event.

    A criterion over a field that is not known (a private event) or an expression that fails
    cannot be answered. Then the whole is `UNREADABLE`, unless another criterion says no.

    Args:
        match: the criteria; within a list, one that holds is enough. `organizers` is no
            criterion but trust, see `trusted`.
        event: anchored, see `occurrence.anchored`.
        zone: the TrainingWindow's zone, for expressions.
    """
    unreadable = False
    for answer in _answers(match, event, zone):
        if answer is Answer.NO:
            return Answer.NO
        unreadable = unreadable or answer is Answer.UNREADABLE
    return Answer.UNREADABLE if unreadable else Answer.YES


def _answers(match: Match, event: Event, zone: str) -> Iterator[Answer]:
    if match.busy:
        yield _answer(event.busy in match.busy)
    if match.summary is not None:
        yield _answer(None if event.summary is None else glob(match.summary, event.summary))
    if match.categories:
        yield _answer(
            None if event.categories is None else _share(match.categories, event.categories)
        )
    if match.expression is not None:
        # An expression may look at times, which are not those of the event.
        yield Answer.UNREADABLE if event.unread else _evaluate(match.expression, event, zone)


def _answer(holds: bool | None) -> Answer:
    if holds is None:
        return Answer.UNREADABLE
    return Answer.YES if holds else Answer.NO


def _evaluate(text: str, event: Event, zone: str) -> Answer:
    try:
        expression = compile_expression(text, "expression", MATCH_VARIABLES)
        value = expression.evaluate({"event": event_variables(event, zone, details=True)})
    except (BadExpression, ExpressionFailed):
        return Answer.UNREADABLE
    return _answer(value) if isinstance(value, bool) else Answer.UNREADABLE


def counts(effect: Effect, answer: Answer) -> bool:
    """Whether an entry of this effect acts on an event with this answer (R3).

    What cannot be read denies, and does nothing else.
    """
    return answer is Answer.YES or (answer is Answer.UNREADABLE and effect is Effect.DENY)


_NEEDS: Final = {"summary": "summary", "categories": "categories", "organizers": "organizer"}
_READABLE: Final = ("summary", "description", "categories", "organizer")


def missing(match: Match, fields: frozenset[str]) -> tuple[str, str] | None:
    """The first criterion that a calendar cannot serve, and what it needs; None where all can be.

    Args:
        match: the criteria.
        fields: attributes of `Event` that the calendar's provider gives at its privacy level.
    """
    for name, needs in _NEEDS.items():
        if getattr(match, name) and needs not in fields:
            return name, needs
    if match.expression is not None:
        unseen = missing_in(match.expression, "expression", fields)
        return None if unseen is None else ("expression", unseen)
    return None


def missing_in(text: str, field: str, fields: frozenset[str]) -> str | None:
    """The first readable field that an expression looks at and a calendar does not give.

    Args:
        text: the expression; one that cannot be compiled is another's to complain of.
        field: what it is written in, for `compile_expression`.
        fields: as for `missing`.
    """
    try:
        expression = compile_expression(text, field, MATCH_VARIABLES)
    except BadExpression:
        return None
    looked_at = [name for name in _READABLE if expression.reads("event", name)]
    if expression.reads("event", "parameters"):
        looked_at.append("description")
    return next((name for name in looked_at if name not in fields), None)


def trusted(event: Event, match: Match) -> bool:
    """Whether the event may start or reserve something (R14).

    It may where it is the calendar's own, or organised by someone `match.organizers` lists.
    """
    if event.own:
        return True
    organizer = event.organizer
    return organizer is not None and any(glob(known, organizer) for known in match.organizers)


def for_effect(match: Match, effect: Effect) -> Match:
    """`match` with the effect's defaults: a Deny that names no `busy` means Busy and OutOfOffice."""
    if effect is Effect.DENY and not match.busy:
        return replace(match, busy=_DENY_BUSY)
    return match


def glob(pattern: str, text: str) -> bool:
    """Whether the whole of `text` fits, whatever its case: `*` is any text, `?` one character.

    Brackets mean themselves, because titles begin with them: "[GPU] train".

    >>> glob("[GPU] *", "[gpu] train")
    True
    """
    return _pattern(pattern).match(_fold(text)) is not None


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(_fold(pattern).replace("[", "[[]")))


def _fold(text: str) -> str:
    # Some clients write "é" as one code point and some as two.
    return unicodedata.normalize("NFC", text).casefold()


def _share(wanted: tuple[str, ...], given: tuple[str, ...]) -> bool:
    folded = {_fold(label.strip()) for label in given}
    return any(_fold(label.strip()) in folded for label in wanted)


# --- near misses -------------------------------------------------------------------------------


def near(match: Match, event: Event) -> bool:
    """Whether the title misses the pattern only as a slip of the pen would, for `plan`.

    The letters and digits of the pattern's longest plain part are looked for in the title: at its
    beginning where the pattern begins with it, else at every word. One letter may be missing, too
    many, wrong or swapped with the next, and separators do not count. False where the event
    matches, or where `categories` or `busy` rule it out.

    >>> from datetime import UTC, datetime
    >>> from slackwater.core.span import Span
    >>> day = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> event = Event(key="k", series="s", original_start="", span=day, summary="Trian: llm")
    >>> near(Match(summary="train:*"), event)
    True
    """
    if match.summary is None or event.summary is None or glob(match.summary, event.summary):
        return False
    if matches(replace(match, summary=None, expression=None), event, "UTC") is Answer.NO:
        return False
    pattern = _fold(match.summary)
    plain = max(re.split(r"[*?]+", pattern), key=len)
    core = _letters(plain)
    if len(core) < 3:
        return False
    title = _fold(event.summary[:MAX_TITLE])
    if pattern.startswith(plain):
        return _begins_nearly(_letters(title), core)
    return any(
        _begins_nearly(_letters(title[word.start() :]), core) for word in re.finditer(r"\w+", title)
    )


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _begins_nearly(text: str, core: str) -> bool:
    if text.startswith(core):
        return True
    if len(core) < 4:
        return False  # one slip in three letters is another word
    return any(
        _one_slip(text[: len(core) + extra], core)
        for extra in (-1, 0, 1)
        if len(text) >= len(core) - 1
    )


def _one_slip(text: str, word: str) -> bool:
    """Whether one letter missing, added, wrong or swapped turns `word` into `text`."""
    short, long = sorted((text, word), key=len)
    same = next(
        (i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short)
    )
    if len(long) - len(short) == 1:
        return short[same:] == long[same + 1 :]
    if len(long) != len(short):
        return False
    rest, other = short[same:], long[same:]
    return rest[1:] == other[1:] or (rest[1::-1] == other[:2] and rest[2:] == other[2:])
