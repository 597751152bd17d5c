"""One policy over one trace: from event to event, in whole minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from slackwater.backtest.cluster import Cluster, Rules
from slackwater.backtest.population import Runs
from slackwater.backtest.trace import Loads, Minutes, Trace

NEVER: Final = 1 << 60
STEP: Final = 30
"""Minutes over which the foreground's load is averaged for whoever learns it."""


@dataclass(slots=True)
class View:
    """What a trigger can see of the pool, kept up to date.

    Attributes:
        cluster: the pool now.
        running: training runs that hold GPUs or wait for them in the pool's queue, by number, and
            since when.
        means: the foreground's mean load in each whole half-hour since the beginning.
    """

    cluster: Cluster
    running: dict[int, int] = field(default_factory=dict)
    means: list[float] = field(default_factory=list)


class Trigger(Protocol):
    """Decides when runs are submitted, looking at the pool again and again.

    Attributes:
        every: minutes between two looks.
        always: whether it looks even if no run is held.
    """

    every: int
    always: bool

    def take(self, run: int) -> None:
        """A run's data are ready: hold it."""

    def release(self, now: int, view: View) -> Sequence[int]:
        """Which of the held runs to submit now; it lets go of them."""

    @property
    def holds(self) -> bool:
        """Whether any run is held."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What happened.

    Attributes:
        foreground: GPUs in use by others, by minute.
        queued: GPUs that others wait for, by minute.
        training: GPUs in use by training, by minute.
        started: minute of each foreground job's start, -1 where there was none.
        submitted: minute of each run's submission, -1 where there was none.
        begun: minute of each run's first start, -1 where there was none.
        ended: minute of each run's last end, -1 where it never came to that.
        preemptions: how often training was pushed out.
        wasted: GPU-minutes that were done twice for it.
        segments: rows of (job, start, end); runs are numbered behind the foreground's jobs.
    """

    foreground: Loads
    queued: Loads
    training: Loads
    started: Minutes
    submitted: Minutes
    begun: Minutes
    ended: Minutes
    preemptions: int
    wasted: int
    segments: Minutes


def simulate(
    trace: Trace, runs: Runs, rules: Rules, trigger: Trigger | None, times: Minutes | None = None
) -> Outcome:
    """Replay a trace with training on top.

    Args:
        trace: the foreground.
        runs: the training.
        rules: of the pool's queue.
        trigger: who decides when runs are submitted; None where `times` says so beforehand.
        times: minute of each run's submission.
    """
    return _Replay(trace, runs, rules, trigger, times).run()


