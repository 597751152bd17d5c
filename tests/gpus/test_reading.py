from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.core.sample import Room
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.answer import Row
from slackwater.gpus.queries import REPORT
from slackwater.gpus.reading import Look, read_exporter, read_kubernetes

NOW = datetime(2026, 11, 23, 22, tzinfo=UTC)
REF = Ref("research", "h100")


def one(what: str, value: float, **labels: str) -> Row:
    return Row({"what": what, **labels}, 1e9, value)


def plain(value: float, **labels: str) -> Row:
    return Row(labels, 1e9, value)


def reports(host: str, *loads: float, label: str = "hostname") -> Row:
    return one("reports", REPORT * len(loads) + sum(loads), **{label: host})


AGES = (one("age.nodes", 3), one("age.ready", 3), one("age.load.1", 12.5))
TWO_NODES = (
    one("capacity", 8, node="a"),
    one("capacity", 8, node="b"),
    one("allocatable", 8, node="a"),
    one("requested", 6, node="a"),
    one("requested", 8, node="b"),
    one("requested", 4),
    reports("a", *[0.5] * 8),
    reports("b", *[1.0] * 8),
    *AGES,
)


def kubernetes(*rows: Row, overrides=None, names=None):
    look = Look(ref=REF, rows=rows, overrides=overrides or {}, names=names)
    return read_kubernetes(look, NOW)


def exporter(*rows: Row, most_seen=0, overrides=None):
    return read_exporter(Look(ref=REF, rows=rows, overrides=overrides or {}), most_seen, NOW)


def reason(call, *args, **options) -> Reason:
    with pytest.raises(PoolError) as caught:
        call(*args, **options)
    return caught.value.reason


def test_a_complete_look_is_a_sample():
    sample = kubernetes(*TWO_NODES)
    assert sample.capacity == 16
    assert sample.rooms == (Room("a", 8, 2),)
    assert sample.used == 14
    assert sample.waiting == 4
    assert sample.utilization == pytest.approx(0.75)
    assert sample.coverage == 1.0
    assert sample.visible is None


def test_a_sample_is_as_old_as_its_oldest_input():
    assert kubernetes(*TWO_NODES).time == NOW - timedelta(seconds=12.5)


def test_a_server_ahead_of_its_exporters_makes_no_future_samples():
    rows = [row for row in TWO_NODES if not row.labels["what"].startswith("age")]
    assert kubernetes(*rows, one("age.ready", -4)).time == NOW


def test_an_absurd_age_is_only_very_old():
    assert kubernetes(*TWO_NODES, one("age.x", 1e300)).time < NOW - timedelta(days=3000)


def test_without_an_age_a_look_is_worth_nothing():
    rows = [row for row in TWO_NODES if not row.labels["what"].startswith("age")]
    assert reason(kubernetes, *rows) is Reason.NO_DATA


def test_no_nodes_are_no_data_and_not_a_full_pool():
    assert reason(kubernetes, reports("a", 0.5), *AGES) is Reason.NO_DATA
    assert reason(kubernetes) is Reason.NO_DATA


def test_no_usable_node_is_no_room():
    sample = kubernetes(one("capacity", 8, node="a"), *AGES)
    assert (sample.capacity, sample.rooms, sample.coverage) == (8, (), None)


def test_nobody_saying_whether_nodes_are_ready_is_no_data():
    assert reason(kubernetes, one("capacity", 8, node="a"), AGES[0]) is Reason.NO_DATA


def test_silent_gpus_lower_coverage_and_not_utilisation():
    rows = [row for row in TWO_NODES if row.labels["what"] != "reports"]
    sample = kubernetes(*rows, reports("a", 0.5, 0.5))
    assert sample.coverage == pytest.approx(2 / 8)
    assert sample.utilization == pytest.approx(0.5)


def test_without_any_report_coverage_is_nothing_and_utilisation_unknown():
    rows = [row for row in TWO_NODES if row.labels["what"] != "reports"]
    sample = kubernetes(*rows)
    assert (sample.coverage, sample.utilization) == (0.0, None)


