"""One AirflowInstance: its DAGs' facts and every run of ours in it (R9, R12)."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from slackwater.core.run import Absent, DagFacts, Denied, InDoubt, RunState, Seen
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.runtime.airflow_follower import IDLE_INTERVAL, AirflowFollower
from tests.core.builders import AIRFLOW, OWNER
from tests.runtime.rig import (
    DAG,
    HOUR,
    MINUTE,
    SECOND,
    Airflow,
    logged,
    on_virtual_time,
    run_of,
)

INTERVAL = 10 * SECOND


def run(name, state=RunState.QUEUED, **changes):
    return run_of("x", state, run_id=name, **changes)


class Watch:
    def __init__(self, time, starts=None, seed=1):
        self.clock = time
        self.news, self.runs, self.facts = 0, [], []
        self.server = Airflow(time)
        self.follower = AirflowFollower(
            AIRFLOW,
            time,
            Random(seed),
            "slackwater.",
            lambda run_id, known: self.runs.append(run_id),
            self.facts.append,
            self.told,
        )
        self.follower.configure(self.server, INTERVAL, starts)

    def told(self):
        self.news += 1

    async def look(self):
        before = self.news
        self.server.asked.clear()
        await self.follower.look()
        return self.news - before

    async def patience(self):
        """Let the back-off pass."""
        await asyncio.sleep((self.follower.next_at - self.clock.now()).total_seconds() + 0.01)

    def known(self, name):
        return self.follower.runs.get(name)


def unreachable(**changes):
    return AirflowError(Reason.UNREACHABLE, what="Airflow research/default", **changes)


# --- looking


@on_virtual_time
async def test_the_first_look_asks_for_the_version_and_the_runs(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    await watch.look()
    assert watch.server.asked == ["version", "list"]
    assert watch.follower.version == "3.3.2"
    assert watch.follower.listed_at == time.now()
    assert isinstance(watch.known("a"), Seen)
    assert watch.runs == ["a"]
    await watch.look()
    assert watch.server.count("version") == 0


@on_virtual_time
async def test_one_list_serves_all_runs(time):
    watch = Watch(time)
    for i in range(50):
        watch.server.runs[f"r{i}"] = run(f"r{i}")
        watch.follower.track(f"r{i}", DAG, OWNER)
    await watch.look()
    assert watch.server.asked == ["version", "list"]
    assert len(watch.runs) == 50


@on_virtual_time
async def test_a_followed_run_that_the_list_lacks_is_looked_up_by_id(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a", RunState.SUCCESS)}
    watch.follower.track("a", DAG)
    watch.follower.track("gone", DAG)
    await watch.look()
    assert watch.server.asked == ["version", "list", "run a", "run gone"]
    assert watch.known("a").run.state is RunState.SUCCESS
    assert isinstance(watch.known("gone"), Absent)


@on_virtual_time
async def test_neither_what_is_over_nor_what_is_absent_is_asked_for_for_ever(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a", RunState.SUCCESS)}
    for name in ("a", "gone"):
        watch.follower.track(name, DAG)
    await watch.look()
    for _ in range(5):
        await asyncio.sleep(30)
        await watch.look()
        assert watch.server.asked == []
    assert not watch.follower.busy
    assert watch.follower.next_at == time.now() + IDLE_INTERVAL


@on_virtual_time
async def test_while_a_run_is_in_flight_the_server_is_asked_often(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    watch.follower.track("a", DAG)
    await watch.look()
    assert watch.follower.busy
    assert watch.follower.next_at == time.now() + INTERVAL
    watch.server.runs["a"] = run("a", RunState.RUNNING, start_date=time.now())
    await asyncio.sleep(10)
    await watch.look()
    assert watch.known("a").run.state is RunState.RUNNING
    assert watch.runs == ["a", "a"]


@on_virtual_time
async def test_runs_are_listed_once_an_interval_however_often_facts_are_wanted(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a", RunState.RUNNING)}
    watch.follower.track("a", DAG)
    lists = 0
    for second in range(60):
        watch.follower.want_facts(f"dag{second}")
        await watch.look()
        lists += watch.server.count("list")
        assert watch.server.count("preflight") == 1
        assert watch.follower.next_at <= time.now() + INTERVAL
        await asyncio.sleep(1)
    assert lists == 6


@on_virtual_time
async def test_an_idle_server_is_listed_every_ten_minutes_for_runs_nobody_knows(time):
    watch = Watch(time)
    await watch.look()
    watch.server.runs = {"a": run("a")}
    await asyncio.sleep(300)
    await watch.look()
    assert watch.known("a") is None
    await asyncio.sleep(301)
    await watch.look()
    assert watch.runs == ["a"]
    assert watch.follower.busy


@on_virtual_time
async def test_the_same_word_again_is_no_news(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    for _ in range(4):
        await watch.look()
        await asyncio.sleep(10)
    assert watch.runs == ["a"]


@on_virtual_time
async def test_a_later_word_of_the_same_absence_is_news(time):
    """It settles a doubt that came in between."""
    watch = Watch(time)
    await watch.follower.look_up("a", DAG)
    watch.follower.doubt("a")
    await watch.follower.look_up("a", DAG)
    assert watch.runs == ["a", "a", "a"]


@on_virtual_time
async def test_an_untracked_run_is_forgotten(time):
    watch = Watch(time)
    watch.follower.track("a", DAG, OWNER)
    await watch.follower.look_up("a", DAG)
    watch.follower.untrack("a")
    assert watch.known("a") is None
    assert (watch.follower.dags, watch.follower.owners) == ({}, {})


# --- which word is newer (R9)


@on_virtual_time
async def test_an_answer_to_an_older_question_does_not_undo_a_newer_word(time):
    """A read that was asked before the POST may arrive after its reply."""
    watch = Watch(time)
    watch.follower.track("a", DAG)
    watch.server.gate = asyncio.Event()
    asked = asyncio.create_task(watch.follower.look_up("a", DAG))
    await asyncio.sleep(1)
    created = run("a", queued_at=time.now())
    watch.server.runs["a"] = created
    watch.follower.learn("a", Seen(created, time.now()))
    watch.server.gate.set()
    answer = await asked
    assert watch.known("a") == answer
    assert isinstance(answer, Seen)
    assert watch.follower.busy


@on_virtual_time
async def test_a_list_from_before_the_end_of_a_run_does_not_revive_it(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a", RunState.RUNNING)}
    watch.follower.track("a", DAG)
    watch.server.slow = 5 * SECOND
    listing = asyncio.create_task(watch.follower.look())
    await asyncio.sleep(7)
    over = run("a", RunState.SUCCESS, end_date=time.now())
    watch.follower.learn("a", Seen(over, time.now()))
    await listing
    assert watch.known("a").run.state is RunState.SUCCESS


@on_virtual_time
async def test_a_doubt_is_settled_only_by_a_question_that_was_asked_after_it(time):
    watch = Watch(time)
    watch.follower.track("a", DAG)
    watch.server.gate = asyncio.Event()
    asked = asyncio.create_task(watch.follower.look_up("a", DAG))
    await asyncio.sleep(1)
    watch.follower.doubt("a")
    watch.server.gate.set()
    await asked
    assert isinstance(watch.known("a"), InDoubt)


@on_virtual_time
async def test_a_wall_clock_that_jumped_back_does_not_make_the_runs_deaf(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    await watch.look()
    time.jump = -HOUR
    watch.follower.clock_jumped(-HOUR)
    watch.server.runs["a"] = run("a", RunState.RUNNING, start_date=time.now())
    await watch.look()
    assert watch.known("a").run.state is RunState.RUNNING


# --- facts


@on_virtual_time
async def test_facts_are_read_when_they_are_wanted_and_kept_for_30_seconds(time):
    watch = Watch(time)
    assert watch.follower.want_facts(DAG)
    await watch.look()
    assert watch.facts == [DAG]
    assert watch.server.count("preflight") == 1
    assert watch.follower.facts(DAG).checked_at == time.now()
    assert not watch.follower.want_facts(DAG)
    await asyncio.sleep(29)
    assert not watch.follower.want_facts(DAG)
    await watch.look()
    assert watch.server.count("preflight") == 0
    await asyncio.sleep(1)
    assert watch.follower.want_facts(DAG)
    assert await watch.look() == 0
    assert watch.facts == [DAG]
    assert watch.server.count("preflight") == 1


@on_virtual_time
async def test_a_thousand_who_want_one_dags_facts_cause_one_question(time):
    watch = Watch(time)
    for _ in range(1000):
        watch.follower.want_facts(DAG)
    await watch.look()
    assert watch.server.count("preflight") == 1


@on_virtual_time
async def test_facts_that_changed_are_news(time):
    watch = Watch(time)
    watch.follower.want_facts(DAG)
    await watch.look()
    await asyncio.sleep(60)
    watch.server.facts = {DAG: DagFacts(problem=Reason.DAG_PAUSED, checked_at=time.now())}
    watch.follower.want_facts(DAG)
    await watch.look()
    assert watch.facts == [DAG, DAG]
    assert watch.follower.facts(DAG).problem is Reason.DAG_PAUSED


@on_virtual_time
async def test_facts_that_could_not_be_read_stay_wanted(time):
    watch = Watch(time)
    await watch.look()
    watch.follower.want_facts("one")
    watch.follower.want_facts("two")
    watch.server.error = unreachable()
    await watch.look()
    watch.server.error = None
    await watch.patience()
    await watch.look()
    assert watch.server.asked[:2] == ["preflight one", "preflight two"]


# --- failing


@on_virtual_time
async def test_a_fault_is_told_once_and_so_is_its_end(time):
    watch = Watch(time)
    await watch.look()
    watch.follower.track("a", DAG)
    await asyncio.sleep(10)
    told = []
    errors = (unreachable(), unreachable(), AirflowError(Reason.UNAUTHORIZED, what="x"), None, None)
    for error in errors:
        watch.server.error = error
        told.append(await watch.look())
        await watch.patience()
    assert told == [1, 0, 1, 1, 0]
    assert watch.follower.fault is None


@on_virtual_time
async def test_failures_back_off_to_two_minutes_with_full_jitter(time):
    limits = [5, 10, 20, 40, 80, 120, 120, 120]
    longest = [0.0] * len(limits)
    for seed in range(100):
        watch = Watch(time, seed=seed)
        watch.server.error = unreachable()
        for turn, limit in enumerate(limits):
            await watch.look()
            wait = (watch.follower.next_at - time.now()) / SECOND
            assert 1 <= wait <= limit
            longest[turn] = max(longest[turn], wait)
            await watch.patience()
    assert all(longest[turn] > 0.9 * limit for turn, limit in enumerate(limits))


@on_virtual_time
async def test_a_server_that_asks_for_patience_gets_it_and_an_answer_ends_it(time):
    watch = Watch(time)
    watch.server.error = unreachable(retry_after=9 * MINUTE)
    await watch.look()
    assert watch.follower.next_at == time.now() + 9 * MINUTE
    watch.server.error = None
    await watch.patience()
    await watch.look()
    watch.server.error = unreachable()
    watch.follower.track("a", DAG)
    await asyncio.sleep(10)
    await watch.look()
    assert watch.follower.next_at <= time.now() + 5 * SECOND


@on_virtual_time
async def test_a_failing_server_is_left_alone_whoever_wants_it_looked_at(time):
    watch = Watch(time)
    watch.server.error = unreachable(retry_after=MINUTE)
    await watch.look()
    due = watch.follower.next_at
    for _ in range(10):
        await asyncio.sleep(1)
        watch.follower.want_facts(DAG)
        await watch.look()
        assert watch.server.asked == []
        assert watch.follower.next_at == due
    watch.server.error = None
    watch.follower.configure(Airflow(time), INTERVAL, None)  # another server did not fail
    await watch.look()
    assert watch.follower.fault is None


@on_virtual_time
async def test_a_jump_of_the_wall_clock_ends_the_patience(time):
    watch = Watch(time)
    watch.server.error = unreachable(retry_after=MINUTE)
    await watch.look()
    time.jump = -HOUR
    watch.follower.clock_jumped(-HOUR)
    watch.server.error = None
    await watch.look()
    assert watch.follower.fault is None


@on_virtual_time
async def test_what_nobody_foresaw_is_a_fault_logged_once_and_backed_off_from(time):
    watch = Watch(time)
    with logged() as lines:
        watch.server.error = KeyError("a title")
        told = []
        for _ in range(6):
            told.append(await watch.look())
            assert watch.follower.next_at > time.now()
            await watch.patience()
    assert told == [1, 0, 0, 0, 0, 0]
    assert watch.follower.fault.reason is Reason.INTERNAL_ERROR
    assert watch.follower.fault.gaps == {"what": f"Airflow {AIRFLOW}", "detail": "KeyError"}
    assert len(lines) == 1


@on_virtual_time
async def test_while_the_server_fails_what_is_known_stays(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    watch.follower.want_facts(DAG)
    await watch.look()
    watch.server.error = unreachable()
    await watch.look()
    assert isinstance(watch.known("a"), Seen)
    assert watch.follower.facts(DAG) is not None


# --- another server


@on_virtual_time
async def test_another_server_is_asked_anew_and_known_runs_stay(time):
    watch = Watch(time)
    watch.server.runs = {"a": run("a")}
    watch.follower.want_facts(DAG)
    await watch.look()
    other = Airflow(time)
    watch.follower.configure(other, INTERVAL, None)
    assert watch.follower.version is None
    assert watch.follower.facts(DAG) is None
    assert isinstance(watch.known("a"), Seen)
    await watch.follower.look()
    assert other.count("version") == 1
    assert isinstance(watch.known("a"), Absent)


@on_virtual_time
async def test_other_settings_of_one_server_keep_what_is_known(time):
    watch = Watch(time)
    watch.follower.want_facts(DAG)
    await watch.look()
    watch.follower.configure(watch.server, MINUTE, 5)
    assert watch.follower.version == "3.3.2"
    assert watch.follower.facts(DAG) is not None


@on_virtual_time
async def test_answers_of_a_server_that_was_replaced_meanwhile_count_for_nothing(time):
    watch = Watch(time)
    watch.server.slow = SECOND
    watch.server.runs = {"a": run("a")}
    watch.follower.want_facts(DAG)
    looking = asyncio.create_task(watch.follower.look())
    for _ in range(3):
        await asyncio.sleep(0.9)
        watch.follower.configure(Airflow(time), INTERVAL, None)
    await looking
    assert watch.follower.version is None
    assert watch.follower.facts(DAG) is None
    assert watch.known("a") is None
    assert watch.follower.listed_at is None


# --- the rate of starts


@on_virtual_time
async def test_without_a_limit_every_start_is_free(time):
    watch = Watch(time)
    for _ in range(100):
        watch.follower.started()
    assert watch.follower.slot_at() is None


@on_virtual_time
async def test_no_more_starts_in_any_minute_than_the_server_takes(time):
    watch = Watch(time, starts=3)
    starts = []
    while len(starts) < 20:
        slot = watch.follower.slot_at()
        if slot is None:
            watch.follower.started()
            starts.append(time.now())
            await asyncio.sleep(2)
        else:
            assert slot > time.now()
            await asyncio.sleep((slot - time.now()).total_seconds())
    for first, fourth in zip(starts, starts[3:], strict=False):
        assert fourth - first >= MINUTE
    assert starts[-1] - starts[0] < 7 * MINUTE


@on_virtual_time
async def test_a_wall_clock_that_jumped_back_does_not_stop_starts_for_an_hour(time):
    watch = Watch(time, starts=1)
    watch.follower.started()
    time.jump = -HOUR
    watch.follower.clock_jumped(-HOUR)
    assert watch.follower.slot_at() <= time.now() + MINUTE


@on_virtual_time
async def test_a_refusal_is_kept_for_its_line(time):
    watch = Watch(time)
    denied = Denied(time.now(), Reason.REJECTED, "no")
    watch.follower.deny("a", denied)
    watch.follower.track("a", DAG)
    await watch.look()
    assert watch.known("a") == denied
    assert watch.server.count("run") == 0


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
def test_a_run_that_vanishes_while_it_is_followed_is_found_absent(state):
    @on_virtual_time
    async def look(time):
        watch = Watch(time)
        watch.server.runs = {"a": run("a", state)}
        await watch.look()
        assert replace(watch.known("a"), at=time.now()).run.state is state
        del watch.server.runs["a"]
        await asyncio.sleep(10)
        await watch.look()
        assert isinstance(watch.known("a"), Absent)

    look()


# --- what runs take


@on_virtual_time
async def test_durations_are_learned_once_an_hour_for_all_who_want_them(time):
    watch = Watch(time)
    watch.server.times = (30 * MINUTE,) * 6
    for _ in range(1000):
        watch.follower.want_durations(DAG)
    await watch.look()
    assert watch.server.count("times") == 1
    assert watch.follower.durations(DAG).p90 == 30 * MINUTE
    assert watch.facts == [DAG]
    for _ in range(5):
        await asyncio.sleep(600)
        watch.follower.want_durations(DAG)
        await watch.look()
        assert watch.server.count("times") == 0
    await asyncio.sleep(600)
    watch.follower.want_durations(DAG)
    watch.server.times = (40 * MINUTE,) * 6
    await watch.look()
    assert watch.follower.durations(DAG).p90 == 40 * MINUTE
    assert watch.facts == [DAG, DAG]


@on_virtual_time
async def test_durations_that_did_not_change_are_no_news(time):
    watch = Watch(time)
    watch.server.times = (30 * MINUTE,) * 6
    for _ in range(3):
        watch.follower.want_durations(DAG)
        await watch.look()
        await asyncio.sleep(3600)
    assert watch.facts == [DAG]


@on_virtual_time
async def test_durations_that_cannot_be_had_stop_nothing_and_what_was_known_stands(time):
    watch = Watch(time)
    watch.server.times = (30 * MINUTE,) * 6
    watch.follower.want_durations(DAG)
    await watch.look()
    watch.server.times = AirflowError(Reason.FORBIDDEN, what="Airflow")
    await asyncio.sleep(3600)
    watch.follower.want_durations(DAG)
    watch.follower.want_durations("other")
    await watch.look()
    assert watch.server.count("times") == 2
    assert watch.follower.fault is None
    assert watch.follower.durations(DAG).p90 == 30 * MINUTE
    assert watch.follower.durations("other").p90 is None


@on_virtual_time
async def test_many_dags_are_learned_a_few_at_a_time(time):
    watch = Watch(time)
    for number in range(5):
        watch.follower.want_durations(f"d{number}")
    looks = []
    for _ in range(4):
        await watch.look()
        looks.append(watch.server.count("times"))
        assert looks[-1] <= 2
        await watch.patience()
    assert looks == [2, 2, 1, 0]


@on_virtual_time
async def test_durations_of_another_server_are_not_known(time):
    watch = Watch(time)
    watch.server.times = (30 * MINUTE,) * 6
    watch.follower.want_durations(DAG)
    await watch.look()
    watch.follower.configure(Airflow(time), INTERVAL, None)
    assert watch.follower.durations(DAG) is None
