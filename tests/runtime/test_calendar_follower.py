"""One Calendar, read once for all: back-off, absence, staleness, blind times (R9 to R12)."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.event import Warned
from slackwater.core.seen import Trouble
from slackwater.core.spec import Privacy, Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError, HeldBack, SecretError
from slackwater.runtime.calendar_follower import (
    CalendarFollower,
    CalendarSettings,
    horizon_at,
)
from tests.core.builders import event
from tests.runtime.rig import (
    HOUR,
    MINUTE,
    NS,
    SECOND,
    Calendar,
    down,
    logged,
    on_virtual_time,
)

REFRESH = 5 * MINUTE
SETTINGS = CalendarSettings(REFRESH, HOUR, Privacy.BASIC)
ONE, TWO = event("e1", 10, 12), event("e2", 20, 22)


class Watch:
    def __init__(self, clock, answer=(ONE,), seed=1):
        self.news = 0
        self.source = Calendar(clock, answer)
        self.follower = CalendarFollower(Ref(NS, "team"), clock, Random(seed), self.told)
        self.follower.configure(self.source, SETTINGS)

    def told(self):
        self.news += 1

    async def look(self, answer=...):
        if answer is not ...:
            self.source.answer = answer
        before = self.news
        await self.follower.look()
        return self.news - before

    @property
    def view(self):
        return self.follower.view(None)


# --- looking


@on_virtual_time
async def test_the_first_look_is_news_and_the_same_again_is_not(clock):
    watch = Watch(clock)
    assert await watch.look() == 1
    assert watch.view.snapshot.events == (ONE,)
    assert (watch.view.checked_at, watch.view.fault) == (clock.now(), None)
    await watch.look()  # from now on two looks vouch for absence
    await asyncio.sleep(60)
    assert await watch.look() == 0
    assert watch.view.checked_at == clock.now()


@on_virtual_time
async def test_another_event_or_warning_is_news(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look()
    assert await watch.look((ONE, TWO)) == 1
    watch.source.warnings = (Warned(Reason.SERIES_SKIPPED, 2),)
    assert await watch.look() == 1


@on_virtual_time
async def test_unchanged_counts_as_a_look(clock):
    watch = Watch(clock)
    await watch.look()
    await asyncio.sleep(600)
    assert await watch.look(None) == 1  # the second look: absence can be told from now on
    assert watch.view.checked_at == clock.now()
    assert watch.view.snapshot.events == (ONE,)
    assert watch.view.recent == {"e1"}


@on_virtual_time
async def test_the_state_of_one_fetch_is_given_to_the_next(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look()
    assert watch.source.asked[0] is None
    assert watch.source.asked[1].cursor == {"n": "1"}


@on_virtual_time
async def test_polls_are_spread_by_a_quarter(clock):
    waits = set()
    for seed in range(60):
        watch = Watch(clock, seed=seed)
        await watch.look()
        waits.add((watch.follower.next_at - clock.now()) / REFRESH)
    assert 0.75 <= min(waits) < 0.8
    assert 1.2 < max(waits) <= 1.25


@given(st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_the_horizon_covers_two_days_back_and_35_ahead_and_seldom_moves(now):
    horizon = horizon_at(now)
    assert horizon.start <= now - timedelta(hours=48)
    assert horizon.end > now + timedelta(days=35)
    assert horizon.length <= timedelta(days=39)
    assert horizon_at(now + timedelta(seconds=1)) in (
        horizon,
        horizon.shifted(timedelta(days=1), timedelta(days=1)),
    )


# --- failing


@on_virtual_time
async def test_a_failed_look_keeps_the_snapshot_and_the_time_until_it_blocks(clock):
    watch = Watch(clock)
    await watch.look()
    read_at = clock.now()
    await asyncio.sleep(600)
    assert await watch.look(down()) == 1
    assert watch.view.snapshot.events == (ONE,)
    assert watch.view.fault is Reason.UNREACHABLE
    assert watch.view.checked_at == read_at
    assert watch.view.tried_at == clock.now()
    assert watch.view.blocks_at == read_at + HOUR
    assert watch.view.usable(read_at + HOUR - SECOND)
    assert not watch.view.usable(read_at + HOUR)


@on_virtual_time
async def test_one_fault_is_told_once_and_so_is_its_end(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look()
    told = []
    for answer in (down(), down(), down(Reason.UNAUTHORIZED), (ONE,), (ONE,)):
        told.append(await watch.look(answer))
        await asyncio.sleep(1000)
    assert told == [1, 0, 1, 1, 0]


@on_virtual_time
async def test_failures_back_off_to_a_quarter_of_an_hour(clock):
    longest = []
    for seed in range(20):
        watch = Watch(clock, answer=down(), seed=seed)
        waits = []
        for _ in range(14):
            await watch.look()
            waits.append(watch.follower.next_at - clock.now())
            await asyncio.sleep(waits[-1].total_seconds() + 0.01)
        assert all(SECOND <= wait <= 15 * MINUTE for wait in waits)
        assert waits[0] <= 5 * SECOND
        longest.append(max(waits))
    assert max(longest) > 14 * MINUTE


@on_virtual_time
async def test_while_patience_is_asked_for_nobody_asks(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look(down(Reason.THROTTLED, after=20 * MINUTE))
    asked = len(watch.source.asked)
    assert watch.view.retry_at >= clock.now() + 20 * MINUTE
    await asyncio.sleep(19 * 60)
    await watch.look((ONE,))
    assert len(watch.source.asked) == asked
    assert watch.follower.next_at == watch.view.retry_at
    await asyncio.sleep(61)
    await watch.look()
    assert len(watch.source.asked) == asked + 1
    assert watch.view.retry_at is None


@on_virtual_time
async def test_a_success_ends_the_back_off(clock):
    watch = Watch(clock, answer=down())
    for _ in range(9):
        await watch.look()
        await asyncio.sleep(900)
    await watch.look((ONE,))
    await watch.look(down())
    assert watch.follower.next_at - clock.now() <= 5 * SECOND


@on_virtual_time
async def test_what_nobody_foresaw_is_a_fault_logged_once_and_backed_off_from(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look()
    told = []
    with logged() as lines:
        for answer in (ValueError("a title"), ValueError("a title"), (ONE,)):
            told.append(await watch.look(answer))
            assert watch.view.tried_at == clock.now()
            await asyncio.sleep((watch.follower.next_at - clock.now()).total_seconds() + 0.01)
            asked = len(watch.source.asked)
    assert told == [1, 0, 1]
    assert len(lines) == 1
    assert watch.follower.failure is None
    watch.source.answer = ValueError("a title")
    await watch.look()
    await watch.look()  # at once: the back-off holds
    assert len(watch.source.asked) == asked + 1
    assert watch.follower.failure == Trouble(
        Reason.INTERNAL_ERROR, {"what": f"Calendar {NS}/team", "detail": "ValueError"}
    )


@on_virtual_time
async def test_a_fault_keeps_what_its_sentence_needs(clock):
    watch = Watch(clock, answer=SecretError(Reason.SECRET_NOT_FOUND, ref="research/cal", key="k"))
    await watch.look()
    assert watch.follower.failure == Trouble(
        Reason.SECRET_NOT_FOUND, {"ref": "research/cal", "key": "k"}
    )
    await asyncio.sleep(60)
    await watch.look((ONE,))
    assert watch.follower.failure is None


@on_virtual_time
async def test_a_source_that_finds_its_settings_wrong_is_a_fault_too(clock):
    watch = Watch(clock, answer=ConfigError(Reason.INVALID_SPEC, detail="spec.provider: no"))
    await watch.look()
    assert watch.view.fault is Reason.INVALID_SPEC


# --- absence (R10)


@on_virtual_time
async def test_absence_is_told_only_after_two_complete_looks(clock):
    watch = Watch(clock, answer=(ONE, TWO))
    await watch.look()
    assert watch.view.recent is None
    await watch.look((ONE,))
    assert watch.view.recent == {"e1", "e2"}
    assert await watch.look(None) == 1
    assert watch.view.recent == {"e1"}


@on_virtual_time
async def test_a_failed_look_vouches_for_no_absence(clock):
    watch = Watch(clock, answer=(ONE, TWO))
    await watch.look()
    await watch.look((ONE,))
    await watch.look(down())
    assert watch.view.recent == {"e1", "e2"}


@on_virtual_time
async def test_an_event_that_comes_back_was_never_gone(clock):
    watch = Watch(clock, answer=(ONE, TWO))
    for answer in ((ONE, TWO), (ONE,), (ONE, TWO)):
        await watch.look(answer)
    assert watch.view.recent == {"e1", "e2"}


@on_virtual_time
async def test_an_empty_calendar_is_a_complete_look_like_any_other(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look(())
    assert watch.view.recent == {"e1"}
    await watch.look(None)
    assert watch.view.recent == frozenset()
    assert watch.view.snapshot.events == ()


@on_virtual_time
async def test_another_configuration_begins_the_count_of_absences_anew(clock):
    watch = Watch(clock, answer=(ONE, TWO))
    await watch.look()
    await watch.look()
    other = Calendar(clock, (ONE,))
    watch.follower.configure(other, SETTINGS)
    assert watch.view.snapshot.events == (ONE, TWO)
    await watch.look()
    assert watch.view.recent is None
    assert other.asked == [None]


@on_virtual_time
async def test_another_configuration_ends_the_patience_of_the_old_one(clock):
    watch = Watch(clock, answer=down(after=HOUR))
    await watch.look()
    watch.follower.configure(Calendar(clock, (ONE,)), SETTINGS)
    await watch.look()
    assert watch.view.snapshot.events == (ONE,)


@on_virtual_time
async def test_the_answer_of_a_source_that_was_replaced_meanwhile_counts_for_nothing(clock):
    for answer in ((TWO,), down()):
        watch = Watch(clock)
        await watch.look()
        other = Calendar(clock, (ONE,))
        watch.source.during = lambda w=watch, o=other: w.follower.configure(o, SETTINGS)
        await watch.look(answer)
        assert watch.view.snapshot.events == (ONE,)
        assert watch.view.fault is None
        assert other.asked == []


# --- blind times (R12)


@on_virtual_time
async def test_a_time_without_a_look_is_remembered_for_two_days(clock):
    watch = Watch(clock)
    await watch.look()
    began = clock.now()
    await asyncio.sleep(3600)
    await watch.look(down())
    await asyncio.sleep(3600)
    await watch.look((ONE,))
    (blind,) = watch.view.blind
    assert (blind.start, blind.end) == (began, clock.now())
    await asyncio.sleep(49 * 3600)
    await watch.look()
    assert blind not in watch.view.blind


@on_virtual_time
async def test_ordinary_polls_leave_no_blind_time(clock):
    watch = Watch(clock)
    for _ in range(20):
        await watch.look()
        await asyncio.sleep(375)
    assert watch.view.blind == ()


@on_virtual_time
async def test_a_calendar_that_could_not_be_read_from_the_start_was_blind_till_then(clock):
    watch = Watch(clock, answer=down())
    began = clock.now()
    for _ in range(9):
        await watch.look()
        await asyncio.sleep(900)
    await watch.look((ONE,))
    (blind,) = watch.view.blind
    assert (blind.start, blind.end) == (began, clock.now())


# --- the clock (R4)


@on_virtual_time
async def test_a_jump_of_the_wall_clock_makes_no_snapshot_younger_and_ends_patience(clock):
    watch = Watch(clock)
    await watch.look()
    await asyncio.sleep(600)
    await watch.look(down(after=HOUR))
    clock.jump = -2 * HOUR
    watch.follower.clock_jumped(-2 * HOUR)
    assert clock.now() - watch.view.checked_at == 10 * MINUTE
    assert watch.view.retry_at is None
    assert await watch.look((ONE,)) == 1


@pytest.mark.parametrize("privacy", list(Privacy))
def test_users_see_the_privacy_of_the_calendar(privacy):
    @on_virtual_time
    async def look(clock):
        watch = Watch(clock)
        watch.follower.configure(watch.source, CalendarSettings(REFRESH, HOUR, privacy))
        assert watch.view.privacy is privacy

    look()


# --- limits that we keep ourselves


@on_virtual_time
async def test_a_limit_of_our_own_is_no_fault_and_what_is_known_stands(clock):
    watch = Watch(clock)
    await watch.look()
    blocks_at = watch.view.blocks_at
    await asyncio.sleep(30)
    assert await watch.look(HeldBack(4 * MINUTE)) == 0
    assert (watch.view.fault, watch.view.blocks_at) == (None, blocks_at)
    assert watch.view.snapshot.events == (ONE,)
    assert 4 * MINUTE <= watch.view.retry_at - clock.now() <= 4 * MINUTE + REFRESH / 4
    assert watch.follower.next_at == watch.view.retry_at
    assert watch.follower.throttled == 1


@on_virtual_time
async def test_being_held_back_leaves_no_blind_time_and_being_unable_to_read_does(clock):
    watch = Watch(clock)
    await watch.look()
    for _ in range(5):
        await watch.look(HeldBack(4 * MINUTE))
        await asyncio.sleep((watch.follower.next_at - clock.now()).total_seconds())
    await watch.look((ONE,))
    assert watch.view.blind == ()
    await asyncio.sleep(20 * 60)
    await watch.look()
    assert len(watch.view.blind) == 1


@on_virtual_time
async def test_what_was_throttled_and_what_changed_is_counted(clock):
    watch = Watch(clock)
    await watch.look()
    await watch.look(down(Reason.THROTTLED))
    await watch.look(down(Reason.UNREACHABLE))
    await asyncio.sleep(3600)
    await watch.look((ONE, TWO))
    await asyncio.sleep(60)
    await watch.look((ONE, TWO))
    assert (watch.follower.throttled, watch.follower.changes) == (1, 2)


# --- made anew


@on_virtual_time
async def test_a_look_at_a_source_that_was_replaced_ends_at_once_and_does_not_count(clock):
    watch = Watch(clock)
    watch.source.takes = HOUR
    look = asyncio.create_task(watch.look())
    await asyncio.sleep(1)
    before = clock.now()
    other = Calendar(clock, (TWO,))
    watch.follower.configure(other, SETTINGS)
    await look
    assert clock.now() - before < timedelta(seconds=1)
    assert watch.view.snapshot is None
    await watch.look()
    assert watch.view.snapshot.events == (TWO,)


@on_virtual_time
async def test_a_look_that_is_cancelled_from_outside_stays_cancelled(clock):
    watch = Watch(clock)
    watch.source.takes = HOUR
    look = asyncio.create_task(watch.look())
    await asyncio.sleep(1)
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    assert watch.view.snapshot is None


@on_virtual_time
async def test_the_same_spec_made_anew_waits_for_the_look_that_has_begun_and_keeps_it(clock):
    """A Secret that changes twice in a second: the first look has used up what a feed allows."""
    watch = Watch(clock)
    watch.source.takes = timedelta(seconds=5)
    look = asyncio.create_task(watch.look())
    made = []
    for edition in (1, 2):
        await asyncio.sleep(0.5)

        def renewal(edition=edition):
            made.append(edition)
            watch.follower.configure(Calendar(clock, HeldBack(4 * MINUTE)), SETTINGS)

        watch.follower.renew(renewal)
    assert made == []
    await look
    assert made == [2]
    assert watch.view.snapshot.events == (ONE,)
    await watch.look()
    assert watch.view.snapshot.events == (ONE,)
    assert watch.view.fault is None


@on_virtual_time
async def test_the_same_spec_is_made_anew_at_once_where_nothing_is_read(clock):
    watch = Watch(clock)
    made = []
    watch.follower.renew(lambda: made.append(1))
    assert made == [1]


# --- what came when


@on_virtual_time
async def test_when_an_event_came_is_known_for_two_days_if_it_was_seen_to_come(clock):
    watch = Watch(clock)
    await watch.look((ONE,))
    assert watch.view.appeared is None
    await asyncio.sleep(60)
    await watch.look((ONE, TWO))
    came = clock.now()
    assert watch.view.appeared == {"e2": came}
    await asyncio.sleep(60)
    await watch.look(())
    await asyncio.sleep(60)
    await watch.look((ONE, TWO))
    assert watch.view.appeared == {"e2": came}, "one reading without it is no departure"
    await asyncio.sleep(49 * 3600)
    await watch.look(None)
    assert watch.view.appeared == {}
