"""Runs of ours whose TrainingWindow does not exist any more (R6, R17)."""

import asyncio
from dataclasses import replace

import pytest

from slackwater.core.ledger import Line, State
from slackwater.core.run import RunState
from slackwater.core.spec import Ref
from slackwater.core.status import Status
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.runtime.orphans import Orphans
from tests.core.builders import ask
from tests.runtime.rig import INSTALLATION, NS, Village, on_virtual_time, run_of

H100, DEFAULT = Ref(NS, "h100"), Ref(NS, "default")


def origin(**changes):
    fields = {
        "installation": INSTALLATION,
        "namespace": NS,
        "name": "nightly",
        "pool": f"{NS}/h100",
        "gpus": 8,
        "perPod": 8,
    }
    return fields | changes


class Scene:
    def __init__(self, time):
        self.village = Village(time)
        self.world = self.village.objects
        self.village.apply_pool()
        self.village.apply_airflow()
        self.window = self.village.apply_window()
        self.world.listed = True
        self.orphans = Orphans(self.world)
        self.server = self.village.servers[DEFAULT]
        self.follower = self.world.airflow(DEFAULT)
        self.pool = self.world.pool(H100)
        self.changed = []

    def run(self, run_id="r1", state=RunState.RUNNING, **changes):
        self.server.runs[run_id] = run_of("x", state, run_id=run_id, origin=origin(**changes))

    async def look(self):
        self.follower.track("anything", "d")
        await asyncio.sleep(self.follower.interval.total_seconds())
        await self.follower.look()
        self.orphans.look(self.changed.append)
        return {p.run_id: (p.count, p.unseen) for p in self.pool.promises}

    async def delete(self):
        self.follower.track("anything else", "d")
        await asyncio.sleep(self.follower.interval.total_seconds())
        await self.follower.look()
        await self.orphans.delete_queued(self.follower)
        return self.server.deleted


# --- promises


@on_virtual_time
async def test_a_run_whose_object_was_deleted_keeps_its_gpus_promised_until_it_ends(time):
    scene = Scene(time)
    scene.run()
    scene.village.drop(scene.window)
    assert await scene.look() == {"r1": (8, 8)}
    assert scene.changed == [scene.pool]
    assert scene.pool.promises[0].per_pod == 8
    scene.run(state=RunState.SUCCESS)
    assert await scene.look() == {}
    assert len(scene.changed) == 2


@on_virtual_time
async def test_nobody_else_gets_those_gpus(time):
    scene = Scene(time)
    scene.run()
    scene.village.drop(scene.window)
    await scene.look()
    await scene.pool.look()
    other = ask("other", 1)
    scene.pool.put(other.owner, other)
    scene.pool.answer()
    assert scene.pool.verdict(other.owner).reason is Reason.WAITING_FOR_GPUS


@on_virtual_time
async def test_the_run_of_an_object_that_exists_is_its_own_affair(time):
    scene = Scene(time)
    scene.run()
    record = scene.world.windows[scene.window.ref]
    record.status = Status(lines=(Line(id="e", entry="x", dag_run_id="r1", state=State.RUNNING),))
    assert await scene.look() == {}


@on_virtual_time
async def test_a_run_that_its_objects_ledger_does_not_know_keeps_its_gpus_promised(time):
    """The object was made anew, or lost its status, and the run's event is gone."""
    scene = Scene(time)
    scene.run()
    assert await scene.look() == {"r1": (8, 8)}
    record = scene.world.windows[scene.window.ref]
    record.status = Status(lines=(Line(id="e", entry="x", dag_run_id="r1", state=State.RUNNING),))
    assert await scene.look() == {}


@on_virtual_time
async def test_runs_of_others_hold_nothing(time):
    scene = Scene(time)
    scene.run("a", installation="other-cluster")
    scene.server.runs["b"] = run_of("x", RunState.RUNNING, run_id="b", origin={})
    scene.run("c", pool=None, gpus=0)
    scene.run("d", pool="nonsense")
    scene.run("e", gpus="8")
    scene.run("f", gpus=True)
    scene.village.drop(scene.window)
    assert await scene.look() == {}


@on_virtual_time
async def test_before_the_objects_are_listed_nobody_is_an_orphan(time):
    scene = Scene(time)
    scene.run(state=RunState.QUEUED)
    scene.world.listed = False
    scene.world.windows.clear()
    assert await scene.look() == {}
    assert await scene.delete() == []


