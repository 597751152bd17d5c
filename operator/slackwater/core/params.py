"""The part of JSON schema that Airflow's params are mostly written in.

What is not known here (`pattern`, `not`, `$ref` …) is left to Airflow, which has the last word
anyway; saying "wrong" where Airflow would not is worse than saying nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Final


def complaint(value: Any, schema: Mapping[str, Any], at: str = "") -> str | None:
    """How a value breaks its schema, as a clause that shows place and bound and never the value.

    Args:
        value: JSON.
        schema: a JSON schema.
        at: the value's name, with which the clause begins; inner places are named after it, by
            names that stand in the schema and by positions only.

    >>> complaint(99, {"type": "integer", "maximum": 10}, "epochs")
    'epochs must be at most 10'
    >>> complaint({"lr": 0}, {"properties": {"lr": {"exclusiveMinimum": 0}}}, "model")
    'model.lr must be above 0'
    """
    return next(_complaints(value, schema, at), None)


def _complaints(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    if "$ref" in schema:
        return
    for clause in _own(value, schema):
        yield f"{at} {clause}".lstrip()
    if isinstance(value, dict):
        yield from _of_object(value, schema, at)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping) and "prefixItems" not in schema:
            for index, item in enumerate(value):
                yield from _complaints(item, items, f"{at}[{index}]")
    for part in _schemas(schema.get("allOf")):
        yield from _complaints(value, part, at)
    for name in ("anyOf", "oneOf"):
        forms = _schemas(schema.get(name))
        if forms and all(complaint(value, form) is not None for form in forms):
            yield f"{at} fits none of the forms that are allowed".lstrip()


def _own(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the value itself, whatever is inside."""
    wanted = schema.get("type")
    types = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    if types and not any(_TYPES.get(str(name), _anything)(value) for name in types):
        yield f"must be of type {' or '.join(map(str, types))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"must be {_shown(schema['const'])}"
    choices = schema.get("enum")
    if isinstance(choices, list) and not any(_same(value, choice) for choice in choices):
        yield f"must be one of {_shown(choices)}"
    for name, applies, breaks, words in _BOUNDS:
        bound = schema.get(name)
        if _is_number(bound) and applies(value) and breaks(value, bound):
            yield words.format(_shown(bound))
    form = schema.get("format")
    if isinstance(form, str) and isinstance(value, str) and _misses(form, value):
        yield f"must have the format {form}"


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], at: str) -> Iterator[str]:
    known = schema.get("properties")
    known = known if isinstance(known, Mapping) else {}
    for name, inner in known.items():
        if name in value and isinstance(inner, Mapping):
            yield from _complaints(value[name], inner, f"{at}.{name}" if at else str(name))
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"{at} needs {name}".lstrip()
    others = schema.get("additionalProperties")
    if "patternProperties" in schema or not (others is False or isinstance(others, Mapping)):
        return
    for name, item in value.items():
        if name in known:
            continue
        # A name that only the value has may be a calendar's text: it is not repeated.
        if others is False:
            yield f"{at} may only hold {', '.join(map(str, known)) or 'nothing'}".lstrip()
            return
        yield from _complaints(item, others, f"{at}.*" if at else "*")


def _schemas(found: Any) -> list[Mapping[str, Any]]:
    """The schemas of a list that holds nothing else; none where it does."""
    if isinstance(found, list) and all(isinstance(item, Mapping) for item in found):
        return found
    return []


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


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "number": _is_number,
    "string": _is_text,
    "array": _is_list,
    "object": _is_object,
}
_Bound = tuple[str, Callable[[Any], bool], Callable[[Any, Any], bool], str]
_BOUNDS: Final[tuple[_Bound, ...]] = (
    ("minimum", _is_number, lambda value, bound: value < bound, "must be at least {}"),
    ("maximum", _is_number, lambda value, bound: value > bound, "must be at most {}"),
    ("exclusiveMinimum", _is_number, lambda value, bound: value <= bound, "must be above {}"),
    ("exclusiveMaximum", _is_number, lambda value, bound: value >= bound, "must be below {}"),
    (
        "multipleOf",
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        # Of fractions the rounding would have to be Airflow's own.
        lambda value, bound: isinstance(bound, int) and bound > 0 and value % bound != 0,
        "must be a multiple of {}",
    ),
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
    (
        "minProperties",
        _is_object,
        lambda value, bound: len(value) < bound,
        "must have at least {} names",
    ),
    (
        "maxProperties",
        _is_object,
        lambda value, bound: len(value) > bound,
        "must have at most {} names",
    ),
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_BEGINS_WITH_A_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")


def _misses(form: str, text: str) -> bool:
    """Whether a text surely lacks a format; of RFC 3339's many forms only the beginning is judged."""
    if form == "date-time":
        return not _BEGINS_WITH_A_TIME.match(text)
    if form == "date":
        try:
            return not (_DATE.fullmatch(text) and date.fromisoformat(text))
        except ValueError:
            return True
    return False


def _same(left: Any, right: Any) -> bool:
    # In JSON, true is not 1.
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _shown(bound: Any) -> str:
    text = json.dumps(bound, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:119]}…"
