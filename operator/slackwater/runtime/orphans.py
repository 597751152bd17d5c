"""Runs of ours that no TrainingWindow answers for any more (R6, R17)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from slackwater.core.ask import Promise
from slackwater.core.run import Run, RunState, Seen
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.world import World

_OWNER: Final = "(deleted)"


class _Ours(NamedTuple):
    """A run of this installation that is not over."""

    run: Run
    owner: Ref
    since: datetime


class Orphans:
    """Keeps the GPUs of runs without an owner promised, and deletes those that are queued."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pools: set[Ref] = set()
        self._namespaces: set[str] = set()  # in which objects were seen: those that are served

    def _ours(self, follower: AirflowFollower) -> Iterator[_Ours]:
        for known in follower.runs.values():
            if not isinstance(known, Seen) or known.run.state.is_over:
                continue
            origin = known.run.origin
            if origin.get("installation") == self._world.installation:
                owner = Ref(str(origin.get("namespace")), str(origin.get("name")))
                yield _Ours(known.run, owner, known.run.queued_at or known.at)

    def _answers_for(self, ours: _Ours, pool: Ref) -> bool:
        """Whether the owner's ledger knows the run and promises its GPUs in its pool."""
        record = self._world.windows.get(ours.owner)
        if record is None or record.spec is None or record.spec.gpu is None:
            return False
        known = any(line.dag_run_id == ours.run.run_id for line in record.status.lines)
        return known and record.spec.gpu.pool == pool

    def look(self, pool_changed: Callable[[PoolFollower], None]) -> None:
        """Promise each pool what runs without an owner hold of it, from the runs' own conf."""
        if not self._world.listed:
            return
        self._note_namespaces()
        held: dict[Ref, list[Promise]] = {ref: [] for ref in sorted(self._pools)}
        for follower in self._world.following.values():
            if not isinstance(follower, AirflowFollower):
                continue
            for ours in self._ours(follower):
                pool, gpus, per_pod = _pool_of(ours.run)
                if pool is not None and gpus > 0 and not self._answers_for(ours, pool):
                    promise = Promise(
                        run_id=ours.run.run_id,
                        owner=Ref("", _OWNER),
                        count=gpus,
                        unseen=gpus,
                        since=ours.since,
                        per_pod=per_pod,
                    )
                    held.setdefault(pool, []).append(promise)
        self._pools = {ref for ref, promises in held.items() if promises}
        for ref, promises in held.items():
            pool_follower = self._world.pool(ref)
            if pool_follower is not None and pool_follower.promise(
                Ref("", _OWNER), tuple(sorted(promises, key=lambda p: p.run_id))
            ):
                pool_changed(pool_follower)
        self._clear_books(pool_changed)

    def _note_namespaces(self) -> None:
        world = self._world
        for objects in (world.windows, world.calendars, world.pools, world.airflows):
            self._namespaces.update(ref.namespace for ref in objects)

    def _clear_books(self, pool_changed: Callable[[PoolFollower], None]) -> None:
        """Take what a TrainingWindow that asks another pool now has left in a pool's book."""
        for ref in self._world.pools:
            follower = self._world.pool(ref)
            if follower is None:
                continue
            for owner in sorted(follower.owners):
                record = self._world.windows.get(owner)
                gpu = record.spec.gpu if record is not None and record.spec is not None else None
                if owner.name == _OWNER or (gpu is not None and gpu.pool == ref):
                    continue
                follower.put(owner, None)
                follower.promise(owner, ())
                follower.watch(owner, watching=False)
                pool_changed(follower)

    async def delete_queued(self, follower: AirflowFollower) -> None:
        """Delete what is queued in one Airflow without an owner. Raises AirflowError."""
        if follower.airflow is None or not self._world.listed:
            return
        for run, owner, _ in list(self._ours(follower)):
            # Another operator of this cluster may serve other namespaces and share the Airflow.
            gone = owner not in self._world.windows and owner.namespace in self._namespaces
            if gone and run.state is RunState.QUEUED:
                await follower.airflow.delete_queued(run.dag_id, run.run_id)
                await follower.look_up(run.run_id, run.dag_id)

    def runs_known(self, pool: Ref) -> bool:
        """Whether every run that may hold GPUs of a pool is known.

        A TrainingWindow with a status has its promises there. For one without, its Airflow must
        have answered since the start, if it ever did; and each Airflow must at least have been
        asked once, because it may hold runs whose object is gone.
        """
        for ref, airflow in self._world.airflows.items():
            follower = self._world.airflow(ref)
            if follower is None or follower.listed_at is not None:
                continue
            answered = bool(airflow.stored.status.get("version"))
            if answered and (follower.fault is None or self._has_lost_status(ref, pool)):
                return False
        return True

    def _has_lost_status(self, airflow: Ref, pool: Ref) -> bool:
        users = self._world.users.get(Key(Kind.AIRFLOW_INSTANCE, airflow), set())
        return any(
            record.spec is not None
            and record.spec.gpu is not None
            and record.spec.gpu.pool == pool
            and record.status.observed_generation == 0
            for ref in users
            if (record := self._world.windows.get(ref)) is not None
        )


def _pool_of(run: Run) -> tuple[Ref | None, int, int]:
    """Pool, GPUs and GPUs of each pod, as the run's conf says; no pool where it does not."""
    namespace, slash, name = str(run.origin.get("pool") or "").partition("/")
    gpus, per_pod = run.origin.get("gpus"), run.origin.get("perPod", 1)
    if not slash or type(gpus) is not int or type(per_pod) is not int or per_pod < 1:
        return None, 0, 1
    return Ref(namespace, name), gpus, per_pod
