"""Whatever the policy: the pool never overflows, runs last what they last, and nothing starts early."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.backtest.cluster import RESTART, Cluster, Discipline, Rules
from slackwater.backtest.metrics import base_of, judged_runs, measure
from slackwater.backtest.policies import POLICIES, Case
from slackwater.backtest.population import Release, Runs, population
from slackwater.backtest.simulate import simulate
from slackwater.backtest.trace import DAY, HOUR, Trace, jobs_of, of_demand, of_jobs

NAMES = tuple(POLICIES)


def columns(*rows):
    return [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)]


def runs_of(*rows):
    """(release, duration, gpus, deadline) of each."""
    release, duration, gpus, deadline = columns(*rows)
    return Runs(release, duration, gpus, deadline, np.arange(len(rows)), duration)


def trace_of(*rows, capacity=10, length=3 * DAY, begins=0):
    return of_jobs("small", jobs_of(*columns(*rows)), capacity, length=length, begins=begins)


def busy_trace(seed, *, capacity=40, days=6):
    dice = np.random.default_rng(seed)
    count = 60 * days
    submit = np.sort(dice.integers(0, days * DAY, count))
    duration = np.clip(dice.lognormal(4.3, 1.1, count), 1, 2 * DAY).astype(np.int64)
    gpus = dice.choice((1, 2, 4, 8, 16), count, p=(0.4, 0.2, 0.2, 0.15, 0.05))
    return of_jobs("busy", jobs_of(submit, duration, gpus), capacity, length=days * DAY, begins=DAY)


def wavy_trace(seed, *, capacity=40, days=6):
    dice = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    wave = 0.5 + 0.35 * np.sin((hours % 24 - 8) / 24 * 2 * np.pi) + dice.normal(0, 0.05, len(hours))
    demand = np.repeat(np.clip(wave, 0, 1.05) * capacity, HOUR)
    return of_demand("wavy", demand, capacity, begins=DAY)


def check(trace, runs, rules, outcome):
    """What must hold of every replay."""
    jobs = len(trace.jobs)
    total = outcome.foreground + outcome.training
    assert total.max() <= trace.capacity + 1e-9
    assert outcome.queued.min() >= -1e-9
    rows = outcome.segments
    theirs, ours = rows[rows[:, 0] < jobs], rows[rows[:, 0] >= jobs]
    assert len(np.unique(theirs[:, 0])) == len(theirs), "a foreground job ran twice"
    assert (theirs[:, 2] - theirs[:, 1] == trace.jobs.duration[theirs[:, 0]]).all()
    assert (theirs[:, 1] >= trace.jobs.submit[theirs[:, 0]]).all()
    number = ours[:, 0] - jobs
    assert (ours[:, 1] >= runs.release[number]).all()
    assert (outcome.submitted[number] <= ours[:, 1]).all()
    lasted = np.zeros(len(runs), dtype=np.int64)
    np.add.at(lasted, number, ours[:, 2] - ours[:, 1])
    done = outcome.ended >= 0
    if rules.preempt:
        assert (lasted[done] >= runs.duration[done]).all()
        extra = int(((lasted - runs.duration) * runs.gpus)[done].sum())
        assert extra <= outcome.wasted + outcome.preemptions * RESTART * int(
            runs.gpus.max(initial=1)
        )
    else:
        assert (lasted[done] == runs.duration[done]).all()
        assert outcome.preemptions == outcome.wasted == 0


@pytest.mark.parametrize("made", [busy_trace, wavy_trace])
@pytest.mark.parametrize("name", NAMES)
def test_every_policy_keeps_to_the_pool_and_to_the_clock(name, made):
    trace = made(3)
    runs = population(trace, 0.2, 1, slack=24 * HOUR)
    policy = POLICIES[name]
    outcome = policy.replay(Case(trace, runs, base_of(trace)))
    assert (outcome.begun >= 0).any()
    check(trace, runs, policy.rules, outcome)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from((0.05, 0.3, 0.6)),
    name=st.sampled_from(NAMES),
    slack=st.sampled_from((12, 24, 48)),
    release=st.sampled_from(list(Release)),
    wavy=st.booleans(),
)
def test_no_load_and_no_population_breaks_a_policy(seed, share, name, slack, release, wavy):
    trace = (wavy_trace if wavy else busy_trace)(seed, days=3)
    runs = population(trace, share, seed, release=release, slack=slack * HOUR)
    policy = POLICIES[name]
    check(trace, runs, policy.rules, policy.replay(Case(trace, runs, base_of(trace))))


def test_strict_fifo_lets_nobody_past_the_head():
    trace = trace_of((0, 100, 8), (1, 50, 8), (2, 10, 1))
    runs = runs_of((DAY, 10, 1, 2 * DAY))
    strict = simulate(trace, runs, Rules(Discipline.STRICT), None, runs.release)
    assert strict.started.tolist() == [0, 100, 100]
    best = simulate(trace, runs, Rules(), None, runs.release)
    assert best.started.tolist() == [0, 100, 2]


def test_easy_backfills_only_what_cannot_delay_the_head():
    # The head (8 GPUs) gets its room at 100. 60 minutes fit before; 120 minutes fit beside it
    # only as long as 2 GPUs are spare.
    trace = trace_of((0, 100, 8), (1, 50, 8), (2, 60, 2), (3, 120, 1), (4, 120, 2), (5, 120, 1))
    runs = runs_of((DAY, 10, 1, 2 * DAY))
    easy = simulate(trace, runs, Rules(Discipline.EASY), None, runs.release)
    assert easy.started[1] == 100
    assert easy.started[2] == 2
    assert easy.started[3] == 62
    assert easy.started[5] == 62
    assert easy.started[4] >= 150


def test_training_of_low_priority_waits_behind_all_of_the_foreground():
    trace = trace_of((0, 100, 10), (50, 100, 10))
    runs = runs_of((10, 20, 10, DAY))
    for rules, start in ((Rules(), 100), (Rules(low_priority=True), 200)):
        assert simulate(trace, runs, rules, None, runs.release).begun.tolist() == [start]


def test_a_preempted_run_does_again_what_it_did_since_its_checkpoint():
    trace = trace_of((100, 60, 10))
    runs = runs_of((0, 200, 4, DAY))
    rules = Rules(low_priority=True, preempt=True)
    outcome = simulate(trace, runs, rules, None, runs.release)
    assert outcome.started.tolist() == [100]
    assert outcome.preemptions == 1
    assert outcome.wasted == 10 * 4  # 90 of 100 minutes were saved
    assert outcome.begun.tolist() == [0]
    assert outcome.ended.tolist() == [160 + 110 + RESTART]


def test_preemption_never_delays_the_foreground():
    trace = busy_trace(5)
    base = base_of(trace)
    runs = population(trace, 0.4, 2)
    found = POLICIES["preempt"].measures(Case(trace, runs, base))
    assert found.tax <= 1e-9
    assert found.preemptions > 0


def test_a_measured_load_is_served_first_and_short_of_what_runs_hold():
    demand = np.full(2 * DAY, 4.0)
    demand[600:720] = 9.0
    trace = of_demand("step", demand, 10, begins=0)
    runs = runs_of((500, 200, 5, DAY))
    outcome = simulate(trace, runs, Rules(), None, runs.release)
    assert outcome.training[500] == 5
    assert outcome.foreground[610] == 5
    assert outcome.queued[610] == 4
    assert outcome.queued[710] == 0
    measured = measure(trace, runs, outcome, base_of(trace))
    assert measured.tax == pytest.approx(4 * 100 / demand[: trace.ends].sum())


def test_the_measures_of_a_replay_that_can_be_reckoned_by_hand():
    # 10 GPUs, judged for a day. The run takes all GPUs for an hour from minute 0; a job of 5 GPUs
    # that comes at minute 30 waits half an hour.
    trace = trace_of((30, 120, 5), capacity=10, length=2 * DAY)
    runs = runs_of((0, 60, 10, 600), (700, 100, 10, 750))
    base = base_of(trace)
    found = measure(trace, runs, simulate(trace, runs, Rules(), None, runs.release), base)
    assert base.work == 120 * 5
    assert found.tax == pytest.approx(30 / 120)
    assert found.misses == 0.5
    assert found.utilization == pytest.approx((600 + 600) / (10 * DAY))
    assert found.wait == found.wait_p95 == 30
    assert found.wait_short == 0
    assert found.contention == pytest.approx(30 / DAY)
    assert found.finish == pytest.approx(80)
    assert found.busy == pytest.approx((600 + 600 + 1000) / (10 * DAY))


def test_runs_count_only_where_release_and_deadline_are_judged():
    trace = Trace("t", 10, 4 * DAY, begins=DAY)
    runs = runs_of((0, 9, 1, 2 * DAY), (DAY, 9, 1, 2 * DAY), (2 * DAY, 9, 1, 3 * DAY + 1))
    assert judged_runs(trace, runs).tolist() == [False, True, False]


def test_a_population_offers_the_share_that_was_asked_for_and_depends_on_its_seed_alone():
    trace = busy_trace(1)
    one, same, other = (population(trace, 0.2, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(_columns(one), _columns(same), strict=True))
    assert not np.array_equal(one.gpus, other.gpus)
    offered = (one.usual * one.gpus)[one.release == 0].sum()
    assert 0.2 * trace.capacity * DAY <= offered < 0.3 * trace.capacity * DAY
    assert one.gpus.max() <= trace.capacity // 16


def _columns(runs):
    return (runs.release, runs.duration, runs.gpus, runs.deadline, runs.dag, runs.usual)


def test_a_pool_is_told_of_its_ends():
    pool = Cluster(4, Rules(), [2, 2, 2], [10, 5, 5], training=2)
    for job in range(3):
        pool.submit(job)
    pool.schedule(0)
    assert (pool.free, pool.next_end, pool.training_waiting) == (0, 5, 2)
    assert pool.finish(5) == []
    pool.schedule(5)
    assert (pool.training_running, pool.finish(10), pool.free) == (2, [2], 4)
