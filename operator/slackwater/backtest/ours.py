"""What Slackwater does, by the product's own code: the asks, the forecast, the plan, the answer.

Each run is an occurrence of a TrainingWindow whose window goes from release to deadline, with
`onWindowEnd: Cancel`, so that it must be expected to finish in time (R8). Every few minutes the
pool's sample is what the simulated pool shows, and `allot` answers whoever competes for room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from slackwater.backtest.population import Runs
from slackwater.backtest.simulate import STEP, View
from slackwater.backtest.trace import Loads
from slackwater.core.allot import Pool, allot
from slackwater.core.ask import Ask, Promise
from slackwater.core.fit import Finish, latest_start
from slackwater.core.forecast import LEVELS, Forecast, Forecaster
from slackwater.core.occurrence import Occurrence
from slackwater.core.plan import Foresight, Holding, Wish, plan_wishes, wish_of
from slackwater.core.planned import REPLAN, Planned
from slackwater.core.reserve import Reservations
from slackwater.core.sample import Room, Sample
from slackwater.core.span import Span
from slackwater.core.spec import (
    Dag,
    Ending,
    PoolRules,
    Ref,
    StartPolicy,
    TrainingWindow,
)
from slackwater.core.words import Reason

MONDAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""What minute 0 of every trace is taken to be."""
LOOK: Final = 5
"""Minutes between two samples of the pool."""
_REPLAN: Final = int(REPLAN.total_seconds()) // 60
_NOTHING_RESERVED: Final = Reservations()
_POOL: Final = PoolRules(ref=Ref("backtest", "pool"))
_DAG: Final = Dag(airflow=Ref("backtest", "airflow"), dag_id="train")


def instant(minute: int) -> datetime:
    """A minute of the trace as a time."""
    return MONDAY + timedelta(minutes=minute)


def window_of(policy: StartPolicy, expected: timedelta) -> TrainingWindow:
    """The TrainingWindow of a run."""
    return TrainingWindow(
        dag=_DAG,
        start_policy=policy,
        expected_duration=expected,
        on_window_end=Ending.CANCEL,
    )


def ask_of(runs: Runs, run: int, policy: StartPolicy, minutes: int) -> Ask:
    """What a run that is expected to take so many minutes asks for while its window is open."""
    expected = timedelta(minutes=minutes)
    window = Span(instant(int(runs.release[run])), instant(int(runs.deadline[run])))
    name = f"{run:07d}"
    occurrence = Occurrence(
        key=name,
        entry="data",
        series="",
        original_start="",
        interval=window,
        pieces=(window,),
        cuts=(),
        event=None,
        end=window.end,
    )
    finish = Finish(window.end, Reason.WONT_FINISH)
    return Ask(
        owner=Ref("backtest", name),
        occurrence=name,
        count=int(runs.gpus[run]),
        per_pod=1,
        priority=0,
        latest_start=latest_start(
            window_of(policy, expected), occurrence, window, finish, expected
        ),
        window_start=window.start,
        duration=expected,
        pieces=(window,),
        off_peak=policy is StartPolicy.OFF_PEAK,
    )


class _Held(NamedTuple):
    run: int
    ask: Ask
    wish: Wish


