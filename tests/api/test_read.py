from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slackwater.api.manifest import parse_manifests
from slackwater.api.read import (
    read_airflow_instance,
    read_calendar,
    read_gpu_pool,
    read_training_window,
)
from slackwater.calendars.registry import PROVIDERS
from slackwater.core import spec
from slackwater.core.event import Busy
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from tests.api.corpus import GOOD

NIGHTS = {
    "name": "nights",
    "effect": "Trigger",
    "schedule": "0 22 * * *",
    "durationSeconds": 28800,
}
DAG = {"airflowRef": {"name": "default"}, "dagId": "train"}


def window(**fields: Any) -> dict[str, Any]:
    return {"dag": DAG, "windows": [NIGHTS], **fields}


def test_a_whole_training_window_means_what_it_says() -> None:
    (item,) = parse_manifests(GOOD["nightly-llm"])
    assert read_training_window(item.namespace, item.spec) == spec.TrainingWindow(
        dag=spec.Dag(
            airflow=spec.Ref("research", "default"),
            dag_id="train_llm",
            conf={
                "epochs": 3,
                "until": {"$cel": "window.end"},
                "resume": None,
                "params": {"$cel": "event.parameters"},
            },
        ),
        calendars=(
            spec.CalendarEntry(
                name="team",
                calendar=spec.Ref("research", "team"),
                effect=spec.Effect.TRIGGER,
                match=spec.Match(
                    summary="train:*",
                    categories=("training",),
                    busy=(Busy.BUSY, Busy.OUT_OF_OFFICE),
                    organizers=("*@example.com",),
                    expression="event.durationMinutes >= 60",
                ),
                end_offset=timedelta(seconds=-600),
            ),
            spec.CalendarEntry(
                name="reserved",
                calendar=spec.Ref("shared", "outlook"),
                effect=spec.Effect.DENY,
                match=spec.Match(summary="GPU reserved*"),
            ),
            spec.CalendarEntry(
                name="papers",
                calendar=spec.Ref("research", "team"),
                effect=spec.Effect.DEADLINE,
                match=spec.Match(summary="deadline:*"),
            ),
        ),
        windows=(
            spec.InlineEntry(
                name="nights",
                effect=spec.Effect.ALLOW,
                schedule="0 22 * * 1-5",
                duration=timedelta(hours=8),
            ),
            spec.InlineEntry(
                name="freeze",
                effect=spec.Effect.DENY,
                fixed=Span(
                    datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 1, 1, 23, tzinfo=UTC)
                ),
                when_running=spec.Ending.CANCEL,
            ),
        ),
        time_zone="Europe/Berlin",
        gpu=spec.GpuAsk(
            pool=spec.Ref("research", "h100"),
            count=16,
            per_pod=8,
            max_utilization_percent=80,
            hysteresis_percent=7.5,
            hold_for=timedelta(minutes=10),
        ),
        starting_deadline=timedelta(hours=1),
        on_window_end=spec.Ending.CANCEL,
        overrun=timedelta(minutes=15),
        priority=10,
    )


def test_what_is_left_out_or_null_has_the_defaults_of_the_core() -> None:
    (item,) = parse_manifests(GOOD["least-window"])
    assert read_training_window(item.namespace, item.spec) == spec.TrainingWindow(
        dag=spec.Dag(airflow=spec.Ref("default", "default"), dag_id="train"),
        windows=(
            spec.InlineEntry(
                name="nights",
                effect=spec.Effect.TRIGGER,
                schedule="0 22 * * *",
                duration=timedelta(hours=8),
            ),
        ),
    )


def test_defaults_of_a_gpu_ask_are_those_of_the_core() -> None:
    found = read_training_window("ns", window(gpu={"poolRef": {"name": "p"}, "count": 3}))
    assert found.gpu == spec.GpuAsk(pool=spec.Ref("ns", "p"), count=3)


def test_a_null_inside_conf_stays() -> None:
    conf = {"a": None, "b": {"conf": None, "c": [None]}}
    found = read_training_window("ns", window(dag={**DAG, "conf": conf}))
    assert found.dag.conf == conf


def test_an_unknown_zone_is_never_utc() -> None:
    with pytest.raises(ConfigError) as caught:
        read_training_window("ns", window(timeZone="Europe/Nowhere"))
    assert caught.value.reason is Reason.UNKNOWN_TIME_ZONE
    assert caught.value.gaps == {"field": "spec.timeZone", "zone": "Europe/Nowhere"}


