from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slackwater.stores.status_patch import same_json, status_patch

scalars = st.one_of(
    st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 0.5]), st.text("ab", max_size=2)
)
names = st.sampled_from(["a", "b", "conditions"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(st.one_of(inner, st.none()), max_size=3),
        st.dictionaries(names, inner, max_size=3),
    ),
    max_leaves=8,
)
statuses = st.dictionaries(names, values, max_size=3)


def apply(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, word for word."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


@given(statuses, statuses)
def test_a_server_that_merges_the_patch_holds_the_new_status(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert same_json(apply(old, status_patch(old, new) or {}), new)


@given(statuses)
def test_the_same_status_needs_no_patch(status: dict[str, Any]) -> None:
    assert status_patch(status, copy.deepcopy(status)) is None


@given(statuses, statuses)
def test_a_patch_is_only_made_where_something_differs(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert (status_patch(old, new) is None) == same_json(old, new)


@given(statuses, statuses)
def test_neither_status_is_changed(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy((old, new))
    status_patch(old, new)
    assert (old, new) == before


def test_what_went_away_becomes_null_and_lists_are_replaced_whole() -> None:
    old = {"gone": 1, "deep": {"gone": 2, "kept": 3}, "list": [1, 2], "same": [1]}
    new = {"deep": {"kept": 3, "new": 4}, "list": [2], "same": [1]}
    assert status_patch(old, new) == {
        "gone": None,
        "deep": {"gone": None, "new": 4},
        "list": [2],
    }


def test_a_null_means_that_the_key_is_absent() -> None:
    assert status_patch({}, {"a": None, "b": {"c": None}}) == {"b": {}}
    assert status_patch({"a": 1}, {"a": None}) == {"a": None}
    assert status_patch({"b": {}}, {"a": None, "b": {"c": None}}) is None


def test_true_is_not_one() -> None:
    assert status_patch({"a": 1}, {"a": True}) == {"a": True}
    assert status_patch({"a": [0]}, {"a": [False]}) == {"a": [False]}
