"""A whole engine in virtual time: its start, its wake-ups, its writes and its lease."""

import asyncio
from datetime import timedelta
from itertools import pairwise

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import Ambiguous, PoolError
from slackwater.ports import Changed, Key, Kind
from tests.runtime.rig import GPU, HOUR, MINUTE, NS, SECOND, Bay, at, on_virtual_time


def bay(clock, **made):
    found = Bay(clock, **made)
    found.apply_all()
    return found


async def clock_far(found):
    await found.until(1000)


def writes(found):
    return found.store.windows_written


# --- its start


@on_virtual_time
async def test_without_the_lease_everything_is_read_and_nothing_is_written(clock):
    found = bay(clock)
    found.lease.set(held=False)
    found.window(gpu=GPU)
    found.event(0.1, 4)
    found.start()
    await found.until(0.5)
    assert found.engine.ready
    assert (found.store.statuses_written, found.airflow.posts) == (0, [])
    found.lease.set(held=True)
    await found.until(at(0.5) + 30 * SECOND)
    assert len(found.airflow.posts) == 1
    assert found.states() == ["Running"] or found.states() == ["Triggered"]
    await found.stop()


@on_virtual_time
async def test_nothing_is_done_before_every_object_was_given(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(-1, 4)
    found.start()
    while not found.engine.ready:
        assert (found.store.statuses_written, found.airflow.posts) == (0, [])
        await found.until(clock.true_now() + timedelta(milliseconds=1))
    await found.until(0.1)
    assert len(found.airflow.posts) == 1
    await found.stop()


@on_virtual_time
async def test_a_restart_in_mid_window_starts_nothing_again(clock):
    found = bay(clock)
    found.lasts = 3 * HOUR
    found.window(gpu=GPU)
    found.event(0.1, 4)
    found.start()
    await found.until(1)
    await found.stop()
    found.start()
    await found.until(2)
    assert len(found.airflow.posts) == 1
    assert found.states() in (["Running"], ["Succeeded"])
    await found.stop()


# --- it wakes by itself


@on_virtual_time
async def test_a_window_that_opens_hours_later_is_started_within_seconds(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(9, 12)
    found.start()
    await found.until(9)
    assert found.airflow.posts == []
    await found.until(at(9) + 5 * SECOND)
    assert [posted >= at(9) for posted, _ in found.airflow.posts] == [True]
    await found.stop()


@on_virtual_time
async def test_intent_post_and_outcome_take_one_write_each(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(3, 6)
    found.start()
    await found.until(2.9)
    before = writes(found)
    await found.until(at(3) + 3 * SECOND)
    assert found.states() in (["Triggered"], ["Running"])
    assert writes(found) - before == 2  # the intent; what Airflow said
    await found.stop()


@on_virtual_time
async def test_many_windows_of_one_moment_all_start_soon(clock):
    found = bay(clock, gpus=64)
    for number in range(8):
        found.window(f"w{number}", gpu=GPU)
        found.event(3, 6, f"w{number}")
    found.start()
    await found.until(at(3) + 10 * SECOND)
    assert len(found.airflow.posts) == len({run for _, run in found.airflow.posts}) == 8
    await found.stop()


# --- it writes rarely


@on_virtual_time
async def test_at_rest_nothing_is_written(clock):
    found = bay(clock)
    for number in range(5):
        found.window(f"w{number}", gpu=GPU)
    found.event(100, 110, "w1")
    found.start()
    await found.until(1)
    assert writes(found) == 5
    await found.until(24)
    assert writes(found) == 5
    await found.stop()


@on_virtual_time
async def test_a_restart_writes_no_status_that_says_nothing_new(clock):
    found = bay(clock)
    for number in range(3):
        found.window(f"w{number}", gpu=GPU)
    found.event(100, 110, "w1")
    found.start()
    await found.until(1)
    await found.stop()
    before = {key: stored.status for key, stored in found.store.objects.items()}
    written = writes(found)
    found.start()
    await found.until(1.2)
    await found.stop()
    assert writes(found) == written
    after = {key: stored.status for key, stored in found.store.objects.items()}
    for key, status in after.items():
        assert status["conditions"] == before[key]["conditions"], key


@on_virtual_time
async def test_what_cannot_be_read_for_long_is_said_after_a_while(clock):
    found = bay(clock)

    async def hangs(*_):
        await clock_far(found)

    found.calendar.fetch = hangs
    found.window(gpu=GPU)
    found.start()
    await found.until(at(0) + 10 * SECOND)
    assert found.status() == {}
    await found.until(at(0) + 20 * SECOND)
    assert found.status()["message"] == "Calendar research/team has not been read yet."
    await found.stop()


@on_virtual_time
async def test_live_numbers_are_renewed_once_a_minute_and_never_stay_old(clock):
    found = bay(clock)
    found.pool.foreign = 30
    found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(1.1)
    assert "2 free" in found.status()["message"]
    before = writes(found)
    for minute in range(10):  # other numbers at every sample, and the same outline
        for quarter in range(4):
            found.pool.foreign = 25 + (minute + quarter) % 6
            await found.until(clock.true_now() + 15 * SECOND)
    assert 5 <= writes(found) - before <= 11
    found.pool.foreign = 31
    await found.until(clock.true_now() + 80 * SECOND)
    assert "1 free" in found.status()["message"]
    last = writes(found)
    await found.until(clock.true_now() + 20 * MINUTE)
    assert writes(found) == last
    await found.stop()


@on_virtual_time
async def test_a_late_echo_of_an_older_status_does_not_turn_the_ledger_back(clock):
    found = bay(clock)
    found.lasts = 5 * HOUR
    key = found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.9)
    older = found.store.objects[key]
    await found.until(1.1)
    assert found.states() == ["Running"]
    before = writes(found)
    found.store._tell(Changed(older))
    await found.until(1.2)
    assert found.engine.world.windows[key.ref].status.lines[0].state == "Running"
    assert (found.states(), writes(found)) == (["Running"], before)
    assert len(found.airflow.posts) == 1
    await found.stop()


# --- it goes on after failures


@on_virtual_time
async def test_a_store_that_is_away_is_asked_ever_more_rarely_and_then_gets_everything(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.5)
    calls = []
    write = found.store.write_status

    async def counted(*args):
        calls.append(clock.monotonic())
        return await write(*args)

    found.store.write_status = counted
    found.world.down.add("store")
    await found.until(1.5)
    tries = len(calls)
    assert 10 < tries < 150  # several objects, each at most once a minute after a while
    assert found.airflow.posts == []  # no intent, no POST
    found.world.down.clear()
    await found.until(1.55)
    assert len(found.airflow.posts) == 1
    assert found.states() == ["Running"] or found.states() == ["Triggered"]
    await found.stop()


@on_virtual_time
async def test_a_status_that_cannot_be_written_asks_no_dependency_more_often(clock):
    found = bay(clock)
    found.start()
    await found.until(0.5)
    asked = []
    fetch, sample = found.calendar.fetch, found.pool.sample

    async def fetched(*args):
        asked.append("calendar")
        return await fetch(*args)

    async def sampled():
        asked.append("pool")
        return await sample()

    found.calendar.fetch, found.pool.sample = fetched, sampled
    found.world.down.add("store")
    found.event(4, 5)  # there is something new to say of the calendar
    found.pool.foreign = 16  # and of the pool
    await found.until(1.5)
    assert asked.count("calendar") <= HOUR / (MINUTE * 5 * 0.75)
    assert asked.count("pool") <= HOUR / (SECOND * 15)
    await found.stop()


@on_virtual_time
async def test_news_of_the_pool_leave_the_promise_of_an_intent_that_is_being_written(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.5)
    promised = []
    write = found.store.write_status
    pool = Key(Kind.GPU_POOL, Ref(NS, "h100"))

    async def touched(key, status, version):
        if any(line["state"] == "Intended" for line in status.get("occurrences", ())):
            stored = found.store.objects[pool]
            found.store.apply(Kind.GPU_POOL, pool.ref, stored.spec, touched="now")
            await asyncio.sleep(1)  # the news arrive meanwhile
            promised.append(sum(one.count for one in found.engine.world.pool(pool.ref).promises))
        return await write(key, status, version)

    found.store.write_status = touched
    await found.until(1.1)
    assert promised == [GPU["count"]]
    await found.stop()


@on_virtual_time
async def test_a_post_that_fails_and_makes_no_run_is_tried_again_with_rests(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.9)
    tried, trigger = [], found.airflow.trigger

    async def refused(*args):
        tried.append(clock.monotonic())
        if len(tried) < 4:
            raise Ambiguous(Reason.UNAVAILABLE, what="Airflow")
        return await trigger(*args)

    def looks():
        labels = {"kind": "TrainingWindow"}
        return found.metrics.registry.get_sample_value(
            "slackwater_reconcile_duration_seconds_count", labels
        )

    found.airflow.trigger = refused
    before = looks()
    await found.until(1.1)
    rests = [later - sooner for sooner, later in pairwise(tried)]
    assert len(rests) == 3
    assert min(rests) >= 4.99, "the rest is reckoned by the wall clock, which drifts"
    assert looks() - before < 60
    assert len(found.airflow.posts) == 1
    await found.stop()


@on_virtual_time
async def test_a_conflict_leads_to_another_look_at_what_is_newer(clock):
    found = bay(clock)
    key = found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.5)
    write, edits = found.store.write_status, []

    async def edited_first(written, *args):
        if written == key and not edits:
            edits.append(written)
            stored = found.store.objects[key]
            found.store.apply(key.kind, key.ref, dict(stored.spec) | {"suspend": True})
        return await write(written, *args)

    found.store.write_status = edited_first
    await found.until(1.5)
    assert edits == [key]
    assert found.airflow.posts == []
    assert found.status()["message"] == "Suspended."
    await found.stop()


@on_virtual_time
async def test_what_looks_raise_unexpectedly_is_tried_again(clock):
    found = bay(clock)
    found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.5)
    write, failures = found.store.write_status, iter(range(3))

    async def broken(*args):
        if next(failures, None) is not None:
            raise ValueError("a fault of ours")
        return await write(*args)

    found.store.write_status = broken
    await found.until(at(1) + 30 * SECOND)
    assert len(found.airflow.posts) == 1
    failed = found.metrics.registry.get_sample_value(
        "slackwater_reconcile_errors_total", {"kind": "TrainingWindow"}
    )
    assert failed >= 1
    await found.stop()


