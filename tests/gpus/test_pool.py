from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from slackwater.core.sample import Room, Sample
from slackwater.core.words import Reason
from slackwater.errors import PoolError, StoreError
from slackwater.gpus import queries, questions
from slackwater.gpus.config import Mode
from slackwater.gpus.static import StaticPool
from slackwater.ports import PoolSource
from tests.gpus.fake_prometheus import SERVER_NOW, failure, row, success, vector


def marked(what: str, value: float, **labels: str):
    return row(value, what=what, **labels)


ROWS = (
    marked("capacity", 8, node="gpu-1"),
    marked("allocatable", 8, node="gpu-1"),
    marked("requested", 2, node="gpu-1"),
    marked("reports", 8 * queries.REPORT + 4, hostname="gpu-1"),
    marked("age.nodes", 7),
    marked("age.ready", 7),
)


def picks(*names: str):
    async def select() -> frozenset[str]:
        return frozenset(names)

    return select


async def refused(awaitable) -> PoolError:
    with pytest.raises(PoolError) as caught:
        await awaitable
    return caught.value


# --- samples -----------------------------------------------------------------------------------


async def test_one_sample_is_one_request(fake, pool, clock):
    fake.reply = lambda asked: vector(*ROWS)
    source: PoolSource = pool(nodes="gpu-.*")
    assert await source.sample() == Sample(
        time=clock.now() - timedelta(seconds=7),
        capacity=8,
        rooms=(Room("gpu-1", 8, 6),),
        used=2,
        utilization=0.5,
        coverage=1.0,
    )
    (asked,) = fake.asked
    assert asked.method == "POST"
    scope = queries.Scope(nodes="gpu-.*")
    assert asked.query == questions.union(questions.kubernetes(scope))


async def test_a_sample_is_dated_by_our_clock_at_its_arrival(fake, pool, clock):
    def reply(asked):
        clock.pass_(2)
        return vector(*ROWS)

    fake.reply = reply
    sample = await pool(nodes="gpu-.*").sample()
    assert sample.time == clock.now() - timedelta(seconds=7)


async def test_an_empty_answer_blocks(pool):
    assert (await refused(pool(nodes="gpu-.*").sample())).reason is Reason.NO_DATA


async def test_a_few_nodes_by_name_are_asked_for_by_name(fake, pool):
    fake.reply = lambda asked: vector(*ROWS)
    await pool(select_nodes=picks("gpu-1", "gpu.2")).sample()
    assert r'node=~"gpu-1|gpu\\.2"' in fake.asked[0].query


async def test_many_nodes_by_name_are_picked_from_the_answer(fake, pool):
    names = [f"gpu-{i}" for i in range(500)]
    far = (marked("capacity", 8, node="far"), marked("age.load.0", 999, hostname="far"))
    fake.reply = lambda asked: vector(*ROWS, *far)
    sample = await pool(select_nodes=picks(*names)).sample()
    assert sample.capacity == 8
    assert len(fake.asked[0].query) < 6000


async def test_a_selector_that_picks_no_node_asks_nothing_and_blocks(fake, pool):
    error = await refused(pool(select_nodes=picks()).sample())
    assert error.reason is Reason.NO_DATA
    assert fake.asked == []


async def test_a_selector_without_a_cluster_names_the_field(fake, pool):
    async def nothing() -> None:
        return None

    error = await refused(pool(select_nodes=nothing).sample())
    assert error.reason is Reason.INVALID_SPEC
    assert "spec.nodeSelector" in error.sentence


async def test_a_store_that_cannot_list_nodes_blocks(fake, pool):
    async def broken() -> None:
        raise StoreError(Reason.UNREACHABLE, what="The API server")

    assert (await refused(pool(select_nodes=broken).sample())).reason is Reason.UNREACHABLE


# --- own queries -------------------------------------------------------------------------------


