"""The conf of runs that are still ahead, tried hours before their windows open (R12).

A typo in a calendar entry becomes a condition and an Event in the afternoon, and not a run that
failed at three in the morning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slackwater.core.occurrence import Occurrence
from slackwater.core.run_conf import conf_fault
from slackwater.core.seen import Seen
from slackwater.core.spec import Identity, TrainingWindow
from slackwater.core.start import Gate
from slackwater.core.words import Reason
from slackwater.core.zone import zone

AT_ONCE: Final = 8  # occurrences that one decision tries


def early_conf_gate(
    identity: Identity,
    spec: TrainingWindow,
    seen: Seen,
    ahead: Iterable[Occurrence],
    most: int = AT_ONCE,
) -> Gate | None:
    """What will hold back the first of these occurrences whose conf cannot be used.

    Args:
        identity: which TrainingWindow.
        spec: what its user wants.
        seen: what its calendars and its DAG's facts look like.
        ahead: occurrences that have not opened yet.
        most: how many of them are tried, the next ones first.
    """
    facts = seen.airflow.facts
    if facts is None or not (spec.dag.templated or facts.params_schema):
        return None
    coming = sorted((o for o in ahead if o.pieces), key=lambda o: (o.pieces[0].start, o.key))
    for occurrence in coming[:most]:
        wrong = conf_fault(identity, spec, seen, occurrence, occurrence.pieces[0])
        if wrong is not None:
            opens = occurrence.pieces[0].start.astimezone(zone(spec.time_zone))
            told = f"{wrong}, for the window of {opens:%Y-%m-%d %H:%M}"
            return Gate("DagReady", Reason.INVALID_CONF, {"detail": told})
    return None
