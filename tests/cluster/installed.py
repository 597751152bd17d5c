"""The chart in a real API server, and the operator as its pod would run it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from testbed import helm, web
from testbed.kubernetes import ControlPlane
from testbed.process import Server
from tests.fakes.airflow import DagRun, FakeAirflow

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "slackwater"
HOME = "slackwater-system"
API = "slackwater.dev/v1alpha1"
PATIENCE = 120.0
DAG = "train_llm"

Object = dict[str, Any]


class Installed:
    """The chart's objects but for its Deployment, whose pod is played by `Operator`."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.folder = folder
        self.namespaces = 0
        plane.create_namespace(HOME)
        values = folder / "values.json"
        values.write_text(json.dumps({"operator": {"allowNetworks": ["127.0.0.0/8"]}}))
        text = helm.run("template", "tide", CHART, "--namespace", HOME, "--values", values)
        documents = [one for one in yaml.safe_load_all(text) if one]
        (deployment,) = [one for one in documents if one["kind"] == "Deployment"]
        documents.remove(deployment)
        plane.apply(documents)
        plane.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.arguments = [
            word for word in container["args"] if not word.startswith("--metrics-address=")
        ]
        token = plane.token_for(HOME, pod["serviceAccountName"])
        self.kubeconfig = plane.kubeconfig_for(token, folder / "operator.kubeconfig")

    def operator(self, lease: str, pod: str = "tide-0") -> Operator:
        """A pod of the chart, not started; those with the same lease are replicas."""
        return Operator(self, lease, pod)


class Operator(Server):
    """`slackwater operator` with the container's arguments and the service account's token."""

    name = "operator"
    start_timeout = PATIENCE

    def __init__(self, installed: Installed, lease: str, pod: str) -> None:
        home = installed.folder / lease / pod
        super().__init__(home)
        self._installed, self._lease, self.pod = installed, lease, pod

    def command(self) -> Sequence[str | Path]:
        return [
            *(sys.executable, "-m", "slackwater", *self._installed.arguments),
            *("--lease-name", self._lease, "--metrics-address", f"127.0.0.1:{self.port}"),
        ]

    def environment(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(ROOT / "operator"),
            "POD_NAME": self.pod,
            "POD_NAMESPACE": HOME,
            "SLACKWATER_KUBECONFIG": str(self._installed.kubeconfig),
        }

    def ready(self) -> bool:
        return web.answers(f"{self.url}/healthz")

    def log(self) -> str:
        return self.log_path.read_text()


class Team:
    """One namespace with what its TrainingWindows use, and the Airflow behind it.

    All blocking calls go through `kubectl`, in a thread: the fake Airflow lives in this loop.
    """

    def __init__(self, installed: Installed, namespace: str, airflow: FakeAirflow) -> None:
        self.installed, self.namespace, self.airflow = installed, namespace, airflow

    # --- what the team writes

    async def settle_in(self) -> None:
        """Secret, AirflowInstance and a pool of 8 GPUs."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "airflow", "namespace": self.namespace},
            "stringData": {"username": "admin", "password": "admin"},
        }
        login = {
            f"{key}SecretRef": {"name": "airflow", "key": key} for key in ("username", "password")
        }
        await self.apply(
            secret,
            self.thing("GPUPool", "box", source={"static": {"gpus": 8}}, nodes=".*"),
            self.thing(
                "AirflowInstance",
                "default",
                url=self.airflow.url,
                auth={"login": login},
                grants=[{"dags": ["train_*"]}],
                pollIntervalSeconds=1,
            ),
        )

    def thing(self, kind: str, name: str, **spec: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}

    def window(self, name: str, start: datetime | None = None, **spec: Any) -> Object:
        """A TrainingWindow for all 8 GPUs that is open from `start` (else already) for an hour."""
        begins = start or now() - timedelta(minutes=1)
        entry = {"name": "now", "effect": "Trigger"} | {
            edge: f"{at:%Y-%m-%dT%H:%M:%SZ}"
            for edge, at in (("start", begins), ("end", begins + timedelta(hours=1)))
        }
        return self.thing(
            "TrainingWindow",
            name,
            **{
                "windows": [entry],
                "gpu": {"poolRef": {"name": "box"}, "count": 4},
                "dag": {"airflowRef": {"name": "default"}, "dagId": DAG, "conf": {"epochs": 3}},
                **spec,
            },
        )

    async def apply(self, *objects: Object) -> None:
        await asyncio.to_thread(self.installed.plane.apply, list(objects))

    async def kubectl(self, *words: str) -> str:
        return await asyncio.to_thread(
            self.installed.plane.kubectl, *words, f"--namespace={self.namespace}"
        )

    # --- what it sees

    async def status(self, name: str) -> Object:
        shown: Object = json.loads(await self.kubectl("get", "tw", name, "--output=json"))
        return shown.get("status", {})

    async def lines(self, name: str) -> list[Object]:
        found: list[Object] = (await self.status(name)).get("occurrences", [])
        return found

    async def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        for one in (await self.status(name)).get("conditions", []):
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""

    async def table(self) -> list[dict[str, str]]:
        """`kubectl get tw`, a dict for each line, with its titles in their order."""
        head, *rows = (await self.kubectl("get", "tw")).splitlines()
        titles = head.split()
        assert titles == ["NAME", "READY", "WINDOW", "RUNNING", "WHY", "LAST", "NEXT", "AGE"]
        begins = [head.index(title) for title in titles]
        ends = [*begins[1:], None]
        return [
            {
                title: row[start:end].strip()
                for title, start, end in zip(titles, begins, ends, strict=True)
            }
            for row in rows
        ]

    def runs_of(self, name: str) -> list[DagRun]:
        """What Airflow holds for a TrainingWindow."""
        return [
            run
            for run in self.airflow.runs
            if run.conf.get("trainingWindow", {}).get("name") == name
        ]

    async def sees_run(self, name: str) -> DagRun:
        """The first run of a TrainingWindow, once there is one."""
        (run,) = await until(f"a run of {name}", lambda: self.runs_of(name))
        return run

    async def sees_line(self, name: str, run_id: str, *states: str) -> Object:
        """The ledger's only line, once it holds the run in one of the states."""

        async def look() -> Object | None:
            lines = await self.lines(name)
            fits = [
                line for line in lines if line.get("dagRunId") == run_id and line["state"] in states
            ]
            return fits[0] if fits and len(lines) == 1 else None

        return await until(f"{name} has its run in {'/'.join(states)}", look)

    def tries(self, method: str, status: int | None = None) -> int:
        """How many such requests for runs came to an end in Airflow."""
        return sum(
            verb == method and "/dagRuns" in path and status in {None, answered}
            for verb, path, answered in self.airflow.requests
        )


async def until(what: str, look: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Poll until `look()`, which may be a coroutine, gives something; that is the result."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        await asyncio.sleep(0.1)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
