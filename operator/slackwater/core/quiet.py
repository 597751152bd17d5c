"""Whether a pool has been quiet long enough: threshold, hold and hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Quiet:
    """The gate's state: since when the pool has been quiet without a break, None while it is not."""

    since: datetime | None

    def ready_at(self, hold_for: timedelta) -> datetime | None:
        """When the gate opens if nothing changes, None while the pool is busy."""
        return None if self.since is None else self.since + hold_for


def quiet(
    history: Sequence[tuple[datetime, float]],
    *,
    limit_percent: float,
    hysteresis_percent: float,
    longest_gap: timedelta,
    now: datetime,
) -> Quiet:
    """Since when utilisation has stayed below the limit.

    A quiet time begins below `limit - hysteresis` and lasts while every sample is below `limit`,
    so a pool at the edge does not flap. A gap between samples longer than `longest_gap`, or a last
    sample that old, is a break: what was not seen does not count as quiet.

    Args:
        history: (instant, utilisation 0 to 1), oldest first.
        limit_percent: of the pool's mean utilisation.
        hysteresis_percent: how far below the limit a quiet time has to begin.
        longest_gap: between two samples that still count as without a break.
        now: the present.
    """
    since: datetime | None = None
    before: datetime | None = None
    for instant, ratio in history:
        if before is not None and instant - before > longest_gap:
            since = None
        percent = ratio * 100
        if not percent < limit_percent:  # NaN is not below it either
            since = None
        elif since is None and percent < limit_percent - hysteresis_percent:
            since = instant
        before = instant
    if before is None or now - before > longest_gap:
        return Quiet(None)
    return Quiet(since)
