"""`slackwater trigger | skip | suspend | resume` beside a `slackwater run`, and in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.clock import SystemClock
from slackwater.stores.directory import DirectoryStore
from tests.cli.conftest import Said, Slackwater
from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import DAG, LATER, NAMESPACE, Quay, until, window, wire
from tests.stores.conftest import kubeconfig
from tests.stores.fake_cluster import OURS, FakeCluster

NIGHTLY = Key(Kind.TRAINING_WINDOW, Ref(NAMESPACE, "nightly"))


async def beside(slackwater: Slackwater, *words: object) -> Said:
    """A command in a thread, as this one's loop serves."""
    return await asyncio.to_thread(slackwater, *words)


class Directory:
    """Commands on the quay's data directory, and what stands in its status."""

    def __init__(self, quay: Quay, slackwater: Slackwater) -> None:
        self._quay, self._slackwater = quay, slackwater
        self.store = DirectoryStore(
            quay.settings.manifests, quay.settings.database, None, SystemClock()
        )

    async def say(self, command: str, *words: object, window: str = "research/nightly") -> Said:
        flags = ("--data", self._quay.settings.data)
        return await beside(self._slackwater, command, window, *words, *flags)

    async def lines(self) -> dict[str, str]:
        """State by id of occurrence."""
        for stored in await self.store.objects():
            if stored.key == NIGHTLY:
                found = stored.status.get("occurrences", ())
                return {line["id"]: line["state"] for line in found}
        return {}

    async def until(self, *states: str) -> dict[str, str]:
        async with asyncio.timeout(15):
            while sorted((lines := await self.lines()).values()) != sorted(states):
                await asyncio.sleep(0.02)
        return lines


@pytest.fixture
async def directory(quay: Quay, slackwater: Slackwater) -> AsyncIterator[Directory]:
    found = Directory(quay, slackwater)
    yield found
    await found.store.aclose()


# --- beside a `slackwater run`


async def test_trigger_starts_a_run_outside_the_window_where_that_is_granted(
    quay: Quay, directory: Directory
) -> None:
    quay.write_airflow(grants=[{"dags": ["*"], "allowOverride": True}])
    quay.write("nightly.yaml", window(begins=LATER))
    async with quay.running():
        await directory.store.open(beside=True)
        await directory.until("Planned")
        said = await directory.say("trigger")
        await until(quay.runs)

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"research/nightly: a run of DAG {DAG} was asked for; the `slack")
    assert (
        f"slackwater explain research/nightly --data {quay.settings.data} --manifests" in said.out
    )
    assert len(quay.runs()) == 1
    assert quay.runs()[0].conf["trainingWindow"]["gpus"] == 4


async def test_skip_leaves_the_next_occurrence_out(quay: Quay, directory: Directory) -> None:
    now = datetime.now(UTC)
    spans = [
        {
            "name": f"n{hours}",
            "effect": "Trigger",
            "start": wire(now + timedelta(hours=hours)),
            "end": wire(now + timedelta(hours=hours + 1)),
        }
        for hours in (2, 4)
    ]
    quay.write("nightly.yaml", window(windows=spans))
    async with quay.running():
        await directory.store.open(beside=True)
        await directory.until("Planned", "Planned")
        said = await directory.say("skip")
        lines = await directory.until("Planned", "Skipped")
        skipped = next(id_ for id_, state in lines.items() if state == "Skipped")
        other = next(id_ for id_, state in lines.items() if state == "Planned")
        assert said.code == 0
        assert f"{skipped} (n2, " in said.out

        again = await directory.say("skip", skipped[:6])
        assert again.code == 1
        assert again.err == (
            f"slackwater: research/nightly: {skipped} is Skipped already, and skip does not undo "
            "that.\n"
        )
        assert (await directory.say("skip", other[:6])).code == 0
        await directory.until("Skipped", "Skipped")
        none = await directory.say("skip")
        assert none.code == 1
        assert "nothing to skip" in none.err


