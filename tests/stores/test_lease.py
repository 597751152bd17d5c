"""The elector against an API server in this process, with time moved by the test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from slackwater.ports import Lease
from slackwater.stores.cluster import Cluster
from slackwater.stores.lease import AlwaysHeld, KubernetesLease
from tests.stores.conftest import until
from tests.stores.fake_cluster import FakeClock, FakeCluster

LEASES = "/apis/coordination.k8s.io/v1/leases"
Make = Callable[..., KubernetesLease]


@pytest.fixture
def make(cluster: Cluster, clock: FakeClock) -> Make:
    def make(identity: str, **settings: Any) -> KubernetesLease:
        return KubernetesLease(
            cluster,
            settings.pop("clock", clock),
            namespace="slackwater",
            name="slackwater",
            identity=identity,
            **settings,
        )

    return make


def spec(fake: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = fake.objects[LEASES, "slackwater", "slackwater"]["spec"]
    return found


async def test_the_first_to_ask_makes_the_lease_and_holds_it(fake: FakeCluster, make: Make) -> None:
    one: Lease = make("one")
    assert not one.held
    assert await make("one").attempt()
    assert spec(fake) == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-23T12:00:00.000000Z",
        "renewTime": "2026-11-23T12:00:00.000000Z",
        "leaseTransitions": 0,
    }


async def test_a_renewal_moves_only_the_renew_time_and_takes_one_request(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    await one.attempt()
    clock.advance(2)
    before = len(fake.asked)
    assert await one.attempt()
    assert [asked.method for asked in fake.asked[before:]] == ["PUT"]
    assert spec(fake)["renewTime"] == "2026-11-23T12:00:02.000000Z"
    assert spec(fake)["acquireTime"] == "2026-11-23T12:00:00.000000Z"
    assert spec(fake)["leaseTransitions"] == 0


async def test_a_second_one_waits_as_long_as_the_first_renews(make: Make, clock: FakeClock) -> None:
    one, two = make("one"), make("two")
    for _ in range(30):
        assert await one.attempt()
        assert not await two.attempt()
        clock.advance(2)


async def test_the_holder_steps_down_before_the_other_takes_over(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one, two = make("one"), make("two")
    await one.attempt()
    await two.attempt()
    stepped_down = taken_over = None
    for second in range(1, 40):
        clock.advance(1)
        await two.attempt()  # "one" is cut off: it does not even fail
        assert not (one.held and two.held)
        if stepped_down is None and not one.held:
            stepped_down = second
        if taken_over is None and two.held:
            taken_over = second
    assert stepped_down == 10
    assert taken_over == 15
    assert spec(fake)["leaseTransitions"] == 1
    assert spec(fake)["acquireTime"] == "2026-11-23T12:00:15.000000Z"
    assert not await one.attempt()


async def test_the_deadline_counts_from_before_the_request(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    fault = fake.fault("POST", "leases", hang=asyncio.Event())
    attempt = asyncio.create_task(one.attempt())
    await until(lambda: fake.count("POST", "leases"))
    clock.advance(9)
    assert fault.hang is not None
    fault.hang.set()
    assert await attempt
    clock.advance(1)
    assert not one.held


async def test_a_reply_after_the_deadline_gives_no_lease(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    fault = fake.fault("POST", "leases", hang=asyncio.Event())
    attempt = asyncio.create_task(one.attempt())
    await until(lambda: fake.count("POST", "leases"))
    clock.advance(11)
    assert fault.hang is not None
    fault.hang.set()
    assert not await attempt


async def test_a_holder_whose_requests_hang_steps_down(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    await one.attempt()
    fake.fault("PUT", "leases", hang=asyncio.Event())
    hanging = asyncio.create_task(one.attempt())
    await until(lambda: fake.count("PUT", "leases"))
    clock.advance(9.5)
    assert one.held
    clock.advance(1)
    assert not one.held
    hanging.cancel()


async def test_errors_are_survived_and_the_lease_kept_until_the_deadline(
    fake: FakeCluster, make: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    one = make("one")
    await one.attempt()
    fault = fake.fault("PUT", "leases", status=500)
    for _ in range(4):
        clock.advance(2)
        assert await one.attempt()
    clock.advance(2)
    assert not await one.attempt()
    assert "could not be asked for" in caplog.text
    fault.times = 0
    assert await one.attempt()  # nobody else took it
    assert spec(fake)["leaseTransitions"] == 0


async def test_a_renewal_whose_reply_was_lost_is_found_to_be_ours(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    await one.attempt()
    clock.advance(2)
    fake.fault("PUT", "leases", lose_reply=True, times=1)
    assert await one.attempt()  # by the first renewal
    clock.advance(2)
    assert await one.attempt()
    clock.advance(9)
    assert one.held
    assert spec(fake)["leaseTransitions"] == 0


async def test_of_two_that_take_an_expired_lease_one_gets_it(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    await make("gone").attempt()
    both = [make("one"), make("two")]
    for one in both:
        await one.attempt()
    clock.advance(16)
    await asyncio.gather(*(one.attempt() for one in both))
    assert [one.held for one in both].count(True) == 1


async def test_a_holder_configured_for_longer_is_waited_for(make: Make, clock: FakeClock) -> None:
    one = make("one", duration=timedelta(seconds=60), deadline=timedelta(seconds=50))
    two = make("two")
    await one.attempt()
    for _ in range(59):
        await two.attempt()
        assert not two.held
        clock.advance(1)
    clock.advance(1)
    assert await two.attempt()


async def test_a_wall_clock_that_jumps_back_prolongs_nothing(make: Make, clock: FakeClock) -> None:
    one, two = make("one"), make("two")
    await one.attempt()
    await two.attempt()
    clock.wall -= timedelta(hours=1)
    clock.steady += 10
    assert not one.held
    clock.steady += 5
    assert await two.attempt()


async def test_time_suspended_with_the_machine_counts_too(make: Make, clock: FakeClock) -> None:
    one = make("one")
    await one.attempt()
    clock.wall += timedelta(seconds=11)  # monotonic time stood still
    assert not one.held
    assert await one.attempt()


async def test_the_clocks_of_the_others_do_not_matter(make: Make, clock: FakeClock) -> None:
    wrong = FakeClock()
    wrong.wall -= timedelta(days=1)
    one, two = make("one", clock=wrong), make("two")
    for _ in range(20):
        assert await one.attempt()
        assert not await two.attempt()
        clock.advance(2)
        wrong.advance(2)


async def test_a_lease_that_is_given_back_is_taken_at_once(fake: FakeCluster, make: Make) -> None:
    one, two = make("one"), make("two")
    await one.attempt()
    assert not await two.attempt()
    await one.release()
    assert not one.held
    assert spec(fake)["holderIdentity"] == ""
    assert await two.attempt()
    assert spec(fake)["leaseTransitions"] == 1
    assert not await one.attempt()


async def test_giving_back_leaves_the_lease_of_another_alone(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one, two = make("one"), make("two")
    await one.attempt()
    await two.attempt()
    clock.advance(16)
    await two.attempt()
    await one.release()
    assert spec(fake)["holderIdentity"] == "two"


async def test_one_that_never_held_it_gives_nothing_back(fake: FakeCluster, make: Make) -> None:
    await make("one").release()
    assert fake.asked == []


async def test_running_takes_it_keeps_it_and_gives_it_back(
    fake: FakeCluster, make: Make, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="slackwater")
    one = make("one", retry=timedelta(milliseconds=5))
    waiting = asyncio.create_task(one.wait_held())
    running = asyncio.create_task(one.run())
    await waiting
    assert one.held
    await until(lambda: fake.count("PUT") > 3)
    fake.fault("PUT", "leases", status=500, times=1)
    clock.advance(10)
    assert not one.held
    await one.wait_held()
    running.cancel()
    await asyncio.wait([running])
    assert not one.held
    assert spec(fake)["holderIdentity"] == ""
    assert "is held" in caplog.text


async def test_a_reply_after_giving_back_gives_no_lease(fake: FakeCluster, make: Make) -> None:
    one = make("one")
    fault = fake.fault("POST", "leases", hang=asyncio.Event())
    attempt = asyncio.create_task(one.attempt())
    await until(lambda: fake.count("POST", "leases"))
    await one.release()
    assert fault.hang is not None
    fault.hang.set()
    assert not await attempt
    assert not one.held


async def test_it_is_given_back_after_a_renewal_whose_reply_was_lost(
    fake: FakeCluster, make: Make, clock: FakeClock
) -> None:
    one = make("one")
    await one.attempt()
    clock.advance(2)
    fake.fault("PUT", "leases", lose_reply=True, times=1)
    await one.attempt()  # the server is a version ahead of what we know
    await one.release()
    assert spec(fake)["holderIdentity"] == ""


async def test_settings_that_would_let_two_act_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="deadline < duration"):
        make("one", deadline=timedelta(seconds=15))


async def test_without_a_cluster_it_is_always_held() -> None:
    lease: Lease = AlwaysHeld()
    assert lease.held
    await lease.wait_held()
    await AlwaysHeld().release()
    running = asyncio.create_task(AlwaysHeld().run())
    await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
