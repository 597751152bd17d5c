"""One GPUPool: its samples, its queue of asks, its promises (R5 to R7)."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.quiet import quiet
from slackwater.core.seen import Trouble
from slackwater.core.spec import Ref, StopPolicy
from slackwater.core.words import Reason
from slackwater.errors import PoolError, SecretError
from slackwater.runtime.pool_follower import IDLE_INTERVAL, PoolFollower
from tests.core.builders import POOL, ask, clock, promise, rules, sample
from tests.runtime.rig import (
    EPOCH,
    HOUR,
    MINUTE,
    NS,
    SECOND,
    Pool,
    logged,
    no_data,
    on_virtual_time,
)

A, B = Ref(NS, "a"), Ref(NS, "b")
INTERVAL = 15 * SECOND


class Watch:
    def __init__(self, time, answer=None, **changes):
        self.clock = time
        self.news = 0
        self.source = Pool(time, answer)
        self.follower = PoolFollower(POOL, time, Random(1), self.told)
        self.follower.configure(self.source, rules(**changes), INTERVAL)

    def told(self):
        self.news += 1

    def sees(self, *free, **changes):
        self.source.answer = sample(self.clock.now(), *free, **changes)

    async def look(self, *free, **changes):
        if free:
            self.sees(*free, **changes)
        before = self.news
        await self.follower.look()
        return self.news - before

    def reasons(self):
        self.follower.answer()
        return {
            a.owner.name: (v.reason if (v := self.follower.verdict(a.owner)) else None)
            for a in self.follower.asks
        }

    def unseen(self):
        return {p.run_id: p.unseen for p in self.follower.promises}


# --- sampling


@on_virtual_time
async def test_the_first_sample_is_news_and_later_ones_are_not(time):
    watch = Watch(time)
    assert await watch.look() == 1
    assert await watch.look() == 0
    assert watch.follower.sample.time == time.now()


@on_virtual_time
async def test_a_fault_is_news_when_it_comes_changes_and_goes(time):
    watch = Watch(time)
    await watch.look()
    told = []
    for answer in (no_data(), no_data(), PoolError(Reason.NOT_A_NUMBER, what="x"), None, None):
        watch.source.answer = answer
        told.append(await watch.look())
    assert told == [1, 0, 1, 1, 0]


@on_virtual_time
async def test_a_fault_keeps_what_its_sentence_needs(time):
    watch = Watch(time, SecretError(Reason.SECRET_NOT_FOUND, ref="research/token", key="k"))
    await watch.look()
    assert watch.follower.fault is Reason.SECRET_NOT_FOUND
    assert watch.follower.failure == Trouble(
        Reason.SECRET_NOT_FOUND, {"ref": "research/token", "key": "k"}
    )


@on_virtual_time
async def test_what_nobody_foresaw_is_a_fault_logged_once_and_backed_off_from(time):
    watch = Watch(time, ZeroDivisionError("a title"))
    with logged() as lines:
        for _ in range(5):
            taken = watch.source.samples
            await watch.look()
            await watch.look()  # somebody pokes: the back-off holds
            assert watch.source.samples == taken + 1
            await asyncio.sleep((watch.follower.next_at - time.now()).total_seconds() + 0.01)
    assert len(lines) == 1
    assert watch.follower.failure == Trouble(
        Reason.INTERNAL_ERROR, {"what": f"GPUPool {POOL}", "detail": "ZeroDivisionError"}
    )
    watch.source.answer = None
    assert await watch.look() == 1
    assert watch.follower.failure is None


@on_virtual_time
async def test_patience_that_a_server_asks_for_is_given_and_other_faults_keep_the_pace(time):
    watch = Watch(time)
    watch.follower.watch(A, watching=True)
    await watch.look()
    watch.source.answer = no_data()
    await watch.look()
    assert watch.follower.next_at == time.now() + INTERVAL
    watch.source.answer = PoolError(Reason.THROTTLED, retry_after=MINUTE, what="x")
    await watch.look()
    assert watch.follower.next_at == time.now() + MINUTE
    watch.sees(8)
    taken = watch.source.samples
    await watch.look()
    assert watch.source.samples == taken
    await asyncio.sleep(61)
    await watch.look()
    assert watch.follower.fault is None


@on_virtual_time
async def test_a_pool_that_nobody_waits_for_is_sampled_seldom(time):
    watch = Watch(time)
    await watch.look()
    assert watch.follower.next_at == time.now() + IDLE_INTERVAL
    assert watch.follower.watch(A, watching=True)
    await watch.look()
    assert watch.follower.next_at == time.now() + INTERVAL
    assert not watch.follower.watch(A, watching=True)
    assert not watch.follower.watch(A, watching=False)
    await watch.look()
    assert watch.follower.next_at == time.now() + IDLE_INTERVAL


@on_virtual_time
async def test_a_pool_with_asks_is_sampled_often(time):
    watch = Watch(time)
    watch.follower.put(A, ask("a", 8))
    await watch.look()
    assert watch.follower.next_at == time.now() + INTERVAL


@on_virtual_time
async def test_even_an_idle_pool_is_sampled_without_a_gap(time):
    """Else a quiet time could never be older than the window."""
    watch = Watch(time, max_sample_age=40 * SECOND)
    for _ in range(20):
        await watch.look(8, utilization=0.1)
        await asyncio.sleep((watch.follower.next_at - time.now()).total_seconds())
    state = quiet(
        watch.follower.history,
        limit_percent=50,
        hysteresis_percent=5,
        longest_gap=watch.follower.rules.max_sample_age,
        now=time.now(),
    )
    assert state.since == EPOCH


# --- history


@on_virtual_time
async def test_what_was_before_the_first_look_is_asked_for_once(time):
    watch = Watch(time)
    watch.source.past = ((EPOCH - MINUTE, 0.2), (EPOCH - SECOND, 0.3))
    await watch.look(8, utilization=0.4)
    await watch.look()
    assert [load for _, load in watch.follower.history] == [0.2, 0.3, 0.4]
    assert watch.source.asked_past == 1


@on_virtual_time
async def test_a_past_that_cannot_be_read_does_not_block_the_present(time):
    watch = Watch(time)
    watch.source.past = PoolError(Reason.TIMEOUT, what="Prometheus")
    await watch.look(8, utilization=0.4)
    assert watch.follower.fault is None
    assert watch.follower.sample is not None
    watch.source.past = ((EPOCH - MINUTE, 0.2),)
    await asyncio.sleep(60)
    await watch.look(8, utilization=0.5)
    assert watch.follower.history[0] == (EPOCH - MINUTE, 0.2)
    assert [load for _, load in watch.follower.history] == [0.2, 0.4, 0.5]


@on_virtual_time
async def test_a_past_that_cannot_be_read_is_asked_for_ever_less_often(time):
    """It is a heavy question: six hours of every GPU."""
    watch = Watch(time)
    watch.source.past = PoolError(Reason.TIMEOUT, what="Prometheus")
    for _ in range(480):
        await watch.look(8, utilization=0.4)
        await asyncio.sleep(15)
    assert watch.source.samples == 480
    assert 5 <= watch.source.asked_past <= 40


@on_virtual_time
async def test_one_raw_measurement_counts_once(time):
    watch = Watch(time)
    watch.sees(8, utilization=0.4)
    await watch.look()
    await asyncio.sleep(15)
    await watch.look()
    assert len(watch.follower.history) == 1


@on_virtual_time
async def test_the_longest_hold_that_may_be_asked_for_can_be_reached(time):
    """`forSeconds` may be a day."""
    watch = Watch(time)
    for _ in range(24 * 60 + 5):
        await watch.look(8, utilization=0.1)
        await asyncio.sleep(60)
    first, _ = watch.follower.history[0]
    assert time.now() - first >= 24 * HOUR
    for _ in range(3 * 60):
        await watch.look(8, utilization=0.1)
        await asyncio.sleep(60)
    assert len(watch.follower.history) < 26 * 60


@on_virtual_time
async def test_a_jump_of_the_wall_clock_forgets_what_has_no_known_age(time):
    watch = Watch(time)
    await watch.look(8, utilization=0.4)
    watch.follower.put(A, ask("a", 1))
    watch.follower.clock_jumped(-HOUR)
    assert watch.reasons() == {"a": Reason.NOT_READ_YET}
    assert not watch.follower.history
    time.jump = -HOUR
    watch.source.past = ((time.now() - MINUTE, 0.2),)
    await watch.look(8, utilization=0.4)
    assert [load for _, load in watch.follower.history] == [0.2, 0.4]


# --- another configuration


@on_virtual_time
async def test_a_sample_of_another_source_is_no_sample(time):
    watch = Watch(time)
    await watch.look(8, utilization=0.4)
    watch.follower.put(A, ask("a", 8))
    watch.follower.configure(Pool(time), rules(), INTERVAL)
    assert watch.reasons() == {"a": Reason.NOT_READ_YET}
    assert not watch.follower.history


@on_virtual_time
async def test_other_rules_for_the_same_source_count_at_once(time):
    watch = Watch(time)
    await watch.look(8)
    watch.follower.put(A, ask("a", 8))
    assert watch.reasons() == {"a": Reason.ENOUGH}
    watch.follower.configure(watch.source, rules(stop_policy=StopPolicy.HOLD), INTERVAL)
    assert watch.reasons() == {"a": Reason.HELD}


# --- asks


@on_virtual_time
async def test_only_a_changed_book_is_answered_anew(time):
    watch = Watch(time)
    await watch.look(8)
    assert watch.follower.put(A, ask("a", 8))
    assert watch.follower.put(B, ask("b", 8))
    assert watch.follower.answer() == {A, B}
    assert watch.follower.answer() == set()
    assert not watch.follower.put(A, ask("a", 8))
    assert watch.follower.answer() == set()
    assert watch.follower.put(A, None)
    assert not watch.follower.put(A, None)
    assert watch.follower.answer() == {B}
    watch.follower.redo()
    assert watch.follower.answer() == set()


@on_virtual_time
async def test_the_same_numbers_again_change_nobodys_answer(time):
    watch = Watch(time)
    await watch.look(4)
    watch.follower.put(A, ask("a", 8))
    assert watch.follower.answer() == {A}
    await watch.look(4)
    assert watch.follower.answer() == set()
    await watch.look(5)
    assert watch.follower.answer() == {A}


@on_virtual_time
async def test_another_ask_has_no_answer_yet(time):
    watch = Watch(time)
    await watch.look(8)
    watch.follower.put(A, ask("a", 8))
    watch.follower.answer()
    watch.follower.put(A, ask("a", 4))
    assert watch.follower.verdict(A) is None


@on_virtual_time
async def test_the_queue_stands_in_its_order(time):
    watch = Watch(time)
    watch.follower.put(A, ask("a", 8))
    watch.follower.put(B, ask("b", 8, priority=5))
    assert [a.owner for a in watch.follower.asks] == [B, A]


@pytest.mark.parametrize("fault", [Reason.NO_DATA, Reason.TOO_MANY_SERIES, Reason.UNREACHABLE])
def test_while_the_pool_cannot_be_read_everybody_hears_why(fault):
    @on_virtual_time
    async def look(time):
        watch = Watch(time)
        await watch.look(8)
        watch.follower.put(A, ask("a", 1))
        watch.source.answer = PoolError(fault, what="Prometheus")
        await watch.look()
        assert watch.reasons() == {"a": fault}

    look()


@on_virtual_time
async def test_until_the_runs_are_known_nobody_starts(time):
    watch = Watch(time)
    await watch.look(8)
    watch.follower.runs_known = False
    watch.follower.put(A, ask("a", 1))
    assert watch.reasons() == {"a": Reason.PROMISES_UNKNOWN}


# --- promises (R6)


@on_virtual_time
async def test_an_admitted_ask_becomes_a_promise_without_a_gap(time):
    watch = Watch(time)
    await watch.look(8)
    watch.follower.put(A, ask("a", 8))
    watch.follower.put(B, ask("b", 8))
    assert watch.reasons() == {"a": Reason.ENOUGH, "b": Reason.WAITING_FOR_GPUS}
    watch.follower.consume(A, promise("run-a", 8, unseen=8))
    assert watch.follower.verdict(A) is None
    assert watch.follower.answer() == set()
    watch.follower.redo()
    assert watch.reasons() == {"b": Reason.WAITING_FOR_GPUS}
    assert watch.follower.verdict(B).promised == 8


@on_virtual_time
async def test_with_labels_a_promise_is_what_the_runs_own_pods_do_not_show(time):
    watch = Watch(time)
    watch.follower.promise(A, (promise("run-a", 8, unseen=8),))
    for shown, unseen in ((0, 8), (5, 3), (8, 0), (12, 0), (0, 8)):
        await watch.look(8, visible={"run-a": shown, "other": 99})
        assert watch.unseen() == {"run-a": unseen}


@on_virtual_time
async def test_without_labels_a_rise_pays_the_oldest_promise_first(time):
    watch = Watch(time)
    await watch.look(8, 8)
    watch.follower.promise(A, (promise("old", 8, unseen=8, since=EPOCH - HOUR),))
    watch.follower.promise(B, (promise("new", 8, unseen=8, since=EPOCH - MINUTE),))
    await watch.look(8, 4)
    assert watch.unseen() == {"old": 4, "new": 8}
    await watch.look(4, 0, waiting=2)
    assert watch.unseen() == {"old": 0, "new": 2}
    await watch.look(8, 8)
    assert watch.unseen() == {"old": 0, "new": 2}


@on_virtual_time
async def test_pods_that_wait_and_are_then_bound_pay_once(time):
    watch = Watch(time)
    await watch.look(8)
    watch.follower.promise(A, (promise("a", 16, unseen=16, since=EPOCH - HOUR),))
    await watch.look(8, waiting=8)
    await watch.look(0, waiting=0)
    assert watch.unseen() == {"a": 8}


@on_virtual_time
async def test_the_first_sample_after_a_start_pays_nothing(time):
    """What rose while nobody looked may be anybody's."""
    watch = Watch(time)
    watch.follower.promise(A, (promise("a", 8, unseen=8, since=EPOCH - HOUR),))
    await watch.look(0)
    assert watch.unseen() == {"a": 8}


