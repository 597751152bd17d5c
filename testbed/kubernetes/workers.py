"""What makes a cluster of an API server: controllers, a scheduler, nodes, and its metrics.

The nodes are kwok's: they hold pods and report as nodes do, and run nothing. Each is one process
on loopback that talks to the API server as the administrator.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from testbed import web
from testbed.kubernetes import binaries
from testbed.process import Server, free_port

if TYPE_CHECKING:
    from testbed.kubernetes import ControlPlane

LOST: Final = "testbed/lost"
"""Annotation of a node: while "true" it reports that it is not ready, as after a crash."""
FINISHED: Final = "testbed/finished"
"""Annotation of a pod: its containers have come to a good end."""
_CONTROLLERS: Final = (
    "garbage-collector-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
)


class _Worker(Server):
    """A process beside the API server."""

    program = ""
    start_timeout = 180.0

    def __init__(self, plane: ControlPlane) -> None:
        self.name = self.program
        self._binary = binaries.find(self.program)
        self._kubeconfig = plane.kubeconfig
        super().__init__()


class _Secure(_Worker):
    """One that answers over TLS, with a certificate of its own making."""

    def ready(self) -> bool:
        anybody = ssl.create_default_context()
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        try:
            return web.call("GET", f"https://127.0.0.1:{self.port}/healthz", context=anybody).ok
        except OSError:
            return False

    def common(self) -> list[str | Path]:
        return [
            self._binary,
            f"--kubeconfig={self._kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.home / 'certificates'}",
            "--leader-elect=false",
        ]


class ControllerManager(_Secure):
    """kube-controller-manager with what nodes, pods and namespaces need."""

    program = "kube-controller-manager"

    def command(self) -> Sequence[str | Path]:
        return [
            *self.common(),
            f"--controllers={','.join(_CONTROLLERS)}",
            "--node-monitor-period=1s",
            "--node-monitor-grace-period=20s",
        ]


class Scheduler(_Secure):
    """kube-scheduler."""

    program = "kube-scheduler"

    def command(self) -> Sequence[str | Path]:
        return self.common()


class Kwok(_Worker):
    """Nodes that report, and pods on them that start, finish and vanish at a word."""

    program = "kwok"

    def prepare(self) -> None:
        text = "\n---\n".join(json.dumps(stage) for stage in _stages())  # JSON is YAML
        (self.home / "stages.yaml").write_text(text)

    def command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--kubeconfig={self._kubeconfig}",
            f"--config={self.home / 'stages.yaml'}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=10",
            f"--server-address=127.0.0.1:{self.port}",
        ]

    def ready(self) -> bool:
        return web.answers(f"{self.url}/healthz")


class KubeStateMetrics(_Worker):
    """kube-state-metrics for nodes and pods."""

    program = "kube-state-metrics"

    def command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--kubeconfig={self._kubeconfig}",
            "--resources=nodes,pods",
            "--host=127.0.0.1",
            f"--port={self.port}",
            "--telemetry-host=127.0.0.1",
            f"--telemetry-port={free_port()}",
        ]

    def ready(self) -> bool:
        return web.answers(f"{self.url}/healthz")

    @property
    def target(self) -> str:
        """What Prometheus scrapes."""
        return f"127.0.0.1:{self.port}"


def gpu_node(name: str, gpus: int, **labels: str) -> dict[str, Any]:
    """A node with so many GPUs."""
    amounts = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


def _stages() -> list[dict[str, Any]]:
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    lost = f'.metadata.annotations["{LOST}"]'
    finished = f'.metadata.annotations["{FINISHED}"]'
    deleted = (".metadata.deletionTimestamp", "Exists")
    kept = (".metadata.deletionTimestamp", "DoesNotExist")
    return [
        _stage("node-ready", "Node", _READY, (ready, "NotIn", "True"), (lost, "NotIn", "true")),
        _stage("node-lost", "Node", _NOT_READY, (ready, "In", "True"), (lost, "In", "true")),
        _stage("pod-runs", "Pod", _RUNNING, kept, (".status.phase", "In", "Pending")),
        _stage(
            "pod-ends",
            "Pod",
            "phase: Succeeded",
            kept,
            (".status.phase", "In", "Running"),
            (finished, "In", "true"),
        ),
        _stage("pod-goes", "Pod", None, deleted),
    ]


def _stage(name: str, kind: str, status: str | None, *when: tuple[str, ...]) -> dict[str, Any]:
    """A Stage of kwok: what becomes of an object that matches. Without a status it is deleted."""
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {
                "matchExpressions": [
                    {"key": key, "operator": operator, **({"values": values} if values else {})}
                    for key, operator, *values in when
                ]
            },
            "next": {"delete": True} if status is None else {"statusTemplate": status},
        },
    }


_READY: Final = """\
conditions:
- lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
  message: it is up
  reason: KubeletReady
  status: "True"
  type: Ready
phase: Running
"""
_NOT_READY: Final = """\
conditions:
- lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
  message: it is down
  reason: KubeletNotReady
  status: "False"
  type: Ready
"""
_RUNNING: Final = """\
conditions:
- lastTransitionTime: {{ Now | Quote }}
  status: "True"
  type: Ready
phase: Running
startTime: {{ Now | Quote }}
"""
