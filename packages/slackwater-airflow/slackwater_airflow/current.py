"""The training window of the run that a task belongs to.

What moves (times, parameters) is read from the windows file, so it follows a moved event; what was
granted (GPUs) from the run's conf, as it was when the run was started. Without the file, conf tells
all, as of the start.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from slackwater_airflow import file as windows_file
from slackwater_windows.document import Document, Occurrence, Window
from slackwater_windows.wire import BadDocument, instant, parse_instant

CONF_KEY: Final = "trainingWindow"
CONF_VERSION: Final = 1
LOOK_EVERY: Final = 5.0
"""Seconds between two looks of a `Deadline` at the windows file."""
LOG: Final = logging.getLogger(__name__)


class NoTrainingWindow(LookupError):
    """This run belongs to no training window; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentWindow:
    """The training window of this run.

    Attributes:
        namespace: of the TrainingWindow.
        name: of the TrainingWindow.
        occurrence: id of the event's occurrence.
        start: when the window opened for this run.
        end: when the window ends; it follows the calendar while the run runs.
        cancel_time: when Slackwater will cancel the run; None where it will not.
        planned_start: when the off-peak plan meant the run to start; None where none was made.
        gpus: GPUs granted to this run; 0 where none were asked for.
        per_pod: GPUs of each pod.
        pool: the GPUPool as `namespace/name`.
        parameters: of the event's description, where its calendar lets them flow on.
        live: whether the times are those of the windows file; False: of the run's conf.
    """

    namespace: str
    name: str
    occurrence: str
    start: datetime
    end: datetime
    cancel_time: datetime | None = None
    planned_start: datetime | None = None
    gpus: int = 0
    per_pod: int = 1
    pool: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    live: bool = False
    _again: Callable[[], CurrentWindow] | None = field(default=None, repr=False, compare=False)

    @property
    def stop_by(self) -> datetime:
        """When a careful run has stopped: at its end, or before it where it is cancelled earlier."""
        return self.end if self.cancel_time is None else min(self.end, self.cancel_time)

    def time_left(self, now: datetime | None = None) -> timedelta:
        """Time until `stop_by`, never negative."""
        return max(timedelta(), self.stop_by - (now or datetime.now(UTC)))

    @property
    def pods(self) -> int:
        """How many pods of `per_pod` GPUs were granted: what tasks are mapped over."""
        return self.gpus // self.per_pod

    def again(self) -> CurrentWindow:
        """The same window as it stands now; itself where nothing newer is known."""
        return self if self._again is None else self._again()

    def deadline(
        self,
        before: timedelta = timedelta(minutes=5),
        call: Callable[[CurrentWindow], object] | None = None,
    ) -> Deadline:
        """A deadline `before` the end, which follows the calendar; see `Deadline`."""
        return Deadline(self, before, call)


