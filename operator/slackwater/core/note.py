"""Why a run was started, for the note that stands beside it in Airflow."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from slackwater.core.occurrence import Occurrence
from slackwater.core.seen import Seen
from slackwater.core.span import Span
from slackwater.core.spec import GpuAsk, Identity, TrainingWindow
from slackwater.core.zone import zone

_CLOCK: Final = "%Y-%m-%d %H:%M"


def note_of(
    identity: Identity,
    spec: TrainingWindow,
    seen: Seen,
    occurrence: Occurrence,
    piece: Span,
    now: datetime,
) -> str:
    """One sentence that says whose run this is and what made it start, and a link where there is one.

    Times are in the TrainingWindow's zone. Nothing of the event but its times is in it (R13).
    """
    local = zone(spec.time_zone)
    start, end = (at.astimezone(local) for at in (piece.start, occurrence.window_end(piece)))
    why = (
        f"Started by Slackwater for TrainingWindow {identity.ref} at {now.astimezone(local):%H:%M}: "
        f"window `{occurrence.entry}` {start:{_CLOCK}} to {end:{_CLOCK}} {spec.time_zone}"
    )
    if spec.gpu is not None and seen.pool is not None:
        why += ", " + _room(spec.gpu, seen)
    return f"{why}. {identity.pages}#{identity.ref}" if identity.pages else f"{why}."


def _room(gpu: GpuAsk, seen: Seen) -> str:
    assert seen.pool is not None
    sample = seen.pool.sample
    free = f", which had {sample.fit(1)} free" if sample is not None else ""
    return f"{gpu.count} GPUs of {seen.pool.ref}{free}"
