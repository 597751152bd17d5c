"""The CRDs and the corpus of manifests before a real kube-apiserver."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slackwater.api.kinds import API_VERSION, NAMES
from slackwater.api.manifest import parse_manifests
from slackwater.api.status import (
    AirflowStatus,
    CalendarStatus,
    PoolStatus,
    from_wire,
    to_wire,
)
from slackwater.core.ledger import Line, State, Waited
from slackwater.core.span import Span
from slackwater.core.status import CONDITION_TYPES, Condition, Status, Truth
from slackwater.core.words import Reason
from slackwater.ports import Kind
from testbed.kubernetes import ControlPlane
from testbed.process import wait_until
from tests.api.corpus import BAD, GOOD, HERE, Bad, read

pytestmark = pytest.mark.server

CRDS = Path(__file__).parents[2] / "crds"
NOW = datetime(2026, 11, 23, 22, 0, 0, 5000, tzinfo=UTC)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", CRDS)
        for kind in Kind:
            wait_until(lambda k=kind: plane.apiserver.request("GET", path(k)).ok, f"{kind} served")
        for name in ("research", "shared"):
            plane.create_namespace(name)
        yield plane


def path(kind: Kind, namespace: str = "default", name: str = "") -> str:
    base = f"/apis/{API_VERSION}/namespaces/{namespace}/{NAMES[kind].plural}"
    return f"{base}/{name}" if name else base


def body(kind: Kind, name: str, spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": str(kind),
        "metadata": {"name": name},
        "spec": spec,
    }


def test_the_definitions_are_established(cluster: ControlPlane) -> None:
    listed = cluster.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    for item in listed["items"]:
        states = {c["type"]: c["status"] for c in item["status"]["conditions"]}
        assert states["Established"] == "True", item["metadata"]["name"]
        assert states.get("NonStructuralSchema", "False") == "False", states
    assert len(listed["items"]) == len(Kind)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_manifest_is_judged_as_python_judges_it(cluster: ControlPlane, case: Bad) -> None:
    (item,) = parse_manifests(case.text)
    url = path(item.kind) + "?dryRun=All&fieldValidation=Strict"
    answer = cluster.apiserver.request("POST", url, body(item.kind, item.name, item.spec))
    if case.server is None:
        assert answer.ok, answer.text
    else:
        assert answer.status in {400, 422}, answer.text
        assert case.server in answer.json()["message"]


def test_good_manifests_are_taken_by_kubectl(cluster: ControlPlane) -> None:
    # Not `apply`: kubectl's own form of it drops nulls from conf, and the server's refuses the
    # nulls of other fields, where a plain request drops them.
    said = cluster.kubectl("create", "--validate=strict", "-f", HERE / "good")
    objects = [item for text in GOOD.values() for item in parse_manifests(text)]
    assert said.count("created") == len(objects)
    for item in objects:
        stored = cluster.request("GET", path(item.kind, item.namespace, item.name))
        # What the API server made of it (nulls dropped, defaults set) means the same to us.
        (kept,) = parse_manifests(json.dumps(stored))
        assert read(kept) == read(item)


def test_the_recipes_are_taken_by_kubectl(cluster: ControlPlane) -> None:
    for name in ("lab", "papers"):
        cluster.create_namespace(name)
    recipes = Path(__file__).parents[2] / "examples" / "recipes"
    for recipe in sorted(recipes.glob("*.yaml")):
        cluster.kubectl("delete", "--ignore-not-found", "-f", recipe)  # another test's of that name
        said = cluster.kubectl("create", "--validate=strict", "--dry-run=server", "-f", recipe)
        assert said.count("created") == len(parse_manifests(recipe.read_text()))


def test_the_dag_of_a_training_window_cannot_be_exchanged(cluster: ControlPlane) -> None:
    (item,) = parse_manifests(GOOD["least-window"])
    url = path(item.kind)
    first = cluster.request("POST", url, body(item.kind, "fixed", item.spec))
    for field, value in (("dagId", "other"), ("airflowRef", {"name": "other"})):
        changed = copy.deepcopy(first)
        changed["spec"]["dag"][field] = value
        answer = cluster.apiserver.request("PUT", f"{url}/fixed", changed)
        assert answer.status == 422
        assert f"spec.dag.{field}: Invalid value" in answer.json()["message"]
        assert f"{field} cannot be changed: create another" in answer.json()["message"]
    first["spec"]["dag"]["conf"] = {"epochs": 4}
    assert cluster.request("PUT", f"{url}/fixed", first)["spec"]["dag"]["conf"] == {"epochs": 4}


def test_a_null_in_conf_is_kept_and_elsewhere_dropped(cluster: ControlPlane) -> None:
    (item,) = parse_manifests(GOOD["nightly-llm"])
    stored = cluster.request("POST", path(item.kind), body(item.kind, "nulls", item.spec))
    assert stored["spec"]["dag"]["conf"]["resume"] is None
    assert "expectedDurationSeconds" not in stored["spec"]


def test_a_file_is_pruned_where_nobody_asked_for_strictness(cluster: ControlPlane) -> None:
    spec = {"provider": {"ical": {"url": "https://example.com/team.ics", "file": "team.ics"}}}
    url = path(Kind.CALENDAR) + "?fieldValidation=Ignore"
    stored = cluster.request("POST", url, body(Kind.CALENDAR, "file", spec))
    assert stored["spec"]["provider"] == {"ical": {"url": "https://example.com/team.ics"}}


# --- status


def condition(kind: str, reason: Reason = Reason.ACCEPTED, message: str = "Fine.") -> Condition:
    return Condition(
        type=kind,
        status=Truth.TRUE,
        reason=reason,
        message=message,
        observed_generation=1,
        last_transition_time=NOW,
    )


FULL = Status(
    observed_generation=1,
    conditions=tuple(
        condition(kind, Reason.OPEN if kind == "WindowOpen" else Reason.ACCEPTED)
        for kind in CONDITION_TYPES
    ),
    message="Waiting for 16 GPUs in research/h100 since 22:00: 9 free.",
    next_window_start=NOW,
    next_window_end=NOW + timedelta(hours=8),
    last_schedule_time=NOW - timedelta(days=1),
    last_successful_time=NOW,
    last_missed_time=NOW,
    expected_duration=timedelta(hours=2),
    lines=tuple(
        Line(
            id=state.value.lower(),
            entry="nights",
            series="5e",
            original_start="2026-11-23T22:00",
            state=state,
            reason=Reason.WAITING_FOR_GPUS,
            since=NOW,
            window=Span(NOW, NOW + timedelta(hours=8)),
            intent_time=NOW,
            dag_run_id="slackwater.x",
            run_url="https://airflow.example/dags/train/runs/slackwater.x",
            trigger_time=NOW,
            start_time=NOW,
            end_time=NOW,
            cancel_time=NOW,
            promise=16,
            waited=(Waited("CapacityAvailable", Reason.WAITING_FOR_GPUS, 90),),
            closest="03:40 14 of 16 GPUs",
            absent=1,
        )
        for state in State
    ),
)


@pytest.fixture(scope="module")
def nightly(cluster: ControlPlane) -> dict[str, Any]:
    (item,) = parse_manifests(GOOD["nightly-llm"])
    made = cluster.request("POST", path(item.kind), body(item.kind, "with-status", item.spec))
    return put_status(cluster, made, to_wire(FULL))


def put_status(cluster: ControlPlane, made: dict[str, Any], status: Any) -> dict[str, Any]:
    url = path(Kind(made["kind"]), name=made["metadata"]["name"]) + "/status"
    stored: dict[str, Any] = cluster.request(
        "PUT", url + "?fieldValidation=Strict", {**made, "status": status}
    )
    return stored


def test_a_full_status_is_stored_and_read_back_whole(nightly: dict[str, Any]) -> None:
    assert nightly["status"] == to_wire(FULL)
    assert from_wire(nightly["status"]) == FULL


def test_the_least_status_is_stored(cluster: ControlPlane) -> None:
    (item,) = parse_manifests(GOOD["least-window"])
    made = cluster.request("POST", path(item.kind), body(item.kind, "no-status", item.spec))
    assert put_status(cluster, made, to_wire(Status()))["status"] == to_wire(Status())


@pytest.mark.parametrize(
    ("corpus", "status"),
    [
        (
            "calendars",
            CalendarStatus(
                conditions=(condition("Ready"),), last_change_time=NOW, blocks_at=NOW, event_count=3
            ),
        ),
        (
            "pools",
            PoolStatus(
                conditions=(condition("Ready"), condition("DataFresh", Reason.FRESH)),
                capacity=64,
                free=9,
                promised=8,
                utilization_percent=33.3,
                sample_time=NOW,
            ),
        ),
        ("airflows", AirflowStatus(conditions=(condition("Ready"),), version="3.3.2")),
    ],
    ids=["Calendar", "GPUPool", "AirflowInstance"],
)
def test_status_of_the_other_resources_is_stored(
    cluster: ControlPlane, corpus: str, status: CalendarStatus | PoolStatus | AirflowStatus
) -> None:
    item = parse_manifests(GOOD[corpus])[0]
    made = cluster.request("POST", path(item.kind), body(item.kind, "with-status", item.spec))
    assert put_status(cluster, made, status.to_wire())["status"] == status.to_wire()


# --- what people see


@pytest.mark.usefixtures("nightly")
def test_columns_in_kubectl_get(cluster: ControlPlane) -> None:
    heads, row = cluster.kubectl("get", "tw", "with-status").splitlines()
    assert heads.split() == ["NAME", "READY", "WINDOW", "RUNNING", "WHY", "LAST", "NEXT", "AGE"]
    assert row.split()[:4] == ["with-status", "True", "Open", "3"]
    assert "Waiting for 16 GPUs in research/h100 since 22:00: 9 free." in row
    assert "2026-11-23T22:00:00.005Z" in row
    assert "<invalid>" not in row.rpartition("Z")[0]


@pytest.mark.usefixtures("nightly")
def test_one_word_lists_all_resources(cluster: ControlPlane) -> None:
    assert "with-status" in cluster.kubectl("get", "slackwater")
    for short in ("tw", "tcal", "gpool", "afi"):
        assert cluster.kubectl("get", short, "-A").startswith("NAMESPACE")


def test_explain_tells_what_a_field_is_for(cluster: ControlPlane) -> None:
    text = " ".join(cluster.kubectl("explain", "tw.spec.gpu").split())
    assert "The GPUs that a run needs. Left out: runs start without a look at GPUs." in text
    assert (
        "count <integer> -required- GPUs that one run needs in all, over all of its pods." in text
    )
    assert "perPod <integer> GPUs that each pod of the run needs on one node." in text
    states = " ".join(cluster.kubectl("explain", "tw.status.occurrences.state").split())
    assert "Planned, Waiting, Intended" in states
