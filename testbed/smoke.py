"""One round trip through each server: proof that this machine can run it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from testbed import airflow, caldav, helm, kubernetes, postgres, prometheus
from testbed.cache import say
from testbed.caldav import Radicale, Xandikos
from testbed.gpus import GENERATIONS, PoolProcess, SimulatedPool
from testbed.prometheus import Prometheus

_UTILISATION = {
    "le4.8.2": "avg(DCGM_FI_DEV_GPU_UTIL{Hostname!=''}) / 100",
    "4.8.3": "avg(DCGM_FI_DEV_GPU_UTIL{hostname!=''}) / 100",
    "4.9.0": "avg(DCGM_FI_DEV_GPU_UTIL_RATIO)",
}


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def smoke_gpus() -> None:
    with PoolProcess(2, 4) as process:
        process.do("set_utilization", value=0.5, node="gpu-1")
        process.do("add_pod", name="train", gpus=3, node="gpu-2")
        _check(process.state()["free"] == 5, "free GPUs")


def smoke_prometheus(version: str | None = None) -> None:
    with contextlib.ExitStack() as stack:
        pools = {g: stack.enter_context(SimulatedPool(generation=g)) for g in GENERATIONS}
        targets = [pool.target for pool in pools.values()]
        server = stack.enter_context(Prometheus(targets, interval="200ms", version=version))
        for load in (0.25, 0.75):
            for pool in pools.values():
                pool.set_utilization(load)
            for generation in GENERATIONS:
                server.wait_for(_UTILISATION[generation], load)
        for pool in pools.values():
            pool.fail()
        server.wait_for("sum(up)", 0)
        for generation in GENERATIONS:
            gone = server.value(_UTILISATION[generation]) is None
            _check(gone, f"{generation}: series outlive their exporter")


def smoke_postgres() -> None:
    with postgres.Postgres() as server:
        server.create_database("smoke")
        server.kill()
        server.start()


def smoke_caldav() -> None:
    now = datetime.now(UTC)
    for server in (Radicale(), Xandikos()):
        with server:
            calendar = server.collection("team").make("Team")
            calendar.add("one", "train: smoke", now, now + timedelta(hours=1))
            _check(calendar.uids() == ["one"], f"{server.name}: {calendar.uids()}")
            calendar.delete("one")
            _check(calendar.uids() == [], f"{server.name}: {calendar.uids()}")


def smoke_airflow_api() -> None:
    with airflow.Airflow(components=airflow.API_ONLY, dags={"sample_echo"}) as server:
        server.trigger("sample_echo", "smoke", {"epochs": 3})
        server.set_state("sample_echo", "smoke", "running")
        _check(server.run("sample_echo", "smoke")["state"] == "running", "state by hand")
        denied = server.call("POST", "/dags/sample_echo/dagRuns", {"logical_date": None}, "viewer")
        _check(denied.status == 403, f"viewer may trigger: {denied.status}")


def smoke_airflow() -> None:
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.Postgres()).create_database("airflow")
        server = stack.enter_context(airflow.Airflow(database=database, dags={"sample_echo"}))
        server.trigger("sample_echo", "smoke", {"epochs": 3})
        _check(server.wait_for_run("sample_echo", "smoke")["state"] == "success", "sample_echo")
        path = "/dags/sample_echo/dagRuns/smoke/taskInstances/echo/xcomEntries/return_value"
        _check("epochs" in str(server.get(path)["value"]), "conf did not reach the task")


def smoke_kubernetes() -> None:
    with kubernetes.ControlPlane() as plane:
        plane.create_namespace("team")
        data = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"answer": "42"}}
        plane.apply({**data, "metadata": {"name": "smoke", "namespace": "team"}})
        query = ("get", "configmap", "smoke", "-n", "team", "-o", "jsonpath={.data.answer}")
        _check(plane.kubectl(*query) == "42", "config map")
        config = plane.kubeconfig_for(plane.token_for("team", "robot"))
        answer = plane.kubectl(*query, kubeconfig=config, check=False)
        _check("Forbidden" in answer, f"RBAC let it through: {answer}")


def smoke_helm() -> None:
    chart = {
        "Chart.yaml": 'apiVersion: v2\nname: smoke\nversion: 0.1.0\nkubeVersion: ">=1.30.0"\n',
        "templates/map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-chart}\n",
    }
    with tempfile.TemporaryDirectory() as folder, kubernetes.ControlPlane() as plane:
        for name, text in chart.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        helm.run("lint", folder)
        helm.run("install", "smoke", folder, kubeconfig=plane.kubeconfig)
        _check("from-chart" in plane.kubectl("get", "configmaps"), "chart was not installed")


SMOKES: dict[str, Callable[[], None]] = {
    "gpus": smoke_gpus,
    "prometheus": smoke_prometheus,
    "prometheus3": lambda: smoke_prometheus("3"),
    "postgres": smoke_postgres,
    "caldav": smoke_caldav,
    "airflow-api": smoke_airflow_api,
    "airflow": smoke_airflow,
    "kubernetes": smoke_kubernetes,
    "helm": smoke_helm,
}

BUILDS: dict[str, Callable[[], object]] = {
    "prometheus": prometheus.find,
    "prometheus3": lambda: prometheus.find("3"),
    "postgres": postgres.find,
    "caldav": caldav.find,
    "airflow": airflow.find,
    "airflow-fab": lambda: airflow.find("fab"),
    "airflow-keycloak": lambda: airflow.find("keycloak"),
    "kubernetes": kubernetes.binaries.find_all,
    "helm": helm.find,
}


def smoke(names: list[str]) -> bool:
    """Run these smokes one after the other; True if all went well."""
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            SMOKES[name]()
        except Exception as error:  # noqa: BLE001 (whatever it was, the next one runs)
            failed.append(name)
            say(f"smoke {name}: FAILED after {time.monotonic() - began:.1f} s\n{error}")
        else:
            say(f"smoke {name}: ok in {time.monotonic() - began:.1f} s")
    return not failed
