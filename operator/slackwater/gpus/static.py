"""A fixed number of GPUs that nothing measures: only our own promises count against it."""

from __future__ import annotations

from datetime import datetime

from slackwater.core.sample import Room, Sample
from slackwater.ports import Clock


class StaticPool:
    """A `PoolSource` for one box without metrics.

    Args:
        gpus: how many it has, all on one node.
        clock: dates the samples.
    """

    def __init__(self, gpus: int, clock: Clock) -> None:
        self._gpus = gpus
        self._clock = clock

    async def sample(self) -> Sample:
        """Everything free, now; utilisation and coverage are not measured."""
        return Sample(
            time=self._clock.now(),
            capacity=self._gpus,
            rooms=(Room("static", self._gpus, self._gpus),),
            used=0,
        )

    async def utilization_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """Nothing: unmeasured."""
        del since
        return ()

    async def demand_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """Nothing: there is nobody else."""
        del since
        return ()

    async def aclose(self) -> None:
        """Nothing is held."""
