"""A pydantic model as a structural schema, the JSON schema dialect of CustomResourceDefinitions.

Structural schemas have no references and know only some keywords (Kubernetes documentation,
"Extend the Kubernetes API with CustomResourceDefinitions"). A model that needs another keyword is
refused here, rather than by the API server or, worse, by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

_VALIDATIONS: Final = "x-kubernetes-validations"
_LIST_TYPE: Final = "x-kubernetes-list-type"
_NOTHING: Final[tuple[Any, ...]] = (None, {}, [])
# In the order in which they are written.
_KEPT: Final = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    _LIST_TYPE,
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "required",
    "properties",
    "additionalProperties",
    "items",
    _VALIDATIONS,
)


class UnstructuralError(TypeError):
    """A model uses what a CustomResourceDefinition cannot say."""

    def __init__(self, path: str, keyword: str) -> None:
        super().__init__(f"{path}: a structural schema has no {keyword}")


class _WithRules(GenerateJsonSchema):
    """Adds each model's CEL rules to its schema."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        found = super().model_schema(schema)
        rules = getattr(schema["cls"], "rules", ())
        if rules:
            found[_VALIDATIONS] = [{"rule": rule, "message": text} for rule, text in rules]
        return found

    def sort(
        self,
        value: JsonSchemaValue,
        parent_key: str | None = None,  # noqa: ARG002 - as in the base
    ) -> JsonSchemaValue:
        """Leave the order of the models as it is."""
        return value


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of what users write for `model`.

    Raises:
        UnstructuralError: the model cannot be said in one.
    """
    found = model.model_json_schema(by_alias=True, schema_generator=_WithRules)
    return _structural(found, found.get("$defs", {}), model.__name__)


def _structural(schema: Mapping[str, Any], defs: Mapping[str, Any], path: str) -> dict[str, Any]:
    flat = _flat(schema, defs, path)
    for keyword in ("title", "$defs", "propertyNames"):
        flat.pop(keyword, None)
    if "const" in flat:
        flat["enum"] = [flat.pop("const")]
    for bound, edge in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in flat:
            flat |= {edge: flat[bound], bound: True}
    default = _bare(flat.pop("default", None))
    if default not in _NOTHING:
        flat["default"] = default
    if flat.get("type") == "object":
        _object(flat, defs, path)
    if flat.get("type") == "array":
        flat.setdefault(_LIST_TYPE, "atomic")
        flat["items"] = _structural(flat["items"], defs, f"{path}[]")
    for keyword in flat:
        if keyword not in _KEPT:
            raise UnstructuralError(path, keyword)
    # Without a type only where anything at all may stand.
    if "type" not in flat and "x-kubernetes-preserve-unknown-fields" not in flat:
        raise UnstructuralError(path, "field without a single type")
    return {keyword: flat[keyword] for keyword in _KEPT if keyword in flat}


def _bare(default: Any) -> Any:
    """A default without what it leaves out anyway."""
    if isinstance(default, list):
        return [_bare(item) for item in default]
    if not isinstance(default, dict):
        return default
    bare = {key: _bare(value) for key, value in default.items()}
    return {key: value for key, value in bare.items() if value not in _NOTHING}


def _flat(schema: Mapping[str, Any], defs: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The schema with its reference, and its `X or null`, put in place."""
    beside = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in schema:
        target = defs[schema["$ref"].removeprefix("#/$defs/")]
    elif "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        if len(choices) != 1:
            raise UnstructuralError(path, "anyOf")
        target = choices[0]
    else:
        return beside
    inner = _flat(target, defs, path)
    both = [*inner.get(_VALIDATIONS, ()), *beside.get(_VALIDATIONS, ())]
    return inner | beside | ({_VALIDATIONS: both} if both else {})


def _object(flat: dict[str, Any], defs: Mapping[str, Any], path: str) -> None:
    """Fields, or values of a map, or anything at all."""
    patterns = flat.pop("patternProperties", {})
    if patterns:
        (flat["additionalProperties"],) = patterns.values()
    values = flat.pop("additionalProperties", None)
    if "properties" in flat:
        flat["properties"] = {
            name: _structural(field, defs, f"{path}.{name}")
            for name, field in flat["properties"].items()
        }
    elif isinstance(values, Mapping):
        flat["additionalProperties"] = _structural(values, defs, f"{path}.*")
    else:
        flat["x-kubernetes-preserve-unknown-fields"] = True
