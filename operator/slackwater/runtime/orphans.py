"""Runs of ours whose TrainingWindow does not exist any more (R6, R17)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from slackwater.core.ask import Promise
from slackwater.core.run import Run, RunState, Seen
from slackwater.core.spec import Ref
from slackwater.ports import Key, Kind
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.pool_follower import PoolFollower
from slackwater.runtime.world import World

_OWNER: Final = "(deleted)"


class Orphans:
    """Keeps the GPUs of runs without an owner promised, and deletes those that are queued."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pools: set[Ref] = set()

    def _of(self, follower: AirflowFollower) -> Iterator[tuple[Run, datetime]]:
        for known in follower.runs.values():
            if not isinstance(known, Seen) or known.run.state.is_over:
                continue
            origin = known.run.origin
            if origin.get("installation") != self._world.installation:
                continue
            owner = Ref(str(origin.get("namespace")), str(origin.get("name")))
            if owner not in self._world.windows:
                yield known.run, known.run.queued_at or known.at

    def look(self, pool_changed: Callable[[PoolFollower], None]) -> None:
        """Promise each pool what runs without an owner hold of it, from the runs' own conf."""
        if not self._world.listed:
            return
        held: dict[Ref, list[Promise]] = {ref: [] for ref in self._pools}
        for follower in self._world.following.values():
            if not isinstance(follower, AirflowFollower):
                continue
            for run, since in self._of(follower):
                pool, gpus = _pool_of(run)
                if pool is not None and gpus > 0:
                    promise = Promise(
                        run_id=run.run_id,
                        owner=Ref("", _OWNER),
                        count=gpus,
                        unseen=gpus,
                        since=since,
                    )
                    held.setdefault(pool, []).append(promise)
        self._pools = {ref for ref, promises in held.items() if promises}
        for ref, promises in held.items():
            pool_follower = self._world.pool(ref)
            if pool_follower is not None and pool_follower.promise(
                Ref("", _OWNER), tuple(sorted(promises, key=lambda p: p.run_id))
            ):
                pool_changed(pool_follower)

    async def delete_queued(self, follower: AirflowFollower) -> None:
        """Delete what is queued in one Airflow without an owner. Raises AirflowError."""
        if follower.airflow is None or not self._world.listed:
            return
        for run, _ in list(self._of(follower)):
            if run.state is RunState.QUEUED:
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


def _pool_of(run: Run) -> tuple[Ref | None, int]:
    namespace, slash, name = str(run.origin.get("pool") or "").partition("/")
    gpus = run.origin.get("gpus")
    if not slash or not isinstance(gpus, int):
        return None, 0
    return Ref(namespace, name), gpus
