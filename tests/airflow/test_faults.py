"""What goes wrong around a start: no second run, no storm, and a sentence for each."""

from __future__ import annotations

import pytest

from slackwater.core.follow import follow
from slackwater.core.ledger import State
from slackwater.core.run import Absent, Denied, InDoubt, RunState, Seen
from slackwater.core.words import Reason, say
from slackwater.errors import AirflowError
from slackwater.ports import Airflow
from tests.airflow.conftest import Clock, calls
from tests.airflow.ship import ORIGIN, RUN, Ship
from tests.core.builders import IDENTITY, started
from tests.fakes.airflow import FakeAirflow


@pytest.fixture
def ship(airflow: Airflow, clock: Clock) -> Ship:
    return Ship(airflow, clock)


@pytest.mark.parametrize("done", [True, False], ids=["created", "not created"])
async def test_a_server_that_restarts_in_the_middle_of_a_post_is_asked_before_the_next(
    ship: Ship, fake: FakeAirflow, *, done: bool
) -> None:
    fake.faults.drop("POST", "/dagRuns", done=done)
    fake.faults.drop("GET", "/dagRuns", times=2)  # it is not up again yet
    with pytest.raises(AirflowError) as down:
        await ship.post()
    assert down.value.reason is Reason.UNREACHABLE
    assert isinstance(ship.follower.runs[RUN], InDoubt)
    known = await ship.follower.look_up(RUN, "train")
    assert isinstance(known, Seen if done else Absent)
    await ship.post()
    assert [run.run_id for run in fake.runs] == [RUN]


async def test_a_500_that_has_created_the_run_makes_no_second_one(
    ship: Ship, fake: FakeAirflow
) -> None:
    fake.faults.answer(500, "POST", "/dagRuns", done=True)
    assert isinstance(await ship.post(), Seen)
    assert isinstance(await ship.post(), Seen)
    assert calls(fake, "POST", "/dagRuns") == [500, 409]
    assert len(fake.runs) == 1


async def test_a_409_of_anothers_run_is_a_conflict_and_never_adopted(
    ship: Ship, fake: FakeAirflow
) -> None:
    fake.add_run("train", RUN, {"trainingWindow": ORIGIN | {"namespace": "demo"}})
    known = await ship.post()
    assert isinstance(known, Seen)
    intent = started(state=State.INTENDED, promise=8, intent_time=ship.clock.now())
    line = follow(intent, known, IDENTITY, gpus=8)
    assert (line.state, line.reason, line.promise) == (State.MISSED, Reason.RUN_ID_CONFLICT, 0)
    assert say(line.reason) == "Airflow has a run of this id that is not ours."


async def test_a_rotated_token_secret_costs_one_login_and_no_start(
    ship: Ship, fake: FakeAirflow
) -> None:
    await ship.follower.look_up(RUN, "train")
    fake.tokens.rotate_secret()
    assert isinstance(await ship.post(), Seen)
    assert calls(fake, "POST", "/auth/token") == [201, 201]
    assert len(fake.runs) == 1


async def test_a_database_that_is_read_only_is_told_and_not_hammered(
    ship: Ship, fake: FakeAirflow
) -> None:
    body = {"detail": {"reason": "Database error", "orig_error": "hidden"}}
    fake.faults.answer(500, "POST", "/dagRuns", body=body, times=9)
    known = await ship.post()
    assert isinstance(known, Absent)
    assert known.met is Reason.UNAVAILABLE  # `core.finish` waits before it posts again
    assert fake.runs == []
    assert say(Reason.UNAVAILABLE, what="Airflow a/b") == "Airflow a/b answers with a server error."


async def test_a_scheduler_that_is_dead_while_the_api_answers_keeps_starts_back(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    fake.scheduler = "unhealthy"
    facts = await airflow.preflight("train")
    assert facts.problem is Reason.SCHEDULER_UNHEALTHY
    assert say(facts.problem, what="Airflow a/b") == (
        "The scheduler of Airflow a/b is not healthy: runs would not start."
    )


async def test_a_conf_that_airflow_refuses_is_denied_by_param_and_bound(
    ship: Ship, fake: FakeAirflow
) -> None:
    fake.dags["train"] = fake.dags["params"]
    known = await ship.post({"epochs": 99})
    assert isinstance(known, Denied)
    assert (known.reason, known.detail) == (
        Reason.INVALID_CONF,
        "epochs must be at most 10",
    )


async def test_a_run_that_somebody_deletes_is_absent_and_its_line_says_so(
    ship: Ship, fake: FakeAirflow
) -> None:
    await ship.post()
    fake.start(RUN)
    fake.runs.clear()
    known = await ship.follower.look_up(RUN, "train")
    line = started(state=State.RUNNING, trigger_time=ship.clock.now())
    line = follow(line, known, IDENTITY, gpus=8)
    assert (line.state, line.reason) == (State.CANCELLED, Reason.RUN_DELETED)


async def test_a_run_of_a_dag_that_vanished_is_still_followed_and_its_end_heard(
    ship: Ship, fake: FakeAirflow
) -> None:
    await ship.post()
    fake.start(RUN)
    del fake.dags["train"]
    known = await ship.cancel()  # Airflow changes no run of a DAG that it has lost
    assert isinstance(known, Seen)
    assert known.run.state is RunState.RUNNING
    fake.finish(RUN, "failed")
    assert (await ship.follower.look_up(RUN, "train")).run.state is RunState.FAILED  # type: ignore[union-attr]
