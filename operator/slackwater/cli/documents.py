"""Where in the manifests something stands: the file and the number of the document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from slackwater.api.manifest import DEFAULT_NAMESPACE
from slackwater.ports import Key


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the manifests that cannot be used.

    Attributes:
        where: the file, and the document where it is known.
        sentence: what is wrong, with the field.
        remedy: what to do, where the sentence does not say it.
    """

    where: str
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        stop = "" if self.sentence.endswith(".") else "."
        return f"{self.where}: {self.sentence}{stop} {self.remedy}".rstrip()


def place_of(key: Key, path: Path) -> str:
    """File, document and name of an object, for a message about it.

    Args:
        key: the object.
        path: the file that it was read from; it could be parsed then.
    """
    number = _number(key, path)
    document = f"{path}: document {number}" if number else str(path)
    return f"{document}: {key}"


def _number(key: Key, path: Path) -> int | None:
    try:
        # Nodes, not values: nothing is built from what a manifest holds.
        nodes = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None  # it was changed meanwhile
    for number, node in enumerate(nodes, start=1):
        fields = _fields(node)
        metadata = _fields(fields.get("metadata"))
        if (
            _text(fields.get("kind")) == key.kind
            and _text(metadata.get("name")) == key.ref.name
            and (_text(metadata.get("namespace")) or DEFAULT_NAMESPACE) == key.ref.namespace
        ):
            return number
    return None


def _fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _text(node: yaml.Node | None) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None
