"""From the wire to the core: a `spec` as the store holds it becomes what it means.

Everything that one object alone can tell is checked here, also what a CRD cannot: time zones,
schedules and expressions. What several objects tell together is for the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from slackwater.api import entries
from slackwater.api import training_window as wire
from slackwater.api.airflow_instance import AirflowInstanceSpec
from slackwater.api.calendar import CalendarSpec
from slackwater.api.complaint import complaints
from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.api.reservation import Reservation
from slackwater.calendars.registry import PROVIDERS
from slackwater.core import conf, expression, schedule, spec, zone
from slackwater.core.match import MATCH_VARIABLES
from slackwater.core.span import Span
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.wire import WireModel

_CONF: Final = ("dag", "conf")

_Model = TypeVar("_Model", bound=WireModel)


def read_training_window(namespace: str, document: Mapping[str, Any]) -> spec.TrainingWindow:
    """What the `spec` of a TrainingWindow in `namespace` means.

    Raises:
        ConfigError: it cannot be used; names the field and what to do.
    """
    model = _checked(wire.TrainingWindowSpec, document, untouched=_CONF)
    _check_zone(model.time_zone)
    for number, entry in enumerate(model.calendars):
        _check_expression(entry.match.expression, f"spec.calendars[{number}].match.expression")
    for number, window in enumerate(model.windows):
        _check_schedule(window, f"spec.windows[{number}].schedule")
    _check_conf(model.dag.conf)
    return spec.TrainingWindow(
        dag=spec.Dag(
            airflow=model.dag.airflow_ref.resolve(namespace),
            dag_id=model.dag.dag_id,
            conf=model.dag.conf,
        ),
        calendars=tuple(_calendar_entry(namespace, entry) for entry in model.calendars),
        windows=tuple(_inline_entry(window) for window in model.windows),
        time_zone=model.time_zone,
        suspend=model.suspend,
        overlap=model.overlap,
        start_policy=model.start_policy,
        gpu=None if model.gpu is None else _gpu(namespace, model.gpu),
        starting_deadline=_span_of(model.starting_deadline_seconds),
        expected_duration=_span_of(model.expected_duration_seconds),
        concurrency=model.concurrency_policy,
        on_window_end=model.on_window_end,
        overrun=timedelta(seconds=model.overrun_seconds),
        on_event_cancelled=model.on_event_cancelled,
        priority=model.priority,
        history_limit=model.history_limit,
    )


def read_calendar(document: Mapping[str, Any], *, files: bool = False) -> CalendarSpec:
    """The `spec` of a Calendar.

    Args:
        document: the spec.
        files: whether it may name a file; only a directory of manifests may (design §2).

    Raises:
        ConfigError: it cannot be used; names the field and what to do.
    """
    model = _checked(CalendarSpec, document)
    if model.time_zone is not None:
        _check_zone(model.time_zone)
    name, config = model.provider.name, model.provider.config
    given = config.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    for field in PROVIDERS[name].file_only_fields:
        if field in given and not files:
            raise ConfigError(
                Reason.INVALID_SPEC,
                detail=f"spec.provider.{name}.{field}: works in a directory of manifests only, "
                "not in a cluster; use another field of the provider",
            )
    return model


def read_gpu_pool(ref: spec.Ref, document: Mapping[str, Any]) -> tuple[GPUPoolSpec, spec.PoolRules]:
    """The `spec` of the GPUPool `ref`, and what the core needs of it.

    Raises:
        ConfigError: it cannot be used; names the field and what to do.
    """
    model = _checked(GPUPoolSpec, document)
    rules = spec.PoolRules(
        ref=ref,
        stop_policy=model.stop_policy,
        max_sample_age=timedelta(seconds=model.max_sample_age_seconds),
        min_coverage_percent=model.min_coverage_percent,
        max_concurrent_runs=model.max_concurrent_runs,
        reservations=tuple(
            _reservation(ref.namespace, one, f"spec.reservations[{index}]")
            for index, one in enumerate(model.reservations)
        ),
        metered=model.source.static is None,
    )
    return model, rules


def _reservation(namespace: str, one: Reservation, field: str) -> spec.ReservationRule:
    if isinstance(one.gpus, str):
        _check_expression(one.gpus, f"{field}.gpus")
    _check_expression(one.match.expression, f"{field}.match.expression")
    return spec.ReservationRule(
        name=one.name,
        calendar=one.calendar_ref.resolve(namespace),
        gpus=one.gpus,
        match=_match(one.match),
        namespaces=one.namespaces,
    )


def read_airflow_instance(document: Mapping[str, Any]) -> AirflowInstanceSpec:
    """The `spec` of an AirflowInstance.

    Raises:
        ConfigError: it cannot be used; names the field and what to do.
    """
    return _checked(AirflowInstanceSpec, document)


def _checked(
    model: type[_Model], document: Mapping[str, Any], untouched: tuple[str, ...] = ()
) -> _Model:
    """The document as a model, judged as the API server judges it: no coercion, nulls dropped."""
    try:
        text = json.dumps(_without_nulls(document, untouched), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(
            Reason.INVALID_SPEC, detail="spec: must hold what JSON can say and nothing else"
        ) from None
    try:
        return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        # Without the cause: it would show what was written, which may be private.
        raise ConfigError(Reason.INVALID_SPEC, detail=complaints(error, model)) from None


def _without_nulls(value: Any, untouched: tuple[str, ...] = ()) -> Any:
    """The same without members that are null, which the API server drops before it sets defaults.

    Args:
        value: JSON.
        untouched: the path of a member that is free JSON, where null is a value like any other.
    """
    if isinstance(value, Mapping):
        return {
            key: item if untouched == (key,) else _without_nulls(item, _below(key, untouched))
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        return [_without_nulls(item) for item in value]
    return value


def _below(key: str, path: tuple[str, ...]) -> tuple[str, ...]:
    return path[1:] if path[:1] == (key,) else ()


def _check_zone(name: str) -> None:
    try:
        zone.zone(name)
    except zone.UnknownZone:
        raise ConfigError(Reason.UNKNOWN_TIME_ZONE, field="spec.timeZone", zone=name) from None


def _check_expression(text: str | None, field: str) -> None:
    if text is None:
        return
    try:
        expression.compile_expression(text, field, MATCH_VARIABLES)
    except expression.BadExpression as error:
        raise ConfigError(
            Reason.INVALID_EXPRESSION, field=error.field, detail=error.detail
        ) from error


def _check_schedule(window: entries.InlineWindow, field: str) -> None:
    if window.schedule is None or window.duration_seconds is None:
        return
    try:
        schedule.check(window.schedule, field, timedelta(seconds=window.duration_seconds))
    except schedule.BadSchedule as error:
        reason = Reason.NEVER_FIRES if error.never_fires else Reason.INVALID_SCHEDULE
        raise ConfigError(reason, field=error.field, detail=error.detail) from error


def _check_conf(template: Mapping[str, Any]) -> None:
    try:
        conf.check_conf(template)
    except conf.BadConf as error:
        field = f"spec.dag.conf.{error.path}"
        remedy = "; rename it" if error.path == conf.OWN_KEY else ""
        if remedy or not spec.has_expression(template):
            raise ConfigError(
                Reason.INVALID_SPEC, detail=f"{field}: {error.detail}{remedy}"
            ) from error
        raise ConfigError(Reason.INVALID_EXPRESSION, field=field, detail=error.detail) from error


def _calendar_entry(namespace: str, entry: entries.CalendarEntry) -> spec.CalendarEntry:
    return spec.CalendarEntry(
        name=entry.name,
        calendar=entry.calendar_ref.resolve(namespace),
        effect=entry.effect,
        match=_match(entry.match),
        start_offset=timedelta(seconds=entry.start_offset_seconds),
        end_offset=timedelta(seconds=entry.end_offset_seconds),
        when_running=entry.when_running,
    )


def _match(match: entries.Match) -> spec.Match:
    return spec.Match(
        summary=match.summary,
        categories=match.categories,
        busy=match.busy,
        organizers=match.organizers,
        expression=match.expression,
    )


def _inline_entry(window: entries.InlineWindow) -> spec.InlineEntry:
    fixed = None
    if window.start is not None and window.end is not None:
        fixed = Span(window.start, window.end)
    return spec.InlineEntry(
        name=window.name,
        effect=window.effect,
        schedule=window.schedule,
        duration=_span_of(window.duration_seconds),
        fixed=fixed,
        when_running=window.when_running,
    )


def _gpu(namespace: str, gpu: wire.Gpu) -> spec.GpuAsk:
    return spec.GpuAsk(
        pool=gpu.pool_ref.resolve(namespace),
        count=gpu.count,
        per_pod=gpu.per_pod,
        max_utilization_percent=gpu.max_utilization_percent,
        hysteresis_percent=gpu.hysteresis_percent,
        hold_for=timedelta(seconds=gpu.for_seconds),
    )


def _span_of(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
