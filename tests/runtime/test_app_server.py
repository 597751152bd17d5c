"""The operator in a real cluster, with no more rights than its chart gives."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from slackwater.__main__ import main
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.app import run_operator
from slackwater.runtime.settings import Address, OperatorSettings
from slackwater.stores.objects import object_path
from testbed.kubernetes import ControlPlane
from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import LATER, document, until, window
from tests.stores.conftest import control_plane, namespace, plane
from tests.stores.real_cluster import HOME

__all__ = ["control_plane", "namespace", "plane"]

pytestmark = pytest.mark.server


def manifests(airflow: FakeAirflow, namespace: str) -> list[dict[str, Any]]:
    def secret(key: str) -> dict[str, str]:
        return {"name": "airflow", "key": key}

    login = {"usernameSecretRef": secret("username"), "passwordSecretRef": secret("password")}
    grants = [{"dags": ["*"], "allowOverride": True}]
    server = {"url": airflow.url, "auth": {"login": login}, "grants": grants}
    objects = [
        document("GPUPool", "box", {"source": {"static": {"gpus": 8}}}),
        document("AirflowInstance", "default", server | {"pollIntervalSeconds": 1}),
        window("nightly", concurrencyPolicy="Allow"),
        window("later", begins=LATER),
    ]
    for body in objects:
        body["metadata"]["namespace"] = namespace
    return objects


async def test_a_run_is_started_followed_and_told_and_another_by_request(
    plane: ControlPlane, namespace: str, airflow: FakeAirflow
) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "airflow", "namespace": namespace},
        "stringData": {"username": "admin", "password": "admin"},
    }
    plane.apply([secret, *manifests(airflow, namespace)])
    settings = OperatorSettings(
        namespaces=(namespace,),
        allow_networks=(ip_network("127.0.0.0/8"),),
        lease_namespace=HOME,
        lease_name=namespace,
        metrics=Address("127.0.0.1", 0),
        kubeconfig=plane.kubeconfig_for(plane.token_for(HOME, "slackwater")),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(run_operator(settings, stop))
    try:
        await until(lambda: airflow.runs, 60)
        nightly = Key(Kind.TRAINING_WINDOW, Ref(namespace, "nightly"))
        await _until_state(plane, nightly, "Running")
        airflow.finish(airflow.runs[0].run_id)
        await _until_state(plane, nightly, "Succeeded")

        words = ("trigger", f"{namespace}/later", "--kubeconfig", str(plane.kubeconfig))
        assert await asyncio.to_thread(main, words) == 0
        await until(lambda: len(airflow.runs) == 2, 60)
    finally:
        stop.set()
        code = await asyncio.wait_for(task, 30)

    assert code == 0
    held = await asyncio.to_thread(
        plane.kubectl, "-n", HOME, "get", "lease", namespace, "-o", "jsonpath={.spec}"
    )
    assert '"holderIdentity":""' in held
    events = await asyncio.to_thread(plane.kubectl, "-n", namespace, "get", "events.events.k8s.io")
    assert "Triggered" in events
    assert "Succeeded" in events


async def _until_state(plane: ControlPlane, key: Key, state: str) -> None:
    async with asyncio.timeout(60):
        while True:
            found = await asyncio.to_thread(plane.request, "GET", object_path(key))
            lines = found.get("status", {}).get("occurrences", ())
            if state in {line["state"] for line in lines}:
                return
            await asyncio.sleep(0.1)
