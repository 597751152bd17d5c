"""A token bucket that knows how long a request has to wait: pure arithmetic on seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

_BURST_SHARE = 10  # of what one period allows, so much may be sent at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most so many requests in any stretch of time that long.

    Attributes:
        requests: how many, at least 1.
        per: how long, more than zero.
    """

    requests: int
    per: timedelta


class TokenBucket:
    """Lets requests through at a steady rate, a tenth of a period's share at once.

    Bursts and refill together keep to the rate in *every* stretch of time of the period's length,
    also one that begins in a burst: services count in sliding windows. Tokens are taken in the
    order of asking; who comes later waits longer.

    Args:
        rate: what is allowed.
        now: seconds of a clock that never jumps.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        period = rate.per.total_seconds()
        self._burst = float(max(1, rate.requests // _BURST_SHARE))
        refilled = max(1.0, rate.requests - self._burst)
        self._refill = refilled / period
        self._tokens = self._burst
        self._at = now

    def take(self, now: float, patience: float) -> float:
        """Take a token, now or from the future.

        Args:
            now: seconds.
            patience: how many seconds the caller can wait.

        Returns:
            How long to wait before the request is sent. Where that is more than `patience`,
            nothing was taken.
        """
        self._fill(now)
        wait = max(0.0, (1.0 - self._tokens) / self._refill)
        if wait <= patience:
            self._tokens -= 1.0
        return wait

    def give_back(self) -> None:
        """The request was not sent after all."""
        self._tokens = min(self._burst, self._tokens + 1.0)

    def is_full(self, now: float) -> bool:
        """Whether it remembers nothing: a new one would do as well."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._tokens = min(self._burst, self._tokens + passed * self._refill)
        self._at = max(self._at, now)