@on_virtual_time
async def test_an_object_that_is_made_again_takes_its_runs_back(time):
    scene = Scene(time)
    scene.run()
    scene.village.drop(scene.window)
    await scene.look()
    scene.village.apply_window()
    assert await scene.look() == {"r1": (8, 8)}  # until its ledger knows the run
    record = scene.world.windows[scene.window.ref]
    record.status = Status(lines=(Line(id="e", entry="x", dag_run_id="r1", state=State.RUNNING),))
    assert await scene.look() == {}


# --- a pool that is asked no more


@on_virtual_time
async def test_whoever_asks_another_pool_now_leaves_neither_ask_nor_watch_behind(time):
    """A forgotten ask would head the queue for ever."""
    scene = Scene(time)
    scene.village.apply_pool("a100")
    phantom = ask(scene.window.ref.name, 99, owner=scene.window.ref)
    scene.pool.put(scene.window.ref, phantom)
    scene.pool.watch(scene.window.ref, watching=True)
    await scene.look()
    assert scene.pool.asks == (phantom,)
    scene.village.apply_window(gpu={"poolRef": {"name": "a100"}, "count": 8})
    await scene.look()
    assert scene.pool.asks == ()
    assert scene.pool.owners == frozenset()
    assert scene.changed == [scene.pool]


@on_virtual_time
async def test_what_still_runs_in_the_old_pool_keeps_its_gpus_there(time):
    scene = Scene(time)
    scene.village.apply_pool("a100")
    scene.run()
    record = scene.world.windows[scene.window.ref]
    lines = (Line(id="e", entry="x", dag_run_id="r1", state=State.RUNNING),)
    record.status = Status(lines=lines)
    scene.village.apply_window(gpu={"poolRef": {"name": "a100"}, "count": 4})
    scene.world.windows[scene.window.ref].status = Status(lines=lines)
    assert await scene.look() == {"r1": (8, 8)}
    scene.run(state=RunState.SUCCESS)
    assert await scene.look() == {}


# --- queued ones


@on_virtual_time
async def test_a_queued_run_without_an_object_is_deleted_and_a_running_one_is_not(time):
    scene = Scene(time)
    scene.run("queued", RunState.QUEUED)
    scene.run("running", RunState.RUNNING)
    await scene.look()
    scene.village.drop(scene.window)
    assert await scene.delete() == ["queued"]
    assert list(await scene.look()) == ["running"]


@on_virtual_time
async def test_a_queued_run_that_the_ledger_does_not_know_yet_is_left_alone(time):
    scene = Scene(time)
    scene.run("queued", RunState.QUEUED)
    await scene.look()
    assert await scene.delete() == []


@on_virtual_time
async def test_runs_of_namespaces_that_are_served_by_another_operator_are_left_alone(time):
    """Two operators of one cluster may serve different namespaces and share an Airflow."""
    scene = Scene(time)
    scene.run("theirs", RunState.QUEUED, namespace="elsewhere")
    await scene.look()
    assert await scene.delete() == []


@on_virtual_time
async def test_a_namespace_that_was_served_is_served_still_when_its_last_object_goes(time):
    scene = Scene(time)
    key = scene.village.apply_window("other", "elsewhere")
    await scene.look()
    scene.run("late", RunState.QUEUED, namespace="elsewhere", name="other")
    scene.village.drop(key)
    assert await scene.delete() == ["late"]


@on_virtual_time
async def test_a_deletion_that_fails_is_told_to_the_caller(time):
    scene = Scene(time)
    scene.run("queued", RunState.QUEUED)
    await scene.look()
    scene.village.drop(scene.window)
    scene.server.error = AirflowError(Reason.UNREACHABLE, what="Airflow")
    with pytest.raises(AirflowError):
        await scene.orphans.delete_queued(scene.follower)


# --- whether all runs are known (R6)


@on_virtual_time
async def test_until_each_airflow_that_ever_answered_was_asked_once_runs_are_unknown(time):
    scene = Scene(time)
    assert scene.orphans.runs_known(H100)  # it never answered: it never started a run
    held = scene.world.airflows[DEFAULT]
    held.stored = replace(held.stored, status={"version": "3.3.2"})
    assert not scene.orphans.runs_known(H100)
    await scene.look()
    assert scene.orphans.runs_known(H100)


@on_virtual_time
async def test_an_airflow_that_is_down_does_not_stop_pools_whose_ledgers_are_known(time):
    scene = Scene(time)
    held = scene.world.airflows[DEFAULT]
    held.stored = replace(held.stored, status={"version": "3.3.2"})
    scene.server.error = AirflowError(Reason.UNREACHABLE, what="Airflow")
    await scene.look()
    record = scene.world.windows[scene.window.ref]
    assert not scene.orphans.runs_known(H100)
    record.status = Status(observed_generation=1)
    assert scene.orphans.runs_known(H100)