@on_virtual_time
async def test_no_post_leaves_after_the_lease_is_lost(clock):
    found = bay(clock)
    key = found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(0.5)
    write = found.store.write_status

    async def lost_meanwhile(written, status, version):
        done = await write(written, status, version)
        if written == key and any(
            line["state"] == "Intended" for line in status.get("occurrences", ())
        ):
            found.lease.set(held=False)
        return done

    found.store.write_status = lost_meanwhile
    await found.until(1.5)
    assert (found.states(), found.airflow.posts) == (["Intended"], [])
    found.store.write_status = write
    found.lease.set(held=True)
    await found.until(1.6)
    assert len(found.airflow.posts) == 1
    await found.stop()


# --- objects that go


@on_virtual_time
async def test_a_deleted_window_asks_and_holds_nothing_more(clock):
    found = bay(clock)
    found.pool.foreign = 30
    key = found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    await found.until(1.1)
    pool = found.engine.world.pool(Ref(NS, "h100"))
    assert [ask.owner for ask in pool.asks] == [key.ref]
    found.store.delete(key)
    found.pool.foreign = 0
    await found.until(1.5)
    assert (pool.asks, pool.owners, found.airflow.posts) == ((), frozenset(), [])
    assert key.ref not in found.engine.world.windows
    await found.stop()


