"""Who of a pool's rivals may start: room, order and backfill (R5, R6, R7)."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.core.allot import Pool, allot, exceeds
from slackwater.core.ask import Ask
from slackwater.core.sample import Room, Sample
from slackwater.core.spec import Ref, StopPolicy
from slackwater.core.words import WORDS, Reason
from tests.core.builders import DAY, HOUR, MINUTE, NS, SECOND, ask, clock, promise, rules, sample

NOW = clock(12)


def pool(*free: int, promises=(), each: int = 8, **changes) -> Pool:
    fields = {"rules": rules(), "sample": sample(NOW, *free, each=each), "promises": promises}
    return Pool(**{**fields, **changes})


def answers(found: Pool, *asks: Ask, now=NOW) -> dict[str, Reason | None]:
    """None for those who may start, else what holds them back."""
    verdicts = allot(found, asks, now)
    return {ref.name: None if v.admitted else v.reason for ref, v in verdicts.items()}


def admitted(found: Pool, *asks: Ask) -> set[str]:
    return {name for name, reason in answers(found, *asks).items() if reason is None}


# --- order (R7)


@pytest.mark.parametrize(
    "first",
    [
        {"priority": 1, "latest_start": clock(30), "window_start": clock(9)},
        {"latest_start": clock(20), "window_start": clock(9)},
        {"latest_start": clock(24), "window_start": clock(-1)},
        {"owner": Ref("a", "z")},
        {"owner": Ref(NS, "a")},
    ],
    ids=["priority", "latest start", "window start", "namespace", "name"],
)
def test_the_room_goes_to_the_first_by_priority_latest_start_window_start_and_name(first):
    others = ask("m", 8)
    wins = replace(ask("zz", 8), **first)
    verdicts = allot(pool(8), [others, wins], NOW)
    assert verdicts[wins.owner].admitted
    assert not verdicts[others.owner].admitted


def test_the_order_in_which_asks_are_given_means_nothing():
    asks = [ask("a", 5), ask("b", 4, priority=1), ask("c", 3, duration=HOUR)]
    assert allot(pool(8), asks, NOW) == allot(pool(8), asks[::-1], NOW)


def test_everybody_starts_who_has_room_beside_those_before():
    assert admitted(pool(8), ask("a", 4), ask("b", 3), ask("c", 1)) == {"a", "b", "c"}


def test_where_ends_are_unknown_nobody_overtakes_the_head():
    unknown = promise("run", 8)
    found = pool(4, 0, promises=(unknown,))
    assert answers(found, ask("a", 8), ask("b", 2, duration=MINUTE)) == {
        "a": Reason.WAITING_FOR_GPUS,
        "b": Reason.WAITING_FOR_TURN,
    }


def test_an_ask_of_unknown_length_never_overtakes():
    known = promise("run", 8, ends=NOW + HOUR)
    assert admitted(pool(4, 0, promises=(known,)), ask("a", 8), ask("b", 2)) == set()


def test_a_run_past_its_expected_end_has_no_known_end_any_more():
    overdue = promise("run", 8, ends=NOW - SECOND)
    found = pool(4, 0, promises=(overdue,))
    assert admitted(found, ask("a", 8), ask("b", 2, duration=MINUTE)) == set()


def test_a_short_ask_overtakes_when_it_ends_before_the_head_has_room():
    known = promise("run", 8, ends=NOW + HOUR)
    found = pool(4, 0, promises=(known,))
    assert admitted(found, ask("a", 8), ask("b", 4, duration=HOUR)) == {"b"}
    assert admitted(found, ask("a", 12), ask("b", 4, duration=HOUR + SECOND)) == set()


def test_a_long_ask_overtakes_only_out_of_what_the_head_leaves_over():
    known = promise("run", 8, ends=NOW + HOUR)
    found = pool(4, 0, promises=(known,))
    long = {"duration": 9 * HOUR}
    assert admitted(found, ask("a", 10), ask("b", 2, **long), ask("c", 1, **long)) == {"b"}
    assert admitted(found, ask("a", 10), ask("b", 3, **long)) == set()


def test_the_head_hears_when_known_ends_make_room_for_it():
    known = promise("run", 8, ends=NOW + HOUR)
    verdicts = allot(pool(4, 0, promises=(known,)), [ask("a", 8)], NOW)
    assert verdicts[Ref(NS, "a")].expected_at == NOW + HOUR


def test_pods_that_wait_elsewhere_put_off_the_time_at_which_the_head_has_room():
    ends = (promise("x", 8, ends=NOW + HOUR), promise("y", 8, ends=NOW + 2 * HOUR))
    busy = pool(0, 0, 0, promises=ends)
    crowded = replace(busy, sample=replace(busy.sample, waiting=8))
    assert allot(busy, [ask("a", 8)], NOW)[Ref(NS, "a")].expected_at == NOW + HOUR
    assert allot(crowded, [ask("a", 8)], NOW)[Ref(NS, "a")].expected_at == NOW + 2 * HOUR


def test_small_pods_that_would_break_up_whole_nodes_do_not_overtake():
    """Eight pods of one GPU can leave two half nodes, on which no pod of eight has a place."""
    known = promise("run", 16, per_pod=8, ends=NOW + HOUR)
    found = pool(8, 8, 0, 0, promises=(known,))
    head = ask("a", 24, per_pod=8)
    assert admitted(found, head, ask("b", 8, per_pod=8, duration=9 * HOUR)) == {"b"}
    assert admitted(found, head, ask("b", 8, duration=9 * HOUR)) == set()
    assert admitted(found, head, ask("b", 8, duration=HOUR)) == {"b"}


def test_a_small_end_may_make_a_whole_node_free_for_the_head():
    """A run of two GPUs on two nodes with seven free gives back two whole nodes."""
    ends = (
        promise("small", 2, per_pod=1, ends=NOW + HOUR),
        promise("large", 8, per_pod=8, ends=NOW + 5 * HOUR),
    )
    found = pool(7, 7, 0, promises=ends)
    head = ask("a", 16, per_pod=8)
    assert admitted(found, head, ask("b", 1, duration=HOUR)) == {"b"}
    assert admitted(found, head, ask("b", 1, duration=2 * HOUR)) == set()


def test_where_a_node_is_away_nothing_is_surely_spare():
    """The run that ends may lie on the node that is away, and leave no room at all."""
    known = promise("run", 8, ends=NOW + HOUR)
    found = pool(4, promises=(known,), sample=sample(NOW, 4, capacity=16))
    assert admitted(found, ask("a", 8), ask("b", 2, duration=9 * HOUR)) == set()
    assert admitted(found, ask("a", 8), ask("b", 2, duration=HOUR)) == {"b"}


# --- room (R5)


def test_gpus_count_in_whole_pods_on_whole_nodes():
    nine_nodes = pool(*[2] * 8, 0)
    assert answers(nine_nodes, ask("a", 16, per_pod=8)) == {"a": Reason.WAITING_FOR_GPUS}
    assert admitted(nine_nodes, ask("a", 16, per_pod=2)) == {"a"}


def test_pods_that_are_bound_nowhere_count_against_what_is_free():
    found = pool(8, sample=sample(NOW, 8, waiting=6))
    assert answers(found, ask("a", 3)) == {"a": Reason.WAITING_FOR_GPUS}
    assert admitted(found, ask("a", 2)) == {"a"}


def test_promises_count_only_as_far_as_they_do_not_show():
    found = pool(8, promises=(promise("x", 8, unseen=3), promise("y", 4, unseen=0)))
    assert admitted(found, ask("a", 5)) == {"a"}
    assert admitted(found, ask("a", 6)) == set()


def test_a_pool_that_shrinks_below_what_is_promised_starts_nothing_until_it_has_room():
    held = (promise("a", 16, unseen=16, ends=clock(3)),)
    wanted = ask("x", 4)
    shrunk = allot(pool(8, promises=held), [wanted], NOW)[wanted.owner]
    assert (shrunk.reason, shrunk.free, shrunk.promised) == (Reason.WAITING_FOR_GPUS, 8, 8)
    assert admitted(pool(8, 8, 8, promises=held), wanted) == {"x"}


def test_an_ask_larger_than_the_pool_is_said_at_once_and_blocks_nobody():
    assert answers(pool(8), ask("a", 9, priority=9), ask("b", 8)) == {
        "a": Reason.EXCEEDS_CAPACITY,
        "b": None,
    }


def test_pods_larger_than_any_node_exceed_the_pool():
    assert exceeds(sample(NOW, 4, 4, each=4), 8, 8)
    assert not exceeds(sample(NOW, 8, each=8), 8, 8)


def test_a_node_that_is_away_may_come_back_so_its_gpus_are_waited_for():
    away = sample(NOW, 8, capacity=16)
    assert not exceeds(away, 16, 8)
    assert answers(pool(8, sample=away), ask("a", 16)) == {"a": Reason.WAITING_FOR_GPUS}


def test_no_more_runs_at_a_time_than_the_pool_takes():
    found = pool(8, 8, rules=rules(max_concurrent_runs=2), promises=(promise("x", 1),))
    assert answers(found, ask("a", 1), ask("b", 1), ask("c", 1)) == {
        "a": None,
        "b": Reason.MAX_CONCURRENT_RUNS,
        "c": Reason.MAX_CONCURRENT_RUNS,
    }


def test_where_places_are_counted_a_long_ask_does_not_take_the_place_of_the_head():
    limited = rules(max_concurrent_runs=2)
    known = promise("x", 8, ends=NOW + HOUR)
    found = pool(4, 0, rules=limited, promises=(known,))
    assert admitted(found, ask("a", 8), ask("b", 1, duration=2 * HOUR)) == set()
    assert admitted(found, ask("a", 8), ask("b", 1, duration=HOUR)) == {"b"}


def test_what_a_request_may_force_is_started_first_and_nothing_is_given_twice():
    forced = ask("z", 8, unconditional=True, priority=-5)
    assert answers(pool(8), ask("a", 8), forced) == {"a": Reason.WAITING_FOR_GPUS, "z": None}


def test_an_unconditional_ask_starts_whatever_the_numbers_say():
    full = pool(0, rules=rules(max_concurrent_runs=1), promises=(promise("x", 8),))
    assert admitted(full, ask("a", 80, unconditional=True)) == {"a"}
    assert admitted(replace(full, fault=Reason.NO_DATA), ask("a", 8, unconditional=True)) == {"a"}


def test_a_held_pool_starts_nothing_not_even_by_request():
    held = pool(8, rules=rules(stop_policy=StopPolicy.HOLD))
    assert answers(held, ask("a", 1), ask("b", 1, unconditional=True)) == {
        "a": Reason.HELD,
        "b": Reason.HELD,
    }


# --- numbers that cannot carry a start (R5)


@pytest.mark.parametrize(
    "fault",
    [
        Reason.NO_DATA,
        Reason.NOT_A_NUMBER,
        Reason.TOO_MANY_SERIES,
        Reason.PARTIAL_RESPONSE,
        Reason.UNREACHABLE,
    ],
)
def test_a_pool_that_cannot_be_read_blocks_everybody_with_its_own_reason(fault):
    found = answers(pool(8, fault=fault), ask("a", 1), ask("b", 1))
    assert found == {"a": fault, "b": fault}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sample": None}, Reason.NOT_READ_YET),
        ({"sample": sample(NOW - 121 * SECOND, 8)}, Reason.STALE_SAMPLE),
        ({"sample": sample(NOW + HOUR, 8)}, Reason.STALE_SAMPLE),
        ({"sample": sample(NOW, 8, coverage=0.89)}, Reason.LOW_COVERAGE),
        ({"sample": sample(NOW, 8, coverage=float("nan"))}, Reason.LOW_COVERAGE),
        ({"runs_known": False}, Reason.PROMISES_UNKNOWN),
    ],
    ids=["unread", "stale", "of a clock that jumped back", "gaps", "nan", "promises unknown"],
)
def test_numbers_that_are_old_incomplete_or_missing_block_everybody(changes, reason):
    assert answers(pool(8, **changes), ask("a", 1)) == {"a": reason}


def test_numbers_just_young_and_complete_enough_carry_a_start():
    found = pool(8, sample=sample(NOW - 120 * SECOND, 8, coverage=0.9))
    assert admitted(found, ask("a", 8)) == {"a"}


# --- what is told


def test_a_verdict_tells_what_is_free_and_how_much_of_it_is_promised():
    found = pool(8, 1, promises=(promise("x", 8, unseen=8), promise("y", 4)))
    verdict = allot(found, [ask("a", 4)], NOW)[Ref(NS, "a")]
    assert (verdict.free, verdict.promised, verdict.holders) == (9, 8, 1)


def test_those_who_wait_hear_how_many_are_ahead():
    verdicts = allot(pool(0), [ask("a", 1), ask("b", 9), ask("c", 1), ask("d", 1)], NOW)
    assert [verdicts[Ref(NS, name)].ahead for name in "acd"] == [0, 1, 2]


# --- properties

POD = st.sampled_from([1, 1, 2, 4, 8])
MINUTES = st.integers(1, 12).map(lambda n: n * 10 * MINUTE)


@st.composite
def asks(draw, names="abcdef"):
    found = []
    for name in names[: draw(st.integers(1, len(names)))]:
        per_pod = draw(POD)
        found.append(
            ask(
                name,
                per_pod * draw(st.integers(1, 3)),
                per_pod=per_pod,
                priority=draw(st.integers(0, 2)),
                latest_start=clock(draw(st.integers(13, 20))),
                duration=draw(st.none() | MINUTES),
            )
        )
    return found


@st.composite
def pools(draw):
    promises = tuple(
        promise(
            f"run{i}",
            count,
            unseen=draw(st.integers(0, count)),
            ends=draw(st.none() | MINUTES.map(lambda d: NOW + d)),
            per_pod=draw(st.sampled_from([p for p in (1, 2, 4, 8) if count % p == 0])),
        )
        for i, count in enumerate(draw(st.lists(st.integers(1, 16), max_size=3)))
    )
    free = draw(st.lists(st.integers(0, 8), min_size=1, max_size=5))
    limit = draw(st.none() | st.integers(1, 5))
    taken = sample(NOW, *free, waiting=draw(st.integers(0, 4)))
    return Pool(rules=rules(max_concurrent_runs=limit), sample=taken, promises=promises)


@given(pools(), asks())
def test_never_more_is_given_than_fits_less_what_is_promised(found, wanted):
    verdicts = allot(found, wanted, NOW)
    given_ = [a for a in wanted if verdicts[a.owner].admitted]
    assert found.sample is not None
    unseen = sum(p.unseen for p in found.promises)
    if given_:
        smallest = min(a.per_pod for a in given_)
        room = found.sample.fit(smallest) - found.sample.waiting - unseen
        assert sum(a.count for a in given_) <= room
    limit = found.rules.max_concurrent_runs
    if limit is not None and given_:
        assert len(given_) + len(found.promises) <= limit


@given(pools(), asks(), st.randoms(use_true_random=False))
def test_every_ask_is_answered_and_the_order_given_means_nothing(found, wanted, random):
    verdicts = allot(found, wanted, NOW)
    shuffled = list(wanted)
    random.shuffle(shuffled)
    assert verdicts == allot(found, shuffled, NOW)
    assert set(verdicts) == {a.owner for a in wanted}
    assert all(v.admitted is (v.reason is Reason.ENOUGH) for v in verdicts.values())
    assert all(v.reason in WORDS for v in verdicts.values())


@given(pools(), asks())
def test_an_ask_that_exceeds_the_pool_changes_nobodys_answer(found, wanted):
    giant = ask("giant", 1000, priority=99)
    with_giant = allot(found, [*wanted, giant], NOW)
    assert with_giant.pop(giant.owner).reason is Reason.EXCEEDS_CAPACITY
    assert with_giant == allot(found, wanted, NOW)


# --- forward in time: backfill never delays the head


@dataclass
class Job:
    """A run: its pods lie on nodes once they are placed; `ends` None runs for ever."""

    name: str
    count: int
    per_pod: int
    ends: timedelta | None
    placed_at: timedelta
    on: list[int] = field(default_factory=list)

    @property
    def is_placed(self) -> bool:
        return len(self.on) * self.per_pod == self.count


@dataclass
class Cluster:
    """Nodes of eight GPUs, some of them used by others for ever, some cordoned."""

    others: list[int]
    cordoned: set[int]
    jobs: list[Job]
    order: list[int]  # the scheduler's taste in nodes

    def free(self, node: int) -> int:
        used = sum(job.per_pod * job.on.count(node) for job in self.jobs)
        return 8 - self.others[node] - used

    def place(self, job: Job) -> None:
        for _ in range(job.count // job.per_pod - len(job.on)):
            room = [n for n in self.order if n not in self.cordoned and self.free(n) >= job.per_pod]
            if not room:
                return  # its other pods wait
            job.on.append(room[0])

    def view(self, now: timedelta, limit: int | None) -> Pool:
        self.jobs = [job for job in self.jobs if job.ends is None or job.ends > now]
        for job in self.jobs:
            if job.placed_at <= now and not job.is_placed:
                self.place(job)
        nodes = range(len(self.others))
        usable = [n for n in nodes if n not in self.cordoned]
        seen = Sample(
            time=DAY + now,
            capacity=8 * len(self.others),
            rooms=tuple(Room(str(n), 8, self.free(n)) for n in usable),
            used=sum(8 - self.free(n) for n in nodes),
        )
        promises = tuple(
            promise(
                job.name,
                job.count,
                unseen=job.count - len(job.on) * job.per_pod,
                ends=None if job.ends is None else DAY + job.ends,
                per_pod=job.per_pod,
            )
            for job in self.jobs
        )
        return Pool(rules=rules(max_concurrent_runs=limit), sample=seen, promises=promises)


def head_starts(
    cluster: Cluster, head: Ask, queue: list[Ask], limit: int | None, late: dict[str, timedelta]
) -> timedelta | None:
    """When the head starts while the others of the queue start as `allot` lets them."""
    queue = list(queue)
    for tick in range(80):
        now = tick * 5 * MINUTE
        verdicts = allot(cluster.view(now, limit), [head, *queue], DAY + now)
        if verdicts[head.owner].admitted:
            return now
        for wanted in [a for a in queue if verdicts[a.owner].admitted]:
            queue.remove(wanted)
            assert wanted.duration is not None, "only those of known length may overtake"
            ends = now + wanted.duration
            job = Job(
                wanted.owner.name,
                wanted.count,
                wanted.per_pod,
                ends,
                placed_at=now + late[wanted.owner.name],
            )
            cluster.jobs.append(job)
            if job.placed_at <= now:
                cluster.place(job)
    return None


@st.composite
def harbours(draw):
    """A cluster, a head that waits and those behind it."""
    nodes = draw(st.integers(1, 5))
    sizes = draw(st.sampled_from([(1,), (8,), (4,), (1, 2, 4, 8), (2, 8)]))
    size = st.sampled_from(sizes)
    ends = st.integers(1, 20).map(lambda n: n * 5 * MINUTE)
    jobs = []
    for i in range(draw(st.integers(0, 5))):
        per_pod = draw(size)
        jobs.append(
            Job(
                f"job{i}",
                per_pod * draw(st.integers(1, 2)),
                per_pod,
                draw(ends | st.none()) if i > 2 else draw(ends),
                placed_at=timedelta(0),
            )
        )
    others = [draw(st.sampled_from([0, 0, 1, 3, 8])) for _ in range(nodes)]
    cordoned = set(draw(st.lists(st.integers(0, nodes - 1), max_size=1)))
    order = draw(st.permutations(range(nodes)))
    head_pod = draw(size)
    head = ask("head", head_pod * draw(st.integers(1, 4)), per_pod=head_pod, priority=9)
    queue = []
    for name in "abcd"[: draw(st.integers(1, 4))]:
        per_pod = draw(size)
        queue.append(
            ask(
                name,
                per_pod * draw(st.integers(1, 3)),
                per_pod=per_pod,
                duration=draw(ends | st.none()),
            )
        )
    late = {name: draw(st.sampled_from([0, 0, 5, 15])) * MINUTE for name in "abcd"}
    limit = draw(st.none() | st.none() | st.integers(2, 5))

    def fresh() -> Cluster:
        # Those that run already lie where they lie, on cordoned nodes too.
        cluster = Cluster(others, set(), [], order)
        for job in jobs:
            mine = replace(job, on=[])
            cluster.jobs.append(mine)
            cluster.place(mine)
            if not mine.is_placed:
                cluster.jobs.pop()
        cluster.cordoned = cordoned
        return cluster

    return fresh, head, queue, limit, late


@settings(max_examples=150, deadline=None)
@given(harbours())
def test_a_run_that_overtook_and_kept_its_word_never_delays_the_head(harbour):
    fresh, head, queue, limit, late = harbour
    alone = head_starts(fresh(), head, [], limit, late)
    if alone is None:
        return  # the head has no known room, so nothing promises it a time
    assert head_starts(fresh(), head, queue, limit, late) == alone
