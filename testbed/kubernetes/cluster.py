"""A whole cluster of nodes with GPUs that nobody has: scheduler, controllers, exporters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from testbed.gpus import SimulatedPool
from testbed.gpus.model import PoolModel
from testbed.gpus.server import Exporter
from testbed.kubernetes import ControlPlane
from testbed.kubernetes.workers import (
    FINISHED,
    LOST,
    ControllerManager,
    KubeStateMetrics,
    Kwok,
    Scheduler,
    gpu_node,
)
from testbed.process import wait_until

GPU: Final = "nvidia.com/gpu"
LOAD: Final = "testbed/load"
"""Annotation of a node: load, 0 to 1, of its GPUs that pods hold; 0.9 without it."""
_MERGE: Final = "application/merge-patch+json"


class NodeExporters(SimulatedPool):
    """The GPU exporters of all nodes: as many GPUs are busy as pods on the node hold.

    What it knows it asks the API server at each scrape, so that it cannot run ahead of it.
    """

    def __init__(self, plane: ControlPlane) -> None:
        super().__init__(nodes=0, timestamps=True)
        self._plane = plane

    def _text(self, exporter: Exporter) -> str:
        held = held_by_node(self._plane)
        for node in self._plane.request("GET", "/api/v1/nodes")["items"]:
            self._follow(node, held.get(node["metadata"]["name"], 0))
        return super()._text(exporter)

    def _follow(self, node: Mapping[str, Any], held: int) -> None:
        name = node["metadata"]["name"]
        load = float(node["metadata"].get("annotations", {}).get(LOAD, "0.9"))
        with self.lock:
            if name not in self.nodes:
                PoolModel.add_node(self, name, int(node["status"]["allocatable"][GPU]))
            self.nodes[name].reporting = is_ready(node)
            for index, chip in enumerate(self.nodes[name].gpus):
                chip.profiling = chip.device = load if index < held else 0.0


class GpuCluster:
    """Control plane, nodes `gpu-1`…, kube-state-metrics and the GPUs' exporters."""

    def __init__(self, nodes: int = 4, gpus: int = 4) -> None:
        self.nodes, self.gpus = nodes, gpus
        self.plane = ControlPlane()
        self._stack = ExitStack()
        self.exporters = NodeExporters(self.plane)
        self.state_metrics: KubeStateMetrics

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self._stack.close()
            raise

    def _start(self) -> Self:
        self._stack.enter_context(self.plane)
        for number in range(1, self.nodes + 1):
            self.plane.request("POST", "/api/v1/nodes", gpu_node(f"gpu-{number}", self.gpus))
        self.state_metrics = KubeStateMetrics(self.plane)
        workers = (
            ControllerManager(self.plane),
            Scheduler(self.plane),
            Kwok(self.plane),
            self.state_metrics,
        )
        for one in workers:
            self._stack.callback(one.close)
        with ThreadPoolExecutor() as threads:
            for started in [threads.submit(one.start) for one in workers]:
                started.result()
        wait_until(lambda: len(self.usable()) == self.nodes, "all nodes are usable", 120)
        self._stack.enter_context(self.exporters)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def targets(self) -> list[str]:
        """What Prometheus scrapes."""
        return [self.state_metrics.target, f"{self.exporters.target}/dcgm/metrics"]

    # The scheduler's truth.

    def usable(self) -> dict[str, int]:
        """Free GPUs by node that pods can be bound to, from nodes and bound pods themselves."""
        held = held_by_node(self.plane)
        return {
            node["metadata"]["name"]: int(node["status"]["allocatable"][GPU])
            - held.get(node["metadata"]["name"], 0)
            for node in self.plane.request("GET", "/api/v1/nodes")["items"]
            if is_ready(node)
            and not node["spec"].get("unschedulable")
            and not any(
                taint["effect"] in ("NoSchedule", "NoExecute")
                for taint in node["spec"].get("taints", [])
            )
        }

    def fit(self, per_pod: int) -> int:
        """GPUs that pods of this size could get now."""
        return sum(free // per_pod * per_pod for free in self.usable().values())

    # What happens in a cluster.

    def run_pod(
        self, name: str, gpus: int, node: str | None = None, namespace: str = "default"
    ) -> None:
        """A pod of somebody else, for the scheduler to place, on this node if one is named."""
        body = pod(name, gpus)
        if node is not None:
            body["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        self.plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
        self.await_running(name, namespace)

    def await_running(self, name: str, namespace: str = "default") -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        wait_until(
            lambda: self.plane.request("GET", path)["status"].get("phase") == "Running",
            f"pod {name} runs",
            60,
        )

    def finish_pod(self, name: str, namespace: str = "default") -> None:
        """Its containers end well; the pod stays listed, as finished pods do."""
        self._annotate(f"/api/v1/namespaces/{namespace}/pods/{name}", FINISHED, "true")

    def lose(self, node: str) -> None:
        self._annotate(f"/api/v1/nodes/{node}", LOST, "true")

    def recover(self, node: str) -> None:
        self._annotate(f"/api/v1/nodes/{node}", LOST, None)

    def cordon(self, node: str, cordoned: bool = True) -> None:
        body = {"spec": {"unschedulable": cordoned or None}}
        self.plane.request("PATCH", f"/api/v1/nodes/{node}", body, content_type=_MERGE)

    def _annotate(self, path: str, name: str, value: str | None) -> None:
        body = {"metadata": {"annotations": {name: value}}}
        self.plane.request("PATCH", path, body, content_type=_MERGE)


def pod(name: str, gpus: int) -> dict[str, Any]:
    """A pod that asks for GPUs."""
    resources = {"limits": {GPU: str(gpus)}}
    return {
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "main", "image": "train", "resources": resources}],
            "restartPolicy": "Never",
        },
    }


def held_by_node(plane: ControlPlane) -> dict[str, int]:
    """GPUs that unfinished pods hold, by the node they are bound to."""
    held: dict[str, int] = {}
    for node, gpus in bound(plane):
        held[node] = held.get(node, 0) + gpus
    return held


def bound(plane: ControlPlane, selector: str = "") -> Iterator[tuple[str, int]]:
    """Node and GPUs of each bound pod that has not finished."""
    listed = plane.request("GET", f"/api/v1/pods?labelSelector={selector}")
    for one in listed["items"]:
        node = one["spec"].get("nodeName")
        if node and one["status"].get("phase") not in ("Succeeded", "Failed"):
            limits = [c["resources"].get("limits", {}) for c in one["spec"]["containers"]]
            yield node, sum(int(amounts.get(GPU, 0)) for amounts in limits)


def is_ready(node: Mapping[str, Any]) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in node["status"].get("conditions", [])
    )
