"""Waiting for what the story expects: by looking, with a limit, and with a clear word when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from demo.controller import Statuses
from demo.ledger import ours
from demo.stage import Stage
from slackwater.errors import SlackwaterError
from slackwater.ports import Kind

_POLL = 0.15
_T = TypeVar("_T")

Line = Mapping[str, Any]


class StoryFailed(RuntimeError):
    """Something did not happen in time, or happened that must not."""


class Watch:
    """Looks at Slackwater's status and at Airflow's record.

    Args:
        stage: the servers.
        patience: what all limits are multiplied by, for slow machines.
    """

    def __init__(self, stage: Stage, patience: float) -> None:
        self._stage = stage
        self._patience = patience

    def until(self, what: str, look: Callable[[], _T | None], seconds: float) -> _T:
        """Look again and again until `look` gives something that is true.

        Args:
            what: what is waited for, for the message.
            look: gives what was waited for; None, False or nothing while it is not there.
            seconds: the limit, before patience.

        Returns:
            What `look` gave.

        Raises:
            StoryFailed: it did not come, or Slackwater ended.
        """
        limit = seconds * self._patience
        deadline = time.monotonic() + limit
        trouble = ""
        while True:
            try:
                if found := look():
                    return found
                trouble = ""
            except StoryFailed:
                raise
            except (OSError, RuntimeError, SlackwaterError) as error:
                trouble = f"; the last look failed: {error}"  # a server may be away for a moment
            if not self._stage.controller.running:
                raise StoryFailed(self._told(f"Slackwater ended while waiting: {what}"))
            if time.monotonic() > deadline:
                raise StoryFailed(self._told(f"not within {limit:.0f} s: {what}{trouble}"))
            time.sleep(_POLL)

    def insist(self, holds: bool, what: str) -> None:
        """Fail unless something holds that must hold now."""
        if not holds:
            raise StoryFailed(self._told(f"not so: {what}"))

    def statuses(self) -> Statuses:
        """Of all TrainingWindows, by name."""
        return self._stage.controller.statuses(Kind.TRAINING_WINDOW)

    def status(self, window: str) -> Mapping[str, Any]:
        """Of one TrainingWindow; empty before there is one."""
        return self.statuses().get(window, {})

    def lines(self, window: str) -> Sequence[Line]:
        """Its ledger."""
        found: Sequence[Line] = self.status(window).get("occurrences", ())
        return found

    def pool_condition(self, pool: str, kind: str) -> Mapping[str, Any]:
        """One condition of a GPUPool; empty before there is one."""
        found = self._stage.controller.statuses(Kind.GPU_POOL).get(pool, {}).get("conditions", ())
        return next((one for one in found if one["type"] == kind), {})

    def runs(self) -> list[Mapping[str, Any]]:
        """The runs of ours that Airflow has a record of."""
        return ours(self._stage.airflow.runs())

    def _told(self, problem: str) -> str:
        parts = [problem]
        try:
            for name, status in self.statuses().items():
                parts.append(f"{name}: {status.get('message', 'no status')}")
                parts += [f"    {line}" for line in status.get("occurrences", ())]
        except (OSError, RuntimeError, SlackwaterError) as error:
            parts.append(f"(its status cannot be read: {error})")
        parts += ["the last lines of Slackwater:", self._stage.controller.tail(30)]
        return "\n".join(parts)