@on_virtual_time
async def test_a_window_made_anew_under_its_old_name_finds_its_run_again(clock):
    found = bay(clock)
    found.lasts = 3 * HOUR
    key = found.window(gpu=GPU)
    found.event(1, 4)
    found.start()
    await found.until(1.2)
    spec = dict(found.store.objects[key].spec)
    found.store.delete(key)
    found.store.apply(key.kind, key.ref, spec)
    await found.until(1.5)
    assert len(found.airflow.posts) == 1
    (line,) = found.lines()
    assert (line["state"], line["dagRunId"]) == ("Running", found.airflow.posts[0][1])
    await found.stop()


# --- what it tells


@on_virtual_time
async def test_each_waiting_occurrence_tells_its_own_reason(clock):
    found = bay(clock)
    found.pool.foreign = 30
    found.window(gpu=GPU)
    found.event(1, 6)
    found.event(1, 5)
    found.start()
    await found.until(1.1)
    told = [
        (reason, note) for key, reason, note in found.recorder.notes if key.ref.name == "nightly"
    ]
    assert [reason for reason, _ in told] == ["WaitingForGPUs", "PreviousRunActive"]
    assert "Waiting for 8 GPUs in research/h100 since" in told[0][1]
    assert "the previous run is still active" in told[1][1]
    assert not any("-" in note.replace("2026-", "") for _, note in told)  # no gap is empty
    await found.stop()


@on_virtual_time
async def test_a_fault_of_the_spec_is_told_once(clock):
    found = bay(clock)
    found.window(gpu=GPU | {"count": 8, "poolRef": {"name": "gone"}})
    found.event(-0.5, 6)
    found.start()
    await found.until(0.5)
    told = [reason for key, reason, _ in found.recorder.notes if key.ref.name == "nightly"]
    assert told == ["PoolNotFound"]
    await found.stop()


@on_virtual_time
async def test_the_clock_of_a_wait_names_the_dag_where_its_facts_are_not_read_yet(clock):
    found = bay(clock)
    found.window()
    found.event(1, 6)
    found.start()
    await found.until(0.9)
    follower = found.engine.world.airflow(Ref(NS, "default"))
    found.world.down.add("default")
    follower._facts.clear()
    await found.until(1.2)
    found.world.down.clear()
    await found.until(1.5)
    (line,) = found.lines()
    assert {w["condition"] for w in line["waited"]} == {"DagReady"}
    await found.stop()


# --- what runs take


