"""A simulated GPU pool, served as real exporters would serve it.

In process: `with SimulatedPool(nodes=4, gpus=8) as pool: pool.set_utilization(0.9)`.
As a process of its own: `PoolProcess`, or `python -m testbed.gpus --port N`, changed by
POST /set with `{"do": "set_utilization", "value": 0.9}` (or a list of such).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed import web
from testbed.gpus.exposition import GENERATIONS, Generation
from testbed.gpus.model import Gpu, Node, Pod, PoolModel, Taint
from testbed.gpus.server import SimulatedPool
from testbed.process import Server

__all__ = [
    "GENERATIONS",
    "Generation",
    "Gpu",
    "Node",
    "Pod",
    "PoolModel",
    "PoolProcess",
    "SimulatedPool",
    "Taint",
]


class PoolProcess(Server):
    """`python -m testbed.gpus` as a child process; `do()` changes it over HTTP."""

    name = "gpus"

    def __init__(
        self,
        nodes: int = 4,
        gpus: int = 8,
        *,
        generation: Generation = "4.8.3",
        home: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(home, port)
        self._options = {"nodes": nodes, "gpus": gpus, "generation": generation}

    def command(self) -> Sequence[str | Path]:
        options = [f"--{name}={value}" for name, value in self._options.items()]
        return [sys.executable, "-m", "testbed.gpus", f"--port={self.port}", *options]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(Path(__file__).parents[2])}

    def ready(self) -> bool:
        return web.answers(f"{self.url}/state")

    @property
    def target(self) -> str:
        """What Prometheus scrapes."""
        return f"127.0.0.1:{self.port}"

    def do(self, action: str, **arguments: Any) -> Any:
        """Call a method of SimulatedPool; returns its result."""
        body = {"do": action, **arguments}
        return web.call("POST", f"{self.url}/set", body).checked().json()[0]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = web.call("GET", f"{self.url}/state").checked().json()
        return found
