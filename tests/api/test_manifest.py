from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api.manifest import parse_manifests
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.ports import Kind

HEAD = "apiVersion: slackwater.dev/v1alpha1\nkind: Calendar\n"
NAMED = HEAD + "metadata: {name: team}\n"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_manifests(text)
    assert caught.value.reason is Reason.INVALID_SPEC
    return caught.value.sentence


def test_objects_come_in_order_with_their_metadata() -> None:
    text = f"""---
{NAMED}spec: {{a: 1}}
---
# nothing but a comment
---
{HEAD.replace("Calendar", "GPUPool")}metadata:
  name: h100
  namespace: research
  labels: {{team: llm}}
  annotations: {{slackwater.dev/skip: abc}}
  resourceVersion: "17"
spec: {{}}
status: {{capacity: 8}}
"""
    team, pool = parse_manifests(text)
    assert (team.kind, team.namespace, team.name) == (Kind.CALENDAR, "default", "team")
    assert team.spec == {"a": 1}
    assert (pool.kind, pool.namespace, pool.name) == (Kind.GPU_POOL, "research", "h100")
    assert pool.labels == {"team": "llm"}
    assert pool.annotations == {"slackwater.dev/skip": "abc"}


def test_no_text_is_no_objects() -> None:
    assert parse_manifests("") == []
    assert parse_manifests("---\n---\n# nothing\n") == []


def test_plain_values_are_read_as_kubectl_reads_them() -> None:
    (item,) = parse_manifests(
        NAMED
        + """spec:
  time: 2026-12-20T00:00:00Z
  date: 2026-12-20
  clock: 22:30
  octal: 0755
  hex: 0x1F
  int: -12
  float: 1.5
  exponent: 1e3
  truth: yes
  none: null
  text: None
  merged: &m {a: 1}
  twice: {<<: *m, b: 2}
"""
    )
    assert item.spec == {
        "time": "2026-12-20T00:00:00Z",
        "date": "2026-12-20",
        "clock": "22:30",
        "octal": "0755",
        "hex": 31,
        "int": -12,
        "float": 1.5,
        "exponent": 1000.0,
        "truth": True,
        "none": None,
        "text": "None",
        "merged": {"a": 1},
        "twice": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "document 1: must be an object with apiVersion, kind and spec"),
        (NAMED + "spec: {}\n---\n3\n", "document 2: must be an object"),
        ("kind: Calendar\n", "document 1: apiVersion: must be slackwater.dev/v1alpha1"),
        (
            NAMED.replace("v1alpha1", "v1") + "spec: {}\n",
            "document 1: apiVersion: must be slackwater.dev/v1alpha1",
        ),
        (
            NAMED.replace("Calendar", "Secret") + "spec: {}\n",
            "document 1: kind: must be one of TrainingWindow, Calendar, GPUPool, AirflowInstance",
        ),
        (NAMED.replace("Calendar", "[Calendar]"), "document 1: kind: must be one of"),
        (HEAD + "spec: {}\n", "document 1: metadata.name: is required"),
        (HEAD + "metadata: {}\nspec: {}\n", "document 1: metadata.name: is required"),
        (HEAD + "metadata: [team]\nspec: {}\n", "document 1: metadata.name: is required"),
        (
            HEAD + "metadata: {name: Team}\nspec: {}\n",
            "document 1: metadata.name: must be text of at most 253 lower-case letters, digits, -",
        ),
        (HEAD + "metadata: {name: 7}\nspec: {}\n", "document 1: metadata.name: must be text"),
        (
            HEAD + "metadata: {name: a, namespace: a.b}\nspec: {}\n",
            "document 1: metadata.namespace: must be text of at most 63 lower-case letters",
        ),
        (NAMED, "document 1: spec: is required and must be an object"),
        (NAMED + "spec: []\n", "document 1: spec: is required and must be an object"),
        (
            NAMED + "timeZone: UTC\nspec: {}\n",
            "document 1: timeZone: is not a known field; put it under spec",
        ),
        (
            HEAD + "metadata: {name: a, labels: {a: 1}}\nspec: {}\n",
            "document 1: metadata.labels.a: must be text; put it in quotes",
        ),
        (
            HEAD + "metadata: {name: a, annotations: [a]}\nspec: {}\n",
            "document 1: metadata.annotations: must be an object",
        ),
        (NAMED + "spec: {1: a}\n", "document 1: every key must be text; put the key in quotes"),
        (NAMED + "spec: {a: .nan}\n", "document 1: numbers must be finite"),
        (NAMED + "spec: {a: !!binary aGk=}\n", "document 1: values must be text, numbers"),
        (NAMED + "spec: &a {b: *a}\n", "document 1: holds more than"),
        (
            NAMED + "spec: {}\n---\n" + NAMED + "spec: {}\n",
            "document 2: Calendar default/team stands in document 1 already; remove one of them",
        ),
        (
            NAMED + "spec:\n  a: 1\n  a: 2\n",
            "document 1: line 6, column 3: is not valid YAML: a key stands twice; remove one",
        ),
        (
            NAMED + 'spec: {}\n---\nspec: "secret title\n',
            "document 2: line 7, column 1: is not valid YAML: found unexpected end of stream",
        ),
        (NAMED + "spec: {a: \x01}\n", "is not valid YAML: has characters that YAML does not allow"),
        (NAMED + "spec: {a: !thing b}\n", "is not valid YAML: could not determine a constructor"),
        (NAMED + "spec: " + "[" * 400 + "\n", "document 1:"),
    ],
)
def test_a_bad_document_is_named_by_number_and_field(text: str, says: str) -> None:
    found = refusal(text)
    assert says in found
    assert "secret title" not in found


def test_aliases_cannot_fill_the_memory() -> None:
    bomb = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "holds more than 200000 values" in refusal(NAMED + "spec:\n  a0: &a0 [1]\n" + bomb)


def test_an_objects_repr_shows_nothing_of_its_content() -> None:
    (item,) = parse_manifests(NAMED + "spec: {summary: secret title}\n")
    assert "secret title" not in repr(item)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_objects_or_a_refusal(text: str) -> None:
    # Any other exception fails the test.
    with suppress(ConfigError):
        assert isinstance(parse_manifests(text), list)
