"""`slackwater run` in this process, over files in a temporary directory and a fake Airflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from slackwater.runtime.app import run_directory
from slackwater.runtime.settings import Address, DirectorySettings
from tests.fakes.airflow import FakeAirflow

NAMESPACE = "research"
DAG = "train_llm"


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def wire(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def inline(*, begins: timedelta, lasts: timedelta = timedelta(hours=2)) -> dict[str, Any]:
    """A Trigger entry whose window begins so much later than now."""
    start = datetime.now(UTC) + begins
    return {"name": "now", "effect": "Trigger", "start": wire(start), "end": wire(start + lasts)}


OPEN = timedelta(minutes=-10)
LATER = timedelta(hours=1)


def window(name: str = "nightly", *, begins: timedelta = OPEN, **spec: Any) -> dict[str, Any]:
    """A TrainingWindow of 4 GPUs that is open, or will be."""
    return document(
        "TrainingWindow",
        name,
        {
            "windows": [inline(begins=begins)],
            "gpu": {"poolRef": {"name": "box"}, "count": 4},
            "dag": {"airflowRef": {"name": "default"}, "dagId": DAG},
            **spec,
        },
    )


class Quay:
    """Where the files are, and processes over them."""

    def __init__(self, root: Path, airflow: FakeAirflow) -> None:
        self.airflow = airflow
        self.settings = DirectorySettings(
            manifests=(root / "manifests",),
            data=root / "data",
            secrets=root / "secrets",
            listen=Address("127.0.0.1", 0),
            poll=timedelta(milliseconds=20),
        )
        self.manifests = root / "manifests"
        self.manifests.mkdir(parents=True)
        self.password = root / "secrets" / NAMESPACE / "airflow" / "password"
        self.password.parent.mkdir(parents=True)
        self.password.write_text("admin\n")
        self.password.with_name("username").write_text("admin\n")
        self.write("pool.yaml", document("GPUPool", "box", {"source": {"static": {"gpus": 8}}}))
        self.write_airflow()

    def write(self, name: str, *documents: dict[str, Any]) -> Path:
        path = self.manifests / name
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return path

    def write_airflow(self, **changes: Any) -> None:
        def secret(key: str) -> dict[str, str]:
            return {"name": "airflow", "key": key}

        login = {"usernameSecretRef": secret("username"), "passwordSecretRef": secret("password")}
        spec = {
            "url": self.airflow.url,
            "auth": {"login": login},
            "pollIntervalSeconds": 1,
            **changes,
        }
        self.write("airflow.yaml", document("AirflowInstance", "default", spec))

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Process]:
        """A process until the block ends, which must then end well."""
        process = Process(replace(self.settings, **changes))
        task = asyncio.create_task(process.run())
        try:
            await process.until_started(task)
            yield process
        finally:
            process.stop.set()
            async with asyncio.timeout(10):
                code = await task
        assert code == 0

    def runs(self, dag_id: str = DAG) -> list[Any]:
        return [run for run in self.airflow.runs if run.dag_id == dag_id]


class Process:
    """One `slackwater run`."""

    def __init__(self, settings: DirectorySettings) -> None:
        self._settings = settings
        self.stop = asyncio.Event()
        self._started = asyncio.Event()
        self.url = ""

    async def run(self) -> int:
        return await run_directory(self._settings, self.stop, started=self._tell)

    def _tell(self, address: Address) -> None:
        self.url = f"http://{address}"
        self._started.set()

    async def until_started(self, task: asyncio.Task[int]) -> None:
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        started.cancel()
        if task.done():
            task.result()
        assert self.url, "it did not start"

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as reply:
            return reply.status, await reply.text()

    async def metric(self, line: str) -> bool:
        """Whether /metrics has a line that begins so."""
        _, text = await self.get("/metrics")
        return any(found.startswith(line) for found in text.splitlines())


async def until(holds: Callable[[], object], timeout: float = 15) -> float:
    """Poll what other tasks and threads do; gives the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(timeout):
        while not holds():
            await asyncio.sleep(0.01)
    return time.monotonic() - began
