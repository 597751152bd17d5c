"""What the engine keeps of each object: the stored form, what was made of it, our own writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from slackwater.api.airflow_instance import AirflowInstanceSpec
from slackwater.api.calendar import CalendarSpec
from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.core.occurrence import Layout
from slackwater.core.seen import Override, Trouble
from slackwater.core.spec import TrainingWindow
from slackwater.core.status import Status
from slackwater.ports import Airflow, CalendarSource, Key, PoolSource, Stored

TRIGGER_ANNOTATION: Final = "slackwater.dev/trigger"
SKIP_ANNOTATION: Final = "slackwater.dev/skip"

SpecT = TypeVar("SpecT")


class Sources(Protocol):
    """Makes the adapters that objects describe. Raises ConfigError where a spec cannot work."""

    @property
    def files(self) -> bool:
        """Whether a Calendar may name a file: in a directory of manifests only."""
        ...

    def calendar(self, key: Key, spec: CalendarSpec) -> CalendarSource:
        """The source of a Calendar."""
        ...

    def pool(self, key: Key, spec: GPUPoolSpec) -> PoolSource:
        """The source of a GPUPool."""
        ...

    def airflow(self, key: Key, spec: AirflowInstanceSpec) -> Airflow:
        """The server of an AirflowInstance."""
        ...


def _versions() -> deque[str]:
    """The resource versions of our last writes: an echo of one is old news."""
    return deque(maxlen=32)


@dataclass(slots=True, kw_only=True)
class WindowRecord:
    """A TrainingWindow with what was made of it.

    `since` is when this process first heard of it. `status` is the newest that may be acted upon:
    what is written, or differs from it in wording alone (`unwritten`). `writing` is on its way to
    the store: what it promises is promised already.
    """

    stored: Stored
    since: datetime
    spec: TrainingWindow | None = None
    config: Trouble | None = None
    status: Status = field(default_factory=Status)
    unwritten: bool = False
    writing: Status | None = None
    written_at: datetime | None = None
    layout: Layout | None = None
    layout_of: tuple[object, ...] = ()
    override: Override = field(default_factory=Override)
    ours: deque[str] = field(default_factory=_versions)

    def wrote(self, status: Mapping[str, Any], version: str) -> None:
        """The store took a status."""
        self.stored = replace(self.stored, status=status, resource_version=version)
        self.ours.append(version)


@dataclass(slots=True)
class Supporting(Generic[SpecT]):
    """A Calendar, GPUPool or AirflowInstance with its parsed spec."""

    stored: Stored
    spec: SpecT | None
    ours: deque[str] = field(default_factory=_versions)

    def wrote(self, status: Mapping[str, Any], version: str) -> None:
        """The store took a status."""
        self.stored = replace(self.stored, status=status, resource_version=version)
        self.ours.append(version)


def read_override(annotations: Mapping[str, str]) -> Override:
    """What a person asked for by annotation; what cannot be read asks for nothing."""
    trigger: datetime | None = None
    text = annotations.get(TRIGGER_ANNOTATION, "")
    if text:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is not None:
            trigger = parsed.astimezone(UTC)
    skips = annotations.get(SKIP_ANNOTATION, "")
    return Override(
        trigger=trigger, skip=frozenset(part.strip() for part in skips.split(",") if part.strip())
    )
