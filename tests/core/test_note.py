"""What stands beside a run in Airflow, and where the status finds it there."""

from dataclasses import replace

from slackwater.core.action import Post
from slackwater.core.ledger import linked
from slackwater.core.run import Absent, RunState
from tests.core.builders import (
    CANARY,
    DAG,
    IDENTITY,
    Scene,
    actions_of,
    clock,
    event,
    gpu,
    line,
    spec,
    started,
)

PAGES = "https://slackwater.example/tide"
URL = "https://airflow.example/team/"


def note(found: Scene) -> str:
    found.settle(10.5)
    (post,) = actions_of(found.look(10.5), Post)
    return post.note


def test_the_note_says_whose_run_it_is_and_what_let_it_start():
    found = Scene(
        spec=spec(gpu=gpu(8), time_zone="Europe/Berlin"), events=[event("e1", 10, 14)], free=(8, 4)
    )
    assert note(found) == (
        "Started by Slackwater for TrainingWindow research/nightly at 12:30: window `train` "
        "2026-06-01 12:00 to 2026-06-01 16:00 Europe/Berlin, 8 GPUs of research/h100, which had "
        "12 free."
    )


def test_without_a_gpu_question_the_note_speaks_of_none():
    text = note(Scene(events=[event("e1", 10, 14)]))
    assert text.endswith("window `train` 2026-06-01 10:00 to 2026-06-01 14:00 UTC.")
    assert CANARY not in text


def test_the_note_links_to_the_operators_page_where_its_address_is_known():
    found = Scene(events=[event("e1", 10, 14)], identity=replace(IDENTITY, pages=PAGES))
    assert note(found).endswith(f"UTC. {PAGES}#research/nightly")


def test_a_run_has_its_address_in_airflow_from_the_start_to_the_end():
    found = Scene(events=[event("e1", 10, 14)], airflow_url=URL)
    found.settle(10)
    assert found.line().run_url is None
    found.start(10)
    url = f"https://airflow.example/team/dags/{DAG}/runs/{found.line().dag_run_id}"
    assert found.line().run_url == url
    found.hear(11, state=RunState.SUCCESS)
    assert found.line().run_url == url


def test_a_run_that_was_taken_back_leaves_no_address():
    found = Scene(events=[event("e1", 10, 14)], airflow_url=URL)
    found.start(10)
    identifier = found.line().dag_run_id
    found.events = [event("e1", 20, 22)]
    found.look(11)
    found.runs[identifier] = Absent(clock(11.1))
    found.look(11.1)
    assert found.line().trigger_time is None
    assert found.line().run_url is None


def test_a_dag_id_with_odd_characters_is_quoted():
    run = started("e1")
    assert linked(run, "a b/ü", URL).run_url == (
        f"https://airflow.example/team/dags/a%20b%2F%C3%BC/runs/{run.dag_run_id}"
    )
    assert linked(run, DAG, "").run_url is None
    assert linked(line(), DAG, URL).run_url is None