def test_a_node_that_offers_nothing_need_not_report():
    rows = [row for row in TWO_NODES if row.labels.get("hostname") != "b"]
    assert kubernetes(*rows).coverage == 1.0


def test_instances_beyond_what_a_node_offers_do_not_cover_for_other_nodes():
    rows = [one("capacity", 8, node=n) for n in "ab"] + [
        one("allocatable", 8, node=n) for n in "ab"
    ]
    sample = kubernetes(*rows, *AGES, reports("a", *[0.1] * 56))
    assert sample.coverage == 0.5


def test_more_requests_than_gpus_leave_no_room_and_no_debt():
    rows = (one("capacity", 4, node="a"), one("allocatable", 4, node="a"), *AGES)
    assert kubernetes(*rows, one("requested", 9, node="a")).rooms == (Room("a", 4, 0),)


def test_only_the_named_nodes_count():
    far = (
        one("capacity", 100, node="far"),
        one("allocatable", 100, node="far"),
        one("requested", 50, node="far"),
        reports("far", *[0.0] * 8, label="Hostname"),
        one("age.load.0", 250, Hostname="far"),
        one("age.requests", 250, node="far"),
    )
    assert kubernetes(*TWO_NODES, *far, names={"a", "b"}) == kubernetes(*TWO_NODES)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=600))
def test_reports_carry_count_and_load_in_one_number(loads):
    sample = exporter(reports("a", *loads), *AGES)
    assert sample.capacity == len(loads)
    assert sample.utilization == pytest.approx(sum(loads) / len(loads), abs=1e-9)


# --- exporter ----------------------------------------------------------------------------------


def test_a_host_without_kubernetes_has_what_reports_and_uses_what_is_held():
    sample = exporter(
        reports("a", *[0.9, 0.0, 0.0, 0.0]),
        reports("b", 0.0, label="Hostname"),
        one("held", 2, hostname="a"),
        *AGES,
    )
    assert sample.capacity == 5
    assert sample.rooms == (Room("a", 4, 2), Room("b", 1, 1))
    assert (sample.used, sample.waiting) == (2, 0)
    assert sample.utilization == pytest.approx(0.9 / 5)
    assert sample.coverage == 1.0


def test_gpus_that_reported_within_a_day_are_missed():
    assert exporter(reports("a", 0.0, 0.0), *AGES, most_seen=8).coverage == 0.25
    assert exporter(reports("a", 0.0, 0.0), *AGES, most_seen=1).coverage == 1.0


def test_silence_of_all_hosts_is_no_data():
    assert reason(exporter, most_seen=8) is Reason.NO_DATA


# --- the pool's own queries --------------------------------------------------------------------


def test_own_queries_replace_the_built_in_ones():
    sample = kubernetes(
        *TWO_NODES,
        overrides={
            "capacity": [plain(32)],
            "allocatable": [plain(8, node="x"), plain(4.7, node="y")],
            "requested": [plain(1.2, node="x")],
            "waiting": [plain(2)],
            "utilization": [plain(0.25)],
            "coverage": [plain(0.5)],
            "sampleAge": [plain(60)],
        },
    )
    assert sample.time == NOW - timedelta(seconds=60)
    assert sample.capacity == 32
    assert sample.rooms == (Room("x", 8, 6), Room("y", 4, 4))
    assert (sample.used, sample.waiting) == (2, 2)
    assert (sample.utilization, sample.coverage) == (0.25, 0.5)


def test_own_queries_work_for_hosts_without_kubernetes():
    sample = exporter(
        overrides={
            "capacity": [plain(8)],
            "allocatable": [plain(8, node="x")],
            "requested": [],
            "coverage": [plain(1)],
            "sampleAge": [plain(1)],
        }
    )
    assert (sample.capacity, sample.used, sample.rooms) == (8, 0, (Room("x", 8, 8),))
    assert (sample.utilization, sample.coverage) == (None, 1.0)


