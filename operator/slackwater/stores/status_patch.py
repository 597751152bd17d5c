"""The smallest JSON merge patch (RFC 7396) that turns one status into another.

A merge patch adds and overwrites; to replace a status wholly, what went away is set to null. A
patch that would change nothing is no patch: then no request is made (R16).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def status_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to send so that a server that holds `old` holds `new` afterwards.

    Args:
        old: the status as the server holds it, JSON.
        new: the status that is wanted, JSON. A null in an object means that the key is absent,
            as merge patches cannot store it.

    Returns:
        The patch, or None where the two are the same. Lists are replaced whole.
    """
    patch: dict[str, Any] = {}
    for name, value in new.items():
        if value is None:
            continue
        if name not in old:
            patch[name] = _without_nulls(value)
            continue
        before = old[name]
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = status_patch(before, value)
            if inner is not None:
                patch[name] = inner
        elif not same_json(before, _without_nulls(value)):
            patch[name] = _without_nulls(value)
    patch |= {name: None for name in old if new.get(name) is None}
    return patch or None


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, true is not 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _without_nulls(value: Any) -> Any:
    # Only objects outside lists are merged; inside a list a null stays what it is.
    if not isinstance(value, Mapping):
        return value
    return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
