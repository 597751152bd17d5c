"""Series of our own metrics: closed label sets, and gone with their object."""

import pytest

from slackwater.core.ledger import State
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.ports import Key, Kind
from slackwater.runtime.metrics import Metrics
from tests.core.builders import CANARY, clock, hours, line
from tests.runtime.rig import GPU, MINUTE, NS, Bay, on_virtual_time

ONE, TWO = Ref(NS, "one"), Ref(NS, "two")
CLOSED = {
    "state",
    "reason",
    "type",
    "status",
    "kind",
    "result",
    "version",
    "provider",
    "le",
    "quantile",
}
"""Labels whose values are words of ours; the others name objects."""


def samples(metrics):
    return [s for family in metrics.registry.collect() for s in family.samples]


def of(metrics, ref):
    return [s for s in samples(metrics) if s.labels.get("name") == ref.name]


def test_an_occurrence_counts_once_in_each_state_it_enters():
    metrics = Metrics()
    waiting = line(state=State.WAITING, reason=Reason.NO_DATA)
    metrics.entered(ONE, waiting, None)
    metrics.entered(ONE, line("e2", State.WAITING, reason=Reason.NO_DATA), None)
    (found,) = [s for s in of(metrics, ONE) if s.name == "slackwater_occurrences_total"]
    assert found.value == 2
    assert found.labels == {
        "namespace": NS,
        "name": "one",
        "state": "Waiting",
        "reason": "NoData",
    }


@pytest.mark.parametrize(("minutes", "upto"), [(0, "1.0"), (3, "300.0")])
def test_the_delay_of_a_start_is_from_the_opening_to_airflows_word(minutes, upto):
    metrics = Metrics()
    intended = line(state=State.INTENDED, window=hours(10, 12))
    at = clock(10 + minutes / 60)
    triggered = line(state=State.TRIGGERED, window=hours(10, 12), trigger_time=at)
    metrics.entered(ONE, triggered, intended)
    metrics.entered(ONE, triggered, None)  # found, not started: no delay of ours
    values = {
        s.labels.get("le"): s.value
        for s in samples(metrics)
        if s.name == "slackwater_start_delay_seconds_bucket"
    }
    assert values["+Inf"] == 1
    assert min((le for le, v in values.items() if v), key=float) == upto


def test_the_counters_of_a_deleted_window_go_and_others_stay():
    metrics = Metrics()
    for ref in (ONE, TWO):
        metrics.entered(ref, line(state=State.WAITING, reason=Reason.NO_DATA), None)
        metrics.entered(ref, line(state=State.MISSED, reason=Reason.NO_DATA), None)
    metrics.forget(Key(Kind.TRAINING_WINDOW, ONE))
    assert of(metrics, ONE) == []
    assert len([s for s in of(metrics, TWO) if s.name == "slackwater_occurrences_total"]) == 2
    metrics.forget(Key(Kind.TRAINING_WINDOW, ONE))  # twice is no harm
    metrics.forget(Key(Kind.GPU_POOL, TWO))
    assert of(metrics, TWO)


@on_virtual_time
async def test_every_series_of_an_object_goes_with_it(clock):
    found = Bay(clock)
    found.apply_all()
    found.pool.foreign = 30
    key = found.window(gpu=GPU)
    found.event(1, 6)
    found.start()
    metrics = found.metrics
    metrics.expose(found.engine.world, leading=lambda: True, dropped=lambda: 0)
    await found.until(1.2)
    names = {s.name for s in of(metrics, key.ref)}
    assert {"slackwater_waiting", "slackwater_status_condition"} <= names
    assert {s.name for s in of(metrics, Ref(NS, "h100"))} >= {"slackwater_pool_free_gpus"}
    found.store.delete(key)
    for kind, name in (("GPUPool", "h100"), ("Calendar", "team"), ("AirflowInstance", "default")):
        found.store.delete(Key(Kind(kind), Ref(NS, name)))
    await found.until(1.3)
    named = {(s.name, s.labels["name"]) for s in samples(metrics) if "name" in s.labels}
    assert named == set()
    await found.stop()


@on_virtual_time
async def test_labels_are_names_of_objects_or_words_of_ours(clock):
    found = Bay(clock)
    found.apply_all()
    key = found.window(gpu=GPU)
    found.event(1, 3)
    found.start()
    found.metrics.expose(found.engine.world, leading=lambda: True, dropped=lambda: 0)
    await found.until(1.2)
    (run_id,) = [run for _, run in found.airflow.posts]
    objects = {"namespace", "name"}
    for sample in samples(found.metrics):
        assert sample.labels.keys() <= objects | CLOSED, sample.name
        text = " ".join(sample.labels.values())
        assert CANARY not in text
        assert run_id not in text
        assert "://" not in text
    reasons = {s.labels["reason"] for s in of(found.metrics, key.ref) if "reason" in s.labels}
    assert reasons <= set(Reason)
    await found.stop()


@on_virtual_time
async def test_old_numbers_of_a_pool_are_not_shown_as_its_present(clock):
    found = Bay(clock)
    found.apply_all()
    found.start()
    found.metrics.expose(found.engine.world, leading=lambda: True, dropped=lambda: 0)
    await found.until(0.1)

    def shown():
        return {s.name for s in of(found.metrics, Ref(NS, "h100"))}

    assert "slackwater_pool_free_gpus" in shown()
    found.world.down.add(f"{NS}/h100")
    await found.until(0.2)
    assert "slackwater_pool_free_gpus" not in shown()
    assert "slackwater_pool_promised_gpus" in shown()
    await found.stop()


@on_virtual_time
async def test_what_runs_took_is_told_once_it_is_learned(clock):
    found = Bay(clock)
    found.apply_all()
    key = found.window(gpu=GPU)
    found.airflow.times = tuple(minutes * MINUTE for minutes in (50, 55, 60, 65, 90))
    found.event(6, 10)
    found.start()
    found.metrics.expose(found.engine.world, leading=lambda: True, dropped=lambda: 0)
    await found.until(0.2)
    took = {
        s.labels["quantile"]: s.value
        for s in of(found.metrics, key.ref)
        if s.name == "slackwater_learned_duration_seconds"
    }
    assert took == {"0.5": 3600, "0.9": 5400}
    await found.stop()
