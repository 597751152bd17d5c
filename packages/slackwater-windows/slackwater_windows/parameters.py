"""Parameters that people write into the description of an event.

Three ways, which may stand side by side; where a name is given twice, the later one counts:

* lines of `name=value`, anywhere in the text;
* a block fenced by ```` ```json ```` and ```` ``` ````, holding one JSON object;
* a block fenced by ```` ```yaml ```` and ```` ``` ````, holding a small part of YAML: lines of
  `name: value`; as values scalars and flow lists (`[a, 2, "x, y"]`, which may nest); below a
  `name:` without value lines of `- value`; comments. Deeper mappings, anchors, tags and multi-line
  text are refused: a description is typed on a phone, and what it means must be plain.

Calendars send descriptions as HTML too; it is reduced to text first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from slackwater_windows.prose import plain, printable

MAX_CHARACTERS: Final = 64 * 1024
MAX_DEPTH: Final = 5
MAX_KEYS: Final = 200
MAX_VALUES: Final = 1000
_INT64: Final = 2**63

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_PAIR: Final = re.compile(rf"(?:[-*•]\s+)?({_NAME})\s*=\s*(.*)")
_YAML_PAIR: Final = re.compile(rf"({_NAME}|\"{_NAME}\"|'{_NAME}')\s*:(?:\s+(.*))?")
_FENCE: Final = re.compile(r"```+\s*([A-Za-z0-9]*)")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_QUOTED_OR_COMMENT: Final = re.compile(
    r"""(?<![^\s:\[,])(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')|(?:^|\s)\#.*""", re.DOTALL
)
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
# Quotes as phones set them.
_TYPOGRAPHIC: Final = {"“": "”", "„": "“”", "‘": "’", "‚": "‘’", "«": "»"}  # noqa: RUF001 - meant
_TOO_RICH: Final = "a YAML block has more than `name: value` lines and lists"
# What begins a YAML value that this subset does not read.
_FOREIGN: Final = tuple("&*!|>%@`{")


class BadParameters(ValueError):
    """A description whose parameters cannot be read; `detail` quotes nothing of it."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


def parameters(description: str) -> dict[str, Any]:
    r"""The parameters that a description holds; empty where it has none.

    Values are None, bool, int, float, str, and lists and dicts of them. Unquoted they are read as
    `true`, `false`, `null` (in any case) or as a number where they look like one, else as text.

    Raises:
        BadParameters: a block is not closed or not readable, or the whole is over a limit: 64 Ki
            characters, 200 names, 1,000 values, 5 levels.

    >>> parameters("Nightly run\nlr=0.1\nmodel = 'llama 8b'\nresume=true")
    {'lr': 0.1, 'model': 'llama 8b', 'resume': True}
    """
    if len(description) > MAX_CHARACTERS:
        raise BadParameters(f"the description has more than {MAX_CHARACTERS // 1024} Ki characters")
    found: dict[str, Any] = {}
    for kind, lines in _blocks(plain(description)):
        if kind == "":
            for line in lines:
                pair = _PAIR.fullmatch(line)
                if pair is not None:
                    found[pair[1]] = _scalar(pair[2])
        elif kind == "json":
            found.update(_json(lines))
        elif kind in {"yaml", "yml"}:
            found.update(_yaml(lines))
    _bound(found)
    return {printable(name): _clean(value) for name, value in found.items()}


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The text as runs of stripped lines: ("", prose) and (language, inside of a fence)."""
    kind: str | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line.strip())
        if mark is not None and (kind is None or not mark[1]):
            yield kind or "", lines
            # A fence without a language is code of some kind, not parameters.
            kind, lines = ((mark[1].lower() or "text") if kind is None else None), []
        else:
            lines.append(line.strip() if kind is None else line.rstrip())
    if kind is not None:
        raise BadParameters("a block that begins with ``` does not end")
    yield "", lines