class Deadline:
    """Tells a training loop when to stop, and calls back once when it is time.

    `reached` is cheap enough for every step. With `call`, a thread waits (use it as a context
    manager, so that the thread ends with the work) and calls it once, with the window, as soon as
    the deadline is reached, for example to write a checkpoint.

        with current_window().deadline(before=timedelta(minutes=10), call=save) as deadline:
            for batch in batches:
                if deadline.reached:
                    break
    """

    def __init__(
        self,
        window: CurrentWindow,
        before: timedelta,
        call: Callable[[CurrentWindow], object] | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window, self._before, self._call = window, before, call
        self._now, self._monotonic = now, monotonic
        self._looked_at = monotonic()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def window(self) -> CurrentWindow:
        """The window, as of at most five seconds ago."""
        if self._monotonic() - self._looked_at >= LOOK_EVERY:
            self._looked_at = self._monotonic()
            self._window = self._window.again()
        return self._window

    @property
    def at(self) -> datetime:
        """When it is reached, as things stand."""
        return self.window.stop_by - self._before

    @property
    def reached(self) -> bool:
        """Whether it is time to stop."""
        return self._now() >= self.at

    def __enter__(self) -> Self:
        if self._call is not None:
            self._thread = threading.Thread(
                target=self._wait, name="slackwater-deadline", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()  # a checkpoint that is being written is written to its end

    def _wait(self) -> None:
        while not self._done.is_set():
            left = (self.at - self._now()).total_seconds()
            if left <= 0:
                self._tell()
                return
            self._done.wait(min(left, LOOK_EVERY))

    def _tell(self) -> None:
        assert self._call is not None
        try:
            self._call(self._window)
        except Exception:
            # In a thread of its own an error would go nowhere; the work goes on.
            LOG.exception("the callback of the deadline failed")


def current_window(
    context: Mapping[str, Any] | None = None, *, file: str | os.PathLike[str] | None = None
) -> CurrentWindow:
    """The training window of this run.

    Args:
        context: the task's context; the current one where none is given.
        file: the windows file, where it is not at its usual place.

    Raises:
        NoTrainingWindow: the run was not started by Slackwater, or has no window any more.
    """
    if context is None:
        from airflow.sdk import get_current_context

        context = get_current_context()
    return _find(_run_of(context), file)


@dataclass(frozen=True, slots=True)
class _Run:
    """What is known of this run from its context alone."""

    dag_id: str
    run_id: str
    conf: Mapping[str, Any] = field(repr=False)
    followed: str = ""
    interval: datetime | None = None


def _run_of(context: Mapping[str, Any]) -> _Run:
    dag_run = context["dag_run"]
    conf = getattr(dag_run, "conf", None) or {}
    own = conf.get(CONF_KEY) if isinstance(conf, Mapping) else None
    timetable = getattr(context.get("dag"), "timetable", None)
    start = getattr(dag_run, "data_interval_start", None)
    return _Run(
        dag_id=str(getattr(dag_run, "dag_id", "")),
        run_id=str(getattr(dag_run, "run_id", "")),
        conf=own if isinstance(own, Mapping) else {},
        followed=str(getattr(timetable, "window", "") or ""),
        interval=start,
    )


def _find(run: _Run, file: str | os.PathLike[str] | None) -> CurrentWindow:
    def again() -> CurrentWindow:
        return _find(run, file)

    try:
        document = windows_file.load(file)
    except BadDocument as error:
        LOG.warning("%s; the run's conf is used", error)
        document = None
    found = None if document is None else _in_document(document, run)
    if found is not None:
        return _live(*found, run.conf, again)
    if run.conf:
        return _from_conf(run.conf, again)
    where = windows_file.place(file)
    raise NoTrainingWindow(
        f"run {run.run_id} belongs to no training window: its conf has no {CONF_KEY!r} and {where} "
        "does not name it. Start it by a TrainingWindow, or test with "
        "dag.test(run_conf=slackwater_airflow.sample_conf())"
    )


def _in_document(document: Document, run: _Run) -> tuple[Window, Occurrence] | None:
    ours = run.conf.get("installation", document.installation) == document.installation
    if ours and (found := document.by_run(run.dag_id, run.run_id)) is not None:
        return found
    if ours and run.conf:
        window = document.window(f"{run.conf.get('namespace')}/{run.conf.get('name')}")
        for occurrence in () if window is None else window.occurrences:
            if window is not None and occurrence.id == run.conf.get("occurrence"):
                return window, occurrence
    # A run that our timetable made: its data interval is the window.
    window = document.window(run.followed) if run.followed else None
    for occurrence in () if window is None else window.occurrences:
        if window is not None and occurrence.start == run.interval:
            return window, occurrence
    return None


def _live(
    window: Window,
    occurrence: Occurrence,
    conf: Mapping[str, Any],
    again: Callable[[], CurrentWindow],
) -> CurrentWindow:
    granted = _number(conf.get("gpus"), window.gpus)
    started = occurrence.trigger_time or occurrence.start_time
    piece = next(
        (start for start, end in occurrence.openings if started and start <= started < end),
        occurrence.start,
    )
    known = occurrence.parameters
    return CurrentWindow(
        namespace=window.namespace,
        name=window.name,
        occurrence=occurrence.id,
        start=piece,
        end=occurrence.until,
        cancel_time=occurrence.cancel_time,
        planned_start=occurrence.planned_start,
        gpus=granted,
        per_pod=max(1, _number(conf.get("perPod"), window.per_pod)),
        pool=window.pool,
        parameters=_mapping(conf.get("parameters")) if known is None else known,
        live=True,
        _again=again,
    )


def _from_conf(conf: Mapping[str, Any], again: Callable[[], CurrentWindow]) -> CurrentWindow:
    version = conf.get("version")
    if not isinstance(version, int) or version > CONF_VERSION:
        raise NoTrainingWindow(
            f"the run's {CONF_KEY!r} has version {version}, this package reads {CONF_VERSION}: "
            "upgrade slackwater-airflow"
        )
    try:
        start, end = parse_instant(conf["start"]), parse_instant(conf["end"])
    except (KeyError, ValueError):
        raise NoTrainingWindow(f"the run's {CONF_KEY!r} has no start and end") from None
    pool = conf.get("pool")
    return CurrentWindow(
        namespace=str(conf.get("namespace", "")),
        name=str(conf.get("name", "")),
        occurrence=str(conf.get("occurrence", "")),
        start=start,
        end=end,
        gpus=_number(conf.get("gpus"), 0),
        per_pod=max(1, _number(conf.get("perPod"), 1)),
        pool=None if pool is None else str(pool),
        parameters=_mapping(conf.get("parameters")),
        _again=again,
    )


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def sample_conf(
    length: timedelta = timedelta(hours=1),
    *,
    gpus: int = 8,
    per_pod: int = 1,
    parameters: Mapping[str, Any] | None = None,
    start: datetime | None = None,
) -> dict[str, Any]:
    """A run's conf as Slackwater writes it, for `dag.test(run_conf=sample_conf())`.

    Args:
        length: how long the window is open.
        gpus: GPUs granted.
        per_pod: GPUs of each pod.
        parameters: what the event's description would say.
        start: when the window opens; now where it is not given.
    """
    opens = (start or datetime.now(UTC)).replace(microsecond=0)
    return {
        CONF_KEY: {
            "version": CONF_VERSION,
            "installation": "test",
            "namespace": "test",
            "name": "test",
            "occurrence": "test",
            "entry": "test",
            "start": instant(opens),
            "end": instant(opens + length),
            "pool": None,
            "gpus": gpus,
            "perPod": per_pod,
            "parameters": dict(parameters or {}),
        }
    }
