"""How long a dependency that fails is left alone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from random import Random
from typing import Final

from slackwater.core.seen import Trouble
from slackwater.core.words import Reason
from slackwater.errors import SlackwaterError

LOG: Final = logging.getLogger("slackwater.follow")
FIRST: Final = timedelta(seconds=5)
SHORTEST: Final = timedelta(seconds=1)


class Backoff:
    """Full-jitter back-off (R12): up to 5 s after the first failure, doubling to `longest`.

    Nobody is to ask before `until`, whatever pokes: a failing server is not helped by a thousand
    windows that ask at once.

    Args:
        random: the jitter.
        longest: the limit that the doubling stops at.
    """

    def __init__(self, random: Random, longest: timedelta) -> None:
        self._random, self._longest = random, longest
        self._failures = 0
        self.until: datetime | None = None

    def failed(self, now: datetime, asked: timedelta | None = None) -> datetime:
        """When to ask again after one more failure, no sooner than the server `asked`."""
        limit = min(self._longest, FIRST * (1 << min(self._failures, 12)))
        self._failures += 1
        wait = max(SHORTEST, limit * self._random.random(), asked or timedelta())
        self.until = now + wait
        return self.until

    def held(self, until: datetime) -> datetime:
        """Leave it alone until then for another reason than a failure, such as a limit of ours."""
        self.until = until
        return until

    def ended(self) -> None:
        """It answered, or is another one now."""
        self._failures, self.until = 0, None

    def clock_jumped(self) -> None:
        """The wall clock jumped: `until` means nothing any more (R4)."""
        self.until = None

    def holds(self, now: datetime) -> bool:
        """Whether it is to be left alone now."""
        return self.until is not None and now < self.until


def trouble_of(error: Exception, what: str, before: Trouble | None) -> Trouble:
    """An error as its condition; one that nobody foresaw is logged, once while it lasts (R12).

    Args:
        error: what a look raised.
        what: whose look, such as "Calendar research/team".
        before: the trouble of the look before.
    """
    if isinstance(error, SlackwaterError):
        return Trouble(error.reason, error.gaps)
    # Its words may hold anything, a title or an address, so only its type is shown.
    trouble = Trouble(Reason.INTERNAL_ERROR, {"what": what, "detail": type(error).__name__})
    if trouble != before:
        LOG.error("%s: unexpected failure; it is tried again", what, exc_info=error)
    return trouble
