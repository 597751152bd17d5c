"""What a calendar provider is: a configuration, what it gives at each privacy level, and a source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from slackwater.calendars.expand import Expander, Expansion, Source
from slackwater.calendars.turns import Limits, Turns
from slackwater.core.event import Snapshot, Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy, Ref
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, ConfigError, SecretError
from slackwater.net import Identities, NetError, NetPolicy, Reply, retry_after
from slackwater.ports import CalendarSource, Clock, Fetched, FetchState, SecretReader
from slackwater.wire import SecretKeyRef, WireModel

TIMES: Final = frozenset({"span", "wall", "all_day", "busy", "own"})
IDENTITY: Final = frozenset({"key", "series", "original_start"})
TEXTS: Final = frozenset({"summary", "categories", "organizer"})

# What iCalendar gives, by whichever road it comes. Free/busy times have no identity (R2).
ICALENDAR_FIELDS: Final[Mapping[Privacy, frozenset[str]]] = {
    Privacy.FREE_BUSY: TIMES,
    Privacy.BASIC: TIMES | IDENTITY | TEXTS,
    Privacy.DETAILS: TIMES | IDENTITY | TEXTS | {"description"},
}

# No user or password in it: those are for Secrets. An @ in the path is an ordinary character.
CalendarUrl = Annotated[
    str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s/?#@]+([/?#]\S*)?$")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Everything a provider needs to read one Calendar.

    Attributes:
        ref: the Calendar object.
        config: the provider's part of its spec.
        privacy: how much may be read (R13).
        zone: `spec.timeZone`, for floating and all-day events.
        secrets: read from `namespace` only.
        policy: which addresses may be reached (R14).
        expander: turns iCalendar text into events.
        turns: where each request waits for its turn.
        clock: the present.
        directory: where the manifest lies, in directory mode; None in a cluster.
        endpoints: servers that the operator's configuration names in place of a service's own, by
            the provider's name; never from a manifest (R14).
        identities: what the operator's configuration lends (R14).
        hosts: which hosts, as `host` or `host:port`, the operator's configuration trusts with
            credentials besides those that a provider's service is known to have (R14).
    """

    ref: Ref
    config: WireModel = field(repr=False)
    privacy: Privacy
    zone: str | None
    secrets: SecretReader = field(repr=False)
    policy: NetPolicy = field(repr=False)
    expander: Expander = field(repr=False)
    turns: Turns = field(repr=False)
    clock: Clock = field(repr=False)
    directory: Path | None = field(default=None, repr=False)
    endpoints: Mapping[str, str] = field(default_factory=dict, repr=False)
    identities: Identities = field(default_factory=Identities, repr=False)
    hosts: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def namespace(self) -> str:
        """The only namespace whose Secrets may be read."""
        return self.ref.namespace

    @property
    def what(self) -> str:
        """The calendar's name in messages: never its address, which may be secret."""
        return f"Calendar {self.ref}"

    def turn(self, provider: Provider, identity: str) -> AbstractAsyncContextManager[None]:
        """The turn of one request; each request is made inside of one.

        Args:
            provider: whose limits hold.
            identity: who asks, or who is asked: what the service counts requests by.

        Raises:
            HeldBack: on entering, if the limit is used up.
        """
        return self.turns.turn(self.ref, provider.name, identity, provider.limits)

    async def secret(self, ref: SecretKeyRef) -> str:
        """One key of a Secret, without the line end that editors leave. Raises CalendarError."""
        try:
            value = await self.secrets.read(self.namespace, ref.name, ref.key)
        except SecretError as error:
            reason, wait, gaps = error.reason, error.retry_after, dict(error.gaps)
        else:
            return value.strip("\r\n")
        raise CalendarError(reason, retry_after=wait, **gaps)

    def policy_for(self, url: str) -> NetPolicy:
        """Where a request to this URL may go: without TLS no further than `NetPolicy.plain`.

        Raises:
            ConfigError: without TLS nothing may be reached at all.
        """
        if not url.lower().startswith("http://"):
            return self.policy
        if not (self.policy.loopback or self.policy.networks):
            raise ConfigError(
                Reason.INVALID_SPEC,
                detail=f"{self.what}: its address must begin with https://, since titles and "
                "passwords would be readable on the way",
            )
        return self.policy.plain()

    def digest(self, *parts: str) -> str:
        """`FetchState.config_hash`: differs when anything that shapes a snapshot does."""
        text = "\0".join(
            (
                str(self.ref),
                type(self.config).__name__,
                self.config.model_dump_json(),
                self.privacy,
                self.zone or "",
                *parts,
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def expand(self, documents: Sequence[bytes], horizon: Span, source: Source) -> Expansion:
        """The events of iCalendar documents. Raises CalendarError."""
        try:
            return await self.expander.expand(documents, horizon, source)
        except CalendarError as error:
            reason = error.reason
        raise self.failed(reason)

    def failed(self, reason: Reason, wait: timedelta | None = None) -> CalendarError:
        """The error that says this calendar could not be read."""
        return CalendarError(reason, retry_after=wait, what=self.what)

    def net_failed(self, error: NetError) -> CalendarError:
        """A request that got no reply, as an error of this calendar."""
        return self.failed(error.reason, error.retry_after)

    def refused(self, reply: Reply, now: datetime) -> CalendarError:
        """A reply that is no success, as an error of this calendar."""
        return self.failed(_reason(reply.status), retry_after(reply.headers, now))


_REASONS: Final[Mapping[int, Reason]] = {
    401: Reason.UNAUTHORIZED,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    408: Reason.TIMEOUT,
    410: Reason.NOT_FOUND,
    413: Reason.TOO_LARGE,
    429: Reason.THROTTLED,
    504: Reason.TIMEOUT,
    507: Reason.LIMIT_EXCEEDED,
}


def _reason(status: int) -> Reason:
    if (known := _REASONS.get(status)) is not None:
        return known
    if status >= 500:
        return Reason.UNAVAILABLE
    if 300 <= status < 400:
        return Reason.REDIRECTED
    return Reason.BAD_REQUEST if status >= 400 else Reason.MALFORMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One kind of calendar.

    Attributes:
        name: its key in the Calendar's `spec.provider`.
        config: what users write below that key.
        fields: the attributes of `Event` that carry meaning, by privacy level.
        default_refresh: how often it is read when nothing else is asked.
        open: a source for one Calendar; raises ConfigError where the configuration cannot work.
        limits: what its service allows one identity (see `Opening.turn`).
        file_only_fields: wire names of `config` that a cluster refuses, since they name files.
        least_refresh: how often it may be read at most; what is in a file may be read more often.
    """

    name: str
    config: type[WireModel]
    fields: Mapping[Privacy, frozenset[str]]
    default_refresh: timedelta
    open: Callable[[Opening], CalendarSource] = field(repr=False)
    limits: Limits = field(default_factory=Limits)
    file_only_fields: tuple[str, ...] = ()
    least_refresh: timedelta = timedelta(seconds=5)


def usable(state: FetchState | None, config_hash: str, horizon: Span) -> Mapping[str, str]:
    """The cursor of a state that fits configuration and horizon, else an empty one."""
    if state is None or state.schema_version != 1 or state.config_hash != config_hash:
        return {}
    return state.cursor if state.cursor.get("horizon") == horizon_text(horizon) else {}


def fetched(
    config_hash: str,
    horizon: Span,
    cursor: Mapping[str, str],
    expansion: Expansion,
    now: datetime,
    *warnings: Warned,
) -> Fetched:
    """A complete snapshot and the state to ask with the next time."""
    return Fetched(
        Snapshot(
            horizon=horizon,
            events=expansion.events,
            fetched_at=now,
            warnings=(*expansion.warnings, *warnings),
        ),
        FetchState(config_hash, {**cursor, "horizon": horizon_text(horizon)}),
    )


def horizon_text(horizon: Span) -> str:
    """A horizon as a cursor keeps it."""
    return f"{horizon.start.isoformat()}/{horizon.end.isoformat()}"