async def test_an_open_window_that_is_suspended_starts_when_it_is_resumed(
    quay: Quay, directory: Directory
) -> None:
    quay.write("nightly.yaml", window(suspend=True))
    async with quay.running():
        await directory.store.open(beside=True)
        await directory.until("Waiting")
        already = await directory.say("suspend")
        refused = await directory.say("trigger")
        said = await directory.say("resume")
        await until(quay.runs)

    assert (already.code, already.out) == (0, "research/nightly is suspended already.\n")
    assert refused.code == 1
    assert "`slackwater resume research/nightly`" in refused.err
    assert said.code == 0
    assert said.out.startswith("research/nightly is resumed: what is open starts")


async def test_suspend_takes_a_queued_run_back(
    quay: Quay, directory: Directory, airflow: FakeAirflow
) -> None:
    airflow.add_dag(DAG)  # whose runs stay queued
    quay.write("nightly.yaml", window())
    async with quay.running():
        await directory.store.open(beside=True)
        await until(quay.runs)
        said = await directory.say("suspend")
        await until(lambda: not quay.runs())
        await directory.until("Waiting")
        assert (await directory.say("resume")).code == 0
        await until(quay.runs)

    assert said.code == 0
    assert "queued runs are taken back" in said.out


async def test_a_name_that_does_not_exist_brings_near_names(
    quay: Quay, directory: Directory
) -> None:
    quay.write("windows.yaml", window("nightly", begins=LATER), window("weekly", begins=LATER))
    async with quay.running():
        near = await directory.say("suspend", window="research/nightli")
        elsewhere = await directory.say("suspend", window="lab/weekly")
        far = await directory.say("suspend", window="zoo/otter")
        bare = await directory.say("suspend", window="nightly")

    assert near.code == 2
    assert near.err == (
        "slackwater: There is no TrainingWindow research/nightli; did you mean research/nightly?\n"
    )
    assert "did you mean research/weekly?" in elsewhere.err
    assert "check namespace and name." in far.err
    assert bare.code == 2
    assert "write NAMESPACE/NAME, such as research/nightly-llm" in bare.err


async def test_an_id_that_does_not_exist_brings_those_that_do(
    quay: Quay, directory: Directory
) -> None:
    quay.write("nightly.yaml", window(begins=LATER))
    async with quay.running():
        await directory.store.open(beside=True)
        lines = await directory.until("Planned")
        said = await directory.say("skip", "zz")
        ahead = await directory.say("skip", "0123456789abcdef0123")

    assert said.code == 2
    assert f"open or planned are {next(iter(lines))} (now, " in said.err
    assert ahead.code == 0, "an id in full may be of an occurrence that is still far ahead"


