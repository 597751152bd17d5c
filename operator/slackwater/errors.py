"""What can go wrong, as a small tree.

    SlackwaterError
    ├── ConfigError          what a user wrote is wrong; names the field
    ├── DependencyError      something outside did not do its part
    │   ├── CalendarError
    │   │   └── HeldBack     a limit that we keep ourselves: nothing was asked, nothing failed
    │   ├── PoolError
    │   ├── AirflowError
    │   │   ├── Ambiguous    a write whose reply was lost: settle it by reading
    │   │   ├── Refused      a write that Airflow will not take as it is
    │   │   └── RunExists    409: a run of this id exists
    │   └── SecretError
    └── StoreError
        ├── Conflict         the object changed since it was read
        └── Gone             the object does not exist any more

Every error carries a `Reason`, so that it ends as a condition, an Event and a sentence (R12).
`detail` is shown to users: it never holds a secret, a title, an address of a feed or an attendee.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from slackwater.core.words import Reason, say


class SlackwaterError(Exception):
    """Root of every error of ours.

    Args:
        reason: which outcome this is.
        gaps: what the reason's sentence needs, by name; safe to show.
    """

    def __init__(self, reason: Reason, **gaps: object) -> None:
        self.reason = reason
        self.gaps: Mapping[str, object] = gaps
        super().__init__(f"{reason}: {say(reason, **gaps)}")

    @property
    def sentence(self) -> str:
        """The outcome in one sentence for people."""
        return say(self.reason, **self.gaps)


class ConfigError(SlackwaterError):
    """What a user wrote cannot work; heals only by editing it."""


class DependencyError(SlackwaterError):
    """A service outside failed; it is tried again.

    Args:
        reason: which outcome this is.
        retry_after: how long the service asks us to wait, where it does.
        gaps: as for `SlackwaterError`.
    """

    def __init__(
        self, reason: Reason, *, retry_after: timedelta | None = None, **gaps: object
    ) -> None:
        super().__init__(reason, **gaps)
        self.retry_after = retry_after


class CalendarError(DependencyError):
    """A calendar could not be read; the last snapshot stands until `blocksAt`."""


class HeldBack(CalendarError):
    """A rate limit that we keep forbids to read a calendar now: what is known stands (R9).

    Args:
        wait: after how long it may be read.
    """

    def __init__(self, wait: timedelta) -> None:
        super().__init__(Reason.THROTTLED, retry_after=wait, what="The calendar service")


class PoolError(DependencyError):
    """A pool could not be sampled; starts that need it are blocked."""


class AirflowError(DependencyError):
    """Airflow could not be asked."""


class Ambiguous(AirflowError):
    """A write may or may not have happened: read before anything else (R9)."""


class Refused(AirflowError):
    """Airflow understood the write and will not do it; repeating it changes nothing."""


class RunExists(AirflowError):
    """A run of this id exists already; whose it is must be read (R9)."""


class SecretError(DependencyError):
    """A secret or its key is missing or unreadable."""


class StoreError(SlackwaterError):
    """The store of objects did not take a write."""


class Conflict(StoreError):
    """The object changed since it was read: read again and decide again."""

    def __init__(self) -> None:
        super().__init__(Reason.UNSETTLED)


class Gone(StoreError):
    """The object does not exist any more."""

    def __init__(self) -> None:
        super().__init__(Reason.NOT_FOUND, what="the object")
