"""What the expander asks of its child."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to expand.

    Attributes:
        sizes: bytes of each document that follows.
        start: of the horizon, ISO 8601.
        end: of the horizon.
        zone: for floating and all-day events; goes before the document's own.
        fallback_zone: used where neither `zone` nor the document gives one.
        privacy: a `Privacy`.
        owners: addresses of the calendar's owner; None for a feed.
        tolerant: leave out a document that is malformed, rather than fail.
        skip: digests of pieces that killed a child before.
        cpu: seconds of processor time for all of it.
        series_cpu: seconds of processor time for one series.
    """

    sizes: list[int]
    start: str
    end: str
    zone: str | None
    fallback_zone: str | None
    privacy: str
    owners: list[str] | None = field(repr=False)
    tolerant: bool
    skip: list[str]
    cpu: float
    series_cpu: float
