"""A town of windows under one operator: `slackwater run` with its real adapters over in-process servers.

Every case lives in a namespace of its own, so that what is wrong in one can only reach another
through the operator itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from slackwater.calendars.expand import Expander
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.app import run_directory
from slackwater.runtime.settings import Address, DirectorySettings
from slackwater.stores.directory import DirectoryStore
from tests.fakes.airflow import FakeAirflow
from tests.fakes.caldav import FakeDav
from tests.gpus.fake_prometheus import FakePrometheus
from tests.simulation.virtual import EPOCH, SimClock

from .warp import WarpLoop

MINUTE = timedelta(minutes=1)
OPEN = {"start": "2026-03-23T00:00:00Z", "end": "2026-03-23T06:00:00Z"}
DAG = "train"
ALL = "shared"  # namespace of the Airflow that everybody may use


@dataclass
class Seen:
    """What stands in an object's status at one moment."""

    status: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))

    def condition(self, kind: str) -> tuple[str, str, str]:
        for found in self.status.get("conditions", ()):
            if found["type"] == kind:
                return found["status"], found["reason"], found["message"]
        return "Missing", "", ""

    def failing(self) -> list[str]:
        """Conditions that say what is wrong; a window that is shut is none."""
        return [
            found["type"]
            for found in self.status.get("conditions", ())
            if found["status"] == "False" and found["type"] != "WindowOpen"
        ]


