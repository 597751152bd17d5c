"""A pool that starts what was submitted to it: gangs, no fragmentation, one minute at a time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from typing import Final

CHECKPOINT: Final = 30
"""Minutes between checkpoints of a training run that may be preempted."""
RESTART: Final = 5
"""Minutes that a preempted run needs to come back."""
DEPTH: Final = 400
"""How many waiting jobs a backfill looks at, as schedulers limit it."""
_CLASS: Final = 1 << 40


class Discipline(StrEnum):
    """Who of those that wait starts when GPUs are free."""

    STRICT = "strict FIFO"
    BEST_EFFORT = "best-effort FIFO"
    EASY = "EASY"


@dataclass(frozen=True, slots=True)
class Rules:
    """How the pool treats what is submitted.

    Attributes:
        discipline: of the queue.
        low_priority: training waits behind all of the foreground.
        preempt: foreground jobs push out the youngest training runs; needs `low_priority`.
    """

    discipline: Discipline = Discipline.BEST_EFFORT
    low_priority: bool = False
    preempt: bool = False


class Cluster:
    """The pool and its queue.

    Jobs are numbers: those below `training` are the foreground's.

    Args:
        capacity: GPUs.
        rules: of the queue.
        gpus: of each job.
        durations: minutes of each job.
        training: number of the first training run.
    """

    def __init__(
        self, capacity: int, rules: Rules, gpus: list[int], durations: list[int], training: int
    ) -> None:
        self.capacity, self.rules = capacity, rules
        self.gpus, self.training = gpus, training
        self.left = list(durations)
        self.free = capacity
        self.demand = 0.0  # a measured foreground's
        self.taken = 0  # GPUs of it that are served
        self.segments: list[tuple[int, int, int]] = []  # job, start, end of all that ran
        self.preemptions = 0
        self.wasted = 0  # GPU-minutes done twice
        self.foreground_running = self.foreground_waiting = 0
        self.training_running = self.training_waiting = 0
        self._running: list[tuple[int, int]] = []  # (end, job), sorted
        self._began: dict[int, int] = {}
        self._lines: dict[tuple[int, int], deque[tuple[int, int]]] = {}  # (class, size)
        self._shortest: dict[tuple[int, int], int] = {}
        self._number = 0
        self._stack: list[int] = []  # training runs, the youngest last

    # --- what is known of it

    @property
    def next_end(self) -> int | None:
        """When the next job ends."""
        return self._running[0][0] if self._running else None

    @property
    def foreground(self) -> float:
        """GPUs that others use or wait for."""
        return self.foreground_running + self.foreground_waiting + self.demand

    def began(self, job: int) -> int | None:
        """Since when a job runs."""
        return self._began.get(job)

    # --- what happens to it

    def submit(self, job: int) -> None:
        """Queue a job."""
        size = self.gpus[job]
        if job >= self.training:
            self.training_waiting += size
        else:
            self.foreground_waiting += size
        low = self.rules.low_priority and job >= self.training
        key = (int(low), size)
        if key not in self._lines:
            self._lines[key] = deque()
            self._shortest[key] = self.left[job]
        self._number += 1
        self._lines[key].append((self._number + low * _CLASS, job))
        self._shortest[key] = min(self._shortest[key], self.left[job])

    def ask(self, demand: float, now: int) -> None:
        """A measured foreground wants so many GPUs from now on; it is served before all else."""
        self.demand = demand
        wanted = -int(-demand // 1)
        if self.rules.preempt:
            while self._stack and wanted > self.capacity - self.training_running:
                self._push_out(self._stack[-1], now)
        self._serve()

    def _serve(self) -> None:
        served = min(-int(-self.demand // 1), self.capacity - self.training_running)
        self.free += self.taken - served
        self.taken = served

    def finish(self, now: int) -> list[int]:
        """End what is over.

        Returns:
            The training runs among them.
        """
        ended: list[int] = []
        running = self._running
        count = 0
        while count < len(running) and running[count][0] <= now:
            end, job = running[count]
            count += 1
            self.segments.append((job, self._began.pop(job), end))
            self.free += self.gpus[job]
            if job >= self.training:
                self.training_running -= self.gpus[job]
                self._stack.remove(job)
                ended.append(job)
            else:
                self.foreground_running -= self.gpus[job]
        del running[:count]
        if ended and self.demand:
            self._serve()
        return ended

    def schedule(self, now: int) -> None:
        """Start whatever may start."""
        if not self._lines:
            return
        if self.rules.discipline is Discipline.BEST_EFFORT:
            self._best_effort(now)
        else:
            self._in_order(now)

    def close(self) -> None:
        """The trace is over: what runs is written down with the end that it would have had."""
        for end, job in self._running:
            self.segments.append((job, self._began[job], end))

    # --- the disciplines

    def _best_effort(self, now: int) -> None:
        while self._lines:
            first: tuple[int, int] | None = None
            where = (0, 0)
            for key, line in self._lines.items():
                if (first is None or line[0] < first) and self._may(key):
                    first, where = line[0], key
            if first is None:
                return
            while self.free < where[1]:
                self._push_out(self._stack[-1], now)
            self._take(where, first)
            self._start(first[1], now)

    def _may(self, key: tuple[int, int]) -> bool:
        if key[1] <= self.free:
            return True
        if not self.rules.preempt or key[0]:
            return False
        return key[1] <= self.free + self.training_running

    def _in_order(self, now: int) -> None:
        while self._lines:
            where, line = min(self._lines.items(), key=_head)
            if where[1] > self.free:
                break
            first = line[0]
            self._take(where, first)
            self._start(first[1], now)
        if self.free <= 0 or not self._lines or self.rules.discipline is Discipline.STRICT:
            return
        self._backfill(line[0], where[1], now)

    def _backfill(self, head: tuple[int, int], size: int, now: int) -> None:
        """Start what is behind the head and cannot delay it (EASY)."""
        shadow, spare = self._room_for(size)
        open_lines = [
            line
            for key, line in self._lines.items()
            if key[1] <= self.free and (key[1] <= spare or now + self._shortest[key] <= shadow)
        ]
        chosen: list[tuple[int, int]] = []
        free = self.free
        for seen, entry in enumerate(merge(*open_lines)):
            if seen >= DEPTH or free <= 0:
                break
            job = entry[1]
            wants = self.gpus[job]
            if entry == head or wants > free:
                continue
            if now + self.left[job] > shadow:
                if wants > spare:
                    continue
                spare -= wants
            free -= wants
            chosen.append(entry)
        for entry in chosen:
            job = entry[1]
            low = int(self.rules.low_priority and job >= self.training)
            self._take((low, self.gpus[job]), entry)
            self._start(job, now)

    def _room_for(self, size: int) -> tuple[int, int]:
        """When the running jobs' ends make room for the head, and what is spare then."""
        room = self.free
        shadow = _CLASS
        for end, job in self._running:
            if room >= size and end > shadow:
                break
            room += self.gpus[job]
            if room >= size and shadow == _CLASS:
                shadow = end
        return shadow, room - size

    # --- starts and ends

    def _take(self, key: tuple[int, int], entry: tuple[int, int]) -> None:
        line = self._lines[key]
        if line[0] == entry:
            line.popleft()
        else:
            line.remove(entry)
        if not line:
            del self._lines[key]

    def _start(self, job: int, now: int) -> None:
        size = self.gpus[job]
        self.free -= size
        self._began[job] = now
        insort(self._running, (now + self.left[job], job))
        if job >= self.training:
            self.training_waiting -= size
            self.training_running += size
            self._stack.append(job)
        else:
            self.foreground_waiting -= size
            self.foreground_running += size

    def _push_out(self, job: int, now: int) -> None:
        """Preempt a training run: what it did since its last checkpoint is done again."""
        self._stack.remove(job)
        began = self._began.pop(job)
        end = began + self.left[job]
        del self._running[bisect_left(self._running, (end, job))]
        self.segments.append((job, began, now))
        done = now - began
        saved = done // CHECKPOINT * CHECKPOINT
        self.wasted += (done - saved) * self.gpus[job]
        self.preemptions += 1
        self.left[job] = max(1, self.left[job] - saved) + RESTART
        self.free += self.gpus[job]
        self.training_running -= self.gpus[job]
        if self.demand:
            self._serve()
        self.submit(job)


def _head(item: tuple[tuple[int, int], deque[tuple[int, int]]]) -> tuple[int, int]:
    return item[1][0]
