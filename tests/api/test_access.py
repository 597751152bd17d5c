from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api.access import From, LabelSelector, Namespaces, grants_namespace
from slackwater.api.grants import airflow_grant, calendar_allows, pool_grant
from slackwater.api.read import read_airflow_instance, read_calendar, read_gpu_pool
from slackwater.core.spec import PoolGrant, Ref

SAME = Namespaces()
ALL = Namespaces(from_=From.ALL)
KEYS = st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(KEYS, st.sampled_from(["x", "y"]))


def selecting(**selector: object) -> Namespaces:
    return Namespaces.model_validate({"from": "Selector", "selector": selector})


def labelled(**labels: str) -> dict[str, object]:
    return {"from": "Selector", "selector": {"matchLabels": labels}}


def test_same_means_the_owners_namespace_alone() -> None:
    assert grants_namespace(SAME, "research", "research", {})
    assert not grants_namespace(SAME, "research", "vision", {"team": "research"})


def test_all_means_every_namespace() -> None:
    assert grants_namespace(ALL, "research", "vision", {})


def test_a_selector_goes_by_labels_also_for_the_owners_namespace() -> None:
    grant = selecting(matchLabels={"team": "llm"})
    assert grants_namespace(grant, "research", "vision", {"team": "llm"})
    assert not grants_namespace(grant, "research", "vision", {"team": "web"})
    assert not grants_namespace(grant, "research", "research", {})


def test_a_namespace_can_be_selected_by_name_where_there_are_no_labels() -> None:
    grant = selecting(matchLabels={"kubernetes.io/metadata.name": "vision"})
    assert grants_namespace(grant, "research", "vision", {})
    assert not grants_namespace(grant, "research", "other", {})


def test_a_forged_name_label_does_not_count() -> None:
    grant = selecting(matchLabels={"kubernetes.io/metadata.name": "vision"})
    forged = {"kubernetes.io/metadata.name": "vision"}
    assert not grants_namespace(grant, "research", "other", forged)


