"""Names that survive moves and restarts (R2)."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slackwater.core.identity import (
    event_key,
    inline_key,
    pod_labels,
    run_id,
    run_prefix,
    series_key,
)
from slackwater.core.spec import Identity, Ref

PATTERN = re.compile(r"^[A-Za-z0-9_.~:+-]+$")
text = st.text(max_size=300)
names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=253)


def identity(installation: str, namespace: str, name: str) -> Identity:
    return Identity(
        installation=installation,
        ref=Ref(namespace, name),
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )


@given(text, text, text, text)
@example("x" * 400, "n" * 63, "w" * 253, "k" * 20)
@example("", "", "", "")
@example("läuft 'hier'/\n", "a b", "%2F..", "\x00")
def test_a_run_id_is_one_that_airflow_takes(installation, namespace, name, key):
    found = run_id(identity(installation, namespace, name), key)
    assert PATTERN.match(found)
    assert len(found) <= 200
    assert not found.startswith(("scheduled__", "manual__", "backfill__"))
    assert found == run_id(identity(installation, namespace, name), key)


parts = st.tuples(text, names, names, text)


@given(parts, parts)
@example(("a", "b.c", "d", "k"), ("a", "b", "c.d", "k"))
@example(("a", "b", "c", "dk"), ("a", "b", "cd", "k"))
@example(("a", "b", "c" * 250, "k"), ("a", "b", "c" * 251, "k"))
@example(("a/", "b", "c", "k"), ("a-", "b", "c", "k"))
def test_run_ids_differ_where_anything_differs(left, right):
    first = run_id(identity(*left[:3]), left[3])
    second = run_id(identity(*right[:3]), right[3])
    assert (first == second) is (left == right)


@given(st.text(max_size=60), names, names, text)
def test_the_runs_of_an_installation_are_found_by_their_prefix(installation, namespace, name, key):
    assert run_id(identity(installation, namespace, name), key).startswith(run_prefix(installation))


def test_one_prefix_does_not_find_another_installations_runs():
    assert not run_prefix("prod-2").startswith(run_prefix("prod"))


@given(st.tuples(text, text, text), st.tuples(text, text, text))
@example(("a", "bc", ""), ("ab", "c", ""))
@example(("a", "1", "2"), ("a", "1:2", ""))
def test_event_keys_differ_where_anything_differs(left, right):
    assert (event_key(*left) == event_key(*right)) is (left == right)


@given(text, text)
def test_the_kinds_of_keys_never_meet(one, two):
    assert len({event_key(one, two, ""), series_key(one, two), inline_key(one, two)}) == 3


def test_a_key_shows_nothing_of_what_it_is_made_of():
    assert re.fullmatch(r"[0-9a-f]{20}", event_key("anna@example.com", "uid-1", "2026-01-01"))
    assert re.fullmatch(r"[0-9a-f]{12}", series_key("anna@example.com", "uid-1"))
    assert re.fullmatch(r"[0-9a-f]{20}", inline_key("nights", "2026-01-01T22:00"))


@pytest.mark.parametrize(
    ("run", "label"),
    [  # as make_safe_label_value of apache-airflow-providers-cncf-kubernetes 10.25.0 gives them
        (
            "slackwater.test.research.nightly.0123456789abcdef01234567",
            "slackwater.test.research.nightly.0123456789abcdef01234567",
        ),
        (
            "slackwater.0a1b2c3d-1111-2222-3333-444455556666.research.nightly.0123456789abcdef01234567",
            "slackwater.0a1b2c3d-1111-2222-3333-444455556666.resea-6e9671b2f",
        ),
        (
            "slackwater.dir~1:2+3.research.n.0123456789abcdef01234567",
            "slackwater.dir123.research.n.0123456789abcdef01234567-fda260c37",
        ),
    ],
    ids=["short", "long", "strange"],
)
def test_pods_carry_the_run_id_as_airflow_cuts_it(run, label):
    assert pod_labels(run) == (label, "0123456789abcdef01234567")


@given(st.text(alphabet="abcXYZ019_~:+-.", min_size=1, max_size=200))
def test_a_label_is_always_one_that_kubernetes_takes(run):
    safe, _ = pod_labels(run)
    assert len(safe) <= 63
    assert re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9]", safe)
