"""`slackwater operator` against a real API server, with no rights but the chart's."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from slackwater_windows.document import Window
from slackwater_windows.wire import decode
from testbed import web
from tests.cluster.installed import HOME, Installed, Operator, Team, now, until
from tests.fakes.airflow import DagRun, FakeAirflow

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

MANAGED = "app.kubernetes.io/managed-by=slackwater"
AFTER_POST, BEFORE_POST, AFTER_REPLY = "reply lost", "POST under way", "reply read"


async def start(operator: Operator) -> None:
    await asyncio.to_thread(operator.start)


async def finish(team: Team, name: str, run: DagRun) -> dict[str, Any]:
    """Let the run succeed; the ledger's line once it says so."""
    team.airflow.start(run.run_id)
    await team.sees_line(name, run.run_id, "Running")
    team.airflow.finish(run.run_id)
    return await team.sees_line(name, run.run_id, "Succeeded")


async def test_an_open_window_runs_its_dag_once_and_says_so(team: Team, operator: Operator) -> None:
    await start(operator)
    await team.apply(team.window("nightly"))
    run = await team.sees_run("nightly")
    assert (run.dag_id, run.state, run.conf["epochs"]) == ("train_llm", "queued", 3)
    assert run.run_id.startswith("slackwater.")
    line = await team.sees_line("nightly", run.run_id, "Triggered")
    assert line["promise"] == 4

    await team.apply(team.window("patient", gpu={"poolRef": {"name": "box"}, "count": 8}))
    waits = ("False", "WaitingForGPUs")
    await until("the other waits", lambda: says(team, "patient", "CapacityAvailable", waits))
    first, other = await team.table()
    assert (first["NAME"], first["READY"], first["RUNNING"]) == ("nightly", "True", "1")
    assert "train_llm" in first["WHY"]
    assert (other["NAME"], other["READY"], other["RUNNING"]) == ("patient", "True", "0")
    assert other["WINDOW"] == "Open"
    assert other["WHY"].startswith(f"Waiting for 8 GPUs in {team.namespace}/box")
    assert "8 free, 4 of them promised to 1 other run" in other["WHY"]
    await team.kubectl("delete", "tw", "patient")

    line = await finish(team, "nightly", run)
    times = [line[f"{moment}Time"] for moment in ("intent", "trigger", "start", "end")]
    assert times == sorted(times)
    assert "promise" not in line
    await until("nothing runs", lambda: nothing_runs(team, "nightly"))
    assert (team.tries("POST"), len(team.airflow.runs)) == (1, 1)
    reasons = await until("Events of the start", lambda: told(team, "nightly", "Succeeded"))
    assert reasons.count("Triggered") == 1


async def test_the_windows_file_stands_in_a_config_map_and_follows(
    team: Team, operator: Operator, installed: Installed
) -> None:
    def row() -> Window | None:
        shown = installed.plane.request(
            "GET", f"/api/v1/namespaces/{HOME}/configmaps?labelSelector={MANAGED}"
        )
        texts = [one["data"]["windows.json"] for one in shown["items"]]
        return decode(texts[0]).window(f"{team.namespace}/nightly") if texts else None

    async def state_is(wanted: str) -> Window | None:
        found = await asyncio.to_thread(row)
        states = [one.state for one in found.occurrences] if found else []
        return found if states == [wanted] else None

    await start(operator)
    await team.apply(team.window("nightly"))
    run = await team.sees_run("nightly")
    team.airflow.start(run.run_id)
    told = await until("its run is in the file", lambda: state_is("Running"))
    assert (told.dag_id, told.gpus) == ("train_llm", 4)
    assert told.occurrences[0].dag_run_id == run.run_id
    page = await asyncio.to_thread(web.call, "GET", f"{operator.url}/?q=nightly")
    assert "train_llm" in page.text

    team.airflow.finish(run.run_id)
    await until("its end is in the file", lambda: state_is("Succeeded"))


async def nothing_runs(team: Team, name: str) -> bool:
    status = await team.status(name)
    return not status.get("active") and "lastSuccessfulTime" in status


async def told(team: Team, name: str, last: str) -> list[str]:
    """Reasons of the Events about a TrainingWindow, once `last` is one of them."""
    shown = json.loads(await team.kubectl("get", "events.events.k8s.io", "--output=json"))
    reasons = [
        one["reason"]
        for one in shown["items"]
        if (one["regarding"]["kind"], one["regarding"]["name"]) == ("TrainingWindow", name)
    ]
    return reasons if last in reasons else []


