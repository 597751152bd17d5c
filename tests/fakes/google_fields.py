"""Calendar v3 as its discovery document describes it: schemas, parameters, partial responses.

The document is the one in google-api-python-client, so it is not ours.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import jsonschema

Json = dict[str, Any]


@lru_cache(maxsize=1)
def discovery() -> Json:
    documents = resources.files("googleapiclient") / "discovery_cache" / "documents"
    return json.loads((documents / "calendar.v3.json").read_text(encoding="utf-8"))


def method(resource: str, name: str) -> Json:
    return discovery()["resources"][resource]["methods"][name]


@lru_cache(maxsize=64)
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    definitions = {name: _closed(body) for name, body in discovery()["schemas"].items()}
    top = {"$ref": f"#/$defs/{schema}", "$defs": definitions}
    return jsonschema.Draft202012Validator(
        top, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def _closed(schema: Json) -> Json:
    """A schema of the discovery document as JSON Schema in which nothing else may stand."""
    found: Json = {}
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    if "type" in schema and schema["type"] != "any":
        found["type"] = schema["type"]
    if "format" in schema and schema["format"] in {"date", "date-time"}:
        found["format"] = schema["format"]
    if "items" in schema:
        found["items"] = _closed(schema["items"])
    if schema.get("type") == "object":
        found["properties"] = {n: _closed(p) for n, p in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        found["additionalProperties"] = False if more is None else _closed(more)
    return found


def complaints(schema: str, body: Any) -> list[str]:
    """What of a body the discovery document does not describe."""
    return [
        f"{schema}{'.'.join(map(str, ('', *error.absolute_path)))}: {error.message}"
        for error in _validator(schema).iter_errors(body)
    ]


class BadMask(ValueError):
    """A fields mask that names what does not exist; Google answers 400 invalidParameter."""


Mask = dict[str, "Mask"]


def parse_mask(text: str, schema: str) -> Mask:
    """`a,b(c,d/e)` as nested names, each of which must exist in the schema."""
    mask, rest = _group(text)
    if rest:
        raise BadMask(text)
    _check(mask, {"$ref": schema})
    return mask


def _group(text: str) -> tuple[Mask, str]:
    found: Mask = {}
    while True:
        length = next((i for i, c in enumerate(text) if c in ",()/"), len(text))
        name, text = text[:length].strip(), text[length:]
        if not name:
            raise BadMask(text)
        inner = found.setdefault(name, {})
        while text.startswith("/"):
            text = text[1:]
            length = next((i for i, c in enumerate(text) if c in ",()/"), len(text))
            inner = inner.setdefault(text[:length].strip(), {})
            text = text[length:]
        if text.startswith("("):
            group, text = _group(text[1:])
            if not text.startswith(")"):
                raise BadMask(text)
            inner |= group
            text = text[1:]
        if not text.startswith(","):
            return found, text
        text = text[1:]


def _check(mask: Mask, schema: Json) -> None:
    if "$ref" in schema:
        schema = discovery()["schemas"][schema["$ref"]]
    if schema.get("type") == "array":
        return _check(mask, schema["items"])
    for name, inner in mask.items():
        known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if name == "*":
            known = schema
        if known is None:
            raise BadMask(f"Invalid field selection {name}")
        _check(inner, known)
    return None


def select(body: Any, mask: Mask) -> Any:
    """What of a body a mask lets through."""
    if not mask or "*" in mask:
        return body
    if isinstance(body, list):
        return [select(one, mask) for one in body]
    if not isinstance(body, dict):
        return body
    return {name: select(body[name], inner) for name, inner in mask.items() if name in body}