async def test_own_queries_are_asked_as_written_and_not_in_vain(fake, pool):
    own = {"utilization": "amd_load / 100", "coverage": "vector(0.5)", "sampleAge": "scalar(x)"}

    def reply(asked):
        if asked.query == own["utilization"]:
            return vector(row(0.3, cluster="a"))
        if asked.query == own["coverage"]:
            return vector(row(0.5))
        if asked.query == own["sampleAge"]:
            return success("scalar", [SERVER_NOW, "20"])
        return vector(*ROWS)

    fake.reply = reply
    sample = await pool(nodes="gpu-.*", queries=own).sample()
    assert (sample.utilization, sample.coverage) == (0.3, 0.5)
    built_in = next(a.query for a in fake.asked if a.query not in own.values())
    assert "DCGM" not in built_in
    assert "timestamp" not in built_in
    assert len(fake.asked) == 4


async def test_a_pool_of_own_queries_asks_nothing_else(fake, pool):
    own = {
        "capacity": "8",
        "allocatable": "a",
        "requested": "r",
        "waiting": "0",
        "utilization": "0.5",
        "coverage": "1",
        "sampleAge": "5",
    }

    def reply(asked):
        try:
            return success("scalar", [SERVER_NOW, str(float(asked.query))])
        except ValueError:
            return vector(row(8 if asked.query == "a" else 3, node="n"))

    fake.reply = reply
    sample = await pool(nodes=".*", queries=own).sample()
    assert sample.rooms == (Room("n", 8, 5),)
    assert sorted(asked.query for asked in fake.asked) == sorted(own.values())


async def test_a_wrong_own_query_is_named(fake, pool):
    def reply(asked):
        return failure(400, "bad_data", "no") if asked.query == "sum(" else vector(*ROWS)

    fake.reply = reply
    error = await refused(pool(nodes="gpu-.*", queries={"waiting": "sum("}).sample())
    assert error.reason is Reason.BAD_QUERY
    assert error.gaps["what"] == "Prometheus of pool research/h100 (queries.waiting)"


# --- exporter ----------------------------------------------------------------------------------


def exporter_reply(most: float, *rows):
    def reply(asked):
        return vector(row(most)) if asked.query.startswith("max_over_time") else vector(*rows)

    return reply


HOSTS = (
    marked("reports", 4 * queries.REPORT + 1, Hostname="gpu-1"),
    marked("held", 1, Hostname="gpu-1"),
    marked("age.load.0", 9, Hostname="gpu-1"),
)


async def test_hosts_without_kubernetes_are_compared_with_the_last_24_hours(fake, pool, clock):
    fake.reply = exporter_reply(8, *HOSTS)
    sample = await pool(nodes="gpu-.*", mode=Mode.EXPORTER, busy_percent=20).sample()
    assert sample == Sample(
        time=clock.now() - timedelta(seconds=9),
        capacity=4,
        rooms=(Room("gpu-1", 4, 3),),
        used=1,
        utilization=0.25,
        coverage=0.5,
    )
    assert any("> 0.2 or" in asked.query for asked in fake.asked)
    assert not any("kube_" in asked.query for asked in fake.asked)


async def test_the_last_24_hours_are_asked_about_every_ten_minutes(fake, pool, clock):
    fake.reply = exporter_reply(8, *HOSTS)
    source = pool(nodes="gpu-.*", mode=Mode.EXPORTER)
    for _ in range(41):  # ten minutes at 15 s, ends included
        await source.sample()
        clock.pass_(15)
    asked = [a for a in fake.asked if a.query.startswith("max_over_time")]
    assert len(asked) == 2


async def test_hosts_that_all_fell_silent_block(fake, pool):
    fake.reply = exporter_reply(8)
    source = pool(nodes="gpu-.*", mode=Mode.EXPORTER)
    assert (await refused(source.sample())).reason is Reason.NO_DATA


