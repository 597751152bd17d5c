"""What `slackwater check` finds, against a real Airflow API and pools, and what it advises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slackwater.core.words import Reason, say
from slackwater.gpus.queries import REPORT
from slackwater.ports import FetchState
from tests.cli.reading_bench import (
    ASIDE,
    CANARY,
    Bench,
    Json,
    Printed,
    airflow,
    entry,
    event,
    ical,
    inline,
    pool,
    static,
    window,
)
from tests.fakes.airflow import FakeAirflow, Param
from tests.gpus.fake_prometheus import FakePrometheus, row, vector

TRAIN = entry("team", "Trigger", "train:*")
GPU = {"poolRef": {"name": "box"}, "count": 8}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path, monkeypatch)
    bench.secret("airflow", username="admin", password="admin")
    return bench


@pytest.fixture
def server() -> Iterator[FakeAirflow]:
    server = FakeAirflow()
    server.add_dag("train")
    ASIDE.do(server.come_up())
    yield server
    ASIDE.do(server.go_down())


def check(bench: Bench, *words: str) -> Printed:
    return bench.run("check", "--secrets", str(bench.secrets), *words)


def findings(bench: Bench) -> dict[str, Json]:
    printed = check(bench, "-o", "json")
    assert printed.err == ""
    assert CANARY not in printed.out
    return {finding["about"]: finding for finding in printed.json}


def failed(bench: Bench) -> list[tuple[str, str, str]]:
    """What is not in order: what it is about, sentence and remedy."""
    found = findings(bench).values()
    return [(f["about"], f["sentence"], f["remedy"]) for f in found if not f["ok"]]


def harbour(server: FakeAirflow, **changes: Any) -> list[Json]:
    """Everything that one TrainingWindow needs."""
    spec = {"calendars": [TRAIN], "gpu": GPU} | changes
    return [
        static(event("a", f"train: {CANARY}", "2026-11-24T22:00:00Z", "2026-11-24T23:00:00Z")),
        pool(),
        airflow(server.url),
        window(**spec),
    ]


def test_everything_that_is_referred_to_gets_a_tick(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *harbour(server))

    printed = check(bench)

    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "✓  Calendar research/team: 1 event.",
        "✓  GPUPool research/box: 8 of 8 GPUs free.",
        "✓  AirflowInstance research/default: Airflow 3.3.2.",
        "✓  DAG train in AirflowInstance research/default: DAG train can be triggered.",
        "✓  TrainingWindow research/nightly may use Calendar research/team",
        "✓  TrainingWindow research/nightly may use 8 GPUs of GPUPool research/box",
        "✓  TrainingWindow research/nightly may use DAG train in AirflowInstance research/default",
        "",
        "All 7 in order.",
    ]
    assert CANARY not in printed.out
    assert server.runs == []


def test_each_thing_is_asked_once_however_many_use_it(
    bench: Bench, server: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slackwater.calendars.static import StaticSource

    reads: list[object] = []
    real = StaticSource.fetch

    async def counted(
        self: StaticSource, horizon: Any, state: FetchState | None, now: Any
    ) -> object:
        reads.append(self)
        return await real(self, horizon, state, now)

    monkeypatch.setattr(StaticSource, "fetch", counted)
    bench.write("all.yaml", *harbour(server), window("second", calendars=[TRAIN], gpu=GPU))

    found = findings(bench)

    assert all(finding["ok"] for finding in found.values())
    assert len(reads) == 1
    assert sum(path.endswith("/dags/train/details") for _, path, _ in server.requests) == 1
    assert sum(path.endswith("/version") for _, path, _ in server.requests) == 1


# --- calendars and pools


def test_a_calendar_that_cannot_be_read(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *harbour(server)[1:], ical("team.ics"))

    printed = check(bench)

    assert printed.code == 1
    assert failed(bench) == [
        (
            "Calendar research/team",
            "Calendar research/team answers that it does not exist.",
            "Check the URL or the id.",
        )
    ]
    assert "✗  Calendar research/team" in printed.out
    assert printed.out.endswith("1 of 7 not in order.\n")


def test_a_calendar_that_never_answers_is_given_up(
    bench: Bench, server: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio
    from datetime import timedelta

    from slackwater.calendars.static import StaticSource

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("slackwater.cli.laid_out.LIMIT", timedelta(milliseconds=200))
    monkeypatch.setattr(StaticSource, "fetch", never)
    bench.write("all.yaml", static())

    assert failed(bench) == [
        (
            "Calendar research/team",
            "Calendar research/team did not answer in time.",
            "Look at its load and the network.",
        )
    ]


def test_what_a_calendar_leaves_out_is_a_note_beside_its_tick(bench: Bench) -> None:
    bench.write(
        "all.yaml",
        static(
            event("a", "x", "2026-11-24T22:00:00Z", "2026-11-24T23:00:00Z", rrule="FREQ=SECONDLY")
        ),
    )

    found = findings(bench)["Calendar research/team"]

    assert found["ok"]
    assert [note["reason"] for note in found["notes"]] == ["SeriesSkipped"]
    assert say(Reason.SERIES_SKIPPED, count=1) in check(bench).out


def test_a_prometheus_that_is_not_there(bench: Bench) -> None:
    source = {"prometheus": {"serverAddress": "http://127.0.0.1:9"}}
    bench.write("all.yaml", {**pool(), "spec": {"source": source, "nodes": "gpu-.*"}})

    ((about, sentence, remedy),) = failed(bench)

    assert about == "GPUPool research/box"
    assert sentence.endswith("cannot be reached.")
    assert remedy == "Check the address, DNS and network policies."


def test_more_gpus_than_the_pool_has(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *harbour(server, gpu={**GPU, "count": 16}))

    assert failed(bench) == [
        (
            "TrainingWindow research/nightly may use 16 GPUs of GPUPool research/box",
            "16 GPUs are asked for, but research/box has 8 in pods of 1.",
            "Ask for less or choose another pool.",
        )
    ]


def test_a_held_pool_is_in_order_and_noted(bench: Bench, server: FakeAirflow) -> None:
    objects = harbour(server)
    objects[1] = pool(stopPolicy="Hold")
    bench.write("all.yaml", *objects)

    found = findings(bench)["GPUPool research/box"]

    assert found["ok"]
    assert found["notes"] == [{"reason": "Held", "remedy": "Set stopPolicy to None."}]


# --- Airflow


def test_an_airflow_that_is_not_there(bench: Bench, server: FakeAirflow) -> None:
    objects = harbour(server)
    ASIDE.do(server.go_down())
    bench.write("all.yaml", *objects)

    assert failed(bench) == [
        (
            "AirflowInstance research/default",
            "Airflow research/default cannot be reached.",
            "Check the address, DNS and network policies.",
        )
    ]


def test_an_airflow_that_is_too_old(bench: Bench, server: FakeAirflow) -> None:
    server.version = "2.10.5"
    bench.write("all.yaml", *harbour(server))

    ((about, sentence, remedy),) = failed(bench)

    assert about == "AirflowInstance research/default"
    assert sentence == "Airflow research/default is Airflow 2 or older."
    assert remedy == "Slackwater needs Airflow 3.1 or newer."


def test_a_wrong_password_and_a_missing_one(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *harbour(server))
    password = bench.secrets / "research" / "airflow" / "password"

    password.write_text("wrong")
    ((about, _, wrong),) = failed(bench)
    password.unlink()
    ((_, sentence, missing),) = failed(bench)

    assert about == "AirflowInstance research/default"
    assert wrong == "Check the secret that the object names."
    assert sentence == "Secret research/airflow has no key password."
    assert missing == "Add the key or correct the reference."


@pytest.mark.parametrize(
    ("trait", "sentence", "remedy"),
    [
        ("paused", "DAG train is paused.", "Unpause it in Airflow."),
        ("stale", "DAG train has vanished from Airflow's DAG folder.", "Deploy it again."),
        (
            "import_errors",
            "The file of DAG train has import errors.",
            "See Airflow's import errors.",
        ),
    ],
)
def test_a_dag_that_could_not_be_triggered(
    bench: Bench, server: FakeAirflow, trait: str, sentence: str, remedy: str
) -> None:
    server.add_dag("train", **{trait: True})
    bench.write("all.yaml", *harbour(server))

    assert failed(bench) == [("DAG train in AirflowInstance research/default", sentence, remedy)]


def test_a_dag_that_does_not_exist(bench: Bench, server: FakeAirflow) -> None:
    server.dags.clear()
    bench.write("all.yaml", *harbour(server))

    ((_, sentence, remedy),) = failed(bench)

    assert sentence == "DAG train does not exist in Airflow research/default."
    assert remedy == "Deploy it or correct dagId."


def test_a_dag_with_a_schedule_of_its_own_is_noted(bench: Bench, server: FakeAirflow) -> None:
    server.add_dag("train", schedule="0 0 * * *")
    bench.write("all.yaml", *harbour(server))

    found = findings(bench)["DAG train in AirflowInstance research/default"]

    assert found["ok"]
    assert found["notes"] == [
        {"reason": "DagHasSchedule", "remedy": "Set schedule=None in the DAG."}
    ]


def test_an_ill_scheduler(bench: Bench, server: FakeAirflow) -> None:
    server.scheduler = "unhealthy"
    bench.write("all.yaml", *harbour(server))

    ((_, sentence, remedy),) = failed(bench)

    assert sentence.startswith("The scheduler of Airflow research/default is not healthy")
    assert remedy == "Look at the scheduler's logs."


# --- grants and references


def test_each_grant_that_is_missing_is_named_with_who_can_give_it(
    bench: Bench, server: FakeAirflow
) -> None:
    elsewhere = {"from": "Selector", "selector": {"matchLabels": {"team": "other"}}}
    objects = harbour(server)
    objects[0]["spec"]["allowedNamespaces"] = elsewhere
    objects[1]["spec"]["grants"] = [{"namespaces": elsewhere}]
    objects[2]["spec"]["grants"] = [{"dags": ["other_*"]}]
    bench.write("all.yaml", *objects)

    found = failed(bench)

    assert [remedy for _, _, remedy in found] == [
        "Ask its owner to add the namespace to spec.allowedNamespaces.",
        "Ask its owner to add a grant to spec.grants.",
        "Ask its owner to add the DAG to the grant's dags.",
    ]
    assert all(about.startswith("TrainingWindow research/nightly may use") for about, _, _ in found)
    assert not any("/dags/train" in path for _, path, _ in server.requests)


def test_more_gpus_than_the_grant_and_no_pool_where_one_is_needed(
    bench: Bench, server: FakeAirflow
) -> None:
    objects = harbour(server)
    objects[1]["spec"]["grants"] = [{"maxGPUs": 4}]
    objects[2]["spec"]["requireGPUPool"] = True
    bench.write("all.yaml", *objects, window("second", calendars=[TRAIN]))

    sentences = [sentence for _, sentence, _ in failed(bench)]

    assert sentences == [
        "8 GPUs are asked for, but the grant of GPUPool research/box allows 4.",
        "AirflowInstance research/default requires every TrainingWindow to name a GPUPool.",
    ]


def test_what_is_referred_to_and_missing(bench: Bench) -> None:
    bench.write("all.yaml", window(calendars=[TRAIN], gpu=GPU))

    assert [remedy for _, _, remedy in failed(bench)] == [
        "Create it or correct calendarRef.",
        "Create it or correct poolRef.",
        "Create it or correct airflowRef.",
    ]


def test_a_calendar_whose_privacy_is_too_low(bench: Bench, server: FakeAirflow) -> None:
    objects = harbour(server)
    objects[0]["spec"]["privacy"] = "FreeBusy"
    bench.write("all.yaml", *objects)

    ((about, _, remedy),) = failed(bench)

    assert about == "TrainingWindow research/nightly"
    assert remedy == "Use effect Deny or Allow, or raise the calendar's privacy to Basic."


# --- the rest


def test_bad_manifests_are_refused_with_2_before_anything_is_asked(
    bench: Bench, server: FakeAirflow
) -> None:
    path = bench.write("all.yaml", *harbour(server), pool(gpus=-1, name="bad"))

    printed = check(bench)

    assert (printed.code, printed.out) == (2, "")
    assert printed.err.startswith(
        f"slackwater: {path}: document 5: GPUPool research/bad: spec.source.static.gpus: "
    )
    assert server.requests == []


def test_progress_is_told_on_a_terminal_only(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *harbour(server))
    bench.terminal = True

    assert sorted(check(bench).err.splitlines()) == [
        "AirflowInstance research/default ...",
        "Calendar research/team ...",
        "DAG train in AirflowInstance research/default ...",
        "GPUPool research/box ...",
    ]


def test_nothing_to_check_is_in_order(bench: Bench) -> None:
    printed = check(bench)

    assert (printed.code, printed.out) == (0, "There is nothing to check.\n")


def test_an_inline_window_needs_no_calendar(bench: Bench, server: FakeAirflow) -> None:
    nights = inline("nights", "Trigger", schedule="0 22 * * *", durationSeconds=28800)
    bench.write("all.yaml", airflow(server.url), window(windows=[nights]))

    assert check(bench).code == 0


PARAMS = {"epochs": Param(3, {"type": "integer", "minimum": 1, "maximum": 10})}


def told(server: FakeAirflow, *descriptions: str) -> list[Json]:
    """A window whose conf takes its epochs from events with these descriptions."""
    server.add_dag("train", params=PARAMS)
    events = [
        event(
            f"e{day}",
            f"train: {CANARY}",
            f"2026-12-{day:02}T22:00:00Z",
            f"2026-12-{day:02}T23:00:00Z",
        )
        | {"description": description}
        for day, description in enumerate(descriptions, start=1)
    ]
    team, *others = harbour(server)
    team["spec"]["provider"]["static"]["events"] = events
    team["spec"]["privacy"] = "Details"
    others[-1]["spec"]["dag"]["conf"] = {"epochs": {"$cel": "event.parameters.epochs"}}
    return [team, *others]


def test_the_conf_of_every_window_ahead_is_tried(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *told(server, "epochs=1", "epochs=10"))

    found = findings(bench)["TrainingWindow research/nightly has a conf that DAG train takes"]

    assert (found["ok"], found["sentence"]) == (True, "Tried for 2 windows ahead.")


def test_a_typo_in_an_entry_weeks_ahead_is_found(bench: Bench, server: FakeAirflow) -> None:
    bench.write("all.yaml", *told(server, "epochs=1", f"{CANARY}\nepochs=99"))

    ((about, sentence, remedy),) = failed(bench)

    assert about == "TrainingWindow research/nightly has a conf that DAG train takes"
    assert sentence == (
        "The conf cannot be used: epochs must be at most 10, for the window of 2026-12-02 22:00."
    )
    assert remedy == "Correct spec.dag.conf or the event."
    assert CANARY not in check(bench).out


@pytest.mark.parametrize("labelled", [False, True])
def test_a_pool_whose_pods_do_not_say_whose_they_are_is_told(bench: Bench, labelled: bool) -> None:
    numbers = {"capacity": 8, "allocatable": 8, "reports": 8 * REPORT, "age.nodes": 1}
    rows = [row(value, what=name, node="gpu-1") for name, value in numbers.items()]
    rows += [row(2, what="labelled")] if labelled else []
    fake = FakePrometheus(reply=lambda asked: vector(*rows, row(1, what="age.ready")))
    app = web.Application(client_max_size=2**20)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def listen() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        return port

    document = pool(8)
    address = f"http://127.0.0.1:{ASIDE.do(listen())}"
    document["spec"] = {"source": {"prometheus": {"serverAddress": address}}, "nodes": "gpu-.*"}
    bench.write("all.yaml", document)

    printed = bench.run("check")
    ASIDE.do(runner.cleanup())

    assert "GPUPool research/box: 8 of 8 GPUs free." in printed.out
    assert ("No pod tells which run it belongs to" in printed.out) is not labelled
