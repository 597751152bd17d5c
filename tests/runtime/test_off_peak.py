"""The operator learns a pool's load, plans off-peak starts and keeps what calendars reserve (R5, R18)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random

from slackwater.core.reserve import Reservations
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.ports import Key, Kind
from slackwater.runtime.off_peak import ASK_AGAIN, LEARNED, OffPeak
from slackwater.runtime.pool_follower import PoolFollower
from tests.core.builders import POOL, ask, promise, rules, sample
from tests.runtime.rig import (
    CANARY,
    EPOCH,
    HOUR,
    MINUTE,
    NS,
    SECOND,
    Bay,
    Pool,
    at,
    no_data,
    on_virtual_time,
)

A, B = Ref(NS, "a"), Ref(NS, "b")
STEP = timedelta(minutes=30)


def wave(hour: float) -> float:
    """Busy by day, quiet from 22 to 6 UTC."""
    return 4.0 if hour % 24 >= 22 or hour % 24 < 6 else 28.0


def weeks(until, hours: int = 24 * 21) -> tuple:
    """Three weeks of such days before an instant."""
    first = until - hours * HOUR
    return tuple(
        (first + n * STEP, wave((first + n * STEP - EPOCH) / HOUR)) for n in range(2 * hours)
    )


def quiet(now, name: str = "a", count: int = 8, until: float = 20.0, **changes):
    piece = Span(now - HOUR, now + until * HOUR)
    fields = {"window_start": piece.start, "latest_start": piece.end, "duration": HOUR}
    return ask(name, count, off_peak=True, pieces=(piece,), **fields | changes)


# --- learning


@on_virtual_time
async def test_history_is_asked_once_and_only_where_somebody_starts_off_peak(time):
    source, pool = Pool(time, demand=weeks(time.now())), OffPeak(POOL, time)
    await pool.look_back(source)
    assert source.asked_demand == []
    pool.want(A, "UTC")
    await pool.look_back(source)
    await pool.look_back(source)
    assert source.asked_demand == [time.now() - LEARNED]


@on_virtual_time
async def test_a_history_that_cannot_be_had_is_asked_for_again_later(time):
    source, pool = Pool(time, demand=no_data()), OffPeak(POOL, time)
    pool.want(A, "UTC")
    await pool.look_back(source)
    await pool.look_back(source)
    assert len(source.asked_demand) == 1
    await asyncio.sleep((ASK_AGAIN).total_seconds())
    await pool.look_back(source)
    assert len(source.asked_demand) == 2


@on_virtual_time
async def test_with_a_history_the_quiet_night_is_planned_and_without_one_the_present(time):
    await asyncio.sleep((at(10) - time.now()).total_seconds())
    now = time.now()
    for past, expected in ((weeks(now), 22.0), ((), 10.0)):
        pool = OffPeak(POOL, time)
        pool.want(A, "UTC")
        await pool.look_back(Pool(time, demand=past))
        pool.observe(now, 28.0)
        plan = pool.plan([quiet(now)], (), Reservations(), sample(now, 4, each=32))
        assert (plan[A].start - EPOCH) / HOUR % 24 == expected


@on_virtual_time
async def test_own_samples_teach_it_where_no_history_is(time):
    pool = OffPeak(POOL, time)
    pool.want(A, "UTC")
    for _ in range(14 * 24 * 4):
        pool.observe(time.now(), wave((time.now() - EPOCH) / HOUR))
        await asyncio.sleep((15 * MINUTE).total_seconds())
    await asyncio.sleep((10 * HOUR).total_seconds())
    now = time.now()
    pool.observe(now, 28.0)
    plan = pool.plan([quiet(now)], (), Reservations(), sample(now, 4, each=32))
    assert 22 <= (plan[A].start - EPOCH) / HOUR % 24 <= 23


@on_virtual_time
async def test_the_zone_of_most_windows_sets_the_hours(time):
    pool = OffPeak(POOL, time)
    for owner, zone in ((A, "Asia/Tokyo"), (B, "Europe/Berlin"), (Ref("x", "c"), "Asia/Tokyo")):
        pool.want(owner, zone)
    assert pool.zone == "Asia/Tokyo"
    pool.want(A, None)
    assert pool.zone == "Asia/Tokyo"  # the first by name
    pool.want(Ref("x", "c"), None)
    assert pool.zone == "Europe/Berlin"
    pool.want(B, None)
    assert not pool.wanted


# --- planning


@on_virtual_time
async def test_a_plan_is_made_anew_after_a_quarter_of_an_hour_or_when_something_changes(time):
    pool = OffPeak(POOL, time)
    pool.want(A, "UTC")
    now = time.now()
    pool.observe(now, 28.0)
    some = sample(now, 4, each=32)
    first = pool.plan([quiet(now)], (), Reservations(), some)
    await asyncio.sleep((14 * MINUTE).total_seconds())
    assert pool.plan([quiet(now)], (), Reservations(), some) is first
    await asyncio.sleep((MINUTE).total_seconds())
    second = pool.plan([quiet(now)], (), Reservations(), some)
    assert second is not first
    run = promise("run", 8, ends=now + 3 * HOUR)
    third = pool.plan([quiet(now)], (run,), Reservations(), some)
    assert third is not second
    assert pool.plan([], (run,), Reservations(), some) == {}


def follower_of(time, source) -> PoolFollower:
    found = PoolFollower(POOL, time, Random(1), lambda: None)
    found.configure(source, rules(), 15 * SECOND)
    return found


@on_virtual_time
async def test_the_foreground_is_what_is_left_without_runs_of_ours(time):
    follower = follower_of(time, Pool(time, sample(time.now(), 0, 4, waiting=3)))
    follower.promise(A, (promise("run", 8, unseen=2, owner=A),))
    assert follower.foreground is None
    await follower.look()
    assert follower.foreground == 12 + 3 - 6


@on_virtual_time
async def test_the_queue_follows_the_plan(time):
    await asyncio.sleep((at(10) - time.now()).total_seconds())
    now = time.now()
    source = Pool(time, sample(now, 10, each=32), demand=weeks(now))
    follower = follower_of(time, source)
    follower.off_peak.want(A, "UTC")
    follower.put(A, quiet(now))
    follower.put(B, ask("b", 4))
    await follower.look()
    follower.answer()
    waiting, eager = follower.verdict(A), follower.verdict(B)
    assert waiting is not None
    assert eager is not None
    assert waiting.reason is Reason.OFF_PEAK
    assert at(22) <= waiting.planned.start <= at(23)  # in the quiet hours, clear of their edge
    assert (waiting.planned.present_percent, eager.admitted) == (81, True)  # 22 and b's 4
    await asyncio.sleep((13 * HOUR).total_seconds())
    follower.put(B, None)
    source.answer = sample(time.now(), 28, each=32)
    await follower.look()
    assert A in follower.answer()
    assert follower.verdict(A).admitted


# --- a whole engine


def off_peak(bay: Bay, name: str = "nightly", count: int = 8, **spec) -> Key:
    gpu = {"poolRef": {"name": "h100"}, "count": count}
    return bay.window(name, startPolicy="OffPeak", gpu=gpu, expectedDurationSeconds=3600, **spec)


def reasons(bay: Bay) -> set[str]:
    return {reason for _, reason, _ in bay.recorder.notes}


@on_virtual_time
async def test_a_window_starts_in_the_quiet_night_and_says_so_before(time):
    bay = Bay(time)
    bay.apply_all()
    bay.pool.foreign = 20  # room enough all day
    bay.pool.demand = weeks(time.now())
    off_peak(bay)
    bay.event(9, 30)
    bay.start()
    await bay.until(12)
    (line,) = bay.lines()
    assert (line["state"], line["reason"]) == ("Waiting", "OffPeak")
    assert line["plannedStart"] == "2026-01-05T22:00:00Z" or line["plannedStart"].endswith(
        "22:00:00Z"
    )
    message = bay.status()["message"]
    assert "Planned for" in message
    assert "22:00" in message
    assert "now 62 %" in message
    assert CANARY not in str(bay.status())
    assert not bay.airflow.runs
    bay.pool.foreign = 4
    await bay.until(24)
    assert len(bay.airflow.runs) == 1
    await bay.stop()


@on_virtual_time
async def test_waiting_for_a_planned_start_writes_a_few_times_an_hour_at_most(time):
    bay = Bay(time)
    bay.apply_all()
    bay.pool.foreign = 20
    bay.pool.demand = weeks(time.now())
    key = off_peak(bay)
    bay.event(9, 30)
    bay.start()
    await bay.until(10)
    before = bay.store.objects[key].resource_version
    versions = {before}
    for minute in range(180):
        bay.pool.foreign = 18 + minute % 5  # never the same twice
        await bay.until(10 + (minute + 1) / 60)
        versions.add(bay.store.objects[key].resource_version)
    assert len(versions) - 1 <= 3 * 4
    await bay.stop()


@on_virtual_time
async def test_a_run_that_would_last_into_a_reservation_waits_until_it_is_over(time):
    bay = Bay(time)
    bay.apply_all()
    bay.store.apply(
        Kind.GPU_POOL,
        Ref(NS, "h100"),
        {
            "source": {"static": {"gpus": 32}},
            "reservations": [
                {
                    "name": "demos",
                    "calendarRef": {"name": "team"},
                    "match": {"summary": "demo *"},
                    "gpus": 28,
                    "namespaces": ["demo"],
                }
            ],
        },
    )
    gpu = {"poolRef": {"name": "h100"}, "count": 8}
    bay.window(gpu=gpu, expectedDurationSeconds=3600)
    bay.event(2, 20)
    bay.event(1.5, 6, name="demo")
    bay.start()
    await bay.until(3)
    (line,) = bay.lines()
    assert (line["state"], line["reason"]) == ("Waiting", "Reserved")
    assert "28 are reserved by calendar until" in bay.status()["message"]
    assert not bay.airflow.runs
    await bay.until(6.1)
    assert len(bay.airflow.runs) == 1
    await bay.stop()


@on_virtual_time
async def test_while_the_calendar_of_reservations_cannot_be_read_nothing_starts(time):
    bay = Bay(time)
    bay.apply_all()
    reservation = {"name": "demos", "calendarRef": {"name": "nobody"}, "gpus": 8}
    bay.store.apply(
        Kind.GPU_POOL,
        Ref(NS, "h100"),
        {"source": {"static": {"gpus": 32}}, "reservations": [reservation]},
    )
    bay.window(gpu={"poolRef": {"name": "h100"}, "count": 8})
    bay.event(2, 20)
    bay.start()
    await bay.until(3)
    assert bay.lines()[0]["reason"] == "ReservationsUnknown"
    assert "Calendar research/nobody" in bay.status()["message"]
    conditions = bay.store.objects[Key(Kind.GPU_POOL, Ref(NS, "h100"))].status["conditions"]
    assert {c["type"]: c["reason"] for c in conditions}["DataFresh"] == "ReservationsUnknown"
    assert not bay.airflow.runs
    await bay.stop()


@on_virtual_time
async def test_a_plan_that_moves_by_more_than_an_hour_is_an_event(time):
    bay = Bay(time)
    bay.apply_all()
    bay.pool.foreign = 20
    bay.pool.demand = weeks(time.now())
    off_peak(bay)
    bay.event(9, 44)
    bay.start()
    await bay.until(12)
    assert bay.lines()[0]["reason"] == "OffPeak"
    assert "PlanMoved" not in reasons(bay)
    bay.store.apply(
        Kind.GPU_POOL,
        Ref(NS, "h100"),
        {
            "source": {"static": {"gpus": 32}},
            "reservations": [
                {
                    "name": "demos",
                    "calendarRef": {"name": "team"},
                    "match": {"summary": "demo *"},
                    "gpus": 28,
                }
            ],
        },
    )
    bay.event(20, 25, name="demo")
    await bay.until(14)
    assert "PlanMoved" in reasons(bay)
    await bay.stop()