def test_a_data_directory_that_nobody_used_is_named(slackwater: Slackwater, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    words = ("--data", tmp_path / "data", "--manifests", tmp_path / "manifests")
    said = slackwater("trigger", "research/nightly", *words)

    assert said.code == 2
    assert "No `slackwater run` has kept its state in" in said.err
    assert not (tmp_path / "data").exists()


# --- in a cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    fake = FakeCluster(tmp_path)
    runner = web.AppRunner(fake.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.kubeconfig.write_text(kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    yield fake
    await runner.cleanup()


def stored(cluster: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects[f"{OURS}/trainingwindows", NAMESPACE, "nightly"]
    return found


async def ask(cluster: FakeCluster, slackwater: Slackwater, *words: object) -> Said:
    return await beside(slackwater, *words, "--kubeconfig", cluster.kubeconfig)


def line(id_: str, state: str, hours: int) -> dict[str, Any]:
    start = datetime.now(UTC) + timedelta(hours=hours)
    return {
        "id": id_,
        "entry": "nights",
        "state": state,
        "reason": "Ahead",
        "windowStart": wire(start),
        "windowEnd": wire(start + timedelta(hours=1)),
    }


async def test_in_a_cluster_trigger_is_an_annotation_with_the_time(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    cluster.window("nightly")
    before = datetime.now(UTC) - timedelta(seconds=1)
    said = await ask(cluster, slackwater, "trigger", "research/nightly")

    assert (said.code, said.err) == (0, "")
    assert "the operator takes this up within seconds" in said.out
    assert (
        f"`kubectl --kubeconfig {cluster.kubeconfig} -n research describe tw nightly`" in said.out
    )
    wish = stored(cluster)["metadata"]["annotations"]["slackwater.dev/trigger"]
    assert before <= datetime.fromisoformat(wish) <= datetime.now(UTC)


async def test_in_a_cluster_skip_is_added_to_what_was_skipped_before(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    old, done, ahead = "a" * 20, "b" * 20, "c" * 20
    lines = [line(done, "Skipped", -5), line(ahead, "Planned", 5)]
    cluster.window(
        "nightly",
        metadata={"annotations": {"slackwater.dev/skip": f"{old}, {done}"}},
        status={"occurrences": lines},
    )
    said = await ask(cluster, slackwater, "skip", "research/nightly")

    assert said.code == 0
    skip = stored(cluster)["metadata"]["annotations"]["slackwater.dev/skip"]
    assert skip == f"{old},{ahead}", "what is over needs no word any more"


async def test_in_a_cluster_a_skip_of_somebody_else_is_not_lost(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    mine, theirs = "a" * 20, "b" * 20
    cluster.window("nightly", metadata={"annotations": {"slackwater.dev/skip": theirs}})
    fault = cluster.fault("PATCH", "/nightly", status=409, times=1)
    said = await ask(cluster, slackwater, "skip", "research/nightly", mine)

    assert said.code == 0
    assert fault.times == 0
    skip = stored(cluster)["metadata"]["annotations"]["slackwater.dev/skip"]
    assert skip == f"{theirs},{mine}"


async def test_in_a_cluster_suspend_and_resume_edit_the_spec(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    cluster.window("nightly")
    assert (await ask(cluster, slackwater, "suspend", "research/nightly")).code == 0
    assert stored(cluster)["spec"]["suspend"] is True
    assert stored(cluster)["spec"]["dag"] == {"dagId": "nightly"}
    assert (await ask(cluster, slackwater, "resume", "research/nightly")).code == 0
    assert stored(cluster)["spec"]["suspend"] is False


async def test_in_a_cluster_an_unknown_name_brings_near_ones(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    cluster.window("nightly")
    said = await ask(cluster, slackwater, "resume", "research/nihgtly")
    assert (said.code, said.err) == (
        2,
        "slackwater: There is no TrainingWindow research/nihgtly; did you mean research/nightly?\n",
    )

    cluster.fault("GET", "^/apis/slackwater.dev/v1alpha1/trainingwindows$", status=403)
    said = await ask(cluster, slackwater, "resume", "research/nihgtly")
    assert "did you mean research/nightly?" in said.err, "where one may not list everywhere"

    cluster.fault("GET", "/trainingwindows", status=404)
    said = await ask(cluster, slackwater, "resume", "research/nightly")
    assert said.code == 2
    assert "slackwater crds | kubectl apply" in said.err


async def test_in_a_cluster_a_lack_of_rights_is_a_failure(
    cluster: FakeCluster, slackwater: Slackwater
) -> None:
    cluster.window("nightly")
    cluster.fault("PATCH", "/nightly", status=403)
    said = await ask(cluster, slackwater, "suspend", "research/nightly")

    assert said.code == 1
    assert said.err.startswith("slackwater: the Kubernetes API accepts the credentials but denies")


def test_without_a_cluster_a_directory_is_suggested(
    slackwater: Slackwater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    said = slackwater("suspend", "research/nightly")

    assert said.code == 2
    assert said.err.rstrip().endswith("or name a directory with --data or --manifests.")
