"""`slackwater run` and `slackwater operator` as processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import slackwater as package
from tests.cli.conftest import Slackwater
from tests.runtime.quay import Quay, window

HOME = str(Path(package.__file__).parents[1])


@asynccontextmanager
async def process(*words: object) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "slackwater"),
        *map(str, words),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": HOME, "TZ": "UTC"},
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def line_with(running: asyncio.subprocess.Process, text: str) -> str:
    assert running.stderr is not None
    seen = []
    async with asyncio.timeout(60):
        while line := (await running.stderr.readline()).decode():
            if text in line:
                return line
            seen.append(line)
    raise AssertionError(f"no {text!r} in {seen}")


async def test_it_says_what_it_found_and_does_and_ends_well_at_sigterm(quay: Quay) -> None:
    quay.write("nightly.yaml", window())
    settings = quay.settings
    words = ("run", "--manifests", quay.manifests, "--data", settings.data)
    words += ("--secrets", settings.secrets, "--listen", "127.0.0.1:0")
    async with process(*words) as running:
        await line_with(running, "1 TrainingWindow, 1 GPUPool and 1 AirflowInstance in")
        where = await line_with(running, "metrics and health at ")
        assert re.search(r"http://127\.0\.0\.1:\d+/$", where.strip())
        started = await line_with(running, "Triggered")
        assert re.match(r"[-\d]{10}T[:\d]{8}\+00:00 research/nightly Triggered: now: ", started)

        running.send_signal(signal.SIGTERM)
        await line_with(running, "SIGTERM: stopping")
        async with asyncio.timeout(10):
            assert await running.wait() == 0

    assert len(quay.runs()) == 1
    word = json.loads((settings.data / "run.json").read_text())
    assert word == {"manifests": [str(quay.manifests)]}


def test_without_manifests_it_says_what_to_write(slackwater: Slackwater) -> None:
    said = slackwater("run")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "slackwater: No manifests are named; say where they are with --manifests DIR.\n"
    )


def test_manifests_that_do_not_exist_are_named(slackwater: Slackwater, tmp_path: Path) -> None:
    said = slackwater("run", "--manifests", tmp_path / "none", "--data", tmp_path / "data")

    assert said.code == 2
    assert said.err == f"slackwater: {tmp_path}/none does not exist.\n"


def test_an_operator_without_a_cluster_says_so(
    slackwater: Slackwater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = slackwater("operator", "--kubeconfig", tmp_path / "none")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    found = slackwater("operator")

    assert (named.code, found.code) == (2, 2)
    assert named.err == f"slackwater: --kubeconfig: {tmp_path}/none does not exist.\n"
    assert found.err == (
        f"slackwater: There is no cluster to talk to, as {tmp_path}/none does not exist; name a "
        "kubeconfig with --kubeconfig FILE.\n"
    )


def test_an_operator_with_a_broken_kubeconfig_says_so(
    slackwater: Slackwater, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: []\n")
    said = slackwater("operator", "--kubeconfig", tmp_path / "kubeconfig")

    assert said.code == 2
    assert said.err.startswith("slackwater: kubeconfig: ")
    assert len(said.err.splitlines()) == 1


def test_the_operator_takes_the_flags_that_the_chart_writes(
    slackwater: Slackwater, tmp_path: Path
) -> None:
    words = ("--namespace=research", "--namespace=demo", "--installation=lab-7")
    words += ("--allow-networks=10.20.0.0/16", "--metrics-address=0.0.0.0:8080")
    words += ("--log-format=json", "--context=a b", f"--kubeconfig={tmp_path}/none")
    said = slackwater("operator", *words)

    assert said.code == 2
    assert "--kubeconfig" in said.err, "the flags before it are good"
