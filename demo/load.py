"""Who uses the simulated GPUs, by script: other teams' pods, and those of our own runs.

No GPU and no pod is real here; what kube-state-metrics and the DCGM exporter would report of them
is. In a cluster the pods of a run come from Airflow and show in these series by themselves.
"""

from __future__ import annotations

from testbed.gpus import PoolProcess

_BUSY, _IDLE = 0.93, 0.01
_OTHERS = "demand-forecast"


class Load:
    """Fills whole nodes and empties them.

    Args:
        pool: nodes gpu-1, gpu-2 and so on.
        nodes: how many it has.
        gpus: of each.
    """

    def __init__(self, pool: PoolProcess, nodes: int, gpus: int) -> None:
        self._pool, self._gpus = pool, gpus
        self._free = [f"gpu-{number}" for number in range(nodes, 0, -1)]
        self._held: dict[str, list[str]] = {}
        self._pool.do("set_utilization", value=_IDLE)

    def others_take(self, nodes: int) -> None:
        """Other teams use this many nodes."""
        for _ in range(nodes):
            self._take(_OTHERS, "others")

    def others_leave(self, nodes: int) -> None:
        """Other teams are done with this many nodes."""
        for _ in range(nodes):
            self._leave(_OTHERS, "others")

    def run_takes(self, name: str, nodes: int) -> None:
        """The pods of one of our runs are scheduled."""
        for _ in range(nodes):
            self._take(name, "research")

    def run_leaves(self, name: str) -> None:
        """The pods of a run are gone."""
        while self._held.get(name):
            self._leave(name, "research")

    @property
    def free(self) -> int:
        """GPUs that nobody has requested."""
        return int(self._pool.state()["free"])

    def _take(self, name: str, namespace: str) -> None:
        node = self._free.pop()
        self._held.setdefault(name, []).append(node)
        pod = f"{name}-{node}"
        self._pool.do("add_pod", name=pod, namespace=namespace, gpus=self._gpus, node=node)
        self._pool.do("set_utilization", value=_BUSY, node=node)

    def _leave(self, name: str, namespace: str) -> None:
        node = self._held[name].pop()
        self._free.append(node)
        self._pool.do("remove_pod", name=f"{name}-{node}", namespace=namespace)
        self._pool.do("set_utilization", value=_IDLE, node=node)
