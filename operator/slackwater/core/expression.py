"""CEL expressions of users: compiled once, bounded in work and size, silent about what they see.

An expression is written by whoever may create a TrainingWindow and runs inside the operator over
data that others wrote, so it gets no function that could loop, and its cost is bounded before it
runs: by its length, by the number of comprehensions, by the patterns it may match, and by a
worst-case estimate against the data at hand. 1,024 characters also keep the parser's recursion
within 1 MiB of stack (measured), far below the 8 MiB of a thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from slackwater.core.event import Event
from slackwater.core.lex import Facts, Unusable, examine
from slackwater.core.zone import zone as zone_of

MAX_LENGTH: Final = 1024
MAX_MACROS: Final = 2
MAX_RESULT_BYTES: Final = 64 * 1024
MAX_WORK_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 32

VARIABLES: Final = frozenset({"event", "window", "gpu", "run"})
"""Every variable that any expression may see; a match sees `event` alone."""

_TYPES: Final = frozenset(
    [
        "bool",
        "bytes",
        "double",
        "duration",
        "dyn",
        "int",
        "list",
        "map",
        "null_type",
        "optional",
        "string",
        "timestamp",
        "type",
        "uint",
    ]
)
_FUNCTIONS: Final = frozenset(
    [
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "hasValue",
        "int",
        "matches",
        "none",
        "of",
        "or",
        "orValue",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
        "value",
    ]
)
# What went wrong, by class: the library's own messages quote values, which may be an event's.
_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (KeyError, "no such field"),
    (IndexError, "an index is out of range"),
    (ZeroDivisionError, "division by zero"),
    (OverflowError, "a number or time is out of range"),
    (TypeError, "wrong types"),
    (ValueError, "a value cannot be converted"),
    (RuntimeError, "a function does not take this value"),
)


class BadExpression(ValueError):
    """An expression that does not compile or is over a limit.

    Attributes:
        field: where it is written.
        detail: what is wrong; may quote the expression, which is the user's own text.
    """

    def __init__(self, field: str, detail: str) -> None:
        self.field = field
        self.detail = detail
        super().__init__(f"{field}: {detail}")


class ExpressionFailed(Exception):
    """An expression that has no usable value here; `detail` quotes nothing of the data."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression."""

    text: str
    _program: Any = field(repr=False, compare=False)
    _facts: Facts = field(repr=False, compare=False)

    @property
    def variables(self) -> frozenset[str]:
        """Names of the variables that it looks at."""
        return frozenset(self._facts.reads)

    def reads(self, variable: str, name: str) -> bool:
        """Whether it may look at this field of a variable."""
        fields = self._facts.reads.get(variable, frozenset())
        return fields is None or name in fields

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Its value: None, bool, int, float, str, datetime, timedelta, or lists and dicts of them.

        Args:
            variables: by name; what the expression does not read is not handed over.

        Raises:
            ExpressionFailed: for whatever reason there is no such value.
        """
        given = {
            name: _select(variables[name], fields)
            for name, fields in self._facts.reads.items()
            if name in variables
        }
        if self._facts.is_heavy and self._work(given) > MAX_WORK_BYTES:
            raise ExpressionFailed("it would take too much work on data of this size")
        try:
            value = self._program.execute(given)
        except BaseException as error:
            if not _is_ours(error):
                raise
            raise ExpressionFailed(self._reword(error, variables)) from None
        if value is not True and value is not False:
            _measure(value, MAX_RESULT_BYTES, 0)
        return value

    def _reword(self, error: BaseException, variables: Mapping[str, Any]) -> str:
        missing = sorted(self.variables - set(variables))
        if missing and isinstance(error, RuntimeError):
            return f"there is no `{missing[0]}` here"
        for kind, detail in _FAILURES:
            if isinstance(error, kind):
                return detail
        return "it cannot be evaluated"

    def _work(self, given: Mapping[str, Any]) -> int:
        # An upper bound on the bytes that evaluation can build. A comprehension runs over one
        # list, put together from at most `fan` of the longest there is; nested or chained, the
        # turns multiply. Each turn can name what it sees `fan` times, and a sum copies what it
        # has so far at every step, hence `fan` twice.
        longest, size = _weigh(given)
        fan = self._facts.fan
        turns = int(((longest + 1) * fan) ** self._facts.macros)
        size += 4 * self._facts.literals
        return turns * (fan * fan * size + self._facts.patterns * 65536)


def compile_expression(text: str, field: str, names: frozenset[str] = VARIABLES) -> Expression:
    """Compile an expression; the same text is compiled once.

    Args:
        text: the expression.
        field: where it is written, for the error.
        names: the variables that exist where it will run.

    Raises:
        BadExpression: it does not parse, names something that does not exist, or is over a limit.
    """
    try:
        return _compile(text, names)
    except Unusable as error:
        raise BadExpression(field, str(error)) from None


@lru_cache(maxsize=2048)
def _compile(text: str, names: frozenset[str]) -> Expression:
    if len(text) > MAX_LENGTH:
        raise Unusable(f"longer than {MAX_LENGTH} characters")
    # Here, not above: the package brings a command line along that takes a second to import.
    import cel

    try:
        program = cel.compile(text)
        used = program.references()
    except BaseException as error:
        if not _is_ours(error):
            raise
        raise Unusable(_where(text, str(error))) from None
    facts = examine(text, names)
    if facts.macros > MAX_MACROS:
        raise Unusable(f"more than {MAX_MACROS} of all, exists, exists_one, map and filter")
    for name in used["variables"]:
        if name not in names and name not in _TYPES and name not in facts.bound:
            known = ", ".join(sorted(names))
            raise Unusable(f"there is no variable {name[:40]}: there is {known}")
    for name in used["functions"]:
        if name.isidentifier() and not name.startswith("_") and name not in _FUNCTIONS:
            raise Unusable(f"there is no function {name[:40]}")
    return Expression(text, program, facts)


def event_variables(event: Event, zone: str, details: bool) -> dict[str, Any]:
    """What an expression sees as `event`.

    Args:
        event: anchored, see `occurrence.anchored`.
        zone: the TrainingWindow's zone, in which `weekday`, `hour` and `date` are meant.
        details: whether what people wrote (title, description, categories, organiser) is there:
            for matching, which keeps it in memory, never for a conf (R13). What is not known is
            left out, so that an expression over it fails instead of guessing.

    Returns:
        `start`, `end` (timestamps), `durationMinutes`, `allDay`, `busy`, `weekday` (1 = Monday to
        7), `hour`, `date` ("2026-03-29"), `id` (hashed), and with `details` those of `summary`,
        `description`, `categories`, `organizer` that are known.
    """
    span = event.span
    local = span.start.astimezone(zone_of(zone))
    seen: dict[str, Any] = {
        "start": span.start,
        "end": span.end,
        "durationMinutes": int(span.length.total_seconds()) // 60,
        "allDay": event.all_day,
        "busy": event.busy.value,
        "weekday": local.isoweekday(),
        "hour": local.hour,
        "date": local.date().isoformat(),
        "id": event.key,
    }
    if details:
        readable = {
            "summary": event.summary,
            "description": event.description,
            "categories": None if event.categories is None else list(event.categories),
            "organizer": event.organizer,
        }
        seen.update({name: value for name, value in readable.items() if value is not None})
    return seen


def _select(value: Any, fields: frozenset[str] | None) -> Any:
    if fields is None or not isinstance(value, Mapping):
        return value
    return {name: value[name] for name in fields if name in value}


def _weigh(value: Any) -> tuple[int, int]:
    """Length of the longest collection inside `value`, and roughly the bytes it takes."""
    if isinstance(value, str):
        return 0, 16 + 4 * len(value)
    if isinstance(value, Mapping):
        parts = [_weigh(item) for pair in value.items() for item in pair]
    elif isinstance(value, list | tuple):
        parts = [_weigh(item) for item in value]
    else:
        return 0, 16
    longest = max((length for length, _ in parts), default=0)
    return max(longest, len(value)), 32 + sum(size for _, size in parts)


def _measure(value: Any, room: int, depth: int) -> int:
    """What is left of `room` bytes after rendering `value` as JSON."""
    if depth > MAX_DEPTH:
        raise ExpressionFailed("the result is nested too deeply")
    if isinstance(value, str):
        room -= 2 + len(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionFailed("the result is not a finite number")
        room -= 8
    elif value is None or isinstance(value, int | datetime | timedelta):
        room -= 8
    elif isinstance(value, list):
        for item in value:
            room = _measure(item, room - 2, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise ExpressionFailed("a key of the result is not text")
            room = _measure(item, room - 4 - len(name), depth + 1)
    else:
        raise ExpressionFailed("the result is neither text, number, time, list nor map")
    if room < 0:
        raise ExpressionFailed(f"the result is larger than {MAX_RESULT_BYTES // 1024} KiB")
    return room


def _is_ours(error: BaseException) -> bool:
    # A panic in the library arrives as pyo3's PanicException, which is no Exception and has no
    # importable name; an interrupt or an exit is not ours to keep.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


_PLACE: Final = re.compile(
    r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*?)(?:\n\| |\Z)", re.DOTALL
)
_TOKEN: Final = re.compile(
    r"(?:mismatched input|extraneous input|no viable alternative at input|token recognition error at:) "
    r"'(.*)'",
    re.DOTALL,
)


def _where(text: str, message: str) -> str:
    """The first error of the parser in our words; it echoes the whole expression before it."""
    place = _PLACE.search(message, message.find(text) + len(text) if text in message else 0)
    if place is None:
        return "not an expression"
    line, column, what = place.groups()
    if "Recursion limit" in what:
        return f"line {line}, column {column}: nested too deeply"
    what = what.partition(" expecting ")[0]
    token = _TOKEN.search(what)
    if token is not None:
        what = "unexpected end" if token[1] == "<EOF>" else f"unexpected {token[1][:40]}"
    return f"line {line}, column {column}: {what[:120]}"
