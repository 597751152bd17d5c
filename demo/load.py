"""Who uses the simulated GPUs, by script: the pods of other teams.

No GPU and no pod is real here; what kube-state-metrics and the DCGM exporter would report of them
is. The pods of our own runs do not show: their GPUs are taken by the promise alone.
"""

from __future__ import annotations

from testbed.gpus import PoolProcess

_BUSY, _IDLE = 0.93, 0.01
_NAMESPACE = "forecasts"


class Load:
    """Fills whole nodes and empties them.

    Args:
        pool: nodes gpu-1, gpu-2 and so on.
        gpus: of each node.
    """

    def __init__(self, pool: PoolProcess, gpus: int) -> None:
        self._pool, self._gpus = pool, gpus
        self._held: list[str] = []
        self._pool.do("set_utilization", value=_IDLE)

    def rise(self, nodes: int) -> None:
        """Other teams use this many nodes more."""
        for _ in range(nodes):
            node = f"gpu-{len(self._held) + 1}"
            self._held.append(node)
            self._pool.do(
                "add_pod", name=f"train-{node}", namespace=_NAMESPACE, gpus=self._gpus, node=node
            )
            self._pool.do("set_utilization", value=_BUSY, node=node)

    def fall(self, nodes: int) -> None:
        """Other teams are done with this many nodes."""
        for _ in range(nodes):
            node = self._held.pop()
            self._pool.do("remove_pod", name=f"train-{node}", namespace=_NAMESPACE)
            self._pool.do("set_utilization", value=_IDLE, node=node)

    @property
    def free(self) -> int:
        """GPUs that nobody has requested."""
        return int(self._pool.state()["free"])
