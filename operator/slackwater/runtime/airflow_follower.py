"""One AirflowInstance: its DAGs' facts and every run of ours in it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from slackwater.core.durations import LEARNED_FROM, Durations, learned
from slackwater.core.run import Absent, DagFacts, Denied, InDoubt, Known, Seen
from slackwater.core.seen import Trouble
from slackwater.core.spec import Ref
from slackwater.core.start import FACTS_VALID
from slackwater.errors import DependencyError, SlackwaterError
from slackwater.ports import Airflow, Clock
from slackwater.runtime.backoff import Backoff, trouble_of

IDLE_INTERVAL: Final = timedelta(minutes=10)
LONGEST_BACKOFF: Final = timedelta(minutes=2)
MINUTE: Final = timedelta(minutes=1)
LEARN_AGAIN: Final = timedelta(hours=1)
LEARN_AT_ONCE: Final = 2  # DAGs in one round: whoever wants to start waits for its end

LOG: Final = logging.getLogger("slackwater.durations")


class AirflowFollower:
    """What is known of one Airflow server.

    Args:
        ref: the AirflowInstance.
        clock: the present.
        random: jitters back-off.
        prefix: what the ids of our runs begin with.
        run_changed: called with each run whose record changed.
        facts_changed: called with each DAG whose facts changed.
        changed: called when the server's own condition changed.
    """

    def __init__(
        self,
        ref: Ref,
        clock: Clock,
        random: Random,
        prefix: str,
        run_changed: Callable[[str, Known], None],
        facts_changed: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.ref = ref
        self._clock, self._prefix = clock, prefix
        self._run_changed, self._changed = run_changed, changed
        self._facts_changed = facts_changed
        self.airflow: Airflow | None = None
        self.interval = timedelta(seconds=10)
        self.starts_per_minute: int | None = None
        self.trouble: Trouble | None = None
        self.fault: Trouble | None = None
        self.version: str | None = None
        self.listed_at: datetime | None = None
        self._list_at: datetime | None = None  # no sooner; None for now
        self.next_at: datetime | None = None
        self.runs: dict[str, Known] = {}
        self.dags: dict[str, str] = {}  # run id -> DAG id of runs to follow
        self.owners: dict[str, Ref] = {}
        self._told: dict[str, int] = {}  # run id -> number of the newest word about it
        self._words = 0
        self._facts: dict[str, DagFacts] = {}
        self._wanted: set[str] = set()
        self._durations: dict[str, Durations] = {}
        self._learned_at: dict[str, datetime] = {}
        self._to_learn: set[str] = set()
        self._starts: deque[datetime] = deque()
        self._backoff = Backoff(random, LONGEST_BACKOFF)

    def configure(
        self, airflow: Airflow | None, interval: timedelta, starts_per_minute: int | None
    ) -> None:
        """Follow another server or with other settings; runs known stay until it has answered."""
        if airflow is not self.airflow:
            self._facts.clear()
            self._durations.clear()
            self._learned_at.clear()
            self.fault, self.version, self._list_at = None, None, None
            self._backoff.ended()
        self.airflow, self.interval = airflow, interval
        self.starts_per_minute = starts_per_minute

    def clock_jumped(self, by: timedelta) -> None:
        """The wall clock jumped: facts are as old as they were (R4)."""
        self._facts = {
            dag_id: replace(facts, checked_at=facts.checked_at + by)
            for dag_id, facts in self._facts.items()
        }
        self._learned_at = {dag_id: at + by for dag_id, at in self._learned_at.items()}
        self._starts = deque(at + by for at in self._starts)
        self._backoff.clock_jumped()
        self._list_at = None
        if self.listed_at is not None:
            self.listed_at += by

    # --- DAGs

    def facts(self, dag_id: str) -> DagFacts | None:
        """The last preflight of a DAG."""
        return self._facts.get(dag_id)

    def want_facts(self, dag_id: str) -> bool:
        """Ask for a preflight at the next look; True when one is due and the look should be soon."""
        if not self._is_due(dag_id):
            return False
        self._wanted.add(dag_id)
        return True

    def _is_due(self, dag_id: str) -> bool:
        facts = self._facts.get(dag_id)
        return facts is None or facts.checked_at <= self._clock.now() - FACTS_VALID

    def durations(self, dag_id: str) -> Durations | None:
        """What the DAG's runs took; None where nobody has looked yet."""
        return self._durations.get(dag_id)

    def want_durations(self, dag_id: str) -> None:
        """Have the durations of the DAG's runs learned soon, once an hour at most."""
        at = self._learned_at.get(dag_id)
        if at is None or self._clock.now() - at >= LEARN_AGAIN:
            self._to_learn.add(dag_id)

    # --- runs

    def track(self, run_id: str, dag_id: str, owner: Ref | None = None) -> None:
        """Follow a run until it is over; `owner` is the TrainingWindow to tell of its news."""
        self.dags[run_id] = dag_id
        if owner is not None:
            self.owners[run_id] = owner

    def untrack(self, run_id: str) -> None:
        """Its line is final: forget it."""
        self.dags.pop(run_id, None)
        self.owners.pop(run_id, None)
        self.runs.pop(run_id, None)
        self._told.pop(run_id, None)

    def learn(self, run_id: str, known: Known, asked: int | None = None) -> None:
        """Record a word about a run.

        `asked` is the number of the newest word when the question was asked: an answer that comes
        after a newer word is old news. Clocks would not tell, they may jump.
        """
        if asked is not None and self._told.get(run_id, 0) > asked:
            return
        self._words += 1
        self._told[run_id] = self._words
        before = self.runs.get(run_id)
        self.runs[run_id] = known
        if not _same(before, known):
            self._run_changed(run_id, known)

    def doubt(self, run_id: str) -> None:
        """A write about it got no clear answer."""
        self.learn(run_id, InDoubt(self._clock.now()))

    async def look_up(self, run_id: str, dag_id: str) -> Known:
        """Ask for one run by id. Raises AirflowError."""
        airflow, asked_at, asked = self.airflow, self._clock.now(), self._words
        assert airflow is not None
        run = await airflow.run(dag_id, run_id)
        known: Known = Absent(asked_at) if run is None else Seen(run, self._clock.now())
        if airflow is self.airflow:
            self.learn(run_id, known, asked)
        return self.runs.get(run_id, known)

    def deny(self, run_id: str, denied: Denied) -> None:
        """Airflow refused to create it; its DAG is looked at anew."""
        self.learn(run_id, denied)

    # --- the rate of starts

    def slot_at(self) -> datetime | None:
        """When `maxStartsPerMinute` allows the next start; None means now."""
        if self.starts_per_minute is None:
            return None
        now = self._clock.now()
        while self._starts and self._starts[0] <= now - MINUTE:
            self._starts.popleft()
        if len(self._starts) < self.starts_per_minute:
            return None
        return self._starts[0] + MINUTE

    def started(self) -> None:
        """A start was made or tried."""
        if self.starts_per_minute is not None:
            self._starts.append(self._clock.now())

    # --- looking

    def due_within(self, time: timedelta) -> datetime:
        """Have the next look within a time at the latest; give its instant."""
        soon = self._clock.now() + time
        self.next_at = soon if self.next_at is None else min(self.next_at, soon)
        return self.next_at

    async def look(self) -> None:
        """One round: version once, facts that are wanted, then all active runs of ours.

        A server that failed is left alone for a while, whoever wants it looked at.
        """
        airflow = self.airflow
        if airflow is None:
            return
        if self._backoff.holds(self._clock.now()):
            self.next_at = self._backoff.until
            return
        try:
            await self._round(airflow)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is a fault like others
            if airflow is self.airflow:
                self._failed(error)
            return
        if airflow is not self.airflow:
            return
        self._backoff.ended()
        healed, self.fault = self.fault is not None, None
        now = self._clock.now()
        soon = self._wanted or self._to_learn
        self.next_at = now + (self.interval if soon else IDLE_INTERVAL)
        if self.busy and self._list_at is not None:
            self.next_at = min(self.next_at, max(now, self._list_at))
        if healed:
            self._changed()

    async def _round(self, airflow: Airflow) -> None:
        if self.version is None:
            version = await airflow.version()
            if airflow is not self.airflow:
                return  # its look follows
            self.version = version
            self._changed()
        wanted, self._wanted = self._wanted, set()
        for dag_id in sorted(wanted):
            if not self._is_due(dag_id):
                wanted.discard(dag_id)
                continue
            try:
                facts = await airflow.preflight(dag_id)
            except Exception:
                self._wanted |= wanted
                raise
            if airflow is not self.airflow:
                self._wanted |= wanted
                return
            wanted.discard(dag_id)
            before, self._facts[dag_id] = self._facts.get(dag_id), facts
            if before is None or replace(before, checked_at=facts.checked_at) != facts:
                self._facts_changed(dag_id)
        if self._list_is_due():
            await self._list(airflow)
        for dag_id in sorted(self._to_learn)[:LEARN_AT_ONCE]:
            await self._learn(airflow, dag_id)

    async def _learn(self, airflow: Airflow, dag_id: str) -> None:
        """Learn what the DAG's runs take; where that fails, what was known stands for an hour."""
        self._to_learn.discard(dag_id)
        now = self._clock.now()
        before = self._durations.get(dag_id)
        try:
            found = learned(await airflow.task_times(dag_id, now - LEARNED_FROM))
        except SlackwaterError as error:
            reason = error.reason.value
            LOG.warning("AirflowInstance %s: no durations of DAG %s: %s", self.ref, dag_id, reason)
            found = before or Durations()
        if airflow is not self.airflow:
            return
        self._durations[dag_id], self._learned_at[dag_id] = found, now
        if found != before:
            self._facts_changed(dag_id)

    def _list_is_due(self) -> bool:
        """Every interval while a run is in flight, however often looks are wanted for other things.

        Else now and then, for runs that we do not know of.
        """
        now = self._clock.now()
        if self.busy:
            return self._list_at is None or now >= self._list_at
        return self.listed_at is None or now - self.listed_at >= IDLE_INTERVAL

    @property
    def busy(self) -> bool:
        """Something is still to be heard of a run that is followed."""
        return any(_is_open(self.runs.get(run_id)) for run_id in self.dags)

    async def _list(self, airflow: Airflow) -> None:
        asked_at, asked = self._clock.now(), self._words
        active = {run.run_id: run for run in await airflow.active_runs(self._prefix)}
        if airflow is not self.airflow:
            return
        first, self.listed_at = self.listed_at is None, asked_at
        self._list_at = asked_at + self.interval
        for run in active.values():
            self.dags.setdefault(run.run_id, run.dag_id)
            self.learn(run.run_id, Seen(run, asked_at), asked)
        for run_id, dag_id in list(self.dags.items()):
            if run_id not in active and _is_open(self.runs.get(run_id)):
                await self.look_up(run_id, dag_id)
        if first:
            self._changed()

    def _failed(self, error: Exception) -> None:
        asked = error.retry_after if isinstance(error, DependencyError) else None
        self.next_at = self._backoff.failed(self._clock.now(), asked)
        before, self.fault = self.fault, trouble_of(error, f"Airflow {self.ref}", self.fault)
        if before is None or before.reason is not self.fault.reason:
            self._changed()


def _is_open(known: Known | None) -> bool:
    """Nothing heard yet, in doubt, or in flight; a run known to be absent comes with the list."""
    match known:
        case Seen(run=run):
            return not run.state.is_over
        case Absent() | Denied():
            return False
        case _:
            return True


def _same(before: Known | None, after: Known) -> bool:
    if isinstance(before, Seen) and isinstance(after, Seen):
        return before.run == after.run
    if isinstance(before, Absent) and isinstance(after, Absent):
        return False  # a later word on the same absence settles a doubt
    return before == after