@pytest.mark.parametrize("name", ["capacity", "utilization", "coverage", "sampleAge"])
def test_own_queries_that_find_nothing_block(name):
    assert reason(kubernetes, *TWO_NODES, overrides={name: []}) is Reason.NO_DATA


def test_own_queries_by_node_that_find_nothing_block_where_nothing_means_unknown():
    assert reason(kubernetes, *TWO_NODES, overrides={"allocatable": []}) is Reason.NO_DATA
    assert kubernetes(*TWO_NODES, overrides={"requested": []}).used == 0
    assert kubernetes(*TWO_NODES, overrides={"waiting": []}).waiting == 0


@pytest.mark.parametrize("name", ["capacity", "waiting", "utilization", "coverage", "sampleAge"])
def test_several_series_where_one_is_meant_block(name):
    rows = [plain(0.5, gpu="0"), plain(0.5, gpu="1")]
    assert reason(kubernetes, *TWO_NODES, overrides={name: rows}) is Reason.TOO_MANY_SERIES


@pytest.mark.parametrize("name", ["allocatable", "requested"])
def test_own_queries_by_node_name_each_node_once(name):
    twice = [plain(1, node="a", replica="0"), plain(1, node="a", replica="1")]
    assert reason(kubernetes, *TWO_NODES, overrides={name: twice}) is Reason.TOO_MANY_SERIES
    nameless = [plain(8)]
    assert reason(kubernetes, *TWO_NODES, overrides={name: nameless}) is Reason.BAD_RESULT_TYPE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utilization", 37.0),
        ("utilization", -0.1),
        ("coverage", 100.0),
        ("capacity", -1.0),
        ("waiting", -1.0),
    ],
)
def test_a_number_of_the_wrong_unit_blocks(name, value):
    overrides = {name: [plain(value)]}
    with pytest.raises(PoolError) as caught:
        kubernetes(*TWO_NODES, overrides=overrides)
    assert caught.value.reason is Reason.BAD_RESULT_TYPE
    assert caught.value.gaps["what"] == f"Prometheus of pool research/h100 (queries.{name})"


def test_rounding_is_no_wrong_unit():
    sample = kubernetes(
        *TWO_NODES, overrides={"utilization": [plain(-1e-9)], "coverage": [plain(1 + 1e-9)]}
    )
    assert (sample.utilization, sample.coverage) == (0.0, 1.0)


# --- whose pods they are -----------------------------------------------------------------------


def of_run(gpus, node="a", **labels):
    return one("visible", gpus, node=node, **labels)


def test_where_no_pod_says_to_which_run_it_belongs_nobody_is_told_apart():
    assert kubernetes(*TWO_NODES).visible is None


def test_where_labels_can_be_read_a_run_without_pods_shows_nothing():
    found = kubernetes(*TWO_NODES, one("labelled", 3))
    assert found.visible == {}
    assert found.shown("slackwater.test.research.n.0123") == 0


def test_the_pods_of_a_run_are_added_up_by_either_label():
    run = "slackwater.test.research.n.0123"
    rows = (
        of_run(8, label_run_id=run),
        of_run(4, node="b", label_run_id=run),
        of_run(2, node="", label_run_id=run),
        of_run(1, label_slackwater_dev_run="0123"),
        of_run(3, label_run_id=run, label_slackwater_dev_run="4567"),
        of_run(5, label_run_id="slackwater.test.research.other.89"),
    )
    found = kubernetes(*TWO_NODES, one("labelled", 9), *rows)
    assert found.shown(run) == 15
    assert found.shown("slackwater.test.research.n.4567") == 3


def test_pods_on_nodes_of_other_pools_take_nothing_of_this_one():
    run = "slackwater.test.research.n.0123"
    rows = (of_run(8, label_run_id=run), of_run(4, node="far", label_run_id=run))
    found = kubernetes(*TWO_NODES, one("labelled", 2), *rows, names={"a", "b"})
    assert found.shown(run) == 8
