"""What happened, told as Kubernetes Events.

`record` only puts a note into a bounded queue; a task of its own posts them. When the API server
is slow or gone, notes are dropped and counted: nothing waits for an Event, and nothing but people
reads them.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from slackwater.core.words import Reason
from slackwater.errors import Gone, StoreError
from slackwater.ports import Clock, Key, Stored
from slackwater.stores.objects import API_VERSION, MERGE_PATCH

if TYPE_CHECKING:
    from slackwater.stores.cluster import Cluster

_log = logging.getLogger(__name__)

COMPONENT: Final = "slackwater.dev/operator"
NOTE_BYTES: Final = 1024  # the API's limit
_FIELD_LENGTH: Final = 128  # of reportingInstance, reason and action
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"  # metav1.MicroTime
_TRIES: Final = 3
_PASSING: Final = frozenset(
    {Reason.UNREACHABLE, Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.THROTTLED}
)


@dataclass(frozen=True, slots=True)
class _Note:
    """One thing that happened; equal notes are one Event with a count."""

    key: Key
    uid: str
    warning: bool
    reason: str
    action: str
    text: str


@dataclass(slots=True)
class _Series:
    """An Event that was posted, and how often it has happened."""

    name: str
    count: int


@dataclass(slots=True)
class _Bucket:
    """What an object may still say."""

    tokens: float
    at: float


class EventRecorder:
    """Implements `ports.Recorder` with events.k8s.io/v1. `run` posts; without it notes pile up.

    Args:
        cluster: the connection.
        clock: both kinds of time.
        instance: which process this is, such as its pod's name.
        look: the object as the store holds it; `kubectl describe` finds Events by its uid.
        queue_size: how many notes may wait.
        burst: how many Events of one object may come at once.
        refill: how long it takes to be allowed one more.
        remembered: how many Events may be continued as a series, and objects be limited.
        retry: pause before a note is tried again.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        *,
        instance: str,
        look: Callable[[Key], Stored | None],
        queue_size: int = 500,
        burst: int = 25,
        refill: timedelta = timedelta(minutes=1),
        remembered: int = 2000,
        retry: timedelta = timedelta(seconds=1),
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance[:_FIELD_LENGTH]
        self._look = look
        self._queue: asyncio.Queue[tuple[_Note, str]] = asyncio.Queue(queue_size)
        self._burst = burst
        self._refill = refill.total_seconds()
        self._remembered = remembered
        self._retry = retry.total_seconds()
        self._series: OrderedDict[_Note, _Series] = OrderedDict()
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()
        self.dropped = 0
        """Notes that were not posted: too many of one object, too many in all, or refused."""

    def record(self, key: Key, *, warning: bool, reason: str, action: str, note: str) -> None:
        """Say that something happened to an object; never raises, never waits."""
        if not self._allowed(key):
            self.dropped += 1
            return
        stored = self._look(key)
        what = _Note(
            key=key,
            uid=stored.uid if stored else "",
            warning=warning,
            reason=reason[:_FIELD_LENGTH],
            action=action[:_FIELD_LENGTH],
            text=_shortened(note),
        )
        try:
            self._queue.put_nowait((what, self._clock.now().strftime(_TIME)))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> NoReturn:
        """Post what was recorded, until cancelled."""
        while True:
            note, at = await self._queue.get()
            try:
                await self._post(note, at)
            except StoreError as error:
                self.dropped += 1
                _log.warning("an Event about %s was dropped: %s", note.key, error)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Wait until all that was recorded is posted or dropped; `run` must be running."""
        await self._queue.join()

    def _allowed(self, key: Key) -> bool:
        """A token bucket for each object, so that one that flaps does not drown the others."""
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) / self._refill)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _post(self, note: _Note, at: str) -> None:
        for left in reversed(range(_TRIES)):
            try:
                await self._post_once(note, at)
            except StoreError as error:
                if not left or error.reason not in _PASSING:
                    raise
                await asyncio.sleep(self._retry)
            else:
                return

    async def _post_once(self, note: _Note, at: str) -> None:
        series = self._series.get(note)
        if series is not None:
            try:
                await self._continue(note, series, at)
            except Gone:  # Events live for an hour
                del self._series[note]
            else:
                return
        name = _event_name(note.key.ref.name)
        namespace = note.key.ref.namespace
        await self._cluster.call(
            "POST",
            f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
            body=self._event(note, name, at),
        )
        self._series[note] = _Series(name, 1)
        if len(self._series) > self._remembered:
            self._series.popitem(last=False)

    async def _continue(self, note: _Note, series: _Series, at: str) -> None:
        """Count one more of the same; what identifies an Event never changes."""
        await self._cluster.call(
            "PATCH",
            f"/apis/events.k8s.io/v1/namespaces/{note.key.ref.namespace}/events/{series.name}",
            body={"series": {"count": series.count + 1, "lastObservedTime": at}},
            content_type=MERGE_PATCH,
        )
        series.count += 1
        self._series.move_to_end(note)

    def _event(self, note: _Note, name: str, at: str) -> Mapping[str, Any]:
        ref = note.key.ref
        regarding = {
            "apiVersion": API_VERSION,
            "kind": str(note.key.kind),
            "namespace": ref.namespace,
            "name": ref.name,
        }
        if note.uid:
            regarding["uid"] = note.uid
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": ref.namespace},
            "eventTime": at,
            "type": "Warning" if note.warning else "Normal",
            "reason": note.reason,
            "action": note.action,
            "note": note.text,
            "regarding": regarding,
            "reportingController": COMPONENT,
            "reportingInstance": self._instance,
        }


def _event_name(name: str) -> str:
    """A name for an Event about an object of this name: unique, and within 253 characters."""
    return f"{name[:220]}.{uuid.uuid4().hex}"


def _shortened(note: str) -> str:
    raw = note.encode()
    if len(raw) <= NOTE_BYTES:
        return note
    end = "…"
    return raw[: NOTE_BYTES - len(end.encode())].decode(errors="ignore") + end