class Slackwater:
    """The trigger that the product is.

    Args:
        runs: all of them.
        capacity: GPUs of the pool.
        policy: `startPolicy` of every TrainingWindow.
        foresight: what stands for the forecaster; None learns, as the product does.
    """

    every = LOOK

    def __init__(
        self,
        runs: Runs,
        capacity: int,
        policy: StartPolicy,
        foresight: Foresight | None = None,
    ) -> None:
        self._runs, self._capacity, self._policy = runs, capacity, policy
        self._expected = runs.expected.tolist()
        self._learned = Forecaster() if policy is StartPolicy.OFF_PEAK else None
        self._foresight = foresight or self._learned
        self.always = self._foresight is not None
        self._taught = 0
        self._held: dict[Ref, _Held] = {}
        self._plan: Mapping[Ref, Planned] = {}
        self._promises: dict[int, Promise] = {}

    @property
    def holds(self) -> bool:
        """Whether any run is held."""
        return bool(self._held)

    def take(self, run: int) -> None:
        """A window opens."""
        ask = ask_of(self._runs, run, self._policy, self._expected[run])
        self._held[ask.owner] = _Held(run, ask, wish_of(ask))

    def release(self, now: int, view: View) -> Sequence[int]:
        """Plan anew where it is time, and start what the pool has room for."""
        present = instant(now)
        self._learn(view)
        for owner in [o for o, one in self._held.items() if one.ask.latest_start < present]:
            del self._held[owner]  # it would not finish in time any more (R8)
        if not self._held:
            return ()
        cluster = view.cluster
        sample = Sample(
            time=present,
            capacity=self._capacity,
            rooms=(Room("pool", self._capacity, cluster.free),),
            used=self._capacity - cluster.free,
            waiting=self._waiting(view),
        )
        if self._foresight is not None and now % _REPLAN == 0:
            self._plan = plan_wishes(
                [one.wish for one in self._held.values()],
                [Holding(one.count, present, one.ends) for one in self._running(view)],
                self._capacity,
                self._foresight,
                cluster.foreground,
                present,
            )
        if self._foresight is None:
            due = [one.ask for one in self._held.values()]
        else:
            due = [
                one.ask
                for owner, one in self._held.items()
                if (planned := self._plan.get(owner)) is None or planned.is_due(present)
            ]
        room = sample.fit(1) - sample.waiting
        if not due or room < min(ask.count for ask in due):
            return ()  # whoever is asked, nobody can be admitted (R5)
        pool = Pool(
            rules=_POOL,
            sample=sample,
            promises=tuple(self._running(view)),
            reservations=_NOTHING_RESERVED,
            plan=self._plan,
        )
        verdicts = allot(pool, due, present)
        return [self._held.pop(owner).run for owner, found in verdicts.items() if found.admitted]

    def _learn(self, view: View) -> None:
        if self._learned is None:
            return
        for number in range(self._taught, len(view.means)):
            self._learned.learn(instant(number * STEP), view.means[number])
        self._taught = len(view.means)

    def _waiting(self, view: View) -> int:
        cluster = view.cluster
        measured = max(0, -int(-cluster.demand // 1) - cluster.taken)
        return cluster.foreground_waiting + cluster.training_waiting + measured

    def _running(self, view: View) -> Sequence[Promise]:
        for run in [run for run in self._promises if run not in view.running]:
            del self._promises[run]
        for run, since in view.running.items():
            if run not in self._promises:
                began = instant(since)
                name = f"{run:07d}"
                self._promises[run] = Promise(
                    run_id=name,
                    owner=Ref("backtest", name),
                    count=int(self._runs.gpus[run]),
                    unseen=0,
                    since=began,
                    ends=began + timedelta(minutes=self._expected[run]),
                )
        return list(self._promises.values())


class Clairvoyant:
    """Knows what the foreground will want, as it is without training.

    Args:
        demand: GPUs used or waited for, by minute.
    """

    def __init__(self, demand: Loads) -> None:
        whole = len(demand) // STEP * STEP
        self._means = demand[:whole].reshape(-1, STEP).mean(axis=1)

    def forecast(self, now: datetime, live: float | None, steps: int) -> Forecast:
        """The truth; what is beyond the trace's end is as its last half-hour."""
        first = int((now - MONDAY).total_seconds()) // 60 // STEP
        places = np.minimum(np.arange(first, first + steps), len(self._means) - 1)
        median = self._means[places].copy()
        if live is not None:
            median[0] = live
        return Forecast(instant(first * STEP), median, np.zeros((len(LEVELS), steps)))