class _Replay:
    def __init__(
        self, trace: Trace, runs: Runs, rules: Rules, trigger: Trigger | None, times: Minutes | None
    ) -> None:
        self.trace, self.runs, self.trigger = trace, runs, trigger
        jobs = trace.jobs
        self.first = len(jobs)
        self.cluster = Cluster(
            trace.capacity,
            rules,
            [*jobs.gpus.tolist(), *runs.gpus.tolist()],
            [*jobs.duration.tolist(), *runs.duration.tolist()],
            self.first,
        )
        self.view = View(self.cluster)
        self.submitted = np.full(len(runs), -1, dtype=np.int64)
        come = runs.release if times is None else times
        order = np.argsort(come, kind="stable")
        self.order, self.come = order.tolist(), come[order].tolist()
        self.changes: list[int] = []
        self.levels: list[float] = []
        if trace.demand is not None:
            moved = np.flatnonzero(np.diff(trace.demand, prepend=np.nan) != 0)
            self.changes = moved.tolist()
            self.levels = trace.demand[moved].tolist()
        self._mean_sum, self._mean_at = 0.0, 0

    def run(self) -> Outcome:
        cluster, trigger, view = self.cluster, self.trigger, self.view
        arrivals = self.trace.jobs.submit.tolist()
        length, first = self.trace.length, self.first
        job = run = change = 0
        poll = 0 if trigger is not None and trigger.always else NEVER
        while True:
            end = cluster.next_end
            now = min(
                arrivals[job] if job < first else NEVER,
                self.come[run] if run < len(self.come) else NEVER,
                self.changes[change] if change < len(self.changes) else NEVER,
                NEVER if end is None else end,
                poll,
            )
            if now >= length:
                break
            self._average(now)
            for ended in cluster.finish(now):
                view.running.pop(ended - first, None)
            if change < len(self.changes) and self.changes[change] == now:
                cluster.ask(self.levels[change], now)
                change += 1
            while job < first and arrivals[job] <= now:
                cluster.submit(job)
                job += 1
            while run < len(self.come) and self.come[run] <= now:
                self._take(self.order[run], now)
                run += 1
            cluster.schedule(now)
            if trigger is not None:
                if now % trigger.every == 0 and (trigger.always or trigger.holds):
                    chosen = trigger.release(now, view)
                    for one in chosen:
                        self._submit(one, now)
                    if chosen:
                        cluster.schedule(now)
                if trigger.always or trigger.holds:
                    poll = now - now % trigger.every + trigger.every
                else:
                    poll = NEVER
        cluster.close()
        return self._outcome()

    def _take(self, run: int, now: int) -> None:
        if self.trigger is None:
            self._submit(run, now)
        else:
            self.trigger.take(run)

    def _submit(self, run: int, now: int) -> None:
        self.submitted[run] = now
        self.view.running[run] = now
        self.cluster.submit(self.first + run)

    def _average(self, now: int) -> None:
        """Keep the foreground's mean by half-hours, up to the last whole one."""
        if self.trigger is None:
            return
        load = self.cluster.foreground
        while now // STEP > self._mean_at // STEP:
            edge = (self._mean_at // STEP + 1) * STEP
            self.view.means.append((self._mean_sum + load * (edge - self._mean_at)) / STEP)
            self._mean_sum, self._mean_at = 0.0, edge
        self._mean_sum += load * (now - self._mean_at)
        self._mean_at = now

    def _outcome(self) -> Outcome:
        trace, first = self.trace, self.first
        segments = np.array(self.cluster.segments, dtype=np.int64).reshape(-1, 3)
        own = segments[:, 0] >= first
        gpus = np.array(self.cluster.gpus, dtype=np.int64)
        training = _level(segments[own], gpus, trace.length)
        started = np.full(first, -1, dtype=np.int64)
        theirs = segments[~own]
        started[theirs[:, 0]] = theirs[:, 1]
        if trace.demand is None:
            foreground = _level(theirs, gpus, trace.length)
            waits = np.stack(
                (
                    np.arange(first),
                    trace.jobs.submit,
                    np.where(started < 0, trace.length, started),
                ),
                axis=1,
            )
            queued = _level(waits, gpus, trace.length)
        else:
            foreground = np.minimum(trace.demand, trace.capacity - training)
            queued = trace.demand - foreground
        begun = np.full(len(self.runs), -1, dtype=np.int64)
        ended = np.full(len(self.runs), -1, dtype=np.int64)
        mine = segments[own]
        mine = mine[np.argsort(mine[:, 1], kind="stable")]
        numbers = mine[:, 0] - first
        ended[numbers] = mine[:, 2]
        begun[numbers[::-1]] = mine[::-1, 1]
        # What was pushed out and did not come back has no end.
        for run in self.view.running:
            if self.cluster.began(first + run) is None:
                ended[run] = -1
        return Outcome(
            foreground=foreground,
            queued=queued,
            training=training,
            started=started,
            submitted=self.submitted,
            begun=begun,
            ended=ended,
            preemptions=self.cluster.preemptions,
            wasted=self.cluster.wasted,
            segments=segments,
        )


def _level(rows: Minutes, gpus: Minutes, length: int) -> Loads:
    """GPUs in each minute, of rows (job, start, end)."""
    edges = np.zeros(length + 1)
    np.add.at(edges, np.minimum(rows[:, 1], length), gpus[rows[:, 0]])
    np.add.at(edges, np.minimum(rows[:, 2], length), -gpus[rows[:, 0]])
    found: Loads = np.cumsum(edges[:-1])
    return found
