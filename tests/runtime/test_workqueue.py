"""A queue in which a key waits at most once and is worked on by one at a time."""

import asyncio
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from slackwater.runtime.workqueue import WorkQueue
from tests.runtime.rig import SECOND, on_virtual_time


def queue(seed=1) -> WorkQueue[str]:
    return WorkQueue(Random(seed))


async def test_keys_come_in_the_order_in_which_they_were_added_and_once():
    found = queue()
    for key in "abcab":
        found.add(key)
    assert len(found) == 3
    assert [await found.get() for _ in range(3)] == ["a", "b", "c"]
    assert not found.idle


async def test_a_key_added_while_it_is_worked_on_is_worked_on_once_more():
    found = queue()
    found.add("a")
    key = await found.get()
    found.add("a")
    found.add("a")
    assert len(found) == 0
    found.done(key)
    assert len(found) == 1
    assert await found.get() == "a"
    found.done("a")
    assert found.idle


async def test_a_key_that_is_gone_is_not_worked_on_again():
    found = queue()
    found.add("a")
    found.add("b")
    key = await found.get()
    found.add("a")
    found.forget("a")
    found.forget("b")
    found.done(key)
    assert found.idle


@on_virtual_time
async def test_whoever_waits_is_woken(clock):
    found = queue()
    got = [asyncio.create_task(found.get()) for _ in range(3)]
    await asyncio.sleep(1)
    found.add("a")
    found.add("b")
    await asyncio.sleep(1)
    assert sorted(t.result() for t in got if t.done()) == ["a", "b"]
    found.add("c")
    await asyncio.sleep(1)
    assert all(t.done() for t in got)


@on_virtual_time
async def test_no_key_is_lost_when_a_waiting_worker_is_cancelled(clock):
    found = queue()
    one, two = asyncio.create_task(found.get()), asyncio.create_task(found.get())
    await asyncio.sleep(1)
    found.add("a")
    one.cancel()
    await asyncio.sleep(1)
    assert two.done()
    assert two.result() == "a"


@on_virtual_time
async def test_no_two_workers_ever_hold_one_key_and_no_news_is_lost(clock):
    found, random = queue(), Random(5)
    holding, worked, wanted = set(), {}, {}

    async def work():
        while True:
            key = await found.get()
            assert key not in holding
            holding.add(key)
            worked[key] = clock.monotonic()
            await asyncio.sleep(random.uniform(0, 3))
            holding.discard(key)
            found.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(500):
        key = random.randrange(6)
        found.add(key)
        wanted[key] = clock.monotonic()
        await asyncio.sleep(random.uniform(0, 0.5))
    await asyncio.sleep(60)
    assert found.idle
    assert not any(t.done() for t in tasks)
    # Each key was begun on after it was last added.
    assert all(worked[key] >= added for key, added in wanted.items())


@given(st.integers(1, 30), st.integers(0, 99))
def test_failures_back_off_from_a_second_to_a_minute(times, seed):
    found = queue(seed)
    waits = [found.failed("a") for _ in range(times)]
    for failures, wait in enumerate(waits):
        longest = min(timedelta(seconds=60), SECOND * 2 ** min(failures, 10))
        assert longest / 2 <= wait <= longest
    found.succeeded("a")
    assert found.failed("a") <= SECOND


def test_failures_of_one_key_do_not_hold_up_another():
    found = queue()
    for _ in range(9):
        found.failed("a")
    assert found.failed("b") <= SECOND
    found.forget("a")
    assert found.failed("a") <= SECOND


async def test_one_key_wakes_one_worker():
    queue, woken = WorkQueue(Random(1)), []

    class Counted(asyncio.Semaphore):
        async def acquire(self):
            found = await super().acquire()
            woken.append(found)
            return found

    queue._ready = Counted(0)
    workers = [asyncio.create_task(queue.get()) for _ in range(8)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("a")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(woken) == 1
    assert sum(worker.done() for worker in workers) == 1
    for worker in workers:
        worker.cancel()


async def test_a_worker_that_woke_for_a_forgotten_key_waits_for_the_next():
    queue = WorkQueue(Random(1))
    queue.add("a")
    queue.forget("a")
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("b")
    async with asyncio.timeout(1):
        assert await worker == "b"
