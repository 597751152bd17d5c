"""The simulated GPU pool itself: nodes, GPUs, pods, utilisation. Knows nothing of metrics."""

from __future__ import annotations

import threading
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Signal = Literal["both", "profiling", "device"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]

IDLE_MEMORY_MIB = 4.0
BUSY_MEMORY_MIB = 60_000.0
TOTAL_MEMORY_MIB = 81_559.0


@dataclass
class Gpu:
    """One GPU. Exporters give two signals of load, which real faults make disagree."""

    uuid: str
    profiling: float = 0.0  # share of time the engine was active, 0 to 1
    device: float = 0.0  # the driver's utilisation, 0 to 1 here whatever the exporter shows
    memory_mib: float | None = None  # None: follows from the load


@dataclass
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass
class Node:
    name: str
    gpus: list[Gpu]
    ready: bool = True
    cordoned: bool = False
    reporting: bool = True  # whether its GPU exporter is scraped
    taints: list[Taint] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Pod:
    namespace: str
    name: str
    uid: str
    node: str | None
    gpus: int
    init_gpus: int
    phase: Phase
    labels: dict[str, str]


class PoolModel:
    """Nodes `<prefix>-1…n` with `gpus` GPUs each, and the pods on them.

    Thread-safe: a test changes it while the exporter reads it.
    """

    def __init__(
        self,
        nodes: int = 4,
        gpus: int = 8,
        *,
        prefix: str = "gpu",
        pool: str = "h100",
        resource: str = "nvidia.com/gpu",
    ) -> None:
        self.lock = threading.RLock()
        self.pool = pool
        self.resource = resource
        self.nodes: dict[str, Node] = {}
        self.pods: dict[tuple[str, str], Pod] = {}
        for number in range(1, nodes + 1):
            self.add_node(f"{prefix}-{number}", gpus)

    # Nodes.

    def add_node(self, name: str, gpus: int = 8, labels: dict[str, str] | None = None) -> None:
        with self.lock:
            chips = [
                Gpu(f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}/{i}')}") for i in range(gpus)
            ]
            self.nodes[name] = Node(name, chips, labels={"node-pool": self.pool, **(labels or {})})

    def remove_node(self, name: str) -> None:
        """The node leaves the cluster, and its pods with it."""
        with self.lock:
            del self.nodes[name]
            self.pods = {key: pod for key, pod in self.pods.items() if pod.node != name}

    def cordon(self, node: str, cordoned: bool = True) -> None:
        with self.lock:
            self.nodes[node].cordoned = cordoned

    def taint(self, node: str, key: str, value: str = "", effect: str = "NoSchedule") -> None:
        with self.lock:
            self.untaint(node, key)
            self.nodes[node].taints.append(Taint(key, value, effect))

    def untaint(self, node: str, key: str) -> None:
        with self.lock:
            self.nodes[node].taints = [t for t in self.nodes[node].taints if t.key != key]

    def lose_node(self, node: str) -> None:
        """It crashes: not ready, its exporter silent; allocatable and pods are still listed."""
        with self.lock:
            self.nodes[node].ready = False
            self.nodes[node].reporting = False

    def recover_node(self, node: str) -> None:
        with self.lock:
            self.nodes[node].ready = True
            self.nodes[node].reporting = True

    # Load.

    def set_utilization(
        self,
        value: float,
        node: str | None = None,
        gpu: int | None = None,
        signal: Signal = "both",
    ) -> None:
        """Load 0 to 1 of all GPUs, one node's, or one GPU's. NaN and absurd values are allowed.

        `signal` changes only one of the two signals, as when an exporter's one is stuck.
        """
        with self.lock:
            for chip in self._chips(node, gpu):
                if signal in ("both", "profiling"):
                    chip.profiling = value
                if signal in ("both", "device"):
                    chip.device = value

    def set_memory(
        self, mib: float | None, node: str | None = None, gpu: int | None = None
    ) -> None:
        """Memory in use; None lets it follow from the load again."""
        with self.lock:
            for chip in self._chips(node, gpu):
                chip.memory_mib = mib

    def _chips(self, node: str | None, gpu: int | None) -> list[Gpu]:
        nodes = list(self.nodes.values()) if node is None else [self.nodes[node]]
        return [c for n in nodes for i, c in enumerate(n.gpus) if gpu in (None, i)]

    # Pods.

    def add_pod(
        self,
        name: str,
        gpus: int,
        node: str | None = None,
        *,
        namespace: str = "default",
        phase: Phase | None = None,
        init_gpus: int = 0,
        uid: str | None = None,
        labels: dict[str, str] | None = None,
    ) -> str:
        """A pod that requests GPUs; without a node it waits to be scheduled. Returns its uid."""
        with self.lock:
            pod = Pod(
                namespace=namespace,
                name=name,
                uid=uid or str(uuid.uuid4()),
                node=node,
                gpus=gpus,
                init_gpus=init_gpus,
                phase=phase or ("Running" if node else "Pending"),
                labels=dict(labels or {}),
            )
            self.pods[namespace, name] = pod
            return pod.uid

    def bind_pod(self, name: str, node: str, namespace: str = "default") -> None:
        """A waiting pod gets its node and runs."""
        with self.lock:
            pod = self.pods[namespace, name]
            pod.node, pod.phase = node, "Running"

    def finish_pod(self, name: str, namespace: str = "default", phase: Phase = "Succeeded") -> None:
        """It ends but stays listed, as finished pods do: its requests count no more."""
        with self.lock:
            self.pods[namespace, name].phase = phase

    def remove_pod(self, name: str, namespace: str = "default") -> None:
        with self.lock:
            del self.pods[namespace, name]

    # The truth, to compare with what queries say.

    def capacity(self) -> int:
        with self.lock:
            return sum(len(node.gpus) for node in self.nodes.values())

    def free(self) -> int:
        """GPUs not requested on nodes that are ready, not cordoned and not tainted."""
        with self.lock:
            usable = {
                n.name: len(n.gpus)
                for n in self.nodes.values()
                if n.ready and not n.cordoned and not _repels(n)
            }
            for pod in self.pods.values():
                if pod.node in usable and pod.phase in ("Pending", "Running"):
                    usable[pod.node] -= max(pod.gpus, pod.init_gpus)
            return sum(usable.values())

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        with self.lock:
            return {
                "pool": self.pool,
                "capacity": self.capacity(),
                "free": self.free(),
                "nodes": [asdict(node) for node in self.nodes.values()],
                "pods": [asdict(pod) for pod in self.pods.values()],
            }


def _repels(node: Node) -> bool:
    """Whether it has a taint that a training pod would not tolerate."""
    return any(
        t.effect in ("NoSchedule", "NoExecute") and t.key not in ("nvidia.com/gpu", "amd.com/gpu")
        for t in node.taints
    )
