"""What the text of a CEL expression says about its cost: comprehensions, fan-out, patterns.

The library parses; this reads the same text as tokens, after it has parsed, so text that is no
expression never gets here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cel

MAX_PATTERN_LENGTH: Final = 200
MAX_PATTERN_CLASSES: Final = 8

_MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
# CEL's lexer: a raw string knows no escapes, bytes come before raw (`br`, never `rb`).
_TOKEN: Final = re.compile(
    r"""
      (?P<blank>  [ \t\n\f\r]+ | //[^\n]* )
    | (?P<string> [bB]? (?: [rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n\r]*" | '[^'\n\r]*' )
                 | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                 | "(?:\\.|[^"\\\n\r])*" | '(?:\\.|[^'\\\n\r])*' ) )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<mark>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
# Classes of Unicode characters make big automata (0.5 ms each, measured), all else is cheap.
_CLASS: Final = re.compile(r"\\[wWdDsSbBpP]")
_PATTERN_TRIAL: Final = cel.compile('"".matches(pattern)')


class Unusable(ValueError):
    """Why an expression cannot be used, in words that quote nothing but the expression."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the text tells.

    Attributes:
        reads: by variable, the fields it selects; None where it looks at the whole variable.
        bound: names that comprehensions bind.
        macros: number of comprehensions.
        fan: how many values one list, or one sum, of the text can put together.
        patterns: number of `matches`.
        literals: characters of its strings.
    """

    reads: dict[str, frozenset[str] | None]
    bound: frozenset[str]
    macros: int
    fan: int
    patterns: int
    literals: int

    @property
    def is_heavy(self) -> bool:
        """Whether its cost grows faster than the data, so that it must be estimated."""
        return self.macros > 0 or self.fan > 8


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def examine(text: str, names: frozenset[str]) -> Facts:
    """Read an expression that has been parsed.

    Args:
        text: the expression.
        names: the variables that exist.

    Raises:
        Unusable: a pattern is not a plain short string.

    >>> examine('event.categories.exists(c, c == "map(")', frozenset({"event"})).macros
    1
    """
    tokens = [*_tokens(text), _Token("end", ""), _Token("end", ""), _Token("end", "")]
    reads: dict[str, frozenset[str] | None] = {}
    bound: set[str] = set()
    patterns: list[str] = []
    macros = 0
    for index, token in enumerate(tokens[:-3]):
        if token.kind != "word":
            continue
        after = tokens[index + 1 : index + 4]
        selected = index > 0 and tokens[index - 1].text == "."
        if selected and token.text in _MACROS and after[0].text == "(":
            macros += 1
            bound.add(after[1].text)
        elif token.text == "matches" and after[0].text == "(":
            patterns.append(_pattern(after[1], after[2]))
        elif not selected and token.text in names:
            one = after[0].text == "." and after[1].kind == "word" and after[2].text != "("
            so_far = reads.get(token.text, frozenset())
            reads[token.text] = so_far | {after[1].text} if one and so_far is not None else None
    _check(patterns)
    joints = sum(token.text in {",", "+"} for token in tokens if token.kind == "mark")
    return Facts(
        reads={name: None if name in bound else fields for name, fields in reads.items()},
        bound=frozenset(bound),
        macros=macros,
        fan=1 + joints - macros,  # each comprehension has one comma of its own
        patterns=len(patterns),
        literals=sum(len(token.text) for token in tokens if token.kind == "string"),
    )


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind == "mark" and found.group() in "\"'":
            raise Unusable("a string in it cannot be read")
        if kind != "blank":
            yield _Token(kind, found.group())


def _pattern(argument: _Token, after: _Token) -> str:
    if argument.kind != "string" or after.text != ")":
        raise Unusable("the pattern of matches() must be one plain string")
    value: Any = cel.compile(argument.text).execute()
    if not isinstance(value, str):
        raise Unusable("the pattern of matches() must be one plain string")
    if "{" in value:
        raise Unusable("a pattern of matches() may not count with {}: write it out")
    return value


def _check(patterns: list[str]) -> None:
    classes = sum(len(_CLASS.findall(pattern)) for pattern in patterns)
    if classes > MAX_PATTERN_CLASSES or sum(map(len, patterns)) > MAX_PATTERN_LENGTH:
        raise Unusable(
            f"patterns of matches() may have {MAX_PATTERN_LENGTH} characters and "
            f"{MAX_PATTERN_CLASSES} classes such as \\w in all"
        )
    for pattern in patterns:
        try:
            _PATTERN_TRIAL.execute({"pattern": pattern})
        except RuntimeError:
            raise Unusable("the pattern of matches() is not a regular expression") from None
