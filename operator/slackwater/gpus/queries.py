"""PromQL about one pool: pure text, complete in itself, no recording rules needed.

Inputs are kube-state-metrics (nodes, pods) and dcgm-exporter (load). Every expression survives
what these really do:

- two replicas of kube-state-metrics list everything twice: `max by (identity)` comes first;
- requests of finished pods stay listed (kube-state-metrics #440), and init containers are a
  family of their own: a pod counts the larger of the two until it has finished;
- allocatable GPUs stay listed for nodes that are not ready, cordoned or tainted;
- dcgm-exporter renamed `Hostname` to `hostname` (4.8.3) and its series and units (4.9.0): MiB
  became bytes, percent became a ratio;
- its profiling signal can stick at 0 (dcgm-exporter #662) and its device signal can spike to
  808334905 (#418): the larger of both counts, and what is outside 0 to 1 does not;
- with time-slicing one GPU has a series per container, with MIG one per instance.

`Scope` holds what varies between pools. The functions that give one vector (`capacity`,
`allocatable`, `requested`, `gpu_load`, ...) are recorded as they stand by `slackwater.gpus.rules`;
with `Scope.recorded` they select what was recorded instead. `kubernetes` and `exporter` name what
one sample asks, and `union` joins it into one request, each row marked by the label `what`, for
`slackwater.gpus.reading`.

Not told apart here: a GPU requested by a restartable init container (a sidecar) counts like any
init container's, and pods are only seen where kube-state-metrics is set to list them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from slackwater.gpus.config import Toleration

WHAT: Final = "what"
HOST_LABELS: Final = ("hostname", "Hostname")
"""Where a GPU series names its node. Manifests of 2021 put the exporter's pod there
(dcgm-exporter #188): such GPUs count as not reporting."""
REPORT: Final = 1024
"""What each GPU adds to `reports`: more than any sum of loads on one host."""
HELD_MEMORY_MIB: Final = 500
"""A GPU that holds more than this is in use though it may idle: a CUDA context with its
libraries takes about 500 MiB, a desktop or an idle driver less."""
FOREGROUND: Final = "slackwater_pool_foreground_gpus"
"""Our own gauge: GPUs asked of a pool by others than runs of ours."""
RUN_ID: Final = "label_run_id"
"""Airflow's own label, on pods of its executor and of its operators for pods, jobs and Spark."""
OWN_RUN: Final = "label_slackwater_dev_run"
"""`slackwater.dev/run`, for pods that others create, such as those of a RayCluster."""
MOST_SEEN: Final = timedelta(hours=24)
RECORDED_RESOURCE: Final = "nvidia.com/gpu"
"""The resource that the recorded series are about; a pool of another one reads the raw series."""
LOAD_SERIES: Final = "gpu:slackwater_load:ratio"
CAPACITY_SERIES: Final = "node:slackwater_gpus_capacity:max"
ALLOCATABLE_SERIES: Final = "node:slackwater_gpus_allocatable:max"
REQUESTED_SERIES: Final = "node:slackwater_gpus_requested:sum"
LOAD_SAMPLED_SERIES: Final = "host:slackwater_load_sampled:timestamp_seconds"
NODES_SAMPLED_SERIES: Final = "node:slackwater_gpus_sampled:timestamp_seconds"

HOSTS: Final = ", ".join(HOST_LABELS)
_GPU: Final = f"{HOSTS}, gpu, UUID, GPU_I_ID"
_POD: Final = "namespace, pod, uid"
PROFILING: Final = ("DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
DEVICE_RATIO: Final = "DCGM_FI_DEV_GPU_UTIL_RATIO"
DEVICE_PERCENT: Final = "DCGM_FI_DEV_GPU_UTIL"
_RE2_META: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")


def one_of(names: Iterable[str]) -> str:
    r"""A regular expression (RE2, anchored as Prometheus does) for exactly these names.

    >>> one_of({"gpu-2.lan", "gpu-1.lan"})
    'gpu-1\\.lan|gpu-2\\.lan'
    """
    return "|".join(_RE2_META.sub(r"\\\g<0>", name) for name in sorted(names))


def quoted(text: str) -> str:
    """A PromQL string: JSON's escapes are among Go's."""
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What belongs to a pool.

    Attributes:
        nodes: regular expression of node names. None asks for every node that has the resource,
            row by row, and the reader picks by name: cheaper than a list of hundreds of names.
        resource: the extended resource that pods request, such as "nvidia.com/gpu".
        tolerations: taints that do not make a node unusable.
        recorded: read the series that the recording rules make, where they are about the resource.
    """

    nodes: str | None
    resource: str = RECORDED_RESOURCE
    tolerations: tuple[Toleration, ...] = ()
    recorded: bool = False

    @property
    def on_node(self) -> str:
        """Matchers for series that carry the node's name in `node`."""
        return 'node!=""' if self.nodes is None else f'node!="", node=~{quoted(self.nodes)}'

    @property
    def of_resource(self) -> str:
        """Matcher for the resource as kube-state-metrics spells it."""
        return f"resource={quoted(re.sub('[^A-Za-z0-9_]', '_', self.resource))}"

    @property
    def recorded_nodes(self) -> bool:
        """Whether what was recorded of nodes and pods is about this resource."""
        return self.recorded and self.resource == RECORDED_RESOURCE

    def hosted(self, *names: str, also: str = "") -> tuple[str, ...]:
        """Selectors of GPU series by these names, wherever the exporter puts the node's name."""
        name = f'__name__=~"{"|".join(names)}"' if names[1:] else f'__name__="{names[0]}"'
        if self.nodes is None:
            return (f"{{{name}{also}}}",)
        here = quoted(self.nodes)
        return tuple(f'{{{name}{also}, {label}!="", {label}=~{here}}}' for label in HOST_LABELS)


# --- nodes -------------------------------------------------------------------------------------


def capacity(scope: Scope) -> str:
    """GPUs per node, whatever the node's state. Labels: node."""
    if scope.recorded_nodes:
        return f"{CAPACITY_SERIES}{{{scope.on_node}}}"
    return f"max by (node) (kube_node_status_allocatable{{{scope.of_resource}, {scope.on_node}}})"


def foreign_taints(scope: Scope) -> str:
    """Taints that keep pods of the pool's users away.

    The resource's own key is tolerated, as by the admission plugin ExtendedResourceToleration.
    """
    seen = f'effect=~"NoSchedule|NoExecute", {scope.on_node}'
    own = Toleration(key=scope.resource, effect="NoSchedule")
    tolerated = "".join(
        f" unless kube_node_spec_taint{{{', '.join((*_taint_matchers(one), seen))}}}"
        for one in (own, *scope.tolerations)
    )
    return f"(kube_node_spec_taint{{{seen}}}{tolerated})"


def _taint_matchers(toleration: Toleration) -> tuple[str, ...]:
    given = {"key": toleration.key, "value": toleration.value, "effect": toleration.effect}
    return tuple(f"{name}={quoted(text)}" for name, text in given.items() if text is not None)


def usable(scope: Scope) -> str:
    """1 per node that is Ready, known not to be cordoned, and without a foreign taint."""
    cordoned = f"kube_node_spec_unschedulable{{{scope.on_node}}}"
    return (
        f"((max by (node) ({ready(scope)}) == 1)"
        f" and on (node) (max by (node) ({cordoned}) == 0)"
        f" unless on (node) {foreign_taints(scope)})"
    )


def ready(scope: Scope) -> str:
    """Which nodes are Ready, as kube-state-metrics says."""
    return f'kube_node_status_condition{{condition="Ready", status="true", {scope.on_node}}}'


def allocatable(scope: Scope) -> str:
    """GPUs per usable node. Labels: node."""
    if scope.recorded_nodes and not scope.tolerations:
        return f"{ALLOCATABLE_SERIES}{{{scope.on_node}}}"
    return f"({capacity(scope)} and on (node) {usable(scope)})"


# --- demand ------------------------------------------------------------------------------------


def requested(scope: Scope) -> str:
    """GPUs requested by pods that have not finished: by node, and without a node of those waiting.

    A pod whose phase nobody knows counts. While one replica of kube-state-metrics already knows
    a pod's node and another does not, the pod counts as bound, once.
    """
    if scope.recorded_nodes:
        here = "" if scope.nodes is None else f"{{node=~{quoted(f'|(?:{scope.nodes})')}}}"
        return f"{REQUESTED_SERIES}{here}"
    mains = _requests(scope, "kube_pod_container_resource_requests")
    inits = _requests(scope, "kube_pod_init_container_resource_requests")
    return _summed("node", mains, inits)


def requested_by(scope: Scope, namespaces: Iterable[str]) -> str:
    """The same of pods bound to a node, for some namespaces. Labels: namespace, node."""
    matchers = f"{scope.of_resource}, {scope.on_node}, namespace=~{quoted(one_of(namespaces))}"
    mains = f"kube_pod_container_resource_requests{{{matchers}}}"
    inits = f"kube_pod_init_container_resource_requests{{{matchers}}}"
    return _summed("namespace, node", mains, inits)


def visible(scope: Scope) -> str:
    """The same of pods that say to which run of ours they belong. Labels: node and the two below.

    Of pods bound elsewhere nothing is told: they take nothing of the pool. A pod whose labels
    differ between replicas of kube-state-metrics counts once, by either.
    """
    labels = f"{RUN_ID}, {OWN_RUN}"
    said = f'(kube_pod_labels{{{RUN_ID}=~"slackwater[.].+"}} or kube_pod_labels{{{OWN_RUN}!=""}})'
    mains = _requests(scope, "kube_pod_container_resource_requests")
    inits = _requests(scope, "kube_pod_init_container_resource_requests")
    of_ours = f"and on ({_POD}) {said}"
    by_pod = _by_pod(f"({mains}) {of_ours}", f"({inits}) {of_ours}")
    return (
        f"sum by (node, {labels}) "
        f"({by_pod} * on ({_POD}) group_left ({labels}) topk by ({_POD}) (1, {said}))"
    )


def labelled() -> str:
    """How many pods say to which run they belong, of whomever; none where nobody can read that.

    kube-state-metrics tells of labels only where it was told to: `--metric-labels-allowlist`.
    """
    return f'count(kube_pod_labels{{{RUN_ID}!=""}} or kube_pod_labels{{{OWN_RUN}!=""}})'


def _summed(by: str, mains: str, inits: str) -> str:
    return f"sum by ({by}) ({_by_pod(mains, inits)})"


def _by_pod(mains: str, inits: str) -> str:
    """Requests per pod that has not finished: of its containers, or of an init container if more."""
    by_pod = f"by ({_POD}, node)"
    return (
        f"(max {by_pod} ("
        f"sum {by_pod} (max by ({_POD}, node, container) ({mains}))"
        f' or label_replace(max {by_pod} ({inits}), "part", "init", "", "")'
        f') unless on ({_POD}) (kube_pod_status_phase{{phase=~"Succeeded|Failed"}} == 1))'
    )


def _requests(scope: Scope, family: str) -> str:
    bound = f"{family}{{{scope.of_resource}, {scope.on_node}}}"
    unbound = f'{family}{{{scope.of_resource}, node=""}}'
    anywhere = f'{family}{{{scope.of_resource}, node!=""}}'
    return f"{bound} or ({unbound} unless on ({_POD}) {anywhere})"


# --- load --------------------------------------------------------------------------------------


def gpu_load(scope: Scope) -> str:
    """Load, 0 to 1, per GPU or MIG instance that reports. Labels: the host labels and the GPU's.

    The device signal of a MIG instance means nothing, so it is taken of whole GPUs only.
    """
    if scope.recorded:
        return _any(scope.hosted(LOAD_SERIES))
    whole = ', GPU_I_ID=""'
    profiling = _any(scope.hosted(*PROFILING))
    ratio = _any(scope.hosted(DEVICE_RATIO, also=whole))
    percent = _any(scope.hosted(DEVICE_PERCENT, also=whole))
    # The label keeps both signals of a GPU: `or` drops the second of two equal label sets.
    device = f'label_replace({ratio} or {percent} / 100, "signal", "device", "", "")'
    return f"max by ({_GPU}) (({profiling} or {device}) >= 0 <= 1)"


def _any(expressions: Iterable[str]) -> str:
    return f"({' or '.join(expressions)})"


def reports(scope: Scope) -> str:
    """Per host: `REPORT` for each GPU that reports, plus the sum of their loads.

    Two numbers in one: PromQL has no common subexpressions, and evaluating the loads of 4,000
    GPUs once more costs a third of the whole sample.
    """
    return f"sum by ({HOSTS}) ({REPORT} + {gpu_load(scope)})"


def utilization(scope: Scope) -> str:
    """Mean load of the pool's GPUs, 0 to 1; one number."""
    return f"avg({gpu_load(scope)})"


def gpus_seen(scope: Scope) -> str:
    """How many GPUs report; one number, 0 where none does."""
    return f"count({gpu_load(scope)}) or vector(0)"


def most_seen(scope: Scope) -> str:
    """The most GPUs that reported at once within 24 hours; one number or none."""
    hours = MOST_SEEN // timedelta(hours=1)
    return f"max_over_time(count({gpu_load(scope)})[{hours}h:5m])"


def held(scope: Scope, busy: float) -> str:
    """How many GPUs per host are in use by their own look: busy, or holding memory.

    Args:
        scope: which GPUs.
        busy: load above which a GPU is busy, 0 to 1.
    """
    mib = _any(scope.hosted("DCGM_FI_DEV_FB_USED"))
    size = _any(scope.hosted("DCGM_FI_DEV_FB_USED_BYTES"))
    limit = HELD_MEMORY_MIB
    memory = f"max by ({_GPU}) ({mib} > {limit} or {size} > {limit * 1024 * 1024})"
    return f"count by ({HOSTS}) ({gpu_load(scope)} > {busy:g} or {memory})"


# --- history -----------------------------------------------------------------------------------


def foreground(namespace: str, name: str, raw: str) -> str:
    """GPUs that others asked of the pool: as Slackwater itself recorded them, else `raw`.

    A Prometheus that scrapes Slackwater may keep its own label `namespace` and rename ours.
    """
    series = f"{FOREGROUND}{{name={quoted(name)}, "
    ours = f"{series}namespace={quoted(namespace)}}} or {series}exported_namespace={quoted(namespace)}}}"
    return f"max({ours}) or sum({raw})"
