"""What the engine needs of the world: small Protocols that adapters and simulations fill.

Every method that reaches outside raises a `SlackwaterError` of the matching branch and nothing
else; it may be cancelled at any await without leaving anything half done on our side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from slackwater.core.event import Snapshot
from slackwater.core.run import DagFacts, Run
from slackwater.core.sample import Sample
from slackwater.core.span import Span
from slackwater.core.spec import Ref


class Clock(Protocol):
    """The only source of the present."""

    def now(self) -> datetime:
        """Wall clock, aware, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...


# --- objects -----------------------------------------------------------------------------------


class Kind(StrEnum):
    """The four resources."""

    TRAINING_WINDOW = "TrainingWindow"
    CALENDAR = "Calendar"
    GPU_POOL = "GPUPool"
    AIRFLOW_INSTANCE = "AirflowInstance"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One object of ours."""

    kind: Kind
    ref: Ref

    def __str__(self) -> str:
        return f"{self.kind} {self.ref}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as the store holds it; `spec` and `status` are the wire's dicts, not to be changed."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    created: datetime
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changed:
    """An object is new or different."""

    object: Stored


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object is gone; also found by list-and-diff after a watch gap."""

    key: Key


@dataclass(frozen=True, slots=True)
class Listed:
    """Every object that exists has been given at least once: what is missing does not exist."""


@dataclass(frozen=True, slots=True)
class SecretsChanged:
    """A secret changed: what was built with it is to be built anew."""

    namespace: str
    name: str


Change = Changed | Deleted | Listed | SecretsChanged


class SecretReader(Protocol):
    """Secrets, read by name from the namespace of the object that names them."""

    async def read(self, namespace: str, name: str, key: str) -> str:
        """The value; raises SecretError(SECRET_NOT_FOUND | SECRET_KEY_NOT_FOUND, ref=, key=)."""
        ...


class Store(Protocol):
    """Where objects live: a cluster or a directory of manifests."""

    def changes(self) -> AsyncIterator[Change]:
        """All objects, then Listed, then what changes, for ever. One consumer."""
        ...

    async def write_status(self, key: Key, status: Mapping[str, Any], resource_version: str) -> str:
        """Replace the status wholly; give the new resource version.

        Raises:
            Conflict: the object is not at `resource_version` any more.
            Gone: it does not exist.
            StoreError: the store is not reachable or refuses.
        """
        ...

    async def remove_annotation(self, key: Key, name: str, resource_version: str) -> None:
        """Take an annotation off, as done when an override has been carried out (R15)."""
        ...

    async def installation(self) -> str:
        """The cluster's own id (uid of kube-system), or the directory's (R2)."""
        ...

    async def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of a namespace, for `from: Selector` grants; empty where there are none."""
        ...

    async def node_names(self, selector: Mapping[str, Any]) -> frozenset[str] | None:
        """Names of the nodes that a label selector picks; None where the store has no nodes."""
        ...

    @property
    def secrets(self) -> SecretReader:
        """The secrets beside the objects."""
        ...


class Lease(Protocol):
    """Whether this process may act."""

    @property
    def held(self) -> bool:
        """True while writes to the outside are ours to do."""
        ...

    async def wait_held(self) -> None:
        """Return once the lease is held."""
        ...


class Recorder(Protocol):
    """Kubernetes Events (or the log of `slackwater run`); never raises, never waits."""

    def record(self, key: Key, *, warning: bool, reason: str, action: str, note: str) -> None:
        """Say that something happened to an object; callers call on transitions only."""
        ...


class WindowsFile(Protocol):
    """Where the windows file for Airflow stands."""

    async def write(self, text: str) -> None:
        """Replace its content wholly. Raises StoreError."""
        ...


# --- calendars ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchState:
    """What a provider wants back at its next fetch, opaque to all others.

    `config_hash` differs when the configuration does: then the state is not used. `cursor` may
    hold tokens, so it never reaches a status, a log line or `repr`.
    """

    config_hash: str
    cursor: Mapping[str, str] = field(default_factory=dict, repr=False)
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete snapshot, or None where the calendar has not changed since `state`."""

    snapshot: Snapshot | None
    state: FetchState


class CalendarSource(Protocol):
    """One calendar of one provider."""

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """Everything inside `horizon`, or word that nothing changed.

        A state for another horizon or configuration is ignored, not an error. Raises CalendarError.
        """
        ...

    async def aclose(self) -> None:
        """Let connections go."""
        ...


# --- pools -------------------------------------------------------------------------------------


class PoolSource(Protocol):
    """One GPU pool's numbers."""

    async def sample(self) -> Sample:
        """One complete look. Raises PoolError."""
        ...

    async def utilization_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """Utilisation (0 to 1) from `since` until now, oldest first; empty where unmeasured."""
        ...

    async def demand_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """GPUs asked of the pool by others, from `since` until now, oldest first.

        Every half-hour or less often. Where nobody kept the foreground apart, runs of ours count
        too. Empty where unmeasured. Raises PoolError.
        """
        ...

    async def aclose(self) -> None:
        """Let connections go."""
        ...


# --- Airflow -----------------------------------------------------------------------------------


class Airflow(Protocol):
    """One Airflow server. Reads run side by side; writes go one at a time per server (R9)."""

    async def version(self) -> str:
        """Its version, such as "3.3.2"; AirflowError(AIRFLOW_UNSUPPORTED) for Airflow 2."""
        ...

    async def preflight(self, dag_id: str) -> DagFacts:
        """Whether the DAG could be triggered now."""
        ...

    async def active_runs(self, prefix: str) -> tuple[Run, ...]:
        """Every queued or running run, of any DAG, whose id begins with `prefix`; complete."""
        ...

    async def run(self, dag_id: str, run_id: str) -> Run | None:
        """One run by id, None where there is none."""
        ...

    async def task_times(self, dag_id: str, since: datetime) -> tuple[timedelta, ...]:
        """How long tasks were at work in each of the newest successful runs that ended since then.

        Waiting for slots, pods and machines is not counted. Raises AirflowError.
        """
        ...

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> Run:
        """Create a run.

        Raises:
            RunExists: 409, a run of this id exists.
            Refused: 400, 404, 422 and the like; `reason` says which.
            Ambiguous: no reply, a time-out or a 5xx.
            AirflowError: nothing was sent, or it was refused for lack of rights.
        """
        ...

    async def cancel(self, dag_id: str, run_id: str) -> None:
        """Set the run failed, which ends its tasks. Raises Ambiguous, Refused (gone), AirflowError."""
        ...

    async def delete_queued(self, dag_id: str, run_id: str) -> bool:
        """Delete a queued run; False when it runs already (409); True also when it is gone (404)."""
        ...

    async def aclose(self) -> None:
        """Let connections go."""
        ...
