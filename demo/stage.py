"""The servers of the story: brought up side by side, with a line for each, and taken down again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from demo.calendars import TeamCalendar
from demo.cluster import Cluster
from demo.console import Console
from demo.controller import Controller, DirectoryController, OperatorController
from demo.load import Load
from demo.manifests import (
    AIRFLOW_URL,
    PROMETHEUS_URL,
    QUICKSTART,
    fill,
    write_secrets,
)
from testbed.airflow import Airflow
from testbed.gpus import PoolProcess
from testbed.process import Server
from testbed.prometheus import Prometheus

NODES, GPUS = 4, 8
DAG = "train_llm"
_STILL_EVERY = 15.0

_ServerT = TypeVar("_ServerT", bound=Server)

# Nothing outside this machine can reach these servers, and they live for minutes.
SECRETS: Mapping[str, Mapping[str, str]] = {
    "airflow": {"username": "slackwater", "password": "slackwater"},
}
# What Slackwater may do in Airflow is what the role "user" may.
_AIRFLOW_USERS = {"admin": "admin", SECRETS["airflow"]["username"]: "user"}


@dataclass(slots=True)
class Stage:
    """Everything the story needs, each with its own folder below `data`.

    Args:
        console: where progress is told.
        data: the folder.
        calendar: where the team writes.
        cluster: where the operator is to run; None for `slackwater run`.
    """

    console: Console
    data: Path
    calendar: TeamCalendar
    cluster: Cluster | None = None
    airflow: Airflow = field(init=False)
    prometheus: Prometheus = field(init=False)
    gpus: PoolProcess = field(init=False)
    controller: Controller = field(init=False)
    load: Load = field(init=False)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _ending: threading.Event = field(init=False, default_factory=threading.Event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._stack.close()

    # --- bringing it up

    def open(self) -> None:
        """Bring up all servers but Slackwater; what can be done side by side is.

        Raises:
            Exception: what the first server that could not start says, its log's end included.
        """
        jobs: dict[str, Callable[[], str]] = {
            "Airflow": self._open_airflow,
            "GPU pool and Prometheus": self._open_metrics,
            "calendar": self._open_calendar,
        }
        if self.cluster is not None:
            jobs["Kubernetes"] = self._open_cluster
        done: queue.SimpleQueue[tuple[str, str | Exception]] = queue.SimpleQueue()

        def work(name: str, job: Callable[[], str]) -> None:
            try:
                done.put((name, job()))
            except Exception as error:  # noqa: BLE001 - told by the main thread
                done.put((name, error))

        for name, job in jobs.items():
            # Daemons: after Ctrl-C nobody waits for a download.
            threading.Thread(target=work, args=(name, job), daemon=True).start()
        self.console.step(f"starting side by side: {', '.join(jobs)}")
        waiting = set(jobs)
        while waiting:
            try:
                name, told = done.get(timeout=_STILL_EVERY)
            except queue.Empty:
                self.console.step(f"still waiting for {', '.join(sorted(waiting))}")
                continue
            if isinstance(told, Exception):
                raise told
            waiting.discard(name)
            self.console.step(told)

    def _open_airflow(self) -> str:
        self.airflow = self._start(
            Airflow(
                QUICKSTART / "dags",
                home=self.data / "airflow",
                users=_AIRFLOW_USERS,
                dags={DAG},
            )
        )
        return (
            f"Airflow with SQLite and LocalExecutor: {self.airflow.url} "
            f"(log in as admin, password admin)"
        )

    def _open_metrics(self) -> str:
        self.gpus = self._start(PoolProcess(NODES, GPUS, home=self.data / "gpus"))
        self.load = Load(self.gpus, GPUS)
        self.prometheus = self._start(
            Prometheus([self.gpus.target], home=self.data / "prometheus", interval="1s")
        )
        return (
            f"Prometheus: {self.prometheus.url}, scraping a simulated pool of {NODES} nodes with "
            f"{GPUS} GPUs each (no real GPU): {self.gpus.url}/metrics"
        )

    def _open_calendar(self) -> str:
        if self._ending.is_set():
            raise InterruptedError("the demo is ending")
        self._stack.callback(self.calendar.close)
        return self.calendar.open()

    def _open_cluster(self) -> str:
        assert self.cluster is not None
        self._stack.callback(self.cluster.close)
        return self.cluster.open()

    def _start(self, server: _ServerT) -> _ServerT:
        if self._ending.is_set():
            raise InterruptedError("the demo is ending")
        self._stack.callback(server.close)
        if isinstance(server, Airflow):
            # It would take its time to stop, and nobody needs its database any more.
            self._stack.callback(server.kill)
        server.start()
        return server

    # --- Slackwater

    def open_controller(self) -> None:
        """Give Slackwater the manifests of examples/quickstart and start it."""
        addresses = {
            AIRFLOW_URL: f"{self.airflow.url}/",
            PROMETHEUS_URL: self.prometheus.url,
            **self.calendar.addresses,
        }
        manifests = fill(self.data / "manifests", addresses)
        self.calendar.adapt(manifests)
        secrets = {**SECRETS, "team-calendar": self.calendar.secret}
        home = self.data / "slackwater"
        if self.cluster is None:
            folder = write_secrets(self.data / "secrets", secrets)
            self.controller = DirectoryController(
                home, manifests, folder, self.calendar.flags, self.calendar.variables
            )
            words = "slackwater run --manifests (examples/quickstart with these addresses)"
        else:
            self.cluster.apply(manifests, secrets)
            self.controller = OperatorController(
                home,
                [*self.cluster.arguments, *self.calendar.flags],
                {**self.cluster.variables, **self.calendar.variables},
                self.cluster.operator_kubeconfig,
                self.cluster.objects,
            )
            words = "slackwater operator, as the chart's service account"
        self._start(self.controller)
        self.console.step(f"{words}: {self.controller.url}/metrics")

    def addresses(self) -> list[str]:
        """What to look at while everything is up, a line each."""
        lines = [
            f"Airflow     {self.airflow.url}  (admin, password admin)",
            f"calendar    {self.calendar.address}",
            f"Prometheus  {self.prometheus.url}",
            f"GPU pool    {self.gpus.url}/state  (simulated)",
            f"Slackwater  {self.controller.url}/  (log: {self.controller.log_path})",
            f"manifests   {self.data / 'manifests'}",
        ]
        if self.cluster is not None:
            lines.append(f"Kubernetes  export KUBECONFIG={self.cluster.kubeconfig}")
        else:
            state = self.controller.home / "data"
            lines.append(f"and why     slackwater explain --data {state} research/nightly-llm")
        return lines