def _scalar(text: str) -> Any:
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else _too_large()
    if _NUMBER.fullmatch(text):
        return float(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            raise BadParameters("a quoted text is not closed or has a wrong escape") from None
        return value
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[-1] in _TYPOGRAPHIC.get(text[0], ""):
        return text[1:-1]
    return text


def _too_large(*_: object) -> NoReturn:
    raise BadParameters("a number is too large")


def _json(lines: list[str]) -> dict[str, Any]:
    try:
        value = json.loads("\n".join(lines), parse_constant=_too_large)
    except BadParameters:
        raise
    except (ValueError, RecursionError):
        raise BadParameters("a JSON block is not JSON") from None
    if not isinstance(value, dict):
        raise BadParameters("a JSON block is not an object")
    return value


# --- the YAML subset ---------------------------------------------------------------------------


def _yaml(lines: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    items: list[Any] | None = None
    open_name = ""
    for line in lines:
        text = _uncomment(line)
        if not text or text in {"---", "..."}:
            continue
        if text == "-" or text.startswith("- "):
            if items is None:
                raise BadParameters("a YAML block has a list item below no name")
            item = text[1:].strip()
            if _YAML_PAIR.fullmatch(item):
                raise BadParameters(_TOO_RICH)
            items.append(_flow(item))
            found[open_name] = items
            continue
        pair = _YAML_PAIR.fullmatch(text)
        if pair is None or line[0].isspace():
            raise BadParameters(_TOO_RICH)
        name = pair[1].strip("\"'")
        if pair[2]:
            found[name], items = _flow(pair[2].strip()), None
        else:
            found[name], items, open_name = None, [], name
    return found


def _uncomment(line: str) -> str:
    return _QUOTED_OR_COMMENT.sub(
        lambda found: "" if found[0].lstrip().startswith("#") else found[0], line
    ).strip()


def _flow(text: str) -> Any:
    if text.startswith("["):
        value, rest = _flow_list(text[1:], 1)
        if rest.strip():
            raise BadParameters("a YAML list has something after it")
        return value
    if text.startswith(_FOREIGN):
        raise BadParameters(_TOO_RICH)
    return _scalar("null" if text in {"", "~"} else text)


_ITEM: Final = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:''|[^'])*'|[^,\[\]"']*)\s*""")


def _flow_list(text: str, depth: int) -> tuple[list[Any], str]:
    """A list without its opening bracket, and what follows it."""
    if depth > MAX_DEPTH:
        raise BadParameters(f"more than {MAX_DEPTH} levels")
    found: list[Any] = []
    while True:
        text = text.lstrip()
        if text.startswith("]"):
            return found, text[1:]
        if text.startswith("["):
            item, text = _flow_list(text[1:], depth + 1)
            text = text.lstrip()
        else:
            match = _ITEM.match(text)
            assert match is not None  # every part of it may be empty
            if not match[1] or match[1].startswith(_FOREIGN):
                raise BadParameters(_TOO_RICH)
            item, text = _scalar(match[1]), text[match.end() :]
        found.append(item)
        mark, text = text[:1], text[1:]
        if mark == "]":
            return found, text
        if mark != ",":
            raise BadParameters("a YAML list is not closed")


# --- limits ------------------------------------------------------------------------------------


def _bound(found: dict[str, Any]) -> None:
    keys = values = 0
    pending: list[tuple[Any, int]] = [(found, 0)]
    while pending:
        value, depth = pending.pop()
        values += 1
        if depth > MAX_DEPTH:
            raise BadParameters(f"more than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            keys += len(value)
            pending.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            pending.extend((item, depth + 1) for item in value)
        elif isinstance(value, float) and not math.isfinite(value):
            _too_large()
        elif isinstance(value, int) and not -_INT64 <= value < _INT64:
            _too_large()  # expressions know 64 bits
        if keys > MAX_KEYS or values > MAX_VALUES:
            raise BadParameters(f"more than {MAX_KEYS} names or {MAX_VALUES} values")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)  # JSON can spell what the text could not hold
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): _clean(item) for name, item in value.items()}
    return value
