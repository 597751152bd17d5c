"""A dependency that fails is not hammered, however many windows are open and ask (R12)."""

import asyncio

import pytest

from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.ports import Key, Kind
from slackwater.runtime import airflow_follower, calendar_follower
from tests.core.builders import NS
from tests.runtime.rig import GPU, HOUR, Bay, Ref, logged, on_virtual_time


async def open_bay(clock, windows=5):
    bay = Bay(clock)
    bay.apply_all()
    for i in range(windows):
        bay.event(-1, 6, f"w{i}")
        bay.window(f"w{i}", gpu=GPU)
    bay.start()
    return bay


def condition(bay, kind, name):
    found = bay.store.objects[Key(kind, Ref(NS, name))].status["conditions"][0]
    return found["reason"], found["message"]


@pytest.mark.parametrize("part", ["calendar", "pool", "airflow"])
def test_what_nobody_foresaw_is_asked_for_seldom_and_heals(part):
    @on_virtual_time
    async def run(clock):
        bay = await open_bay(clock)
        target, method, kind, name = {
            "calendar": (bay.calendar, "fetch", Kind.CALENDAR, "team"),
            "pool": (bay.pool, "sample", Kind.GPU_POOL, "h100"),
            "airflow": (bay.airflow, "active_runs", Kind.AIRFLOW_INSTANCE, "default"),
        }[part]
        asked = []
        good = getattr(target, method)

        async def broken(*args):
            asked.append(clock.now())
            await asyncio.sleep(0.01)
            raise ZeroDivisionError("a title")

        setattr(target, method, broken)
        with logged() as lines:
            await bay.until(1)
        longest = max(calendar_follower.LONGEST_BACKOFF, airflow_follower.LONGEST_BACKOFF)
        assert 4 <= len(asked) <= 120
        assert len(lines) == 1
        if part != "pool":
            reason, message = condition(bay, kind, name)
            assert reason == "InternalError"
            assert message.endswith("a fault in Slackwater (ZeroDivisionError).")
        setattr(target, method, good)
        await bay.until(clock.now() + longest + HOUR / 60)
        assert condition(bay, kind, name)[0] != "InternalError"
        await bay.until(clock.now() + 4 * HOUR)
        assert len(bay.airflow.posts) >= 4
        await bay.stop()

    run()


@on_virtual_time
async def test_an_airflow_that_is_down_is_asked_a_few_times_an_hour(clock):
    bay = await open_bay(clock)
    asked = []

    async def unreachable():
        asked.append(clock.now())
        await asyncio.sleep(0.01)
        raise AirflowError(Reason.UNREACHABLE, what="Airflow")

    bay.airflow._reach = unreachable
    await bay.until(1)
    assert len(asked) <= 120
    await bay.stop()