@pytest.mark.parametrize(
    ("operator", "values", "holds"),
    [
        ("In", ["x", "y"], {"x": True, "z": False, None: False}),
        ("NotIn", ["x"], {"x": False, "z": True, None: True}),
        ("Exists", [], {"x": True, "": True, None: False}),
        ("DoesNotExist", [], {"x": False, None: True}),
    ],
)
def test_operators_are_those_of_kubernetes(
    operator: str, values: list[str], holds: dict[str | None, bool]
) -> None:
    selector = LabelSelector.model_validate(
        {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    )
    for value, expected in holds.items():
        labels = {} if value is None else {"k": value}
        assert selector.selects(labels) is expected, value


@settings(max_examples=40, deadline=None)
@given(LABELS.filter(bool), LABELS)
def test_match_labels_selects_exactly_the_supersets(
    wanted: dict[str, str], labels: dict[str, str]
) -> None:
    selector = LabelSelector(match_labels=wanted)
    assert selector.selects(labels) == (wanted.items() <= labels.items())


@settings(max_examples=40, deadline=None)
@given(LABELS, KEYS, st.sets(st.sampled_from(["x", "y"]), min_size=1))
def test_in_and_not_in_are_opposites(labels: dict[str, str], key: str, values: set[str]) -> None:
    def of(operator: str) -> bool:
        expression = {"key": key, "operator": operator, "values": sorted(values)}
        return LabelSelector.model_validate({"matchExpressions": [expression]}).selects(labels)

    assert of("In") != of("NotIn")


def test_a_selector_goes_back_to_the_wire_as_it_was_written() -> None:
    written = {
        "matchLabels": {"a": "x"},
        "matchExpressions": [{"key": "b", "operator": "Exists"}],
    }
    assert LabelSelector.model_validate(written).to_wire() == written


# --- what the owners of calendars, pools and Airflows grant


def pool(*grants: dict[str, object]) -> PoolGrant | None:
    spec = {"source": {"static": {"gpus": 8}}}
    model, _ = read_gpu_pool(Ref("own", "p"), {**spec, "grants": list(grants)} if grants else spec)
    return pool_grant(model, "own", "user", {"team": "llm"})


def test_without_grants_a_pool_is_for_its_own_namespace() -> None:
    model, _ = read_gpu_pool(Ref("own", "p"), {"source": {"static": {"gpus": 8}}})
    assert pool_grant(model, "own", "own", {}) == PoolGrant()
    assert pool_grant(model, "own", "user", {}) is None


def test_an_empty_list_of_grants_grants_nothing_to_anyone() -> None:
    model, _ = read_gpu_pool(Ref("own", "p"), {"source": {"static": {"gpus": 8}}, "grants": []})
    assert pool_grant(model, "own", "own", {}) is None


def test_the_grant_with_most_gpus_holds_as_a_whole() -> None:
    few = {"namespaces": {"from": "All"}, "maxGPUs": 4, "maxPriority": 1000, "allowOverride": True}
    many = {"namespaces": labelled(team="llm"), "maxGPUs": 16, "maxPriority": 10}
    any_number = {"namespaces": labelled(team="web")}
    assert pool(few, many, any_number) == PoolGrant(max_gpus=16, max_priority=10)


def test_a_grant_without_limit_is_better_than_any_limit() -> None:
    limited = {"namespaces": {"from": "All"}, "maxGPUs": 100_000, "maxPriority": 1000}
    assert pool(limited, {"namespaces": labelled(team="llm")}) == PoolGrant()


def test_with_equal_gpus_the_higher_priority_holds() -> None:
    low = {"namespaces": {"from": "All"}, "maxPriority": -5, "allowOverride": True}
    high = {"namespaces": {"from": "All"}, "maxPriority": 5}
    assert pool(low, high) == pool(high, low) == PoolGrant(max_priority=5)


def airflow(*grants: dict[str, object]) -> dict[str, object]:
    spec: dict[str, object] = {
        "url": "https://airflow.example",
        "auth": {"tokenSecretRef": {"name": "a", "key": "t"}},
    }
    return {**spec, "grants": list(grants)} if grants else spec


def test_without_grants_an_airflow_is_wholly_for_its_own_namespace() -> None:
    model = read_airflow_instance(airflow())
    own = airflow_grant(model, "own", "own", {})
    assert own is not None
    assert own.allows("anything")
    assert not own.allows_override("anything")
    assert airflow_grant(model, "own", "user", {}) is None


def test_all_grants_of_an_airflow_count_together_but_each_override_for_its_dags() -> None:
    model = read_airflow_instance(
        airflow(
            {"namespaces": {"from": "All"}, "dags": ["train_*"]},
            {"namespaces": labelled(team="llm"), "dags": ["eval_?"], "allowOverride": True},
            {"namespaces": {"from": "Same"}, "dags": ["*"], "allowOverride": True},
        )
    )
    found = airflow_grant(model, "own", "user", {"team": "llm"})
    assert found is not None
    assert [found.allows(dag) for dag in ("train_llm", "eval_1", "eval_10", "Train_llm")] == [
        True,
        True,
        False,
        False,
    ]
    assert found.allows_override("eval_1")
    assert not found.allows_override("train_llm")


def test_brackets_in_a_pattern_of_dags_mean_themselves() -> None:
    model = read_airflow_instance(airflow({"dags": ["train_[ab]"]}))
    found = airflow_grant(model, "own", "own", {})
    assert found is not None
    assert not found.allows("train_a")


def test_a_calendar_is_for_its_own_namespace_unless_it_says_else() -> None:
    provider = {"ical": {"url": "https://example.com/team.ics"}}
    own = read_calendar({"provider": provider})
    shared = read_calendar({"provider": provider, "allowedNamespaces": {"from": "All"}})
    assert calendar_allows(own, "own", "own", {})
    assert not calendar_allows(own, "own", "user", {})
    assert calendar_allows(shared, "own", "user", {})