async def test_own_coverage_saves_the_look_at_24_hours(fake, pool):
    fake.reply = lambda asked: vector(row(1)) if asked.query == "one" else vector(*HOSTS)
    source = pool(nodes="gpu-.*", mode=Mode.EXPORTER, queries={"coverage": "one"})
    assert (await source.sample()).coverage == 1.0
    assert not any(asked.query.startswith("max_over_time") for asked in fake.asked)


# --- history -----------------------------------------------------------------------------------


def history_reply(values, gpus=8):
    def reply(asked):
        if asked.path.endswith("query_range"):
            return success("matrix", [{"metric": {}, "values": values}] if values else [])
        return vector(row(gpus))

    return reply


async def test_history_is_asked_by_the_servers_clock_and_told_by_ours(fake, pool, clock):
    fake.reply = history_reply([[SERVER_NOW - 30, "0.25"], [SERVER_NOW, "0.5"]])
    now = clock.now()
    found = await pool(nodes="gpu-.*").utilization_since(now - timedelta(minutes=5))
    assert found == ((now - timedelta(seconds=30), 0.25), (now, 0.5))
    asked = fake.asked[-1]
    parameters = asked.url_parameters | asked.form
    assert float(parameters["end"]) == SERVER_NOW
    assert float(parameters["start"]) == SERVER_NOW - 300
    assert float(parameters["step"]) == 15
    assert all(time.tzinfo is UTC for time, _ in found)


@pytest.mark.parametrize("gpus", [1, 8, 4000, 100_000])
@pytest.mark.parametrize("days", [0.001, 1, 28, 365])
async def test_a_long_history_of_many_gpus_comes_in_wider_steps(fake, pool, clock, days, gpus):
    fake.reply = history_reply([], gpus)
    assert await pool(nodes="gpu-.*").utilization_since(clock.now() - timedelta(days=days)) == ()
    asked = fake.asked[-1].url_parameters | fake.asked[-1].form
    step = float(asked["step"])
    points = (float(asked["end"]) - float(asked["start"])) / step + 1
    assert step >= 15
    assert points <= 11_000
    assert points * gpus <= 2_000_000 or step == 15


async def test_nothing_is_asked_about_the_future(fake, pool, clock):
    fake.reply = history_reply([[SERVER_NOW, "1"]])
    assert await pool(nodes="gpu-.*").utilization_since(clock.now()) == ()
    assert all(asked.path == "/api/v1/query" for asked in fake.asked)


async def test_history_follows_the_pools_own_query(fake, pool, clock):
    fake.reply = history_reply([[SERVER_NOW, "1"]])
    source = pool(nodes="gpu-.*", queries={"utilization": "load"})
    assert len(await source.utilization_since(datetime(2026, 11, 1, tzinfo=UTC))) == 1
    assert fake.asked[-1].query == "load"


async def test_several_series_of_history_block(fake, pool, clock):
    series = [{"metric": {"a": a}, "values": [[SERVER_NOW, "1"]]} for a in "xy"]
    fake.reply = lambda asked: (
        success("matrix", series) if asked.path.endswith("range") else vector(row(8))
    )
    since = clock.now() - timedelta(hours=1)
    error = await refused(pool(nodes="gpu-.*").utilization_since(since))
    assert error.reason is Reason.TOO_MANY_SERIES


async def test_the_demand_of_others_is_our_own_record_of_it_else_all_requests(fake, pool, clock):
    fake.reply = history_reply([[SERVER_NOW - 1800, "12"], [SERVER_NOW, "-1"]])
    now = clock.now()
    found = await pool(nodes="gpu-.*").demand_since(now - timedelta(days=35))
    assert found == ((now - timedelta(minutes=30), 12.0), (now, 0.0))
    asked = fake.asked[-1].url_parameters | fake.asked[-1].form
    assert float(asked["step"]) == 1800
    ours, _, raw = fake.asked[-1].query.partition(" or sum(")
    assert 'slackwater_pool_foreground_gpus{name="h100", namespace="research"}' in ours
    assert 'exported_namespace="research"' in ours
    assert raw == queries.requested(queries.Scope(nodes="gpu-.*")) + ")"


