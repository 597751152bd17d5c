"""The limits that services set, kept for all calendars behind one identity."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from slackwater.calendars.registry import PROVIDERS
from slackwater.calendars.turns import PATIENCE, Limits, Turns
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import HeldBack
from slackwater.net import NetError
from slackwater.net.bucket import Rate
from tests.runtime.rig import on_virtual_time

TEAM, OTHER = Ref("research", "team"), Ref("vision", "other")
MINUTE = timedelta(minutes=1)
FEED = Limits(rate=Rate(requests=1, per=5 * MINUTE))


class Service:
    """Counts what is asked of it."""

    def __init__(self, clock, limits: Limits) -> None:
        self.asked: Counter[Ref] = Counter()
        self.turns = Turns(clock, self._count)
        self.limits, self.now, self.most = limits, 0, 0

    def _count(self, ref: Ref) -> None:
        self.asked[ref] += 1

    async def ask(self, ref: Ref = TEAM, identity: str = "me", takes: float = 1.0) -> None:
        async with self.turns.turn(ref, "some", identity, self.limits):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(takes)
            self.now -= 1


@on_virtual_time
async def test_calendars_of_one_identity_share_its_slots_and_others_do_not(clock) -> None:
    service = Service(clock, Limits(concurrent=4))
    calls = [service.ask(Ref("ns", f"c{n}")) for n in range(20)]
    calls += [service.ask(OTHER, "you") for _ in range(8)]
    await asyncio.gather(*calls)
    assert service.most == 8
    assert service.asked[OTHER] == 8
    assert service.asked.total() == 28


@on_virtual_time
async def test_who_would_wait_too_long_is_held_back_and_told_how_long(clock) -> None:
    service = Service(clock, FEED)
    await service.ask()
    with pytest.raises(HeldBack) as caught:
        await service.ask()
    assert caught.value.retry_after == pytest.approx(timedelta(seconds=299), abs=timedelta(1e-3))
    assert caught.value.reason is Reason.THROTTLED
    assert service.asked == {TEAM: 1}
    await asyncio.sleep(300 - PATIENCE.total_seconds())
    began = clock.monotonic()
    await service.ask(takes=0)
    assert 0 < clock.monotonic() - began <= PATIENCE.total_seconds()


@on_virtual_time
async def test_a_request_that_reached_nobody_does_not_count(clock) -> None:
    service = Service(clock, FEED)
    for reason, may_again in ((Reason.UNREACHABLE, True), (Reason.TIMEOUT, False)):
        with pytest.raises(NetError):
            async with service.turns.turn(TEAM, "some", "me", FEED):
                raise NetError(reason)
        if may_again:
            continue
        with pytest.raises(HeldBack):
            await service.ask()


@on_virtual_time
async def test_a_wait_that_is_given_up_gives_its_turn_back(clock) -> None:
    service = Service(clock, Limits(rate=Rate(requests=1, per=timedelta(seconds=8))))
    await service.ask(takes=0)
    waiting = asyncio.create_task(service.ask(takes=0))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.sleep(7)
    began = clock.monotonic()
    await service.ask(takes=0)
    assert clock.monotonic() == began


@on_virtual_time
async def test_identities_that_are_at_rest_are_forgotten_and_those_in_use_are_not(clock) -> None:
    service = Service(clock, FEED)
    for n in range(1_000):
        await service.ask(identity=f"old{n}", takes=0)
    await asyncio.sleep(400)
    await service.ask(identity="old7", takes=0)
    await service.ask(identity="new", takes=0)
    assert len(service.turns._lines) == 2
    with pytest.raises(HeldBack):
        await service.ask(identity="old7", takes=0)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_that_reaches_out_declares_a_limit(name) -> None:
    limits = PROVIDERS[name].limits
    assert (limits == Limits()) is (name == "static")
