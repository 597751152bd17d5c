"""The part of JSON schema that Airflow's params are mostly written in.

What is not known here (`pattern`, `format`, `anyOf`, `items` …) is left to Airflow, which has the
last word anyway; saying "wrong" where Airflow would not is worse than saying nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final


def complaint(value: Any, schema: Mapping[str, Any]) -> str | None:
    """How a value breaks its schema, as a clause that shows the bound and never the value.

    >>> complaint(99, {"type": "integer", "maximum": 10})
    'must be at most 10'
    """
    wanted = schema.get("type")
    types = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    if types and not any(_TYPES.get(str(name), _anything)(value) for name in types):
        return f"must be of type {' or '.join(map(str, types))}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"must be {_shown(schema['const'])}"
    choices = schema.get("enum")
    if isinstance(choices, list) and not any(_same(value, choice) for choice in choices):
        return f"must be one of {_shown(choices)}"
    for name, applies, breaks, words in _BOUNDS:
        bound = schema.get(name)
        if _is_number(bound) and applies(value) and breaks(value, bound):
            return words.format(_shown(bound))
    return None


def _anything(_: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    # JSON schema counts 2.0 as one.
    return _is_number(value) and (isinstance(value, int) or bool(value.is_integer()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
    "string": _is_text,
    "array": _is_list,
    "object": lambda value: isinstance(value, dict),
}
_Bound = tuple[str, Callable[[Any], bool], Callable[[Any, Any], bool], str]
_BOUNDS: Final[tuple[_Bound, ...]] = (
    ("minimum", _is_number, lambda value, bound: value < bound, "must be at least {}"),
    ("maximum", _is_number, lambda value, bound: value > bound, "must be at most {}"),
    ("exclusiveMinimum", _is_number, lambda value, bound: value <= bound, "must be above {}"),
    ("exclusiveMaximum", _is_number, lambda value, bound: value >= bound, "must be below {}"),
    (
        "minLength",
        _is_text,
        lambda value, bound: len(value) < bound,
        "must have at least {} characters",
    ),
    (
        "maxLength",
        _is_text,
        lambda value, bound: len(value) > bound,
        "must have at most {} characters",
    ),
    ("minItems", _is_list, lambda value, bound: len(value) < bound, "must have at least {} items"),
    ("maxItems", _is_list, lambda value, bound: len(value) > bound, "must have at most {} items"),
)


def _same(left: Any, right: Any) -> bool:
    # In JSON, true is not 1.
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _shown(bound: Any) -> str:
    text = json.dumps(bound, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:119]}…"