@on_virtual_time
async def test_what_runs_take_is_learned_and_told_and_a_restart_writes_nothing(clock):
    found = bay(clock)
    key = found.window(gpu=GPU)
    found.airflow.times = (90 * MINUTE,) * 5
    found.event(6, 10)
    found.start()
    await found.until(0.5)
    assert found.status()["expectedDurationSeconds"] == 5400
    await found.stop()
    before = found.store.objects[key].resource_version
    found.start()
    await found.until(1)
    assert found.store.objects[key].resource_version == before
    found.airflow.times = (100 * MINUTE,) * 5
    await found.until(6.1)
    assert found.status()["expectedDurationSeconds"] == 6000
    await found.stop()


@on_virtual_time
async def test_a_configured_duration_is_kept_and_airflow_is_not_asked(clock):
    found = bay(clock)
    found.window(gpu=GPU, expectedDurationSeconds=60)
    found.airflow.times = (90 * MINUTE,) * 5
    found.event(6, 10)
    found.start()
    await found.until(3)
    assert found.status()["expectedDurationSeconds"] == 60
    assert found.airflow.asked_times == 0
    await found.stop()


@on_virtual_time
async def test_a_promise_knows_the_pods_of_its_run(clock):
    found = bay(clock)
    found.window(gpu=GPU | {"perPod": 4})
    found.event(0.1, 4)
    found.start()
    await found.until(0.3)
    pool = found.engine.world.pool(Ref(NS, "h100"))
    assert [(promise.count, promise.per_pod) for promise in pool.promises] == [(8, 4)]
    await found.stop()


# --- the queue


@on_virtual_time
async def test_waiting_in_a_queue_costs_no_writes(clock):
    found = bay(clock, gpus=8)
    found.lasts = timedelta(hours=3)
    for name in ("nightly", "second", "third"):
        found.window(name, gpu=GPU, expectedDurationSeconds=3 * 3600)
        found.event(0.1, 12, name)
    found.start()
    await found.until(0.15)
    for run in found.airflow.runs.values():
        run.lasts, run.pods_after = timedelta(hours=3), timedelta()
    await found.until(0.5)
    waiting = [name for name in ("nightly", "second", "third") if "Waiting" in found.states(name)]
    assert len(waiting) == 2
    messages = [found.status(name)["message"] for name in waiting]
    assert "; place 1 of 2; expected about 03:10." in messages[0]
    assert "; place 2 of 2; expected about 06:10." in messages[1]
    assert not any(name in message for name in waiting for message in messages)
    before = writes(found)
    await found.until(2.9)
    assert writes(found) == before
    assert [found.status(name)["message"] for name in waiting] == messages
    await found.stop()


@on_virtual_time
async def test_a_pool_is_asked_as_often_for_one_window_as_for_many(clock):
    async def samples(windows):
        found = bay(clock)
        taken, sample = [], found.pool.sample

        async def counted():
            taken.append(clock.now())
            return await sample()

        found.pool.sample = counted
        found.pool.foreign = found.pool.gpus
        began = (clock.now() - at(0)) / HOUR
        for number in range(windows):
            found.window(f"w{number}", gpu=GPU)
            found.event(began + 0.1, began + 12, f"w{number}")
        found.start()
        await found.until(began + 1)
        await found.stop()
        return len(taken)

    one = await samples(1)
    assert one > 100, "it waits, so the pool is looked at often"
    assert await samples(40) <= one + 2


@on_virtual_time
async def test_a_pool_that_cannot_be_read_blocks_only_its_own_windows_and_heals(clock):
    found = bay(clock)
    found.store.apply(Kind.GPU_POOL, Ref(NS, "other"), {"source": {"static": {"gpus": 8}}})
    healthy = found.pool.sample
    sources = found.sources

    class Broken:
        well = False

        async def sample(self):
            if self.well:
                return await healthy()
            raise PoolError(Reason.PARTIAL_RESPONSE, what="Prometheus")

        async def utilization_since(self, since):
            return ()

        async def demand_since(self, since):
            return ()

        async def aclose(self):
            return

    broken = Broken()

    def chosen():
        made = sources()
        pool = made.pool
        made.pool = lambda key, spec: broken if key.ref.name == "other" else pool(key, spec)
        return made

    found.sources = chosen
    found.window("nightly", gpu=GPU)
    found.window("blocked", gpu=GPU | {"poolRef": {"name": "other"}})
    for name in ("nightly", "blocked"):
        found.event(0.1, 4, name)
    found.start()
    await found.until(0.5)
    assert len(found.airflow.posts) == 1
    assert found.states("blocked") == ["Waiting"]
    assert "partial answer" in found.status("blocked")["message"]
    broken.well = True
    await found.until(0.6)
    assert len(found.airflow.posts) == 2
    await found.stop()