@on_virtual_time
async def test_a_rise_that_was_measured_before_the_promise_does_not_pay_it(time):
    watch = Watch(time)
    await watch.look(8, 8)
    await asyncio.sleep(15)
    taken = watch.source.sample

    async def slow():
        found = await taken()
        await asyncio.sleep(5)  # the answer is on its way while the promise is made
        watch.follower.promise(A, (promise("a", 8, unseen=8, since=time.now()),))
        return found

    watch.source.sample = slow
    await watch.look(0, 8)
    assert watch.unseen() == {"a": 8}


@on_virtual_time
async def test_a_promise_that_is_given_up_is_forgotten(time):
    watch = Watch(time)
    await watch.look(8)
    assert watch.follower.promise(A, (promise("a", 8, unseen=8),))
    assert not watch.follower.promise(A, (promise("a", 8, unseen=8),))
    watch.follower.put(B, ask("b", 8))
    assert watch.reasons() == {"b": Reason.WAITING_FOR_GPUS}
    assert watch.follower.promise(A, ())
    assert watch.follower.unseen == {}
    assert watch.reasons() == {"b": Reason.ENOUGH}
    assert not watch.follower.promise(A, ())


@on_virtual_time
async def test_what_was_paid_stays_paid_when_the_ledger_is_written(time):
    watch = Watch(time)
    await watch.look(8)
    made = promise("a", 8, unseen=8, since=clock(0) - 9999 * HOUR)
    watch.follower.promise(A, (made,))
    await watch.look(2)
    assert watch.unseen() == {"a": 2}
    watch.follower.promise(A, (replace(made, unseen=2),))
    watch.follower.promise(A, (made,))
    assert watch.unseen() == {"a": 2}


