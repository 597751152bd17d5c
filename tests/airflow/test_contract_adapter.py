"""The fake Airflow and the real one, seen through the adapter: no difference."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from slackwater.airflow import open_airflow
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import NetPolicy
from slackwater.ports import Airflow
from tests.airflow.conftest import LOGIN, Secrets
from tests.airflow.contract_targets import PREFIX, Real, Target, faked

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


async def outcome(call: Awaitable[Any]) -> Any:
    """What the engine would see, without times of day."""
    try:
        found = await call
    except AirflowError as error:
        return type(error).__name__, error.reason, error.gaps.get("detail")
    if isinstance(found, tuple):
        return [_run(run) for run in found]
    if hasattr(found, "params_schema"):
        return found.problem, found.detail, found.own_schedule, found.params_schema
    return _run(found) if hasattr(found, "run_id") else found


def _run(run: Any) -> Any:
    times = [moment is not None for moment in (run.queued_at, run.start_date, run.end_date)]
    return run.dag_id, run.run_id, run.state, dict(run.origin), times


Act = Callable[[Airflow, Target], Awaitable[Any]]


async def _begin(target: Target, run_id: str) -> None:
    target.begin("plain", run_id)


async def _mark(target: Target, stale: bool, import_errors: bool) -> None:
    target.mark("plain", stale=stale, import_errors=import_errors)


CONF = {"trainingWindow": {"version": 1}, "none": None}
ACTS: list[tuple[str, Act]] = [
    ("version", lambda a, _: a.version()),
    *[
        (f"preflight {dag}", lambda a, _, dag=dag: a.preflight(dag))  # type: ignore[misc]
        for dag in ("plain", "paused", "daily", "by_asset", "no_manual", "params", "nowhere")
    ],
    *[
        (
            f"trigger {number}",
            lambda a, _, number=number: a.trigger("plain", f"{PREFIX}{number}", CONF, "n"),  # type: ignore[misc]
        )
        for number in range(7)
    ],
    ("trigger again", lambda a, _: a.trigger("plain", f"{PREFIX}0", CONF, "n")),
    ("trigger nowhere", lambda a, _: a.trigger("nowhere", f"{PREFIX}0", CONF, "n")),
    ("trigger no manual", lambda a, _: a.trigger("no_manual", f"{PREFIX}0", CONF, "n")),
    ("bad conf", lambda a, _: a.trigger("params", f"{PREFIX}0", {"epochs": 99}, "n")),
    ("bad pattern", lambda a, _: a.trigger("params", f"{PREFIX}0", {"label": "ABC"}, "n")),
    ("bad id", lambda a, _: a.trigger("plain", "bad id", CONF, "n")),
    ("run", lambda a, _: a.run("plain", f"{PREFIX}0")),
    ("no run", lambda a, _: a.run("plain", "nope")),
    ("begins", lambda _, t: _begin(t, f"{PREFIX}1")),
    ("active", lambda a, _: a.active_runs(PREFIX)),
    ("active of others", lambda a, _: a.active_runs("slackwater.other.")),
    ("cancel", lambda a, _: a.cancel("plain", f"{PREFIX}1")),
    ("cancel again", lambda a, _: a.cancel("plain", f"{PREFIX}1")),
    ("cancelled", lambda a, _: a.run("plain", f"{PREFIX}1")),
    ("cancel none", lambda a, _: a.cancel("plain", "nope")),
    ("delete ended", lambda a, _: a.delete_queued("plain", f"{PREFIX}1")),
    ("delete queued", lambda a, _: a.delete_queued("plain", f"{PREFIX}2")),
    ("delete none", lambda a, _: a.delete_queued("plain", f"{PREFIX}2")),
    ("begins too", lambda _, t: _begin(t, f"{PREFIX}3")),
    ("delete running", lambda a, _: a.delete_queued("plain", f"{PREFIX}3")),
    ("active now", lambda a, _: a.active_runs(PREFIX)),
    ("import errors", lambda _, t: _mark(t, stale=False, import_errors=True)),
    ("preflight broken", lambda a, _: a.preflight("plain")),
    ("trigger broken", lambda a, _: a.trigger("plain", f"{PREFIX}9", CONF, "n")),
    ("stale", lambda _, t: _mark(t, stale=True, import_errors=False)),
    ("preflight stale", lambda a, _: a.preflight("plain")),
    ("trigger stale", lambda a, _: a.trigger("plain", f"{PREFIX}9", CONF, "n")),
    ("cancel of a stale dag", lambda a, _: a.cancel("plain", f"{PREFIX}3")),
]


async def use(target: Target) -> dict[str, Any]:
    airflow = await open_airflow(
        target.url,
        LOGIN,
        Ref("research", "default"),
        secrets=Secrets(),
        clock=RealClock(),
        policy=NetPolicy(loopback=True),
    )
    try:
        return {name: await outcome(act(airflow, target)) for name, act in ACTS}
    finally:
        await airflow.aclose()


async def test_the_adapter_sees_no_difference(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slackwater.airflow.follow._PAGE", 3)  # several pages
    seen = await use(real)
    async with faked() as fake:
        assert await use(fake) == seen
    assert seen["trigger again"][0] == "RunExists"
    assert seen["preflight stale"][0] is Reason.DAG_STALE
    assert seen["bad conf"] == ("Refused", Reason.INVALID_CONF, "epochs must be at most 10")
    assert [run[1] for run in seen["active"]] == [f"{PREFIX}{number}" for number in range(7)]
    assert [run[1] for run in seen["active now"]] == [f"{PREFIX}{n}" for n in (0, 3, 4, 5, 6)]
    assert seen["delete running"] is False
