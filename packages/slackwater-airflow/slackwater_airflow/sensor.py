"""A task that waits until a training window is open, and holds no slot while it waits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from slackwater_airflow.current import CONF_KEY
from slackwater_airflow.trigger import WindowOpens
from slackwater_airflow.waiting import LONGEST, Found, Wish, look
from slackwater_windows.wire import instant


class TrainingWindowSensor(BaseSensorOperator):
    """Waits until a training window is open; gives its times as XCom.

    Without `window` it waits for the window of its own run, as a DAG with preparations that may run
    before it needs. With `window` it waits for the open or next window of that TrainingWindow,
    whatever started the run. The task defers at once and holds no slot; when it resumes it looks
    again, and defers again if the window has been moved meanwhile. A window that is over, cancelled
    or skipped fails the task; with `soft_fail` it is skipped.

    Args:
        window: the TrainingWindow as `namespace/name`.
        file: the windows file, where it is not at its usual place; the triggerer needs it too.
        poll_interval: seconds between two looks of the triggerer at the file.
        timeout: how long to wait in all; seven days where it is not given.
        kwargs: as every sensor takes.
    """

    template_fields = ("window",)

    def __init__(
        self,
        *,
        window: str | None = None,
        file: str | os.PathLike[str] | None = None,
        poll_interval: float = 5.0,
        timeout: timedelta | float = LONGEST,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.window = window
        self.file = "" if file is None else os.fspath(file)
        self.poll_interval = poll_interval

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Give the window if it is open, else wait for it in the triggerer."""
        return self._settle(context, datetime.now(UTC) + timedelta(seconds=self.timeout))

    def resume(
        self,
        context: Mapping[str, Any],
        event: Mapping[str, Any] | None = None,  # noqa: ARG002 - what counts is what holds now
        until: str = "",
    ) -> dict[str, Any]:
        """Look again: what the triggerer saw may have changed since."""
        return self._settle(context, datetime.fromisoformat(until))

    def _settle(self, context: Mapping[str, Any], until: datetime) -> dict[str, Any]:
        wish, now = self._wish(context), datetime.now(UTC)
        found = look(wish, now)
        if found.open:
            return _told(found, wish)
        if found.settled:
            if self.soft_fail:
                raise AirflowSkipException(found.why)
            raise AirflowFailException(found.why)
        self.log.info("%s", found.why)
        self.defer(
            trigger=WindowOpens(wish.to_wire(), self.poll_interval),
            method_name="resume",
            kwargs={"until": until.isoformat()},
            timeout=max(timedelta(seconds=1), until - now),
        )
        raise AssertionError  # defer() raises

    def _wish(self, context: Mapping[str, Any]) -> Wish:
        if self.window:
            return Wish(window=self.window, file=self.file)
        conf = getattr(context["dag_run"], "conf", None) or {}
        own = conf.get(CONF_KEY)
        if not isinstance(own, Mapping):
            raise AirflowFailException(
                f"This run was not started by a TrainingWindow: its conf has no {CONF_KEY!r}. Name "
                "one, as in TrainingWindowSensor(window='namespace/name')."
            )
        return Wish(
            window=f"{own.get('namespace', '')}/{own.get('name', '')}",
            occurrence=str(own.get("occurrence", "")),
            start=str(own.get("start", "")),
            end=str(own.get("end", "")),
            file=self.file,
        )


def _told(found: Found, wish: Wish) -> dict[str, Any]:
    if found.occurrence is None or found.window is None:
        return {"window": wish.window, "start": wish.start, "end": wish.end, "gpus": 0}
    told = {
        "window": found.window.ref,
        "occurrence": found.occurrence.id,
        "start": instant(found.occurrence.start),
        "end": instant(found.occurrence.until),
        "gpus": found.window.gpus,
    }
    if found.occurrence.planned_start is not None:
        told["planned_start"] = instant(found.occurrence.planned_start)
    return told
