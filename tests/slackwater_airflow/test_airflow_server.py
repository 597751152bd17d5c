"""The package in a real Airflow: every component, from wheels, with PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from slackwater_windows.page import render
from testbed import web
from testbed.airflow import EVERYTHING, Airflow
from testbed.postgres import Postgres
from testbed.process import wait_until
from tests.slackwater_airflow.installed import DAG_IDS, DAGS, Harbour, build_wheels, whole

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    file = tmp_path_factory.mktemp("windows") / "windows.json"
    start = whole(datetime.now(UTC)) + timedelta(hours=6)
    harbour = Harbour(file, start, start + timedelta(hours=2))
    harbour.write()
    return harbour


@pytest.fixture(scope="module", params=["3.3", "3.2"])
def airflow(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, harbour: Harbour
) -> Iterator[Airflow]:
    wheels = build_wheels(tmp_path_factory.mktemp("wheels"))
    with Postgres() as database:
        server = Airflow(
            DAGS,
            components=EVERYTHING,
            database=database.create_database("airflow"),
            extra_packages=wheels,
            variables={"SLACKWATER_WINDOWS_FILE": str(harbour.file)},
            dags=DAG_IDS,
            version=request.param,
        )
        with server:
            yield server


@pytest.fixture(autouse=True)
def planned(harbour: Harbour) -> None:
    """Each test begins with a window six hours ahead."""
    harbour.run_id, harbour.state, harbour.parameters = None, "Planned", {}
    harbour.planned_start = None
    harbour.move(whole(datetime.now(UTC)) + timedelta(hours=6))


def returned(airflow: Airflow, dag_id: str, run_id: str, task_id: str) -> Any:
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
    return airflow.get(f"{path}/xcomEntries/return_value?deserialize=true")["value"]


def state(airflow: Airflow, dag_id: str, run_id: str, task_id: str) -> str:
    path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
    return str(airflow.get(path)["state"])


def own_conf(start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "trainingWindow": {
            "version": 1,
            "installation": "test",
            "namespace": "research",
            "name": "nightly",
            "occurrence": "o1",
            "start": start.isoformat(),
            "end": end.isoformat(),
            "pool": "research/h100",
            "gpus": 24,
            "perPod": 8,
        }
    }


def test_every_component_loads_the_plugin_without_an_error(airflow: Airflow) -> None:
    errors = airflow.get("/plugins/importErrors")
    plugins = {plugin["name"]: plugin for plugin in airflow.get("/plugins")["plugins"]}

    assert errors["import_errors"] == []
    assert plugins["slackwater"]["source"].startswith("slackwater-airflow==")
    assert airflow.get("/importErrors")["import_errors"] == []
    for component in EVERYTHING:
        log = (airflow.home / f"{component}.log").read_text(errors="replace")
        assert "Failed to import plugin" not in log, component
        assert "slackwater" not in [line for line in log.splitlines() if "Traceback" in line]


def test_the_page_is_shown_only_to_who_is_logged_in_and_only_what_he_may_read(
    airflow: Airflow,
) -> None:
    address = f"{airflow.url}/slackwater/"
    bearer = {"Authorization": f"Bearer {airflow.token('viewer')}"}
    cookie = {"Cookie": f"_token={airflow.token('viewer')}"}

    assert web.call("GET", address).status == 401
    assert web.call("GET", address, headers={"Authorization": "Bearer x.y.z"}).status in {401, 403}
    assert web.call("POST", address, headers=bearer).status == 405
    for sent in (bearer, cookie):
        answer = web.call("GET", address, headers=sent)
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "nightly" in answer.text
        assert "not_of_this_airflow" not in answer.text
        assert "secret" not in answer.text
    other = web.call("GET", f"{address}?dag_id=tw_made", headers=bearer)
    assert "triggers this DAG" in other.text


def test_a_task_reads_its_window_live_from_the_file(airflow: Airflow, harbour: Harbour) -> None:
    now = whole(datetime.now(UTC))
    harbour.run_id, harbour.state, harbour.parameters = "live-1", "Running", {"lr": 0.1}
    harbour.move(now)
    later = now + timedelta(hours=1)

    airflow.trigger("tw_current", "live-1", own_conf(now, later))
    airflow.trigger("tw_current", "conf-1", own_conf(now, later) | {"seed": 1})
    harbour.file.rename(harbour.file.with_suffix(".kept"))
    try:
        airflow.trigger("tw_current", "lost-1", {})
        lost = airflow.wait_for_run("tw_current", "lost-1", timeout=90)
    finally:
        harbour.file.with_suffix(".kept").rename(harbour.file)
    airflow.trigger("tw_current", "live-2", own_conf(now, later))
    live = airflow.wait_for_run("tw_current", "live-2", timeout=90)

    assert live["state"] == "success"
    assert lost["state"] == "failed"
    said = returned(airflow, "tw_current", "live-2", "tell")
    assert said == {
        "end": harbour.end.isoformat(),
        "gpus": 24,
        "pods": 3,
        "live": True,
        "parameters": {"lr": 0.1},
        "reached": False,
    }


def test_the_sensor_holds_no_slot_and_follows_a_moved_window(
    airflow: Airflow, harbour: Harbour
) -> None:
    airflow.trigger("tw_named", "named-1")
    wait_until(
        lambda: state(airflow, "tw_named", "named-1", "wait") == "deferred", "deferred", 90, 0.3
    )
    opens = whole(datetime.now(UTC)) + timedelta(seconds=8)
    harbour.planned_start = opens + timedelta(hours=1)
    harbour.move(opens)

    assert state(airflow, "tw_named", "named-1", "wait") == "deferred"
    run = airflow.wait_for_run("tw_named", "named-1", timeout=90)
    said = returned(airflow, "tw_named", "named-1", "opened")
    assert run["state"] == "success"
    assert datetime.fromisoformat(said["at"]) >= opens
    assert (said["window"], said["gpus"], said["lr"]) == ("research/nightly", 16, 0.1)
    assert datetime.fromisoformat(said["planned_start"]) == harbour.planned_start


def test_the_sensor_of_a_run_waits_for_its_own_window_by_conf_alone(airflow: Airflow) -> None:
    start = whole(datetime.now(UTC)) + timedelta(seconds=12)
    conf = own_conf(start, start + timedelta(hours=1))
    conf["trainingWindow"] |= {"name": "unknown-to-the-file"}

    airflow.trigger("tw_own", "own-1", conf)
    run = airflow.wait_for_run("tw_own", "own-1", timeout=90)

    assert run["state"] == "success"
    assert datetime.fromisoformat(run["end_date"]) >= start


def test_the_timetable_shows_the_calendar_and_starts_only_what_no_window_triggers(
    airflow: Airflow, harbour: Harbour
) -> None:
    harbour.move(whole(datetime.now(UTC)) + timedelta(seconds=20))

    def of_this_window() -> list[Any]:
        return [
            run
            for run in airflow.runs("tw_made")
            if datetime.fromisoformat(run["data_interval_start"]) == harbour.start
        ]

    wait_until(of_this_window, "a run at the window's start", 120, 0.5)

    made = of_this_window()[0]
    shown = airflow.get("/dags/tw_shown/details")
    assert datetime.fromisoformat(made["data_interval_end"]) == harbour.end
    assert datetime.fromisoformat(made["queued_at"]) >= harbour.start
    assert airflow.runs("tw_shown") == []
    assert shown["timetable_summary"] == "Slackwater: research/nightly"
    assert "(Europe/Berlin)" in shown["timetable_description"]
    assert airflow.get("/dags/tw_made/details")["timetable_summary"].startswith("At each window")
    run = airflow.wait_for_run("tw_made", made["dag_run_id"], timeout=90)
    assert run["state"] == "success"
    said = returned(airflow, "tw_made", made["dag_run_id"], "tell")
    assert (said["live"], said["gpus"]) == (True, 16)
    versions = airflow.get("/dags/tw_made/dagVersions")["dag_versions"]
    assert len(versions) == 1  # a moved event is no new version of the DAG


def test_the_page_is_the_operator_s_own(airflow: Airflow, harbour: Harbour) -> None:
    bearer = {"Authorization": f"Bearer {airflow.token('admin')}"}
    answer = web.call("GET", f"{airflow.url}/slackwater/?zone=UTC", headers=bearer)
    ours = render(harbour.document(), datetime.now(UTC))

    head = answer.text.partition("</style>")[0]
    assert head == ours.partition("</style>")[0]
    assert json.dumps("research/h100")[1:-1] in answer.text