@st.composite
def days(draw):
    """What happens to a pool of 16: runs start, their pods come and go, others' pods too."""
    acts = st.sampled_from(["start", "pod", "gone", "others", "leave", "end"])
    return draw(st.lists(st.tuples(acts, st.integers(1, 8), st.integers(0, 3)), max_size=25))


@settings(deadline=None, max_examples=60)
@given(days())
def test_with_labels_nothing_is_promised_twice_whoever_else_takes_gpus(acts):
    """Own pods pay a promise, foreign ones never, and what is given fits beside all promises."""

    @on_virtual_time
    async def day(time):
        watch = Watch(time)
        runs: dict[str, int] = {}  # GPUs that each run was promised
        pods: dict[str, int] = {}  # ... and that its pods request
        foreign = 0
        for number, (act, gpus, which) in enumerate(acts):
            chosen = sorted(runs)[which % len(runs)] if runs else None
            room = 16 - foreign - sum(pods.values())
            if act == "others":
                foreign += min(gpus, room)
            elif act == "leave":
                foreign -= min(gpus, foreign)
            elif act == "pod" and chosen:
                pods[chosen] += min(gpus, room, runs[chosen] - pods[chosen])
            elif act == "gone" and chosen:
                pods[chosen] -= min(gpus, pods[chosen])
            elif act == "end" and chosen:
                runs.pop(chosen)
                pods.pop(chosen)
                watch.follower.promise(Ref(NS, chosen), ())
            used = foreign + sum(pods.values())
            await watch.look(16 - used, each=16, visible=dict(pods))
            assert watch.unseen() == {name: runs[name] - pods[name] for name in runs}
            if act == "start":
                owner = Ref(NS, f"run{number}")
                watch.follower.put(owner, ask(owner.name, gpus))
                watch.follower.answer()
                verdict = watch.follower.verdict(owner)
                fits = 16 - used - sum(runs[name] - pods[name] for name in runs) >= gpus
                assert verdict.admitted is fits
                if fits:
                    made = promise(owner.name, gpus, unseen=gpus, since=time.now())
                    watch.follower.consume(owner, made)
                    runs[owner.name], pods[owner.name] = gpus, 0
                else:
                    watch.follower.put(owner, None)
            await asyncio.sleep(15)

    day()
