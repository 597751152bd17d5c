from __future__ import annotations

import pytest

from slackwater.api.crd import definition
from slackwater.api.manifest import parse_manifests
from slackwater.errors import ConfigError
from slackwater.ports import Kind
from tests.api.corpus import BAD, GOOD, Bad, read

# Checked by an update, not by a manifest alone: see test_read.py and test_server.py.
TRANSITIONS = {"self == oldSelf"}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_manifest_is_refused_with_field_and_remedy(case: Bad) -> None:
    (item,) = parse_manifests(case.text)
    with pytest.raises(ConfigError) as caught:
        read(item)
    assert case.python in str(caught.value)
    assert "spec." in caught.value.sentence or caught.value.sentence.startswith("spec:")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_refusal_shows_nothing_of_what_was_written_in_other_fields(case: Bad) -> None:
    (item,) = parse_manifests(case.text)
    with pytest.raises(ConfigError) as caught:
        read(item)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "input_value" not in str(caught.value.__cause__)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_manifest_is_taken(name: str) -> None:
    for item in parse_manifests(GOOD[name]):
        assert read(item) is not None


def test_every_rule_of_the_crds_has_a_bad_manifest() -> None:
    written = "\n".join(case.text for case in BAD)
    for kind in Kind:
        for rule in _rules(definition(kind)):
            if rule["rule"] not in TRANSITIONS:
                assert rule["message"] in written, rule


def _rules(node: object) -> list[dict[str, str]]:
    if isinstance(node, dict):
        own = node.get("x-kubernetes-validations", [])
        return [*own, *(rule for value in node.values() for rule in _rules(value))]
    if isinstance(node, list):
        return [rule for value in node for rule in _rules(value)]
    return []
