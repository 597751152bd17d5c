"""Who may act: one Kubernetes Lease, held by one process at a time.

The holder renews every `retry` seconds and stops acting by itself `deadline` seconds after the
start of its last successful renewal, whatever hangs. Others take the lease only after they have
watched it unrenewed for `duration` seconds by their own clock. As deadline < duration, a holder
that is cut off has stopped before another begins. A lease is no fence, though: what was sent in
the last moment may still arrive, so every write to Airflow is safe to repeat besides (R9).

The client's own elector is not used: it dies on network errors while its work goes on, keeps
leading while a request hangs and writes local time as UTC (kubernetes 37).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from slackwater.errors import Conflict, Gone, StoreError
from slackwater.ports import Clock

if TYPE_CHECKING:  # the client is heavy, and `AlwaysHeld` needs none
    from slackwater.stores.cluster import Cluster

_log = logging.getLogger(__name__)

DURATION: Final = timedelta(seconds=15)
DEADLINE: Final = timedelta(seconds=10)
RETRY: Final = timedelta(seconds=2)
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"  # metav1.MicroTime


@dataclass(frozen=True, slots=True)
class _Term:
    """Until when the lease is ours, by both clocks.

    Monotonic time may stand still while a virtual machine is suspended, and wall-clock time may
    be set back; the lease is held only while both agree.
    """

    since: float
    since_wall: float
    limit: float

    def lasts(self, clock: Clock) -> bool:
        return (
            clock.monotonic() < self.since + self.limit
            and clock.now().timestamp() < self.since_wall + self.limit
        )


class KubernetesLease:
    """Implements `ports.Lease`.

    Args:
        cluster: the connection.
        clock: both kinds of time.
        namespace: where the Lease object stands; it is created if missing.
        name: its name.
        identity: of this process, unlike any other's, also after a restart.
        duration: how long others wait after the last renewal they saw.
        deadline: how long we act after our last successful renewal.
        retry: pause between two attempts, to take or to renew.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: timedelta = DURATION,
        deadline: timedelta = DEADLINE,
        retry: timedelta = RETRY,
    ) -> None:
        if not retry < deadline < duration:
            raise ValueError("retry < deadline < duration must hold")
        self._cluster = cluster
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration.total_seconds()
        self._deadline = deadline.total_seconds()
        self._retry = retry.total_seconds()
        # A request that hangs must leave time for another one before the deadline.
        self._timeout = max(deadline / 2, retry)
        self._term: _Term | None = None
        self._lease: Mapping[str, Any] | None = None  # as last seen, while it is ours
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0
        self._asked = False
        self._closed = False
        self._told_held = False
        self._taken = asyncio.Event()

    @property
    def held(self) -> bool:
        """True while writes to the outside are ours to do."""
        return self._term is not None and self._term.lasts(self._clock)

    async def wait_held(self) -> None:
        """Return once the lease is held."""
        while not self.held:
            self._taken.clear()
            await self._taken.wait()

    async def run(self) -> NoReturn:
        """Take the lease and keep it, or take it again, until cancelled; then give it back.

        Whoever cancels this has stopped acting before.
        """
        try:
            while True:
                await self.attempt()
                await asyncio.sleep(self._retry)
        finally:
            await self.release()

    async def attempt(self) -> bool:
        """Try once to take or renew the lease; True if it is held afterwards. Never raises."""
        try:
            await self._take_or_renew()
        except Conflict:
            self._lease = None  # somebody else wrote: read before the next attempt
        except StoreError as error:
            self._lease = None
            _log.warning("the lease %s could not be asked for: %s", self._name, error)
        held = self.held
        if held != self._told_held:
            self._told_held = held
            _log.info("the lease %s is %s", self._name, "held" if held else "not held any more")
        return held

    async def release(self) -> None:
        """Stop holding the lease and let others take it at once. Does not raise."""
        self._closed, self._term, self._lease = True, None, None
        if not self._asked:
            return
        with contextlib.suppress(StoreError):
            # Read first: an attempt that was cut short may have been the last to write.
            lease = await self._cluster.call("GET", self._path, timeout=self._timeout)
            if lease["spec"].get("holderIdentity") == self._identity:
                # A second, so that electors which go by the duration do not wait either.
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._replace(lease, {**spec, "renewTime": self._now()})

    async def _take_or_renew(self) -> None:
        term = _Term(self._clock.monotonic(), self._clock.now().timestamp(), self._deadline)
        lease = self._lease
        if lease is None:
            try:
                lease = await self._cluster.call("GET", self._path, timeout=self._timeout)
            except Gone:
                lease = None
        if lease is None:
            spec = self._spec({}, 0)
            self._hold(await self._create(spec), term)
            return
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in {"", self._identity} and self._is_fresh(spec):
            self._term = None
            return
        transitions = int(spec.get("leaseTransitions") or 0) + (holder != self._identity)
        self._hold(await self._replace(lease, self._spec(spec, transitions)), term)

    def _is_fresh(self, spec: Mapping[str, Any]) -> bool:
        """Whether another holder may still be acting, told by when *we* saw it renew."""
        now = self._clock.monotonic()
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        # The holder may be configured for longer than we are.
        duration = max(self._duration, float(spec.get("leaseDurationSeconds") or 0))
        return now < self._seen_at + duration

    def _hold(self, lease: Mapping[str, Any], term: _Term) -> None:
        if self._closed:  # released while the request was under way
            return
        self._lease, self._term = lease, term
        if self.held:
            self._taken.set()

    def _spec(self, before: Mapping[str, Any], transitions: int) -> dict[str, Any]:
        now = self._now()
        ours = before.get("holderIdentity") == self._identity
        return {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    async def _create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self._asked = True
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        collection = self._path.rpartition("/")[0]
        return await self._cluster.call("POST", collection, body=body, timeout=self._timeout)

    async def _replace(
        self, lease: Mapping[str, Any], spec: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Write; the version in the metadata makes it fail if anybody else has written."""
        self._asked = True
        body = {**lease, "spec": spec}
        return await self._cluster.call("PUT", self._path, body=body, timeout=self._timeout)

    @property
    def _path(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases/{self._name}"

    def _now(self) -> str:
        return self._clock.now().strftime(_TIME)


class AlwaysHeld:
    """Implements `ports.Lease` where there is but one process: the directory mode."""

    @property
    def held(self) -> bool:
        """Always true."""
        return True

    async def wait_held(self) -> None:
        """Return at once."""

    async def run(self) -> NoReturn:
        """Wait to be cancelled, as an elector does."""
        await asyncio.Event().wait()
        raise AssertionError  # nobody sets it

    async def release(self) -> None:
        """Nothing to give back."""
