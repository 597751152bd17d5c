"""`slackwater run` beside a real Airflow with the examples' DAGs; calendars and pools are files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from testbed.airflow import Airflow
from tests.e2e.harbour import NAMESPACE, Object, Slackwater

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
_Found = TypeVar("_Found")


def thing(kind: str, name: str, spec: Mapping[str, Any]) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": dict(spec),
    }


def text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(slots=True)
class Windowed:
    """One Airflow and one Slackwater."""

    airflow: Airflow
    slackwater: Slackwater

    def write(self, *things: Object) -> None:
        """These manifests, in the place of earlier ones of their names."""
        folder = self.slackwater.home / "manifests"
        folder.mkdir(exist_ok=True)
        for one in things:
            name = f"{one['kind']}-{one['metadata']['name']}.yaml".lower()
            fresh = folder / f".{name}"
            fresh.write_text(json.dumps(one))
            fresh.replace(folder / name)

    def write_airflow(self, user: str = "user") -> None:
        """The AirflowInstance `default`, with the rights of a role."""
        secret = self.slackwater.home / "secrets" / NAMESPACE / "airflow"
        secret.mkdir(parents=True)
        for key in ("username", "password"):
            (secret / key).write_text(user)
        login = {
            f"{key}SecretRef": {"name": "airflow", "key": key} for key in ("username", "password")
        }
        self.write(
            thing(
                "AirflowInstance",
                "default",
                {"url": self.airflow.url, "auth": {"login": login}, "pollIntervalSeconds": 1},
            )
        )

    def until(self, what: str, look: Callable[[], _Found | None]) -> _Found:
        """Poll until `look` gives something."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert self.slackwater.running, self.slackwater.tail()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not in time\n{self.slackwater.tail()}")
            time.sleep(0.3)
        return found

    def runs(self, dag_id: str) -> list[Object]:
        """Of a DAG, oldest first."""
        return self.airflow.runs(dag_id)[::-1]

    def log(self, dag_id: str, run_id: str, task: str) -> str:
        """What a task of a run has logged so far."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/logs/1?full_content=true"
        answer = self.airflow.call("GET", path)
        return answer.text if answer.ok else ""

    def returned(self, dag_id: str, run_id: str, task: str) -> Any:
        """What a task of a run returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        return self.airflow.get(path)["value"]


@contextmanager
def windowed(folder: Path, dags: Path, *names: str, **options: Any) -> Iterator[Windowed]:
    """Start Airflow with these DAGs; Slackwater is made and not started."""
    with Airflow(dags, home=folder / "airflow", dags=set(names), **options) as airflow:
        home = folder / "slackwater"
        home.mkdir()
        slackwater = Slackwater(home)
        try:
            yield Windowed(airflow, slackwater)
        finally:
            slackwater.close()
