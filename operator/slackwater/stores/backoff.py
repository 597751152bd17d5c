"""How long to wait before trying the API server once more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from secrets import SystemRandom
from typing import Final

_RANDOM: Final = SystemRandom()


class EndlessJitter:
    """Seconds to wait: doubling up to a limit, each cut by up to half, without end.

    It can be iterated over again and again, and several times at once, as kopf's
    `settings.networking.error_backoffs` wants; and it has no length, so kopf never gives up.
    """

    def __init__(
        self,
        first: timedelta = timedelta(seconds=1),
        limit: timedelta = timedelta(seconds=60),
    ) -> None:
        self._first = first.total_seconds()
        self._limit = limit.total_seconds()

    def __iter__(self) -> Iterator[float]:
        delay = self._first
        while True:
            yield delay * _RANDOM.uniform(0.5, 1.0)
            delay = min(delay * 2, self._limit)
