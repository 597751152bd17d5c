"""One heap of wake-ups (R4)."""

import asyncio
from datetime import timedelta

from slackwater.runtime.alarm import Alarm
from tests.runtime.rig import EPOCH, HOUR, MINUTE, SECOND, on_virtual_time


class Bell:
    def __init__(self, clock, jumped=None):
        self.clock = clock
        self.rung = []
        self.jumps = []
        self.alarm = Alarm(clock, self.ring, self.jumps.append)
        self.task = asyncio.create_task(self.alarm.run())

    def ring(self, key):
        self.rung.append((key, self.clock.monotonic()))

    def keys(self):
        return [key for key, _ in self.rung]


@on_virtual_time
async def test_keys_ring_at_their_instants_in_order(clock):
    bell = Bell(clock)
    bell.alarm.set("b", EPOCH + 20 * SECOND)
    bell.alarm.set("a", EPOCH + 10 * SECOND)
    bell.alarm.set("c", EPOCH + 2 * HOUR)
    await asyncio.sleep(8000)
    assert [(k, round(t)) for k, t in bell.rung] == [("a", 10), ("b", 20), ("c", 7200)]


@on_virtual_time
async def test_what_is_due_already_rings_at_once(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH - HOUR)
    await asyncio.sleep(0.01)
    assert bell.keys() == ["a"]


@on_virtual_time
async def test_a_key_that_is_set_again_moves_and_rings_once(clock):
    bell = Bell(clock)
    bell.alarm.set("later", EPOCH + 10 * SECOND)
    bell.alarm.set("later", EPOCH + 50 * SECOND)
    bell.alarm.set("sooner", EPOCH + 50 * SECOND)
    bell.alarm.set("sooner", EPOCH + 5 * SECOND)
    await asyncio.sleep(100)
    assert [(k, round(t)) for k, t in bell.rung] == [("sooner", 5), ("later", 50)]


@on_virtual_time
async def test_a_silenced_key_does_not_ring(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH + 5 * SECOND)
    bell.alarm.set("a", None)
    bell.alarm.set("never set", None)
    await asyncio.sleep(60)
    assert bell.rung == []


@on_virtual_time
async def test_a_key_may_set_itself_again_while_it_rings(clock):
    bell = Bell(clock)
    ring = bell.ring

    def again(key):
        ring(key)
        if len(bell.rung) < 4:
            bell.alarm.set(key, clock.now() + 7 * SECOND)

    bell.alarm._ring = again
    bell.alarm.set("a", EPOCH + SECOND)
    await asyncio.sleep(100)
    assert [round(t) for _, t in bell.rung] == [1, 8, 15, 22]


@on_virtual_time
async def test_soonest_never_puts_off(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH + 10 * SECOND)
    bell.alarm.soonest("a", EPOCH + 50 * SECOND)
    bell.alarm.soonest("b", EPOCH + 50 * SECOND)
    bell.alarm.soonest("b", EPOCH + 20 * SECOND)
    await asyncio.sleep(100)
    assert [(k, round(t)) for k, t in bell.rung] == [("a", 10), ("b", 20)]


@on_virtual_time
async def test_a_key_set_while_the_alarm_sleeps_rings_in_time(clock):
    bell = Bell(clock)
    bell.alarm.set("far", EPOCH + 10 * HOUR)
    await asyncio.sleep(100)
    bell.alarm.set("near", clock.now() + 2 * SECOND)
    await asyncio.sleep(3)
    assert bell.keys() == ["near"]


@on_virtual_time
async def test_many_moved_keys_leave_a_small_heap_and_each_rings_once(clock):
    bell = Bell(clock)
    for turn in range(200):
        for key in range(20):
            bell.alarm.set(key, EPOCH + HOUR + turn * SECOND + key * MINUTE)
    assert len(bell.alarm._heap) <= 100
    await asyncio.sleep(3 * 3600)
    assert bell.keys() == list(range(20))


@on_virtual_time
async def test_a_stale_entry_at_the_top_does_not_hide_what_comes_next(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH + 5 * SECOND)
    bell.alarm.set("b", EPOCH + 9 * SECOND)
    bell.alarm.set("a", EPOCH + 400 * SECOND)
    await asyncio.sleep(10)
    assert bell.keys() == ["b"]


@on_virtual_time
async def test_a_wall_clock_that_jumps_forward_rings_within_30_seconds(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH + 2 * HOUR)
    await asyncio.sleep(100)
    clock.jump = 3 * HOUR
    await asyncio.sleep(31)
    assert bell.keys() == ["a"]


@on_virtual_time
async def test_a_wall_clock_that_jumps_back_is_told_within_30_seconds(clock):
    bell = Bell(clock)
    bell.alarm.set("a", EPOCH + 2 * MINUTE)
    await asyncio.sleep(100)
    clock.jump = -HOUR
    await asyncio.sleep(31)
    assert [round(jump / SECOND) for jump in bell.jumps] == [-3600]
    await asyncio.sleep(3700)
    assert [(k, round(t)) for k, t in bell.rung] == [("a", 3720)]


@on_virtual_time
async def test_a_clock_that_is_only_set_right_is_no_jump(clock):
    bell = Bell(clock)
    for _ in range(20):
        clock.jump += timedelta(milliseconds=400)
        await asyncio.sleep(35)
    assert bell.jumps == []


@on_virtual_time
async def test_its_last_tick_is_never_older_than_30_seconds(clock):
    bell = Bell(clock)
    for _ in range(50):
        await asyncio.sleep(11)
        assert clock.monotonic() - bell.alarm.ticked_at <= 30.001
