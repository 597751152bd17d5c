"""Events against an API server in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slackwater.ports import Key, Recorder, Stored
from slackwater.stores.cluster import Cluster
from slackwater.stores.recorder import EventRecorder
from tests.stores.conftest import window_key
from tests.stores.fake_cluster import FakeClock, FakeCluster

EVENTS = "/apis/events.k8s.io/v1/events"
KEY = window_key("nightly")


def look(key: Key) -> Stored | None:
    if key.ref.name == "gone":
        return None
    return Stored(
        key=key,
        uid=f"uid of {key.ref.name}",
        generation=1,
        resource_version="1",
        created=datetime(2026, 11, 23, tzinfo=UTC),
    )


def recorder(cluster: Cluster, clock: FakeClock, **settings: Any) -> EventRecorder:
    settings.setdefault("retry", timedelta())
    return EventRecorder(cluster, clock, instance="pod-1", look=look, **settings)


def say(recorder: Recorder, note: str = "Waiting.", key: Key = KEY, **parts: Any) -> None:
    parts = {"warning": False, "reason": "WaitingForGPUs", "action": "Starting", **parts}
    recorder.record(key, note=note, **parts)


@contextlib.asynccontextmanager
async def posting(recorder: EventRecorder) -> AsyncIterator[None]:
    """Post, until the block ends and all is posted."""
    task = asyncio.create_task(recorder.run())
    yield
    await recorder.flush()
    task.cancel()
    await asyncio.wait([task])


def events(fake: FakeCluster) -> list[dict[str, Any]]:
    return [body for (where, _, _), body in fake.objects.items() if where == EVENTS]


async def test_an_event_says_what_happened_to_what(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    async with posting(told):
        say(told)
    (event,) = events(fake)
    metadata = event.pop("metadata")
    assert metadata["namespace"] == "research"
    assert metadata["name"].startswith("nightly.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "eventTime": "2026-11-23T12:00:00.000000Z",
        "type": "Normal",
        "reason": "WaitingForGPUs",
        "action": "Starting",
        "note": "Waiting.",
        "regarding": {
            "apiVersion": "slackwater.dev/v1alpha1",
            "kind": "TrainingWindow",
            "namespace": "research",
            "name": "nightly",
            "uid": "uid of nightly",
        },
        "reportingController": "slackwater.dev/operator",
        "reportingInstance": "pod-1",
    }
    assert told.dropped == 0


async def test_the_same_again_is_counted_in_one_event(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    async with posting(told):
        for _ in range(3):
            say(told)
            clock.advance(60)
    (event,) = events(fake)
    assert event["series"] == {"count": 3, "lastObservedTime": "2026-11-23T12:02:00.000000Z"}
    assert event["eventTime"] == "2026-11-23T12:00:00.000000Z"
    assert fake.count("PATCH") == 2


async def test_anything_different_is_an_event_of_its_own(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    async with posting(told):
        say(told)
        say(told, "Other.")
        say(told, reason="Triggered")
        say(told, key=window_key("other"))
        say(told, warning=True)
    assert len(events(fake)) == 5
    assert [e["type"] for e in events(fake)].count("Warning") == 1


async def test_an_event_that_expired_is_made_anew(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    async with posting(told):
        say(told)
        await told.flush()
        fake.delete(EVENTS, events(fake)[0]["metadata"]["name"], "research")
        say(told)
        say(told)
    (event,) = events(fake)
    assert event["series"]["count"] == 2
    assert told.dropped == 0


async def test_notes_are_cut_to_what_the_api_takes(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    key = window_key("n" * 253)
    async with posting(told):
        say(told, "é" * 1000, key=key)
    (event,) = events(fake)
    assert len(event["note"].encode()) <= 1024
    assert event["note"].endswith("é…")
    assert len(event["metadata"]["name"]) <= 253


async def test_an_object_that_is_gone_is_told_about_without_its_uid(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    async with posting(told):
        say(told, key=window_key("gone"))
    assert "uid" not in events(fake)[0]["regarding"]


async def test_one_object_cannot_drown_the_others(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock, burst=3, refill=timedelta(minutes=1))
    for number in range(10):
        say(told, f"Flapping {number}.")
    say(told, key=window_key("quiet"))
    assert told.dropped == 7
    clock.advance(120)
    for number in range(10):
        say(told, f"Flapping again {number}.")
    assert told.dropped == 15
    async with posting(told):
        pass
    assert len(events(fake)) == 3 + 1 + 2


async def test_a_full_queue_drops_and_counts_and_does_not_wait(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock, queue_size=4)
    for number in range(10):
        say(told, key=window_key(f"w{number}"))
    assert told.dropped == 6
    async with posting(told):
        pass
    assert len(events(fake)) == 4


async def test_a_server_that_comes_back_gets_the_event(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    fake.fault("POST", "events", status=503, times=2)
    async with posting(told):
        say(told)
    assert len(events(fake)) == 1
    assert told.dropped == 0


async def test_a_server_that_stays_away_costs_an_event_and_nothing_else(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    told = recorder(cluster, clock)
    fake.fault("POST", "events", status=503, times=3)
    async with posting(told):
        say(told, "First.")
        say(told, "Second.")
    assert [e["note"] for e in events(fake)] == ["Second."]
    assert told.dropped == 1
    assert "First." not in caplog.text


async def test_a_refused_event_is_not_tried_again(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock)
    fake.fault("POST", "events", status=403)
    async with posting(told):
        say(told)
    assert fake.count("POST", "events") == 1
    assert told.dropped == 1


async def test_what_is_remembered_is_bounded(
    fake: FakeCluster, cluster: Cluster, clock: FakeClock
) -> None:
    told = recorder(cluster, clock, remembered=3)
    async with posting(told):
        for number in range(10):
            say(told, key=window_key(f"w{number}"))
    assert len(events(fake)) == 10
    assert len(told._series) == 3
    assert len(told._buckets) == 3
