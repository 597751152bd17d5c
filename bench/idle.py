"""Thousands of windows that have nothing to do: what does the operator cost, and does it write?

A real kube-apiserver holds the windows; `slackwater operator` serves them as a process of its own.
BENCH_WINDOWS says how many (10,000).
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bench.figure import Figure, progress
from testbed import web
from testbed.kubernetes import ControlPlane
from testbed.process import Server

_LOOKS = re.compile(
    r'^slackwater_reconcile_duration_seconds_count\{kind="TrainingWindow"\} (\S+)$', re.MULTILINE
)
ROOT = Path(__file__).parents[1]
NS = "idle"
API = "/apis/slackwater.dev/v1alpha1/namespaces"
STEADY = 60.0
_SETTLED = 10.0  # so long without a write is steady
_PATIENCE = 900.0
_HANDS = 24
_WRITES = re.compile(
    r'^apiserver_request_total\{(?=[^}]*resource="trainingwindows")(?=[^}]*subresource="status")'
    r'(?=[^}]*verb="(?:PATCH|PUT|APPLY)")[^}]*\} (\S+)$',
    re.MULTILINE,
)


class _Operator(Server):
    name = "operator"
    start_timeout = 600.0

    def __init__(self, home: Path, kubeconfig: Path) -> None:
        super().__init__(home)
        self._kubeconfig = kubeconfig

    def command(self) -> Sequence[str | Path]:
        return [
            *(sys.executable, "-m", "slackwater", "operator", "--kubeconfig", self._kubeconfig),
            *("--lease-namespace", "default", "--metrics-address", f"127.0.0.1:{self.port}"),
            "--log-level=warning",
        ]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT / "operator")}

    def ready(self) -> bool:
        return web.answers(f"{self.url}/readyz")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[index]) for index in (11, 12)) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)[0]) / 1024


def figures() -> list[Figure]:
    """Start-up and a minute of rest."""
    windows = int(os.environ.get("BENCH_WINDOWS", "10000"))
    with tempfile.TemporaryDirectory(prefix="sw-bench-") as home, ControlPlane() as plane:
        plane.apply(ROOT / "crds")
        plane.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
        plane.create_namespace(NS)
        asyncio.run(_fill(plane, windows))
        with _Operator(Path(home) / "first", plane.kubeconfig) as operator:
            found = _measure(plane, operator, windows)
        with _Operator(Path(home) / "again", plane.kubeconfig) as operator:
            return [*found, *_measure_again(plane, operator, windows)]


def _measure_again(plane: ControlPlane, operator: _Operator, windows: int) -> list[Figure]:
    """A restart: every window has its status already, and none is to be written again."""
    assert operator.started_in is not None
    before, listed = _writes(plane), time.monotonic()
    while _looks(operator) < windows:
        _check_alive(operator)
        if time.monotonic() - listed > _PATIENCE:
            raise TimeoutError(f"{_looks(operator):,.0f} of {windows:,} windows looked at")
        time.sleep(0.5)
    looked = time.monotonic()
    cpu = operator.cpu_seconds()
    time.sleep(_SETTLED)
    told = f"restart with {windows:,} idle windows"
    return [
        Figure(f"{told}: start to all read", operator.started_in, "s", ""),
        Figure(f"{told}: read to all looked at", looked - listed, "s", ""),
        Figure(f"{told}: CPU of all that", cpu, "s", ""),
        Figure(f"{told}: status writes", _writes(plane) - before, "", "0"),
    ]


def _looks(operator: _Operator) -> float:
    """Looks at TrainingWindows that the operator has counted."""
    text = web.call("GET", f"{operator.url}/metrics").checked().text
    found = _LOOKS.findall(text)
    return float(found[0]) if found else 0.0


def _measure(plane: ControlPlane, operator: _Operator, windows: int) -> list[Figure]:
    listed = time.monotonic()
    assert operator.started_in is not None
    progress(f"every object read {operator.started_in:.1f} s after the start")
    settled_at = _settled(plane, operator, windows)
    first = _writes(plane)
    progress(f"steady after {first:,.0f} writes; resting for {STEADY:.0f} s")
    began, before = time.monotonic(), operator.cpu_seconds()
    time.sleep(STEADY)
    _check_alive(operator)
    share = (operator.cpu_seconds() - before) / (time.monotonic() - began)
    written = _writes(plane) - first
    told = f"{windows:,} idle windows"
    return [
        Figure(f"{told}: start to all read", operator.started_in, "s", ""),
        Figure(f"{told}: read to steady", max(0.0, settled_at - listed), "s", ""),
        Figure(f"{told}: status writes until steady", first, "", f"{windows:,}: one a window"),
        Figure(f"{told}: memory", operator.resident_mib(), "MiB", ""),
        Figure(f"{told}: CPU at rest", 100 * share, "%", f"of one core, over {STEADY:.0f} s"),
        Figure(f"{told}: status writes at rest", written, "", f"0 in {STEADY:.0f} s"),
    ]


def _settled(plane: ControlPlane, operator: _Operator, windows: int) -> float:
    """The time of the last write, once every window has its status and nothing more is written."""
    known, changed, began = _writes(plane), time.monotonic(), time.monotonic()
    while known < windows or time.monotonic() - changed < _SETTLED:
        _check_alive(operator)
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(
                f"{known:,.0f} status writes for {windows:,} windows in {_PATIENCE:.0f} s, and not "
                f"at rest:\n{operator.tail()}"
            )
        time.sleep(0.5)
        number = _writes(plane)
        if number != known:
            known, changed = number, time.monotonic()
    return changed


def _check_alive(operator: _Operator) -> None:
    if not operator.running:
        raise RuntimeError(f"the operator has ended:\n{operator.tail()}")


def _writes(plane: ControlPlane) -> float:
    """Writes of the status of TrainingWindows that the API server has counted."""
    text = plane.apiserver.request("GET", "/metrics").checked().text
    return sum(float(number) for number in _WRITES.findall(text))


async def _fill(plane: ControlPlane, windows: int) -> None:
    """Create everything; the windows by many hands."""
    day = (datetime.now(UTC) + timedelta(days=10)).day
    token = {"tokenSecretRef": {"name": "airflow", "key": "token"}}
    connector = aiohttp.TCPConnector(ssl=plane.apiserver.tls, limit=_HANDS)
    headers = {"Authorization": f"Bearer {plane.apiserver.admin_token}"}
    numbers = iter(range(windows))
    began = time.monotonic()
    async with aiohttp.ClientSession(plane.url, connector=connector, headers=headers) as session:
        pool = {"source": {"static": {"gpus": 64}}}
        airflow = {"url": "https://airflow.invalid/", "auth": token, "pollIntervalSeconds": 60}
        await _post(session, "GPUPool", "gpupools", "h100", pool)
        await _post(session, "AirflowInstance", "airflowinstances", "default", airflow)

        async def work() -> None:
            for number in numbers:
                spec = _window(number, day)
                await _post(session, "TrainingWindow", "trainingwindows", f"w{number:05}", spec)
                if number % 2500 == 2499:
                    progress(f"{number + 1:,} windows created")

        await asyncio.gather(*(work() for _ in range(_HANDS)))
    progress(f"{windows:,} windows created in {time.monotonic() - began:.0f} s")


def _window(number: int, day: int) -> dict[str, Any]:
    """Opens once a month, ten days from now: far from anything that is to be done."""
    return {
        "windows": [
            {
                "name": "monthly",
                "effect": "Trigger",
                "schedule": f"{number % 60} {number // 60 % 24} {day} * *",
                "durationSeconds": 28800,
            }
        ],
        "gpu": {"poolRef": {"name": "h100"}, "count": 16, "perPod": 8},
        "dag": {"airflowRef": {"name": "default"}, "dagId": "train_llm"},
    }


async def _post(
    session: aiohttp.ClientSession, kind: str, plural: str, name: str, spec: Mapping[str, Any]
) -> None:
    body = {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NS},
        "spec": spec,
    }
    async with session.post(f"{API}/{NS}/{plural}", json=body) as answer:
        if answer.status != 201:
            raise RuntimeError(f"{kind} {name}: HTTP {answer.status}: {await answer.text()}")
