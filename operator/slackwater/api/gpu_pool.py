"""`GPUPool`: GPUs that runs share, where their numbers come from, and who may use how many."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from slackwater.api.access import LabelSelector, Namespaces
from slackwater.api.field import (
    DISTINCT_NAMES,
    LIST_MAP,
    LabelValue,
    NodePattern,
    Percent,
    QualifiedName,
    Rule,
    demand,
    is_exactly_one,
)
from slackwater.api.pool_source import Source
from slackwater.api.reservation import Reservation
from slackwater.core.spec import StopPolicy
from slackwater.wire import WireModel


class TaintEffect(StrEnum):
    """Taint effects that keep pods off a node."""

    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(WireModel):
    """A taint that the runs' pods tolerate."""

    key: Annotated[QualifiedName, Field(description="Key of the taint.")]
    value: Annotated[
        LabelValue | None, Field(description="Value of the taint; any value when left out.")
    ] = None
    effect: Annotated[
        TaintEffect | None, Field(description="Effect of the taint; either when left out.")
    ] = None


class PoolGrantRule(WireModel):
    """What some namespaces may do with the pool."""

    namespaces: Annotated[
        Namespaces, Field(description="The namespaces that this grant is for.")
    ] = Namespaces()
    max_gpus: Annotated[
        int | None,
        Field(
            alias="maxGPUs",
            ge=1,
            le=100_000,
            description="The most GPUs that one run may ask for; any number when left out.",
        ),
    ] = None
    max_priority: Annotated[
        int,
        Field(
            ge=-1_000_000,
            le=1_000_000,
            description="The highest priority that counts; a higher one is taken as this.",
        ),
    ] = 100
    allow_override: Annotated[
        bool,
        Field(
            description="Whether a run started by hand (annotation slackwater.dev/trigger) may "
            "pass the check for free GPUs."
        ),
    ] = False


_NODES: Final = Rule(
    "has(self.source.static) ? !(has(self.nodeSelector) && has(self.nodes)) : "
    "has(self.nodeSelector) != has(self.nodes)",
    "set exactly one of nodeSelector and nodes to say which nodes the pool has; with source.static "
    "both may be left out",
)
_FRESH_ENOUGH: Final = Rule(
    "self.maxSampleAgeSeconds >= self.sampleIntervalSeconds",
    "maxSampleAgeSeconds must not be less than sampleIntervalSeconds, else every sample is too old "
    "before the next one: raise maxSampleAgeSeconds",
)


class GPUPoolSpec(WireModel):
    """Which GPUs there are, where their numbers come from, and who may use how many."""

    rules = (_NODES, _FRESH_ENOUGH)

    source: Annotated[
        Source, Field(description="Where the pool's numbers come from: exactly one place.")
    ]
    node_selector: Annotated[
        LabelSelector | None,
        Field(
            description="Labels of the pool's nodes, looked up in the Kubernetes API. Either this "
            "or nodes."
        ),
    ] = None
    nodes: Annotated[
        NodePattern | None,
        Field(
            description="Regular expression (RE2) that the whole name of a node must match, such "
            'as "gpu-.*". Either this or nodeSelector. No node may belong to two pools.',
        ),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(
            max_length=16,
            description="Taints that the runs' pods tolerate. A node with any other NoSchedule or "
            "NoExecute taint is not usable.",
        ),
    ] = ()
    resource: Annotated[
        QualifiedName,
        Field(
            description="Name under which pods ask for these GPUs.",
        ),
    ] = "nvidia.com/gpu"
    sample_interval_seconds: Annotated[
        int, Field(ge=1, le=3600, description="How often the numbers are read.")
    ] = 15
    max_sample_age_seconds: Annotated[
        int,
        Field(
            ge=5,
            le=3600,
            description="How old the oldest of the numbers may be. No run starts on older ones.",
        ),
    ] = 120
    min_coverage_percent: Annotated[
        Percent,
        Field(
            description="The least share of the pool's GPUs that must report. No run starts below."
        ),
    ] = 90.0
    max_concurrent_runs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="The most runs of all TrainingWindows together; any number when left out.",
        ),
    ] = None
    reservations: Annotated[
        tuple[Reservation, ...],
        Field(
            max_length=32,
            description="Announced demand: GPUs that calendar events keep for others. A run that "
            "would last into such a time starts only if it leaves them free.",
            json_schema_extra=LIST_MAP,
        ),
        DISTINCT_NAMES,
    ] = ()
    stop_policy: Annotated[
        StopPolicy,
        Field(
            description="None: business as usual. Hold: nothing starts in this pool and queued "
            "runs are deleted. HoldAndDrain: running runs are cancelled too."
        ),
    ] = StopPolicy.NONE
    grants: Annotated[
        tuple[PoolGrantRule, ...],
        Field(
            max_length=32,
            description="Who may use the pool, and how much of it. Where several grants are for "
            "one namespace, the one with the highest maxGPUs holds, then the one with the highest "
            "maxPriority. Left out: only the pool's own namespace.",
        ),
    ] = (PoolGrantRule(),)

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        both = self.node_selector is not None and self.nodes is not None
        one = is_exactly_one(self.node_selector, self.nodes)
        demand(not both if self.source.static else one, _NODES)
        demand(self.max_sample_age_seconds >= self.sample_interval_seconds, _FRESH_ENOUGH)
        return self


class GPUPool(WireModel):
    """GPUs that runs share."""

    spec: Annotated[
        GPUPoolSpec,
        Field(
            description="Which GPUs there are, where their numbers come from, and who may use how "
            "many."
        ),
    ]
