"""Events on a real API server, as people find them."""

from __future__ import annotations

import asyncio
import json

import pytest

from slackwater.stores.cluster import Cluster
from slackwater.stores.kubernetes import KubernetesStore
from slackwater.stores.recorder import EventRecorder
from testbed.kubernetes import ControlPlane
from tests.stores.conftest import Told
from tests.stores.real_cluster import SystemClock, key, make

pytestmark = pytest.mark.server


async def test_events_can_be_seen_and_are_counted(
    plane: ControlPlane,
    namespace: str,
    real: Cluster,
) -> None:
    made = make(plane, namespace, "nightly")
    store = KubernetesStore(real, SystemClock(), namespaces=(namespace,))
    told = Told(store)
    await store.resync()
    await told.until_listed()
    recorder = EventRecorder(real, SystemClock(), instance="pod-1", look=store.peek)
    task = asyncio.create_task(recorder.run())
    where = key(namespace, "nightly")
    for _ in range(3):
        recorder.record(
            where, warning=True, reason="DagPaused", action="Checking", note="DAG is paused."
        )
    recorder.record(where, warning=False, reason="Triggered", action="Starting", note="é" * 2000)
    await recorder.flush()
    task.cancel()
    assert recorder.dropped == 0

    # As `kubectl describe` and `kubectl get events` find them.
    found = json.loads(
        plane.kubectl(
            "get",
            "events",
            "--namespace",
            namespace,
            "--field-selector",
            f"involvedObject.uid={made['metadata']['uid']}",
            "--output",
            "json",
        )
    )["items"]
    by_reason = {event["reason"]: event for event in found}
    assert set(by_reason) == {"DagPaused", "Triggered"}
    assert by_reason["DagPaused"]["series"]["count"] == 3
    assert by_reason["DagPaused"]["type"] == "Warning"
    assert by_reason["Triggered"]["type"] == "Normal"
