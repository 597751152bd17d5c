"""The simulated pool behind HTTP: metrics to scrape, faults, and changes from outside."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from testbed.gpus import exposition
from testbed.gpus.exposition import Generation
from testbed.gpus.model import PoolModel

Exporter = Literal["all", "dcgm", "kube-state"]

# Page → the exporters on it. One page has both, or each has its own.
_PAGES: dict[str, tuple[Exporter, ...]] = {
    "/metrics": ("dcgm", "kube-state"),
    "/dcgm/metrics": ("dcgm",),
    "/kube-state/metrics": ("kube-state",),
}
# What POST /set may call.
_ACTIONS = frozenset(
    [
        "add_node",
        "remove_node",
        "cordon",
        "taint",
        "untaint",
        "lose_node",
        "recover_node",
        "set_utilization",
        "set_memory",
        "add_pod",
        "bind_pod",
        "finish_pod",
        "remove_pod",
        "freeze",
        "fail",
        "hang",
        "recover",
        "set_generation",
        "set_node_labels",
    ]
)


class SimulatedPool(PoolModel):
    """A pool with its exporters on one port: pages /metrics, /dcgm/metrics, /kube-state/metrics.

    On the page /metrics a fault of either exporter is a fault of the whole page. `timestamps`
    puts the time on each sample, as some gateways do.
    """

    def __init__(
        self,
        nodes: int = 4,
        gpus: int = 8,
        *,
        generation: Generation = "4.8.3",
        node_labels: bool = True,
        timestamps: bool = False,
        port: int = 0,
        prefix: str = "gpu",
        pool: str = "h100",
        resource: str = "nvidia.com/gpu",
    ) -> None:
        super().__init__(nodes, gpus, prefix=prefix, pool=pool, resource=resource)
        self.generation: Generation = generation
        self.node_labels = node_labels
        self.timestamps = timestamps
        self.scrapes = 0
        self._frozen: dict[Exporter, str] = {}
        self._failing: dict[Exporter, int] = {}
        self._hanging: set[Exporter] = set()
        self._released = threading.Event()
        self._server = _HttpServer(("127.0.0.1", port), self)
        self._thread: threading.Thread | None = None

    # Life.

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """What Prometheus scrapes."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        if self._thread is None:
            self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Nobody listens any more: scrapes fail. It cannot be started again."""
        self._released.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread = None
        self._server.server_close()

    def serve_forever(self) -> None:
        """Serve in this thread, until interrupted."""
        self._server.serve_forever()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Faults.

    def freeze(self, exporter: Exporter = "all") -> None:
        """Values stop: each scrape answers with what it was now.

        With `timestamps` their age shows; without, a frozen exporter looks alive, as a stuck
        one does.
        """
        for one in _each(exporter):
            self._frozen[one] = self._text(one)

    def fail(self, exporter: Exporter = "all", status: int = 503) -> None:
        """Scrapes answer with an error: the series end."""
        for one in _each(exporter):
            self._failing[one] = status

    def hang(self, exporter: Exporter = "all") -> None:
        """Scrapes get no answer until `recover()`."""
        self._released.clear()
        self._hanging.update(_each(exporter))

    def recover(self, exporter: Exporter = "all") -> None:
        """End these faults."""
        for one in _each(exporter):
            self._frozen.pop(one, None)
            self._failing.pop(one, None)
            self._hanging.discard(one)
        self._released.set()

    def set_generation(self, generation: Generation) -> None:
        """The exporter is upgraded: other names and units from the next scrape."""
        self.generation = generation

    def set_node_labels(self, shown: bool) -> None:
        self.node_labels = shown

    # Answers.

    def page(self, path: str) -> tuple[int, str]:
        """Status and body of a scrape."""
        exporters = _PAGES[path]
        self.scrapes += 1
        if self._hanging.intersection(exporters):
            self._released.wait()
        for exporter in exporters:
            if exporter in self._failing:
                return self._failing[exporter], "simulated failure\n"
        return 200, "".join(self._frozen.get(e) or self._text(e) for e in exporters)

    def _text(self, exporter: Exporter) -> str:
        if exporter == "dcgm":
            text = exposition.dcgm(self, self.generation)
        else:
            text = exposition.kube_state(self, self.node_labels)
        return exposition.stamped(text, round(time.time() * 1000)) if self.timestamps else text

    def change(self, requests: Any) -> list[Any]:
        """Apply `{"do": method, **arguments}`, or a list of them, in order."""
        results = []
        for request in requests if isinstance(requests, list) else [requests]:
            arguments = dict(request)
            action = arguments.pop("do", None)
            if action not in _ACTIONS:
                raise ValueError(f"unknown action {action!r}; one of {sorted(_ACTIONS)}")
            results.append(getattr(self, action)(**arguments))
        return results


def _each(exporter: Exporter) -> tuple[Exporter, ...]:
    return ("dcgm", "kube-state") if exporter == "all" else (exporter,)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], pool: SimulatedPool) -> None:
        self.pool = pool
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in _PAGES:
            status, text = self.server.pool.page(path)
            self._answer(status, text, "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/state":
            self._json(200, self.server.pool.state())
        else:
            self._json(404, {"error": f"no page {path}"})

    def do_POST(self) -> None:
        if self.path != "/set":
            return self._json(404, {"error": f"no page {self.path}"})
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self._json(200, self.server.pool.change(json.loads(body)))
        except (ValueError, TypeError, KeyError) as error:
            self._json(400, {"error": repr(error)})

    def _json(self, status: int, value: Any) -> None:
        self._answer(status, json.dumps(value), "application/json")

    def _answer(self, status: int, text: str, kind: str) -> None:
        data = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the scraper gave up, as it does after a hang

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Scrapes every second are no news."""