@pytest.mark.parametrize("moment", [AFTER_POST, BEFORE_POST, AFTER_REPLY])
async def test_a_controller_killed_while_it_triggers_starts_no_second_run(
    team: Team, operator: Operator, airflow: FakeAirflow, moment: str
) -> None:
    hold = None
    if moment != AFTER_REPLY:
        hold = airflow.faults.hold("POST", "/dagRuns", done=moment == AFTER_POST)
    await start(operator)
    await team.apply(team.window("nightly"))
    if hold is None:
        await until("the reply went out", lambda: team.tries("POST", 200))
    else:
        await asyncio.wait_for(hold.arrived.wait(), 120)
    operator.kill()
    assert len(airflow.runs) == (0 if moment == BEFORE_POST else 1)

    await start(operator)
    run = await team.sees_run("nightly")
    if hold is not None:
        # What was sent before the crash arrives only now.
        hold.release()
        await until("the first POST is over", lambda: team.tries("POST") >= 1)
    line = await finish(team, "nightly", run)
    assert {"intentTime", "triggerTime", "startTime", "endTime"} <= line.keys()
    assert [one.run_id for one in airflow.runs] == [run.run_id]
    assert team.tries("POST", 200) == 1
    assert team.tries("POST") == (2 if moment == BEFORE_POST else 1)


async def test_another_controller_takes_over_from_one_that_was_killed(
    team: Team, operators: tuple[Operator, Operator], installed: Installed
) -> None:
    await asyncio.gather(*map(start, operators))
    await team.apply(team.window("first"))
    first = await team.sees_run("first")
    await team.sees_line("first", first.run_id, "Triggered")

    words = ("get", "lease", team.namespace, f"--namespace={HOME}", "--output=json")
    lease = json.loads(await asyncio.to_thread(installed.plane.kubectl, *words))
    holder = lease["spec"]["holderIdentity"].partition("_")[0]
    (leader,) = [one for one in operators if one.pod == holder]
    opens = now() + timedelta(seconds=5)
    await team.apply(team.window("second", opens))
    leader.kill()

    second = await team.sees_run("second")
    assert second.queued_at >= opens
    await finish(team, "second", second)
    await finish(team, "first", first)
    assert (team.tries("POST"), len(team.airflow.runs)) == (2, 2)


@pytest.mark.parametrize("up", [True, False], ids=["under a controller", "while none is up"])
async def test_a_run_is_adopted_after_its_status_was_lost(
    team: Team, operator: Operator, up: bool
) -> None:
    await start(operator)
    await team.apply(team.window("nightly"))
    run = await team.sees_run("nightly")
    team.airflow.start(run.run_id)
    before = await team.sees_line("nightly", run.run_id, "Running")
    if not up:
        await asyncio.to_thread(operator.stop)
    await team.kubectl(
        *("patch", "tw", "nightly", "--subresource=status", "--type=merge"),
        '--patch={"status": null}',
    )
    if not up:
        assert await team.status("nightly") == {}
        await start(operator)
    after = await team.sees_line("nightly", run.run_id, "Running")
    assert (after["id"], after["promise"]) == (before["id"], 4)
    team.airflow.finish(run.run_id)
    await team.sees_line("nightly", run.run_id, "Succeeded")
    assert (team.tries("POST"), len(team.airflow.runs)) == (1, 1)


async def test_a_queued_run_goes_with_its_window_and_a_running_one_stays(
    team: Team, operator: Operator
) -> None:
    await start(operator)
    await team.apply(team.window("queued"), team.window("running"))
    queued, running = await team.sees_run("queued"), await team.sees_run("running")
    team.airflow.start(running.run_id)
    await team.sees_line("running", running.run_id, "Running")
    await team.sees_line("queued", queued.run_id, "Triggered")
    await team.kubectl("delete", "tw", "queued", "running")
    await until("the queued run is deleted", lambda: not team.runs_of("queued"))
    assert team.airflow.runs == [running]
    assert running.state == "running"


async def test_a_missing_calendar_is_named_and_healed_by_its_creation(
    team: Team, operator: Operator
) -> None:
    await start(operator)
    entry = {
        "name": "team",
        "calendarRef": {"name": "team"},
        "effect": "Trigger",
        "match": {"summary": "train:*"},
    }
    await team.apply(team.window("nightly", windows=[], calendars=[entry]))
    missing = ("False", "CalendarNotFound")
    await until("the calendar is missed", lambda: says(team, "nightly", "Ready", missing))
    assert f"{team.namespace}/team" in (await team.status("nightly"))["message"]
    assert not team.airflow.runs

    begins = now() - timedelta(minutes=1)
    event = {"uid": "1", "summary": "train: secret project"} | {
        edge: f"{at:%Y-%m-%dT%H:%M:%SZ}"
        for edge, at in (("start", begins), ("end", begins + timedelta(hours=1)))
    }
    provider = {"static": {"events": [event]}}
    await team.apply(team.thing("Calendar", "team", provider=provider))
    run = await team.sees_run("nightly")
    assert await team.condition("nightly", "Ready") == ("True", "Accepted")
    await finish(team, "nightly", run)
    assert len(team.airflow.runs) == 1
    everything = await team.kubectl("get", "tw,events.events.k8s.io", "--output=json")
    applied = json.loads(everything)["items"]
    assert "secret project" not in json.dumps([{**one, "metadata": {}} for one in applied])
    assert "secret project" not in operator.log()


async def says(team: Team, name: str, kind: str, words: tuple[str, str]) -> bool:
    return await team.condition(name, kind) == words