class _Events(logging.Handler):
    """What was said of each object as an Event."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Key, str, str, bool]] = []

    def emit(self, record: logging.LogRecord) -> None:
        key, reason = vars(record)["object"], vars(record)["reason"]
        note = record.getMessage().partition(f"{reason}: ")[2]
        self.said.append((key, reason, note, record.levelno >= logging.WARNING))


@dataclass
class Town:
    """Files, servers and one operator."""

    root: Path
    loop: WarpLoop
    clock: SimClock = field(init=False)
    airflow: FakeAirflow = field(init=False)
    prometheus: FakePrometheus = field(default_factory=FakePrometheus)
    feeds: dict[str, tuple[int, str]] = field(default_factory=dict)
    davs: dict[str, FakeDav] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    events: _Events = field(default_factory=_Events)
    served: set[str] = field(default_factory=set)
    base: str = ""

    def __post_init__(self) -> None:
        self.clock = SimClock(self.loop)
        self.airflow = FakeAirflow(now=self.clock.now)
        self.settings = DirectorySettings(
            manifests=(self.root / "manifests",),
            data=self.root / "data",
            secrets=self.root / "secrets",
            listen=Address("127.0.0.1", 0),
            poll=timedelta(seconds=30),
        )
        (self.root / "manifests").mkdir()

    # --- what users write

    def write(self, namespace: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        document = {
            "apiVersion": "slackwater.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        path = self.root / "manifests" / f"{namespace}-{kind.lower()}-{name}.yaml"
        path.write_text(yaml.safe_dump(document))

    def remove(self, namespace: str, kind: str, name: str) -> None:
        (self.root / "manifests" / f"{namespace}-{kind.lower()}-{name}.yaml").unlink()

    def secret(self, namespace: str, name: str, **values: str) -> None:
        folder = self.root / "secrets" / namespace / name
        folder.mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            (folder / key).write_text(value)

    def window(self, namespace: str, **spec: Any) -> None:
        """A TrainingWindow that is open for six hours unless `spec` says else."""
        fields: dict[str, Any] = {"dag": self.dag_of(namespace)}
        if "calendars" not in spec and "windows" not in spec:
            fields["windows"] = [{"name": "now", "effect": "Trigger", **OPEN}]
        self.write(namespace, "TrainingWindow", "nightly", fields | spec)

    def dag_of(self, namespace: str) -> dict[str, Any]:
        """The DAG of a namespace, in the namespace's own Airflow or in the one for all."""
        reference = (
            {"name": "main"} if namespace in self.served else {"name": "main", "namespace": ALL}
        )
        return {"airflowRef": reference, "dagId": self.dag(namespace)}

    def server(self, namespace: str, **spec: Any) -> None:
        """An AirflowInstance with its own login."""
        self.served.add(namespace)
        refs = {
            f"{key}SecretRef": {"name": "airflow", "key": key} for key in ("username", "password")
        }
        self.secret(namespace, "airflow", username="admin", password="admin")
        fields = {"url": self.airflow.url, "auth": {"login": refs}, "pollIntervalSeconds": 30}
        self.write(namespace, "AirflowInstance", "main", fields | spec)

    def deploy(self, namespace: str, **traits: Any) -> None:
        """The namespace's DAG, whose runs are short."""
        quick = {"starts_after": timedelta(seconds=5), "runs_for": timedelta(seconds=20)}
        self.airflow.add_dag(self.dag(namespace), **quick, **traits)

    def dag(self, namespace: str) -> str:
        return f"{namespace}-{DAG}"

    # --- what is there

    def runs(self, namespace: str) -> list[Any]:
        return [run for run in self.airflow.runs if run.dag_id == self.dag(namespace)]

    async def seen(self, namespace: str, kind: Kind, name: str) -> Seen:
        found = await self.all_seen()
        return found[Key(kind, Ref(namespace, name))]

    async def all_seen(self) -> dict[Key, Seen]:
        store = DirectoryStore(
            self.settings.manifests, self.settings.database, self.settings.secrets, self.clock
        )
        async with contextlib.aclosing(store):
            await store.open(beside=True)
            return {stored.key: Seen(dict(stored.status)) for stored in await store.objects()}

    def said(self, key: Key) -> list[tuple[str, str]]:
        """Warnings about an object so far: reason and note."""
        return [
            (reason, note)
            for of, reason, note, warning in self.events.said
            if of == key and warning
        ]

    # --- life

    @contextlib.asynccontextmanager
    async def up(self, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """The servers; the operator begins with `running`."""
        expand = Expander.expand

        async def expanding(*args: Any) -> Any:
            self.loop.working += 1  # a child process works at its real pace
            try:
                return await expand(*args)
            finally:
                self.loop.working -= 1

        patch.setattr(Expander, "expand", expanding)
        app = web.Application()
        app.router.add_get("/feeds/{name}", self._feed)
        app.router.add_route("*", "/{tail:.*}", self._other)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        log = logging.getLogger("slackwater.events")
        level = log.level
        log.addHandler(self.events)
        log.setLevel(logging.INFO)
        try:
            async with self.airflow:
                yield
        finally:
            log.removeHandler(self.events)
            log.setLevel(level)
            await runner.cleanup()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The operator, until the block ends, which must then end well."""
        stop, started = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(
            run_directory(self.settings, stop, clock=self.clock, started=lambda _: started.set())
        )
        task.add_done_callback(lambda _: started.set())
        await started.wait()
        try:
            yield
            assert not task.done(), "the operator ended by itself"
        finally:
            stop.set()
            code = await task
        assert code == 0

    async def until(self, minutes: float) -> None:
        """Let time pass until so many minutes after the beginning, whatever the wall clock says."""
        left = EPOCH + minutes * MINUTE - self.clock.true_now()
        await asyncio.sleep(left.total_seconds())

    async def when(self, holds: Callable[[], bool], minutes: float) -> None:
        """Let time pass until something holds, at most until so many minutes after the beginning."""
        while not holds():
            assert self.clock.true_now() < EPOCH + minutes * MINUTE, "it never came"
            await asyncio.sleep(5)

    # --- the servers

    async def _feed(self, request: web.Request) -> web.Response:
        status, body = self.feeds.get(request.match_info["name"], (404, ""))
        return web.Response(status=status, text=body, content_type="text/calendar")

    async def _other(self, request: web.Request) -> web.StreamResponse:
        if request.method not in {"PROPFIND", "REPORT"}:
            return await self.prometheus.handle(request)
        login = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        return await self.davs[login.partition(":")[0]].answer(request)
