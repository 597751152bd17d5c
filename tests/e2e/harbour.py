"""The servers of a night, and `slackwater run` on a directory that names them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.clock import SystemClock
from slackwater.stores.directory import DirectoryStore
from testbed import web
from testbed.airflow import WITHOUT_TRIGGERER, Airflow
from testbed.caldav import Collection, Radicale
from testbed.gpus import SimulatedPool
from testbed.postgres import Postgres
from testbed.process import Server
from testbed.prometheus import Prometheus

SOURCES = Path(__file__).parents[2] / "operator"
NAMESPACE = "research"
DAG = "sample_train"
PATIENCE = 120.0
ACCOUNT = "op"  # what Slackwater is in Airflow; the password is the name

Object = dict[str, Any]
_Found = TypeVar("_Found")


class Slackwater(Server):
    """`slackwater run`, as a user types it."""

    name = "slackwater"
    start_timeout = PATIENCE

    def command(self) -> Sequence[str | Path]:
        return [
            *(sys.executable, "-m", "slackwater", "run"),
            *("--manifests", self.home / "manifests", "--secrets", self.home / "secrets"),
            *("--data", self.home / "data", "--listen", f"127.0.0.1:{self.port}"),
        ]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(SOURCES)}

    def ready(self) -> bool:
        return web.answers(f"{self.url}/readyz")

    def status(self, name: str) -> Object:
        """Of a TrainingWindow, read beside the running process as `slackwater explain` does."""

        async def read() -> Object:
            data = self.home / "data" / "slackwater.db"
            store = DirectoryStore([self.home / "manifests"], data, None, SystemClock())
            try:
                await store.open(beside=True)
                found = await store.objects()
            finally:
                await store.aclose()
            key = Key(Kind.TRAINING_WINDOW, Ref(NAMESPACE, name))
            return next((dict(one.status) for one in found if one.key == key), {})

        return asyncio.run(read())


@dataclass(slots=True)
class Harbour:
    airflow: Airflow
    pool: SimulatedPool
    prometheus: Prometheus
    calendar: Collection
    slackwater: Slackwater

    @classmethod
    def opened(cls, stack: ExitStack, folder: Path) -> Harbour:
        """Start everything but Slackwater, side by side; `stack` ends it."""
        pool = stack.enter_context(SimulatedPool(nodes=2, gpus=8))
        radicale, prometheus = Radicale(), Prometheus([pool.target])
        postgres = Postgres()
        for server in (radicale, prometheus, postgres):
            stack.callback(server.close)
        with ThreadPoolExecutor() as threads:
            others = [threads.submit(server.start) for server in (radicale, prometheus)]
            postgres.start()
            airflow = Airflow(
                database=postgres.create_database("airflow"),
                components=WITHOUT_TRIGGERER,
                dags={DAG},
            )
            stack.callback(airflow.close)
            airflow.start()
            for other in others:
                other.result()
        slackwater = Slackwater(folder)
        stack.callback(slackwater.close)
        calendar = radicale.collection("team").make()
        return cls(airflow, pool, prometheus, calendar, slackwater)

    # --- what the team writes

    def write(self, *things: Object) -> None:
        """Manifests of these objects, and the secrets that they name."""
        secrets = {
            "airflow": {"username": ACCOUNT, "password": ACCOUNT},
            "calendar": {
                "username": str(self.calendar.username),
                "password": str(self.calendar.password),
            },
        }
        for name, keys in secrets.items():
            folder = self.slackwater.home / "secrets" / NAMESPACE / name
            folder.mkdir(parents=True)
            for key, value in keys.items():
                (folder / key).write_text(value)
        manifests = self.slackwater.home / "manifests"
        manifests.mkdir()
        for thing in things:
            name = f"{thing['kind']}-{thing['metadata']['name']}.yaml".lower()
            (manifests / name).write_text(json.dumps(thing, indent=1))  # JSON is YAML

    def plan(self, uid: str, title: str, start: datetime, end: datetime, *notes: str) -> None:
        """Put an event into the calendar, or in the place of the one with this uid."""
        description = "\\n".join(notes)
        self.calendar.add(uid, title, start, end, f"DESCRIPTION:{description}")

    # --- what it sees

    def status(self, name: str) -> Object:
        """Of a TrainingWindow."""
        return self.slackwater.status(name)

    def lines(self, name: str) -> list[Object]:
        found: list[Object] = self.status(name).get("occurrences", [])
        return found

    def runs(self) -> list[Object]:
        """Airflow's own record."""
        return self.airflow.runs(DAG)

    def until(self, what: str, look: Callable[[], _Found | None]) -> _Found:
        """Poll until `look` gives something."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert self.slackwater.running, self.slackwater.tail()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not in time\n{self.slackwater.tail()}")
            time.sleep(0.2)
        return found


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
