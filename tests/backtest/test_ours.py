"""The replay's own policies are the product: what it starts is what `decide` and `allot` start."""

from datetime import timedelta

import numpy as np
import pytest

from slackwater.backtest.metrics import base_of
from slackwater.backtest.ours import LOOK, ask_of, instant, window_of
from slackwater.backtest.policies import OFF_PEAK, POLICIES, STATIC, Case
from slackwater.backtest.population import population
from slackwater.backtest.search import GRID, Search, Service, Training
from slackwater.backtest.synthetic import Shape, synthetic
from slackwater.backtest.trace import DAY, from_points
from slackwater.core.fit import latest_finish
from slackwater.core.forecast import STEP
from slackwater.core.occurrence import Layout, Occurrence
from slackwater.core.plan import MARGIN
from slackwater.core.span import Span
from slackwater.core.spec import StartPolicy

WEEKS = 3


@pytest.fixture(scope="module", params=[Shape.TRAINING, Shape.INFERENCE], ids=str)
def small(request):
    trace = synthetic(request.param, 4, capacity=48, utilization=0.5, weeks=2)
    return trace, base_of(trace)


def test_an_ask_is_what_the_rules_of_its_window_make_of_it(small):
    trace, _ = small
    runs = population(trace, 0.1, 0)
    minutes = int(runs.expected[5])
    ask = ask_of(runs, 5, StartPolicy.OFF_PEAK, minutes)
    window = Span(instant(int(runs.release[5])), instant(int(runs.deadline[5])))
    spec = window_of(StartPolicy.OFF_PEAK, timedelta(minutes=minutes))
    occurrence = Occurrence(
        key="k",
        entry="e",
        series="",
        original_start="",
        interval=window,
        pieces=(window,),
        cuts=(),
        event=None,
        end=window.end,
    )
    finish = latest_finish(
        spec,
        Layout(occurrences=(occurrence,), allows=None, denies=(), deadlines=()),
        occurrence,
        window,
        window.start,
    )
    assert finish is not None
    assert ask.latest_start == finish.at - timedelta(minutes=minutes)
    assert (ask.window_start, ask.pieces, ask.off_peak) == (window.start, (window,), True)


@pytest.mark.parametrize("name", ["earliest", OFF_PEAK])
def test_nothing_of_ours_is_submitted_against_the_pool(small, name):
    """R5: whatever is submitted starts at once, and looks are minutes apart."""
    trace, base = small
    runs = population(trace, 0.25, 1)
    outcome = POLICIES[name].replay(Case(trace, runs, base))
    sent = outcome.submitted >= 0
    assert sent.any()
    assert (outcome.begun[sent] == outcome.submitted[sent]).all()
    assert (outcome.submitted[sent] % LOOK == 0).all()


def test_nothing_starts_off_peak_too_late_to_finish(small):
    trace, base = small
    runs = population(trace, 0.25, 1)
    outcome = POLICIES[OFF_PEAK].replay(Case(trace, runs, base))
    sent = outcome.submitted >= 0
    assert (outcome.submitted[sent] <= (runs.deadline - runs.expected)[sent]).all()


def test_with_room_to_spare_off_peak_never_waits_past_its_margin(small):
    trace, base = small
    runs = population(trace, 0.02, 2)
    outcome = POLICIES[OFF_PEAK].replay(Case(trace, runs, base))
    judged = (runs.release >= trace.begins) & (runs.deadline <= trace.ends)
    latest = runs.deadline - runs.expected
    slack = np.minimum(MARGIN.total_seconds() / 60, (latest - runs.release) / 8)
    late = outcome.submitted[judged] > (latest - slack)[judged] + int(STEP.total_seconds() / 60)
    assert late.mean() < 0.02


def test_the_same_input_gives_the_same_replay(small):
    trace, base = small
    runs = population(trace, 0.1, 3)
    one, other = (POLICIES[OFF_PEAK].replay(Case(trace, runs, base)) for _ in range(2))
    assert np.array_equal(one.segments, other.segments)


def test_on_a_strong_daily_wave_off_peak_carries_what_the_best_blind_schedule_carries():
    trace = synthetic(Shape.INFERENCE, 6, capacity=64, weeks=WEEKS)
    base = base_of(trace)
    search = Search(trace, base, Training())
    static = max(search.best(name, 0, Service()).share for name in STATIC)
    assert static > 0.1
    ours = search.at(OFF_PEAK, 0, round(static / GRID))
    assert ours.serves()


def test_no_policy_that_spares_the_foreground_exceeds_the_bound(small):
    trace, base = small
    search = Search(trace, base, Training())
    bound = search.best("bound", 0, Service()).measures.utilization
    for name in ("hashed", "valley", "preempt"):
        assert search.best(name, 0, Service(tax=0.0)).measures.utilization <= bound + 0.01


def test_a_recorded_load_begins_on_its_weekday_and_holds_over_gaps():
    wednesday = instant(2 * DAY + 600)
    points = [(wednesday + n * timedelta(hours=1), float(n % 24)) for n in range(100)]
    trace = from_points("pool", [*points[:10], (points[10][0], float("nan")), *points[11:]], 32)
    assert trace is not None
    assert trace.demand is not None
    assert trace.demand[2 * DAY + 600 + 60] == 1
    assert trace.demand[2 * DAY + 600 + 600] == trace.demand[2 * DAY + 600 + 599] == 9
    assert trace.begins >= 3 * DAY
    assert from_points("pool", points[:60], 32) is None
