"""Documents of kind Namespace among the manifests: their labels decide grants by selector (R14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

import yaml

from slackwater.core.words import Reason
from slackwater.errors import ConfigError

_WANTED: Final = {"apiVersion": "v1", "kind": "Namespace"}


def without_namespaces(text: str) -> tuple[str, Mapping[str, Mapping[str, str]]]:
    """A YAML text without its Namespaces, and their labels by name.

    Each of their documents becomes `null`, so that the numbers of documents and lines stay.

    Raises:
        ConfigError: INVALID_SPEC, naming the document and the field of a Namespace.
    """
    if "Namespace" not in text:
        return text, {}
    labels: dict[str, Mapping[str, str]] = {}
    pieces, taken = [], 0
    for number, node in _documents(text):
        start, end = node.start_mark.index, node.end_mark.index
        document = yaml.safe_load(text[start:end])
        metadata = document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        if not isinstance(metadata, Mapping) or not isinstance(name, str):
            _refuse(number, "metadata.name: is required")
        labels[name] = _labels(number, metadata.get("labels"))
        pieces += [text[taken:start], "null" + "\n" * text.count("\n", start, end)]
        taken = end
    return "".join([*pieces, text[taken:]]), labels


def _documents(text: str) -> Iterator[tuple[int, yaml.MappingNode]]:
    """The Namespaces as nodes; none where the text is not YAML, which the parser will say."""
    found = []
    try:
        for number, node in enumerate(yaml.compose_all(text, Loader=yaml.SafeLoader), start=1):
            if isinstance(node, yaml.MappingNode):
                head = {
                    key.value: value.value
                    for key, value in node.value
                    if isinstance(key, yaml.ScalarNode) and key.value in _WANTED
                }
                if head == _WANTED:
                    found.append((number, node))
    except (yaml.YAMLError, RecursionError):
        return
    yield from found


def _labels(number: int, written: object) -> Mapping[str, str]:
    if written is None:
        return {}
    if not isinstance(written, Mapping):
        _refuse(number, "metadata.labels: must be an object")
    for key, value in written.items():
        if not isinstance(key, str) or not isinstance(value, str):
            _refuse(number, f"metadata.labels.{str(key)[:64]}: must be text; put it in quotes")
    return dict(written)


def _refuse(number: int, what: str) -> NoReturn:
    raise ConfigError(Reason.INVALID_SPEC, detail=f"document {number}: {what}")
