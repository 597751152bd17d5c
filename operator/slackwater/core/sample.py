"""What a GPU pool holds at one moment, and what of it an ask can use (rule R5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from slackwater.core.identity import pod_labels


@dataclass(frozen=True, slots=True)
class Room:
    """GPUs on one usable node (Ready, not cordoned, no foreign taint)."""

    node: str
    allocatable: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One complete look at a pool.

    Attributes:
        time: age of the oldest raw series behind it, subtracted from our clock at arrival: the
            age is computed by the server, so its clock and ours may differ.
        capacity: GPUs on all nodes of the pool, usable or not.
        rooms: usable nodes.
        used: GPUs requested by pods bound to nodes of the pool.
        waiting: GPUs requested by pods that could land here and are bound nowhere.
        utilization: mean over the pool's GPUs, 0 to 1; None where nothing measures it.
        coverage: share of the pool's GPUs that report, 0 to 1; None where nothing measures it.
        used_by: GPUs requested by bound pods per namespace, where that was asked for.
        visible: GPUs requested by pods that say whose they are, by the value of the label (as
            `identity.pod_labels` gives it); None where no pod's labels can be read.
    """

    time: datetime
    capacity: int
    rooms: tuple[Room, ...]
    used: int
    waiting: int = 0
    utilization: float | None = None
    coverage: float | None = None
    used_by: Mapping[str, int] = field(default_factory=dict)
    visible: Mapping[str, int] | None = field(default=None)
    _empty: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def shown(self, run_id: str) -> int | None:
        """GPUs that a run's own pods request; None where that cannot be read."""
        if self.visible is None:
            return None
        return sum(self.visible.get(label, 0) for label in set(pod_labels(run_id)))

    def fit(self, per_pod: int) -> int:
        """GPUs that pods of `per_pod` GPUs each could take now: whole pods on whole nodes."""
        return sum(max(0, room.free) // per_pod * per_pod for room in self.rooms)

    def fit_when_empty(self, per_pod: int) -> int:
        """The same, were the usable nodes empty. Asked at every decision, so kept."""
        if per_pod not in self._empty:
            self._empty[per_pod] = sum(room.allocatable // per_pod * per_pod for room in self.rooms)
        return self._empty[per_pod]
