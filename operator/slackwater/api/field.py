"""Bounded field types and rules that several resources share.

Every string and list has a bound: the API server estimates the cost of CEL rules from them and
refuses a CustomResourceDefinition whose estimate is too high.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, Protocol, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from slackwater.wire import Url


class Rule(NamedTuple):
    """A CEL expression over `self`, and a message that says which field to change and how."""

    expression: str
    message: str


DAY: Final = 86_400

LIST_MAP: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}

# RFC 3339 §5.6, in the subset that the API server and Python read alike. No sum of such a time
# and any offset of ours leaves the years that Python knows.
_RFC3339: Final = (
    r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})$"
)
_IS_RFC3339: Final = re.compile(_RFC3339)


def parse_instant(value: object) -> datetime:
    """The UTC instant of an RFC 3339 string of the years 1000 to 2999; ValueError for others."""
    if not isinstance(value, str) or not _IS_RFC3339.fullmatch(value):
        raise ValueError("must be a time with its zone, such as 2026-12-20T00:00:00Z")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        raise ValueError("must be a time that exists, such as 2026-12-20T00:00:00Z") from None


def cel(rule: Rule) -> dict[str, Any]:
    """A rule on a single field, as `json_schema_extra`; `self` is the field's value."""
    return {"x-kubernetes-validations": [{"rule": rule.expression, "message": rule.message}]}


def demand(holds: bool, rule: Rule) -> None:
    """Enforce in Python what the CRD enforces in CEL; ValueError with the rule's message."""
    if not holds:
        raise ValueError(rule.message)


def exactly_one(fields: Sequence[str], remedy: str) -> Rule:
    """The rule that exactly one of these optional fields (by wire name) is set."""
    given = ", ".join(f"has(self.{field})" for field in fields)
    names = f"{', '.join(fields[:-1])} and {fields[-1]}"
    return Rule(f"[{given}].exists_one(set, set)", f"set exactly one of {names}: {remedy}")


def is_exactly_one(*values: object) -> bool:
    """True when one value and no more is given."""
    return sum(value is not None for value in values) == 1


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)
_H = TypeVar("_H", bound=Hashable)


def distinct_names(items: tuple[_N, ...]) -> tuple[_N, ...]:
    """What `x-kubernetes-list-type: map` with key `name` demands."""
    name, count = next(iter(Counter(item.name for item in items).most_common(1)), ("", 0))
    if count > 1:
        raise ValueError(f"{count} entries are named {name}; give each a name of its own")
    return items


def distinct(items: tuple[_H, ...]) -> tuple[_H, ...]:
    """What `x-kubernetes-list-type: set` demands."""
    if len(set(items)) < len(items):
        raise ValueError("holds the same value twice; remove one")
    return items


NO_CREDENTIALS: Final = Rule(
    "!self.matches('^[a-z]+://[^/?#]*@')",
    "the address must not hold a user name or password: remove them and name Secrets in auth",
)
_USER_IN_URL: Final = re.compile(r"[a-z]+://[^/?#]*@")


def _no_credentials(url: str) -> str:
    demand(not _USER_IN_URL.match(url), NO_CREDENTIALS)
    return url


NODE_PATTERN: Final = Rule(
    "''.matches(self) || !''.matches(self)",
    "nodes is not a regular expression of RE2 syntax: correct it",
)
# Python reads these, RE2 does not: look-around, conditions, atomic groups, back-references.
_NOT_RE2: Final = re.compile(r"\(\?([=!>(]|<[=!]|P=)|\\[1-9]|[*+?}]\+")


def _node_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise ValueError(NODE_PATTERN.message) from None
    demand(not _NOT_RE2.search(pattern), NODE_PATTERN)
    return pattern


QUALIFIED_NAME: Final = (
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
)
QualifiedName = Annotated[str, Field(min_length=1, max_length=317, pattern=QUALIFIED_NAME)]
LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
ServerUrl = Annotated[
    Url, AfterValidator(_no_credentials), Field(json_schema_extra=cel(NO_CREDENTIALS))
]
NodePattern = Annotated[
    str,
    AfterValidator(_node_pattern),
    Field(min_length=1, max_length=512, json_schema_extra=cel(NODE_PATTERN)),
]
EntryName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
Instant = Annotated[
    datetime,
    PlainValidator(parse_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40, "pattern": _RFC3339}),
]
Glob = Annotated[str, Field(min_length=1, max_length=256)]
Percent = Annotated[float, Field(ge=0, le=100)]
# These stand after `Field`: behind a validator pydantic would take a list's bound for a string's.
DISTINCT_NAMES: Final = AfterValidator(distinct_names)
DISTINCT: Final = AfterValidator(distinct)
