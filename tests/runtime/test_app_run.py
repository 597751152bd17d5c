"""`slackwater run`, whole: files and a fake Airflow in, runs and answers out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slackwater.core.words import Reason
from slackwater.errors import ConfigError, StoreError
from slackwater.runtime.engine import Engine
from slackwater.runtime.settings import Address
from tests.fakes.airflow import FakeAirflow
from tests.runtime.quay import DAG, LATER, Process, Quay, document, until, window


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="slackwater"):
        yield


def transitions(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons told of TrainingWindows, in order."""
    return [
        record.reason
        for record in caplog.records
        if record.name == "slackwater.events" and record.object.kind == "TrainingWindow"
    ]


# --- runs


async def test_an_open_window_starts_its_dag_once_and_follows_the_run(
    quay: Quay, airflow: FakeAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("nightly.yaml", window())
    async with quay.running() as process:
        await until(quay.runs)
        await until(lambda: "Running" in transitions(caplog))
        (run,) = quay.runs()
        airflow.finish(run.run_id)
        await until(lambda: "Succeeded" in transitions(caplog))
        assert await process.metric("slackwater_active_runs{") is True
        assert await process.metric(
            'slackwater_occurrences_total{name="nightly",namespace="research",'
            'reason="Succeeded",state="Succeeded"} 1.0'
        )

    assert [run.conf["trainingWindow"]["gpus"] for run in quay.runs()] == [4]
    told = transitions(caplog)
    assert told[-4:] == ["Starting", "Triggered", "Running", "Succeeded"]
    assert f"research/nightly Triggered: now: DAG {DAG} was triggered" in caplog.text


async def test_a_window_that_is_still_ahead_starts_nothing(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("ahead.yaml", window("ahead", begins=LATER))
    quay.write("nightly.yaml", window())
    async with quay.running() as process:
        await until(quay.runs)
        assert await process.metric('slackwater_next_open_timestamp_seconds{name="ahead"')

    assert [run.conf["trainingWindow"]["name"] for run in quay.runs()] == ["nightly"]


async def test_what_was_started_is_not_started_again_after_a_restart(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("nightly.yaml", window())
    async with quay.running():
        await until(lambda: "Triggered" in transitions(caplog))
    caplog.clear()

    async with quay.running():
        await until(lambda: "Running" in transitions(caplog))

    assert len(quay.runs()) == 1
    assert "Triggered" not in transitions(caplog)


async def test_with_its_database_lost_it_finds_its_run_again_in_airflow(
    quay: Quay, airflow: FakeAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("nightly.yaml", window())
    async with quay.running():
        await until(quay.runs)
    for path in quay.settings.data.glob("slackwater.db*"):
        if path.name != "slackwater.db.installation":
            path.unlink()
    caplog.clear()

    async with quay.running():
        await until(lambda: "Running" in transitions(caplog))

    assert len(quay.runs()) == 1
    posts = [status for verb, path, status in airflow.requests if verb == "POST" and DAG in path]
    assert posts in ([200], [200, 409]), "asking once more is harmless: the id is the same"


async def test_it_stops_at_once_while_airflow_hangs_and_settles_the_start_later(
    quay: Quay, airflow: FakeAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("nightly.yaml", window())
    hold = airflow.faults.hold("POST", "/dagRuns", done=True)
    async with quay.running():
        await hold.arrived.wait()
        asked = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - asked < 3
    hold.released.set()

    async with quay.running():
        await until(lambda: {"Running", "Adopted"} & set(transitions(caplog)))

    assert len(quay.runs()) == 1


# --- what heals while it runs


async def test_a_file_that_cannot_be_read_is_told_and_counts_once_it_is_mended(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    path = quay.write("nightly.yaml", window())
    good = path.read_text()
    path.write_text(good.replace("spec:", "spec: ]"))
    async with quay.running():
        assert "nightly.yaml: document 1: line 6, column 7: is not valid YAML" in caplog.text
        assert "faults in the files: 1" in caplog.text
        assert "found 0 TrainingWindows, 1 GPUPool and 1 AirflowInstance" in caplog.text
        path.write_text(good)
        await until(quay.runs)

    assert "nightly.yaml: read again without a problem" in caplog.text


async def test_a_field_that_cannot_work_is_named_and_heals(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    quay.write("nightly.yaml", window(timeZone="Europe/Atlantis"))
    async with quay.running():
        await until(lambda: "UnknownTimeZone" in transitions(caplog))
        quay.write("nightly.yaml", window(timeZone="Europe/Berlin"))
        await until(quay.runs)


async def test_a_password_is_read_again_when_its_file_changes(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    quay.password.write_text("wrong\n")
    quay.write("nightly.yaml", window())
    async with quay.running() as process:
        await until(lambda: "AirflowInstance research/default Unauthorized" in caplog.text)
        assert await process.metric('slackwater_airflow_up{name="default",namespace="research"} 0')
        quay.password.write_text("admin\n")
        await until(quay.runs)


# --- sources


async def test_a_calendar_may_be_a_file_beside_its_manifest(quay: Quay) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//test//test//EN",
        "BEGIN:VEVENT",
        "UID:one@example.com",
        f"DTSTAMP:{start:%Y%m%dT%H%M%SZ}",
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}",
        "DURATION:PT2H",
        "SUMMARY:train: llama",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    home = quay.manifests / "team"
    home.mkdir()
    (home / "team.ics").write_text("\r\n".join(lines))
    entry = {
        "name": "team",
        "calendarRef": {"name": "team"},
        "effect": "Trigger",
        "match": {"summary": "train:*"},
    }
    quay.write(
        "team/team.yaml",
        document("Calendar", "team", {"provider": {"ical": {"file": "team.ics"}}}),
        window(windows=[], calendars=[entry]),
    )
    async with quay.running():
        await until(quay.runs)

    (run,) = quay.runs()
    assert run.conf["trainingWindow"]["entry"] == "team"
    assert "llama" not in json.dumps(run.conf), "a calendar at privacy Basic keeps its titles"


async def test_a_pool_is_sampled_from_prometheus_on_this_machine(
    quay: Quay, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    source = {"prometheus": {"serverAddress": url, "mode": "Kubernetes"}}
    quay.write("pool.yaml", document("GPUPool", "box", {"source": source, "nodes": "gpu-.*"}))
    quay.write("nightly.yaml", window())
    async with quay.running():
        await until(lambda: "GPUPool research/box Unavailable" in caplog.text)
    await runner.cleanup()

    assert asked
    assert not quay.runs(), "a pool that cannot be asked blocks"


# --- probes and metrics


async def test_it_answers_probes_and_scrapes(quay: Quay) -> None:
    async with quay.running() as process:
        async with asyncio.timeout(10):
            while (await process.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.01)
        assert await process.get("/healthz") == (200, "ok\n")
        status, page = await process.get("/")
        assert status == 200
        assert "nightly" in page or "No TrainingWindow" in page
        assert (await process.get("/elsewhere"))[0] == 404
        assert await process.metric("slackwater_leader 1.0")
        assert await process.metric("slackwater_build_info{")


# --- life


async def test_a_second_process_on_the_same_data_is_refused(quay: Quay) -> None:
    async with quay.running():
        with pytest.raises(ConfigError, match="is using it already"):
            await Process(quay.settings).run()


async def test_an_address_that_is_taken_is_named(quay: Quay) -> None:
    async with quay.running() as process:
        port = int(process.url.rpartition(":")[2])
        other = Quay(quay.manifests.parent / "other", quay.airflow)
        with pytest.raises(
            ConfigError,
            match=rf"{port} cannot be listened on \(address already in use\); .* --listen",
        ):
            await Process(replace(other.settings, listen=Address("127.0.0.1", port))).run()


async def test_a_missing_directory_is_named(quay: Quay) -> None:
    settings = replace(quay.settings, manifests=(Path("/nonexistent/manifests"),))
    with pytest.raises(ConfigError, match="/nonexistent/manifests does not exist"):
        await Process(settings).run()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError(Reason.UNAVAILABLE, what="The database"), "The database answers with"),
        (ZeroDivisionError(), "the engine ended unexpectedly"),
        (None, "the engine ended"),
    ],
)
async def test_an_engine_that_ends_ends_the_process_with_1(
    quay: Quay,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
    said: str,
) -> None:
    async def run(_: Any) -> None:
        if error is not None:
            raise ExceptionGroup("its tasks", [error])

    monkeypatch.setattr(Engine, "run", run)

    assert await Process(quay.settings).run() == 1
    assert said in caplog.text