def test_rules_of_a_pool() -> None:
    ref = spec.Ref("research", "h100")
    (item, *_) = parse_manifests(GOOD["pools"])
    model, rules = read_gpu_pool(ref, item.spec)
    assert rules == spec.PoolRules(
        ref=ref,
        min_coverage_percent=95.5,
        max_concurrent_runs=4,
        max_sample_age=timedelta(minutes=2),
        reservations=(
            spec.ReservationRule(
                name="demos",
                calendar=spec.Ref("office", "outlook"),
                gpus=64,
                match=spec.Match(summary="GPU reserved*", organizers=("*@example.com",)),
                namespaces=("demo", "sales"),
            ),
            spec.ReservationRule(
                name="booked",
                calendar=spec.Ref("research", "team"),
                gpus="event.parameters.gpus",
            ),
        ),
    )
    assert model.node_selector is not None
    assert model.node_selector.selects({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    assert model.source.prometheus is not None
    assert model.source.prometheus.query_parameters == {
        "dedup": "true",
        "partial_response": "false",
    }


def test_defaults_of_a_pool_are_those_of_the_core() -> None:
    ref = spec.Ref("ns", "p")
    prometheus = {"prometheus": {"serverAddress": "http://prometheus:9090"}}
    _, rules = read_gpu_pool(ref, {"source": prometheus, "nodes": ".*"})
    assert rules == spec.PoolRules(ref=ref)


def test_a_static_pool_is_not_metered() -> None:
    _, rules = read_gpu_pool(spec.Ref("ns", "p"), {"source": {"static": {"gpus": 8}}})
    assert not rules.metered


def test_a_file_is_for_directories_only() -> None:
    document = {"provider": {"ical": {"file": "team.ics"}}}
    assert read_calendar(document, files=True).provider.name == "ical"
    with pytest.raises(ConfigError, match=r"spec\.provider\.ical\.file: works in a directory"):
        read_calendar(document)


def test_the_chosen_provider_is_given_with_its_configuration() -> None:
    read = [read_calendar(item.spec) for item in parse_manifests(GOOD["calendars"])]
    assert {calendar.provider.name for calendar in read} == set(PROVIDERS)
    team, outlook = read[:2]
    assert (team.provider.name, outlook.provider.name) == ("caldav", "ical")
    assert team.provider.config.url == "https://dav.example.com/calendars/team/"
    assert outlook.privacy is spec.Privacy.FREE_BUSY
    gpus = read[-1]
    assert gpus.provider.name == "microsoftGraph"
    assert gpus.provider.config.certificate_secret_ref.key == "bundle.pem"


def test_an_airflow_is_read_with_its_grants() -> None:
    item, staging, keycloak, lent = parse_manifests(GOOD["airflows"])
    model = read_airflow_instance(item.spec)
    assert model.stop_policy is spec.StopPolicy.HOLD
    assert model.require_gpu_pool
    assert [grant.dags for grant in model.grants] == [("train_*",), ("evaluate",)]
    assert [grant.dags for grant in read_airflow_instance(staging.spec).grants] == [("*",)]
    client = read_airflow_instance(keycloak.spec).auth.client_credentials
    assert client is not None
    assert client.client_id == "slackwater"
    assert read_airflow_instance(lent.spec).auth.identity == "airflow"


def test_several_faults_are_told_together_but_not_without_end() -> None:
    bad = window(**{f"field{n}": 1 for n in range(7)})
    with pytest.raises(ConfigError) as caught:
        read_training_window("ns", bad)
    assert caught.value.sentence.count("is not a known field") == 5
    assert caught.value.sentence.endswith("; and 2 more")


def test_what_is_not_json_is_refused() -> None:
    for value in (datetime(2026, 1, 1, tzinfo=UTC), float("nan"), {1, 2}):
        with pytest.raises(ConfigError, match="spec: must hold what JSON can say"):
            read_training_window("ns", window(priority=value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "effect", "calendarRef", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["dag", "calendars", "windows", "gpu", "timeZone", "priority", "suspend"]), JSON
)
def test_any_json_is_read_or_refused(field: str, value: object) -> None:
    # Any other exception fails the test.
    with suppress(ConfigError):
        found = read_training_window("ns", window(**{field: value}))
        assert isinstance(found, spec.TrainingWindow)


def test_a_time_may_have_any_offset_and_fraction() -> None:
    fixed = {
        "name": "a",
        "effect": "Deny",
        "start": "2026-12-20T00:00:00.123456789-05:30",
        "end": "2999-12-31T23:59:59Z",
    }
    (_, entry) = read_training_window("ns", window(windows=[NIGHTS, fixed])).windows
    assert entry.fixed is not None
    assert entry.fixed.start == datetime(2026, 12, 20, 5, 30, 0, 123456, tzinfo=UTC)
    assert entry.fixed.start.tzinfo is UTC
