"""Manifests as YAML text: the same documents that `kubectl apply` takes.

YAML is read as kubectl reads it: times and sexagesimal numbers stay text, a key may stand once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml

from slackwater.api.kinds import API_VERSION
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.ports import Kind

DEFAULT_NAMESPACE: Final = "default"

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_FIELDS: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
# A document of a few kilobytes can name millions of nodes through aliases.
_MOST_NODES: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawObject:
    """One object of a manifest, its `spec` as written and not yet checked."""

    kind: Kind
    namespace: str
    name: str
    spec: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_manifests(text: str) -> list[RawObject]:
    """Every object of a YAML text of one or more documents; empty documents are passed over.

    Raises:
        ConfigError: INVALID_SPEC, naming the document by its number (from 1) and the field.
    """
    found: dict[tuple[Kind, str, str], int] = {}
    objects = []
    for number, document in _documents(text):
        where = f"document {number}"
        item = _object(document, where)
        key = (item.kind, item.namespace, item.name)
        if key in found:
            _refuse(
                where,
                f"{item.kind} {item.namespace}/{item.name} stands in document {found[key]} "
                "already; remove one of them",
            )
        found[key] = number
        objects.append(item)
    return objects


def _documents(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        for number, document in enumerate(yaml.load_all(text, Loader=_Loader), start=1):
            if document is None:
                continue
            if not isinstance(document, dict):
                _refuse(f"document {number}", "must be an object with apiVersion, kind and spec")
            _check_json(document, f"document {number}")
            yield number, document
    except yaml.YAMLError as error:
        # Not the error's own text: it quotes the manifest.
        raise ConfigError(
            Reason.INVALID_SPEC, detail=f"document {number + 1}: {_yaml_problem(error)}"
        ) from None
    except RecursionError:
        _refuse(f"document {number + 1}", "is nested too deeply")


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "has characters that YAML does not allow"
    at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{at}is not valid YAML: {problem}"


def _object(document: Mapping[str, Any], where: str) -> RawObject:
    if document.get("apiVersion") != API_VERSION:
        _refuse(where, f"apiVersion: must be {API_VERSION}")
    kinds = ", ".join(Kind)
    if document.get("kind") not in tuple(Kind):
        _refuse(where, f"kind: must be one of {kinds}")
    for name in document:
        if name not in _FIELDS:
            _refuse(where, f"{name[:64]}: is not a known field; put it under spec")
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name") is None:
        _refuse(where, "metadata.name: is required")
    spec = document.get("spec")
    if not isinstance(spec, Mapping):
        _refuse(where, "spec: is required and must be an object")
    namespace = metadata.get("namespace")
    return RawObject(
        kind=Kind(document["kind"]),
        namespace=DEFAULT_NAMESPACE
        if namespace is None
        else _name(namespace, _NAMESPACE, 63, f"{where}: metadata.namespace"),
        name=_name(metadata["name"], _NAME, 253, f"{where}: metadata.name"),
        spec=spec,
        annotations=_texts(metadata.get("annotations"), f"{where}: metadata.annotations"),
        labels=_texts(metadata.get("labels"), f"{where}: metadata.labels"),
    )


def _name(value: object, pattern: re.Pattern[str], longest: int, where: str) -> str:
    if isinstance(value, str) and len(value) <= longest and pattern.fullmatch(value):
        return value
    dots = ", - and ." if pattern is _NAME else " and -"
    return _refuse(
        where,
        f"must be text of at most {longest} lower-case letters, digits{dots}, with a letter or "
        "digit at both ends",
    )


def _texts(value: object, where: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse(where, "must be an object")
    for key, text in value.items():
        if not isinstance(text, str):
            _refuse(f"{where}.{key[:64]}", "must be text; put it in quotes")
    return value


def _check_json(document: object, where: str) -> None:
    """Refuse what JSON cannot say: keys that are not text, NaN, dates, loops, bombs of aliases."""
    stack, seen = [document], 0
    while stack:
        seen += 1
        if seen > _MOST_NODES:
            _refuse(where, f"holds more than {_MOST_NODES} values, or an alias of itself")
        value = stack.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    _refuse(where, "every key must be text; put the key in quotes")
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            _refuse(where, "numbers must be finite")
        elif not isinstance(value, str | int | float | bool | None):
            _refuse(where, "values must be text, numbers, true, false, null, lists or objects")


def _refuse(where: str, what: str) -> NoReturn:
    raise ConfigError(Reason.INVALID_SPEC, detail=f"{where}: {what}")


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys stand once each."""
        known = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in known:
                raise yaml.constructor.ConstructorError(
                    None, None, "a key stands twice; remove one of them", key_node.start_mark
                )
            known.add(key)
        return super().construct_mapping(node, deep)


_NUMBERS_AND_TIMES: Final = frozenset(
    {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS_AND_TIMES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# The numbers of YAML 1.2, without base 60: "22:30" is text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?([0-9]+[.][0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$|^[-+]?[0-9]+[eE][-+]?[0-9]+$"
        r"|^[-+]?[.](inf|Inf|INF)$|^[.](nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
