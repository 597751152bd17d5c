"""A window's actions on an Airflow, as the engine carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slackwater.core.action import Cancel, Post
from slackwater.core.spec import Ref
from slackwater.ports import Airflow, Clock
from slackwater.runtime.airflow_follower import AirflowFollower
from slackwater.runtime.carry_out import carry_out
from tests.airflow.conftest import PREFIX
from tests.core.builders import IDENTITY

OWNER = Ref("research", "nightly")
RUN = f"{PREFIX}research.nightly.1"
ORIGIN = {
    "installation": IDENTITY.installation,
    "namespace": IDENTITY.ref.namespace,
    "name": IDENTITY.ref.name,
}


class Held:
    """A lease that is ours."""

    held = True

    async def wait_held(self) -> None:
        return


class Ship:
    """A follower of the fake server, and the actions of one window."""

    def __init__(self, airflow: Airflow, clock: Clock, dag_id: str = "train") -> None:
        self.clock, self.dag_id = clock, dag_id
        self.follower = AirflowFollower(
            Ref("research", "default"),
            clock,
            Random(7),
            PREFIX,
            lambda *_: None,
            lambda _: None,
            lambda: None,
        )
        self.follower.configure(airflow, timedelta(seconds=10), None)

    async def post(self, conf: Mapping[str, Any] | None = None, run_id: str = RUN) -> Any:
        """Carry out a POST, and give what is known of the run then."""
        until: datetime = self.clock.now() + timedelta(seconds=30)
        action = Post(run_id, {"trainingWindow": ORIGIN, **(conf or {})}, "why", until)
        await carry_out(action, self.dag_id, OWNER, self.follower, lease=Held(), clock=self.clock)
        return self.follower.runs.get(run_id)

    async def cancel(self) -> Any:
        """Carry out a cancellation, and give what is known of the run then."""
        await carry_out(
            Cancel(RUN), self.dag_id, OWNER, self.follower, lease=Held(), clock=self.clock
        )
        return self.follower.runs.get(RUN)
