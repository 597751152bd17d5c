"""pydantic's findings in the words of someone who writes manifests.

A complaint names the field by its path in camelCase and says what to do. It never repeats the
value: values may be titles, addresses or misplaced secrets (rule R13).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from slackwater.api.schema import structural

_SHOWN: Final = 5
_LONGEST_KEY: Final = 64

_Context = Mapping[str, Any]

# By pydantic's error types (docs.pydantic.dev, "Validation Errors").
_PHRASES: Final[dict[str, Callable[[_Context], str]]] = {
    "missing": lambda _: "is required",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be text; put it in quotes",
    "bool_type": lambda _: "must be true or false",
    "tuple_type": lambda _: "must be a list",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "greater_than_equal": lambda c: f"must be at least {c['ge']:g}",
    "greater_than": lambda c: f"must be more than {c['gt']:g}",
    "less_than_equal": lambda c: f"must be at most {c['le']:g}",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "string_too_short": lambda c: f"must have at least {_counted(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"must have at most {_counted(c['max_length'], 'character')}",
    "too_short": lambda c: f"must have at least {_counted(c['min_length'], 'entry')}",
    "too_long": lambda c: f"must have at most {_counted(c['max_length'], 'entry')}",
    "string_pattern_mismatch": lambda c: f"must match the pattern {c['pattern']}",
    "enum": lambda c: f"must be one of {_plain(c['expected'])}",
    "literal_error": lambda c: f"must be one of {_plain(c['expected'])}",
    "value_error": lambda c: str(c["error"]),
}


def complaints(error: ValidationError, model: type[BaseModel], root: str = "spec") -> str:
    """What is wrong, as `spec.gpu.count: must be at least 1; spec.dag: is required`.

    Args:
        error: what pydantic found.
        model: what it was checked against.
        root: path of the model itself.
    """
    found = error.errors(include_url=False, include_input=False)
    texts = [_complaint(item["type"], item["loc"], item, model, root) for item in found[:_SHOWN]]
    if len(found) > _SHOWN:
        texts.append(f"and {len(found) - _SHOWN} more")
    return "; ".join(texts)


def _complaint(
    kind: str,
    loc: Sequence[int | str],
    item: Mapping[str, Any],
    model: type[BaseModel],
    root: str,
) -> str:
    if kind == "extra_forbidden":
        phrase = _unknown(str(loc[-1]), _fields_at(model, loc[:-1]))
    elif kind in _PHRASES:
        phrase = _PHRASES[kind](item.get("ctx", {}))
    else:
        phrase = str(item["msg"]).replace("Input should", "must")
    return f"{dotted(loc, root)}: {phrase}"


def dotted(loc: Sequence[int | str], root: str = "spec") -> str:
    """A path as the API server writes it: `spec.windows[0].schedule`."""
    parts = (f"[{p}]" if isinstance(p, int) else f".{p[:_LONGEST_KEY]}" for p in loc)
    return root + "".join(parts)


def _unknown(field: str, known: Sequence[str]) -> str:
    by_small = {name.lower(): name for name in known}
    near = difflib.get_close_matches(field.lower().replace("_", ""), by_small, 1)
    if near:
        return f"is not a known field; did you mean {by_small[near[0]]}?"
    return f"is not a known field; known here are {', '.join(known)}"


def _fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    schema = _schema(model)
    for part in loc:
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(part) or schema.get(
                "additionalProperties", {}
            )
    return list(schema.get("properties", {}))


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return structural(model)


def _counted(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def _plain(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")
