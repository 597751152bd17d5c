"""The conf of one occurrence's run: made, and judged before it is posted."""

from __future__ import annotations

from typing import Any

from slackwater.core.conf import BadConf, check_params, conf_for, conf_variables
from slackwater.core.identity import run_id
from slackwater.core.occurrence import Occurrence
from slackwater.core.seen import Seen
from slackwater.core.span import Span
from slackwater.core.spec import CalendarEntry, Effect, Identity, Privacy, TrainingWindow


def conf_fault(
    identity: Identity, spec: TrainingWindow, seen: Seen, occurrence: Occurrence, piece: Span
) -> str | None:
    """What is wrong with the conf for this start; expressions are evaluated where there are any.

    One clause that names the place or the DAG's param with its bound, and never a value (R13).
    """
    schema = seen.airflow.facts.params_schema if seen.airflow.facts else {}
    if not spec.dag.templated:  # it was checked when the spec was read
        return check_params(spec.dag.conf, schema) if schema else None
    try:
        return check_params(conf_of(identity, spec, seen, occurrence, piece), schema)
    except BadConf as bad:
        return str(bad)


def conf_of(
    identity: Identity, spec: TrainingWindow, seen: Seen, occurrence: Occurrence, piece: Span
) -> dict[str, Any]:
    """The conf of the occurrence's run. Raises BadConf."""
    window = Span(piece.start, max(piece.end, occurrence.window_end(piece)))
    identifier = run_id(identity, occurrence.key)
    variables = conf_variables(
        conf=spec.dag.conf,
        event=occurrence.event,
        occurrence=occurrence.key,
        zone=spec.time_zone,
        window=window,
        gpu=spec.gpu,
        run_id=identifier,
        ref=identity.ref,
        details=_details(spec, seen, occurrence),
    )
    return conf_for(
        spec.dag.conf,
        variables,
        identity=identity,
        occurrence=occurrence.key,
        entry=occurrence.entry,
        original_start=occurrence.original_start,
        window=window,
        gpu=spec.gpu,
    )


def _details(spec: TrainingWindow, seen: Seen, occurrence: Occurrence) -> bool:
    entry = next((e for e in spec.calendars if e.name == occurrence.entry), None)
    if not isinstance(entry, CalendarEntry) or entry.effect is not Effect.TRIGGER:
        return False
    view = seen.calendars.get(entry.calendar)
    return view is not None and view.privacy is Privacy.DETAILS