@pytest.mark.parametrize(
    ("changes", "raw"),
    [
        ({"queries": {"requested": "own"}}, "own"),
        ({"mode": Mode.EXPORTER}, queries.held(queries.Scope(nodes="gpu-.*"), 0.05)),
    ],
    ids=["own query", "exporter"],
)
async def test_the_demand_is_asked_as_the_pool_asks_for_requests(fake, pool, clock, changes, raw):
    fake.reply = history_reply([[SERVER_NOW, "3"]])
    since = clock.now() - timedelta(days=1)
    assert await pool(nodes="gpu-.*", **changes).demand_since(since) == ((clock.now(), 3.0),)
    assert fake.asked[-1].query.endswith(f" or sum({raw})")


async def test_no_demand_is_known_where_nothing_reports(fake, pool, clock):
    fake.reply = history_reply([], gpus=0)
    assert await pool(nodes="gpu-.*").demand_since(clock.now() - timedelta(days=1)) == ()


async def test_what_the_namespaces_of_reservations_use_is_counted_apart(fake, pool):
    rows = (
        marked("namespaces", 3, node="gpu-1", namespace="demo"),
        marked("namespaces", 2, node="gpu-2", namespace="demo"),
        marked("namespaces", 1, node="gpu-1", namespace="sales"),
    )
    fake.reply = lambda asked: vector(*ROWS, *rows)
    found = await pool(nodes="gpu-.*", namespaces=frozenset({"demo", "sales"})).sample()
    assert found.used_by == {"demo": 5, "sales": 1}
    assert 'namespace=~"demo|sales"' in fake.asked[-1].query
    picked = pool(select_nodes=picks("gpu-1"), namespaces=frozenset({"demo"}))
    assert (await picked.sample()).used_by == {"demo": 3, "sales": 1}


# --- whose pods they are -----------------------------------------------------------------------

RUN = "slackwater.test.research.nightly.0123456789abcdef01234567"


async def test_labels_of_pods_are_believed_to_be_readable_for_a_day_after_the_last(
    fake, pool, clock
):
    shown = (marked("labelled", 1), marked("visible", 4, node="gpu-1", label_run_id=RUN))
    fake.reply = lambda asked: vector(*ROWS, *shown)
    source = pool(nodes="gpu-.*")
    assert (await source.sample()).shown(RUN) == 4
    fake.reply = lambda asked: vector(*ROWS)
    clock.pass_(86_399)
    assert (await source.sample()).shown(RUN) == 0
    clock.pass_(86_401)
    assert (await source.sample()).shown(RUN) is None


@pytest.mark.parametrize(
    "changes", [{"pod_labels": False}, {"queries": {"requested": "r"}}], ids=str
)
async def test_labels_are_not_asked_for_where_they_are_not_wanted_or_say_nothing(
    fake, pool, changes
):
    fake.reply = lambda asked: vector(row(2, node="gpu-1")) if asked.query == "r" else vector(*ROWS)
    sample = await pool(nodes="gpu-.*", **changes).sample()
    assert sample.visible is None
    assert not any("kube_pod_labels" in asked.query for asked in fake.asked)


# --- static ------------------------------------------------------------------------------------


async def test_a_static_pool_is_always_fresh_and_free(clock):
    source: PoolSource = StaticPool(8, clock)
    sample = await source.sample()
    assert sample.time == clock.now()
    assert sample.fit(8) == sample.capacity == 8
    assert (sample.used, sample.waiting, sample.utilization, sample.coverage) == (0, 0, None, None)
    assert await source.utilization_since(clock.now() - timedelta(days=1)) == ()
    assert await source.demand_since(clock.now() - timedelta(days=1)) == ()
    await source.aclose()
