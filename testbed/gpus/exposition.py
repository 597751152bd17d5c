"""The model as the text that dcgm-exporter and kube-state-metrics would serve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

from testbed.gpus.model import (
    BUSY_MEMORY_MIB,
    IDLE_MEMORY_MIB,
    TOTAL_MEMORY_MIB,
    Gpu,
    PoolModel,
)

Generation = Literal["le4.8.2", "4.8.3", "4.9.0"]
"""dcgm-exporter's names: 4.8.3 renamed a label, 4.9.0 the series and their units."""

GENERATIONS: tuple[Generation, ...] = ("le4.8.2", "4.8.3", "4.9.0")

Sample = tuple[dict[str, str], float]


def dcgm(model: PoolModel, generation: Generation) -> str:
    """What the GPU exporters of all nodes report, on one page."""
    ratio = generation == "4.9.0"
    percent = 1.0 if ratio else 100.0
    scale = 1024.0**2 if ratio else 1.0
    suffix = "_BYTES" if ratio else ""
    profiling = "DCGM_FI_PROF_GR_ENGINE_" + ("UTIL_RATIO" if ratio else "ACTIVE")
    device = "DCGM_FI_DEV_GPU_UTIL" + ("_RATIO" if ratio else "")
    with model.lock:
        chips = [
            (_gpu_labels(node.name, index, chip, generation), chip)
            for node in model.nodes.values()
            if node.reporting
            for index, chip in enumerate(node.gpus)
        ]
        families = [
            _family(profiling, "engine activity", ((c, g.profiling) for c, g in chips)),
            _family(device, "utilisation", ((c, g.device * percent) for c, g in chips)),
            _family(
                f"DCGM_FI_DEV_FB_USED{suffix}",
                "memory in use",
                ((c, _memory(g) * scale) for c, g in chips),
            ),
            _family(
                f"DCGM_FI_DEV_FB_FREE{suffix}",
                "memory free",
                ((c, (TOTAL_MEMORY_MIB - _memory(g)) * scale) for c, g in chips),
            ),
        ]
    return "".join(families)


def _gpu_labels(node: str, index: int, chip: Gpu, generation: Generation) -> dict[str, str]:
    return {
        "gpu": str(index),
        "UUID": chip.uuid,
        "pci_bus_id": f"00000000:{index + 1:02X}:00.0",
        "device": f"nvidia{index}",
        "modelName": "Simulated H100 80GB",
        "Hostname" if generation == "le4.8.2" else "hostname": node,
    }


def _memory(chip: Gpu) -> float:
    if chip.memory_mib is not None:
        return chip.memory_mib
    load = max(chip.profiling, chip.device)
    return BUSY_MEMORY_MIB if load > 0 else IDLE_MEMORY_MIB


def kube_state(model: PoolModel, node_labels: bool = True) -> str:
    """What kube-state-metrics reports of nodes and pods.

    It gives `kube_node_labels` only where it was asked for by a flag, so that one is optional.
    """
    with model.lock:
        return "".join([*_nodes(model, node_labels), *_pods(model)])


def _nodes(model: PoolModel, with_labels: bool) -> Iterator[str]:
    nodes = list(model.nodes.values())
    resource = _metric_word(model.resource)
    yield _family(
        "kube_node_status_allocatable",
        "what pods may request",
        (
            ({"node": n.name, "resource": resource, "unit": "integer"}, float(len(n.gpus)))
            for n in nodes
        ),
    )
    yield _family(
        "kube_node_status_condition",
        "condition",
        (
            (
                {"node": n.name, "condition": "Ready", "status": status},
                float(status == ("true" if n.ready else "unknown")),
            )
            for n in nodes
            for status in ("true", "false", "unknown")
        ),
    )
    yield _family(
        "kube_node_spec_unschedulable",
        "cordoned",
        (({"node": n.name}, float(n.cordoned)) for n in nodes),
    )
    yield _family(
        "kube_node_spec_taint",
        "taint",
        (
            ({"node": n.name, "key": t.key, "value": t.value, "effect": t.effect}, 1.0)
            for n in nodes
            for t in n.taints
        ),
    )
    if with_labels:
        yield _family(
            "kube_node_labels",
            "labels",
            (
                (
                    {
                        "node": n.name,
                        **{f"label_{_metric_word(k)}": v for k, v in n.labels.items()},
                    },
                    1,
                )
                for n in nodes
            ),
        )


def _pods(model: PoolModel) -> Iterator[str]:
    pods = list(model.pods.values())
    resource = _metric_word(model.resource)
    for family, container in (("container", "main"), ("init_container", "init")):
        samples: list[Sample] = []
        for pod in pods:
            count = pod.gpus if container == "main" else pod.init_gpus
            labels = {"namespace": pod.namespace, "pod": pod.name, "uid": pod.uid}
            labels |= {"container": container, "node": pod.node or ""}
            labels |= {"resource": resource, "unit": "integer"}
            if count:
                samples.append((labels, float(count)))
        yield _family(f"kube_pod_{family}_resource_requests", "requests", samples)
    yield _family(
        "kube_pod_status_phase",
        "phase",
        (
            (
                {"namespace": p.namespace, "pod": p.name, "uid": p.uid, "phase": phase},
                float(p.phase == phase),
            )
            for p in pods
            for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown")
        ),
    )
    yield _family(
        "kube_pod_labels",
        "labels",
        (
            (
                {
                    "namespace": p.namespace,
                    "pod": p.name,
                    "uid": p.uid,
                    **{f"label_{_metric_word(k)}": v for k, v in p.labels.items()},
                },
                1.0,
            )
            for p in pods
            if p.labels
        ),
    )


def stamped(text: str, milliseconds: int) -> str:
    """The same page with a time on each sample."""
    lines = [
        line if not line or line.startswith("#") else f"{line} {milliseconds}"
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def _family(name: str, what: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {what} (simulated)", f"# TYPE {name} gauge"]
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.10g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _metric_word(text: str) -> str:
    """As kube-state-metrics writes names inside its own: nvidia.com/gpu → nvidia_com_gpu."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)
