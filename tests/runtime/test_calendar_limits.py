"""Many calendars behind one identity, and starts that want a fresh look: the limit holds (R9)."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from random import Random

from prometheus_client import generate_latest

from slackwater.calendars.turns import Limits, Turns
from slackwater.core.event import Snapshot
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.net.bucket import Rate
from slackwater.ports import Fetched, FetchState, Key, Kind
from tests.core.builders import event
from tests.runtime.rig import EPOCH, HOUR, MINUTE, NS, Bay, on_virtual_time

GOOGLE = Limits(rate=Rate(requests=300, per=MINUTE))
FEED = Limits(rate=Rate(requests=1, per=5 * MINUTE))


class Service:
    """One identity at a service that takes half a second for an answer."""

    def __init__(self, clock, limits: Limits, counted=lambda _: None) -> None:
        self.clock, self.limits = clock, limits
        self.turns = Turns(clock, counted)
        self.asked: list[float] = []
        self.by: Counter[Ref] = Counter()
        self.waited: list[float] = []

    def calendar(self, ref: Ref) -> Calendar:
        return Calendar(self, ref)


class Calendar:
    def __init__(self, service: Service, ref: Ref) -> None:
        self.service, self.ref = service, ref

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        service = self.service
        async with service.turns.turn(self.ref, "some", "me", service.limits):
            service.asked.append(service.clock.monotonic())
            service.by[self.ref] += 1
            await asyncio.sleep(0.5)
        return Fetched(Snapshot(horizon, (event("e", 10, 12),), now), FetchState("x"))

    async def aclose(self) -> None:
        return


def most_in_a_minute(times: list[float]) -> int:
    return max(sum(first <= at < first + 60 for at in times[i:]) for i, first in enumerate(times))


class Bays(Bay):
    """A bay whose calendars are all behind one identity."""

    service: Service

    def sources(self):
        base, bay = super().sources(), self

        class _Sources(type(base)):  # type: ignore[misc]
            def calendar(self, key: Key, spec: object) -> Calendar:
                return bay.service.calendar(key.ref)

        return _Sources()

    def add_calendar(self, name: str, refresh: int) -> None:
        one = {
            "uid": "x",
            "summary": "x",
            "start": "2020-01-01",
            "end": "2020-01-02",
            "allDay": True,
        }
        spec = {"provider": {"static": {"events": [one]}}, "refreshIntervalSeconds": refresh}
        self.store.apply(Kind.CALENDAR, Ref(NS, name), spec)


@on_virtual_time
async def test_200_calendars_behind_one_identity_stay_fresh_and_under_its_limit(clock):
    bay = Bays(clock)
    bay.service = Service(clock, GOOGLE)
    for n in range(200):
        bay.add_calendar(f"c{n}", 60)
    bay.start()
    await bay.until(clock.now() + 3 * MINUTE)  # the first readings
    ages = []
    for _ in range(10):
        await bay.until(clock.now() + MINUTE / 2)
        followers = [bay.engine.world.calendar(Ref(NS, f"c{n}")) for n in range(200)]
        ages += [(clock.now() - one.checked_at).total_seconds() for one in followers]
    await bay.stop()
    assert most_in_a_minute(bay.service.asked) <= 300
    assert sorted(ages)[int(len(ages) * 0.99)] <= 120
    minutes = (bay.service.asked[-1] - bay.service.asked[0]) / 60
    assert len(bay.service.asked) / minutes <= 200 / 0.9, "no more than one reading each a minute"


@on_virtual_time
async def test_too_many_calendars_for_a_limit_share_it_fairly(clock):
    bay = Bays(clock)
    bay.service = Service(clock, Limits(rate=Rate(requests=10, per=MINUTE)))
    for n in range(30):
        bay.add_calendar(f"c{n}", 60)
    bay.start()
    await bay.until(clock.now() + HOUR / 2)
    await bay.stop()
    assert most_in_a_minute(bay.service.asked) <= 10
    counts = [bay.service.by[Ref(NS, f"c{n}")] for n in range(30)]
    assert min(counts) >= 0.4 * sum(counts) / 30, "nobody starves"


@on_virtual_time
async def test_windows_of_one_calendar_share_one_fetch_and_so_do_their_starts(clock):
    bay = Bays(clock)
    bay.service = Service(clock, GOOGLE)
    bay.apply_all()
    entry = {"name": "train", "calendarRef": {"name": "team"}, "effect": "Trigger"}
    opens = clock.now() + HOUR
    wire = {"start": f"{opens:%Y-%m-%dT%H:%M:%SZ}", "end": f"{opens + HOUR:%Y-%m-%dT%H:%M:%SZ}"}
    inline = {"name": "now", "effect": "Trigger", **wire}
    for n in range(20):
        bay.window(f"w{n}", calendars=[entry], windows=[inline], concurrencyPolicy="Allow")
    bay.start()
    await bay.until(opens - MINUTE)
    before = len(bay.service.asked)
    await bay.until(opens + MINUTE)
    await bay.stop()
    assert all("Missed" not in bay.states(f"w{n}") for n in range(20))
    assert len(bay.airflow.runs) >= 20
    assert 1 <= len(bay.service.asked) - before <= 3


@on_virtual_time
async def test_a_start_goes_on_with_the_last_snapshot_where_the_limit_forbids_another_look(clock):
    bay = Bays(clock)
    bay.service = Service(clock, FEED)
    bay.apply_all()
    opens = clock.now() + 2 * MINUTE
    wire = {"start": f"{opens:%Y-%m-%dT%H:%M:%SZ}", "end": f"{opens + HOUR:%Y-%m-%dT%H:%M:%SZ}"}
    entry = {"name": "keep", "calendarRef": {"name": "team"}, "effect": "Deny",
             "match": {"summary": "never"}}  # fmt: skip
    bay.window(calendars=[entry], windows=[{"name": "now", "effect": "Trigger", **wire}])
    bay.start()
    await bay.until(opens + MINUTE / 4)
    assert len(bay.airflow.runs) == 1, "it started though no second look was allowed"
    assert len(bay.service.asked) == 1
    follower = bay.engine.world.calendar(Ref(NS, "team"))
    assert follower.fault is None
    assert follower.throttled >= 1
    await bay.stop()


@on_virtual_time
async def test_metrics_of_a_calendar_come_and_go_with_it(clock):
    bay = Bays(clock)
    bay.apply_all()
    bay.service = Service(clock, GOOGLE)
    bay.start()
    bay.service.turns = Turns(clock, bay.metrics.asked)
    bay.metrics.expose(bay.engine.world, leading=lambda: True, dropped=lambda: 0)
    await bay.until(clock.now() + 11 * MINUTE)
    told = generate_latest(bay.metrics.registry).decode()
    labels = f'{{name="team",namespace="{NS}"}}'
    asked = len(bay.service.asked)
    assert asked >= 2
    assert f"slackwater_calendar_requests_total{labels} {asked}.0" in told
    assert f"slackwater_calendar_throttled_total{labels} 0.0" in told
    assert f"slackwater_calendar_changes_total{labels} 1.0" in told
    for name in ("age_seconds", "events", "sync_timestamp_seconds", "blocks_timestamp_seconds"):
        assert f"slackwater_calendar_{name}{labels}" in told
    bay.store.delete(Key(Kind.CALENDAR, Ref(NS, "team")))
    await bay.until(clock.now() + MINUTE)
    await bay.stop()
    assert (
        "slackwater_calendar_requests_total{" not in generate_latest(bay.metrics.registry).decode()
    )


@on_virtual_time
async def test_an_event_that_is_made_two_minutes_before_its_start_is_acted_on_in_time(clock):
    bay = Bay(clock)
    bay.apply_all()
    one = {"uid": "x", "summary": "x", "start": "2020-01-01", "end": "2020-01-02", "allDay": True}
    bay.store.apply(Kind.CALENDAR, Ref(NS, "team"), {"provider": {"static": {"events": [one]}}})
    bay.window()
    bay.start()
    await bay.until(clock.now() + HOUR)
    begin = (clock.now() - EPOCH) / HOUR
    bay.event(begin + 2 / 60, begin + 1)
    await bay.until(clock.now() + 2 * MINUTE)
    assert bay.airflow.runs == {}
    await bay.until(clock.now() + MINUTE / 6)
    assert len(bay.airflow.runs) == 1
    await bay.stop()


def test_polls_that_begin_together_drift_apart():
    random = Random(1)
    spread = [60 * random.uniform(0.75, 1.25) for _ in range(200)]
    assert max(Counter(int(at) for at in spread).values()) < 20
