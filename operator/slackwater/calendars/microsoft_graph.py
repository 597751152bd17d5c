"""An Outlook calendar in Exchange Online, by Microsoft Graph v1.0.

A look is one `calendarView` of the whole horizon: Exchange expands the series, `$select` narrows the
fields to what the privacy level gives. `calendarView/delta` is not used: it cannot be narrowed, and
it says `@removed` of events that are only outside of its window (microsoft-graph-docs#6599). That
nothing changed is seen by a digest of the pages.

At privacy FreeBusy `getSchedule` tells of the mailbox as others see it; it knows no single
calendars, so with a `calendarId` the view is read with nothing but times in it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Annotated, Final, Self
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import Field, model_validator

from slackwater.calendars.expand import Expansion
from slackwater.calendars.microsoft_graph_events import (
    SELECTED,
    Reading,
    ScheduleFailed,
    busy_times,
    events_of,
)
from slackwater.calendars.microsoft_graph_requests import Graph
from slackwater.calendars.microsoft_graph_token import Credential, Tokens, certificate
from slackwater.calendars.provider import (
    IDENTITY,
    TEXTS,
    TIMES,
    Opening,
    Provider,
    fetched,
    usable,
)
from slackwater.calendars.turns import Limits
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, ConfigError
from slackwater.net import OperatorIdentity, open_session
from slackwater.ports import Fetched, FetchState
from slackwater.wire import Name, SecretKeyRef, WireModel

# An authority of Microsoft Entra and the Graphs that take its tokens (learn.microsoft.com/graph/
# deployments; both names of the authority in China are in use). Newer sovereign clouds are for the
# operator's configuration to name.
CLOUDS: Final[Mapping[str, tuple[str, ...]]] = {
    "login.microsoftonline.com": ("graph.microsoft.com",),
    "login.microsoftonline.us": ("graph.microsoft.us", "dod-graph.microsoft.us"),
    "login.partner.microsoftonline.cn": ("microsoftgraph.chinacloudapi.cn",),
    "login.chinacloudapi.cn": ("microsoftgraph.chinacloudapi.cn",),
}
_GLOBAL: Final = "https://login.microsoftonline.com"
_MARGIN: Final = timedelta(days=1)  # all-day events are kept by Exchange as midnight somewhere
_LONGEST_SCHEDULE: Final = timedelta(days=62)
_STEP: Final = timedelta(minutes=15)
# A page with bodies in it is heavy.
_PAGE_SIZE: Final = {Privacy.FREE_BUSY: 1000, Privacy.BASIC: 500, Privacy.DETAILS: 100}

_ONE_CREDENTIAL_MESSAGE: Final = (
    "set exactly one of clientSecretRef, certificateSecretRef, identity: there is one way for an "
    "application to prove who it is"
)
_ONE_CREDENTIAL: Final = (
    "[has(self.clientSecretRef), has(self.certificateSecretRef), has(self.identity)]"
    ".exists_one(set, set)"
)
_ONE_TENANT: Final = (
    "!(self.tenantId in ['common', 'organizations', 'consumers'])",
    "tenantId must name one tenant, by its id or its domain: an application signs in to its own",
)
_GUID: Final = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"

Origin = Annotated[
    str, Field(min_length=9, max_length=261, pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$")
]


class MicrosoftGraphConfig(WireModel):
    """An Outlook calendar in Exchange Online, read through Microsoft Graph by an application."""

    rules = ((_ONE_CREDENTIAL, _ONE_CREDENTIAL_MESSAGE), _ONE_TENANT)

    tenant_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            pattern=r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$",
            description="The Microsoft Entra tenant: its id or one of its domains.",
        ),
    ]
    client_id: Annotated[
        str,
        Field(
            min_length=36,
            max_length=36,
            pattern=_GUID,
            description="Application (client) id of the app registration.",
        ),
    ]
    mailbox: Annotated[
        str,
        Field(
            min_length=3,
            max_length=320,
            pattern=r"^[^\s/?#\\]+$",
            repr=False,
            description="Whose calendar it is: the address of a user, shared or room mailbox, or "
            "the user's object id. Privacy FreeBusy needs the address.",
        ),
    ]
    calendar_id: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            pattern=r"^[A-Za-z0-9_=+/-]+$",
            repr=False,
            description="Id of one of the mailbox's calendars. Left out: its default calendar.",
        ),
    ] = None
    client_secret_ref: Annotated[
        SecretKeyRef | None,
        Field(description="Key of a Secret with the value (not the id) of a client secret."),
    ] = None
    certificate_secret_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Key of a Secret with a certificate of the application and its private "
            "key, both as PEM, unencrypted."
        ),
    ] = None
    identity: Annotated[
        Name | None,
        Field(
            description="Name of an identity of the operator's own, whose token the application "
            "trusts as a federated credential (workload identity). The operator's configuration "
            "says which namespaces and hosts it is lent to."
        ),
    ] = None
    authority: Annotated[
        Origin | None,
        Field(
            description="Where tokens come from, for a national cloud: such as "
            "https://login.microsoftonline.us. Left out: https://login.microsoftonline.com."
        ),
    ] = None
    endpoint: Annotated[
        Origin | None,
        Field(
            description="Where Graph is, for a national cloud that has several: such as "
            "https://dod-graph.microsoft.us. Left out: the first one of the authority's cloud."
        ),
    ] = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        ways = (self.client_secret_ref, self.certificate_secret_ref, self.identity)
        if sum(way is not None for way in ways) != 1:
            raise ValueError(_ONE_CREDENTIAL_MESSAGE)
        if self.tenant_id in {"common", "organizations", "consumers"}:
            raise ValueError(_ONE_TENANT[1])
        return self


class MicrosoftGraphSource:
    """Reads one calendar. Requests of one source go one after the other."""

    def __init__(self, opening: Opening) -> None:
        assert isinstance(opening.config, MicrosoftGraphConfig)
        self._opening, self._config = opening, opening.config
        authority, endpoint = _cloud(opening, self._config)
        self._identity = _lent(opening, self._config, authority)
        self._by_schedule = (
            opening.privacy is Privacy.FREE_BUSY and self._config.calendar_id is None
        )
        if self._by_schedule and "@" not in self._config.mailbox:
            raise ConfigError(
                Reason.INVALID_SPEC,
                detail=f"{opening.what}: at privacy FreeBusy, mailbox must be an address: write "
                "the address instead of the object id",
            )
        tokens = Tokens(
            opening,
            authority=f"{authority}/{self._config.tenant_id}",
            client_id=self._config.client_id,
            scope=f"{endpoint}/.default",
            credential=self._credential,
        )
        self._graph = Graph(opening, endpoint, tokens, self._turn)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._config_hash = opening.digest()

    async def fetch(self, horizon: Span, state: FetchState | None, now: datetime) -> Fetched:
        """See `CalendarSource.fetch`."""
        cursor = usable(state, self._config_hash, horizon)
        if self._closed:
            raise self._opening.failed(Reason.UNREACHABLE)
        if self._session is None:
            self._session = open_session(self._opening.policy)
        if self._by_schedule:
            asked = _pieces(horizon)
            bodies = [await self._schedule(self._session, piece, now) for piece in asked]
        else:
            size = _PAGE_SIZE[self._opening.privacy]
            path = self._view(horizon, size)
            asked, bodies = (), await self._graph.pages(self._session, path, size, now)
        digest = _digest(bodies)
        if state is not None and cursor.get("body") == digest:
            return Fetched(None, state)
        # Thousands of events take a while to read, and others have to act meanwhile.
        expansion = await asyncio.to_thread(self._read, bodies, asked, horizon)
        return fetched(self._config_hash, horizon, {"body": digest}, expansion, now)

    async def aclose(self) -> None:
        """Let connections go; a fetch that is under way fails."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _turn(self) -> AbstractAsyncContextManager[None]:
        return self._opening.turn(PROVIDER, self._config.client_id.lower())

    @property
    def _user(self) -> str:
        return f"/v1.0/users/{quote(self._config.mailbox, safe='@')}"

    def _view(self, horizon: Span, size: int) -> str:
        wide = Span(horizon.start - _MARGIN, horizon.end + _MARGIN)
        one = self._config.calendar_id
        calendar = "calendar" if one is None else f"calendars/{quote(one, safe='')}"
        return (
            f"{self._user}/{calendar}/calendarView?startDateTime={_utc(wide.start)}Z"
            f"&endDateTime={_utc(wide.end)}Z&$select={','.join(SELECTED[self._opening.privacy])}"
            f"&$orderby=start/dateTime&$top={size}"
        )

    async def _schedule(self, session: aiohttp.ClientSession, span: Span, now: datetime) -> bytes:
        document = {
            "schedules": [self._config.mailbox],
            "startTime": {"dateTime": _utc(span.start), "timeZone": "UTC"},
            "endTime": {"dateTime": _utc(span.end), "timeZone": "UTC"},
            "availabilityViewInterval": _STEP // timedelta(minutes=1),
        }
        path = f"{self._user}/calendar/getSchedule"
        return await self._graph.post(session, path, document, now)

    def _read(self, bodies: Sequence[bytes], asked: Sequence[Span], horizon: Span) -> Expansion:
        mailbox = self._config.mailbox.lower()
        how = Reading(
            # Immutable ids last as long as an event stays in the mailbox, so the mailbox, and
            # not the calendar in it, is what they are unique in.
            calendar_id=f"microsoftGraph:{mailbox}",
            mailbox=mailbox,
            privacy=self._opening.privacy,
            zone=self._opening.zone,
            horizon=horizon,
        )
        try:
            if self._by_schedule:
                return busy_times(list(zip(bodies, asked, strict=True)), _STEP, how)
            return events_of(bodies, how)
        except ScheduleFailed as error:
            failed = self._graph.not_told(error.code)
        except OverflowError:
            failed = self._opening.failed(Reason.LIMIT_EXCEEDED)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            failed = self._opening.failed(Reason.MALFORMED)
        raise failed

    async def _credential(self) -> Credential:
        """See `Tokens`."""
        if (secret := self._config.client_secret_ref) is not None:
            return await self._opening.secret(secret)
        if (bundle := self._config.certificate_secret_ref) is not None:
            pem = await self._opening.secret(bundle)
            return await asyncio.to_thread(certificate, self._opening, pem)
        assert self._identity is not None, "the model demands exactly one"
        assertion = await self._assertion(self._identity)
        return {"client_assertion": lambda: assertion}

    async def _assertion(self, identity: OperatorIdentity) -> str:
        # Read for each token: it is replaced long before it ends.
        try:
            text = await asyncio.to_thread(identity.token_file.read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text.strip():
            raise CalendarError(Reason.IDENTITY_UNREADABLE, identity=identity.name)
        return text.strip()


def _cloud(opening: Opening, config: MicrosoftGraphConfig) -> tuple[str, str]:
    """Authority and endpoint, as origins: of one of Microsoft's clouds, or the operator's word.

    A client secret and the operator's own token go there, so that is not for whoever writes a
    Calendar to choose (R14).
    """
    authority = (config.authority or _GLOBAL).rstrip("/").lower()
    host = urlsplit(authority).netloc
    known = CLOUDS.get(host)
    own = opening.hosts
    if config.endpoint is not None:
        endpoint = config.endpoint.rstrip("/").lower()
    elif known is not None:
        endpoint = f"https://{known[0]}"
    else:
        raise _refused(opening, "endpoint", "is needed beside an authority of its own: set it")
    if known is None and host not in own:
        raise _refused(opening, "authority", _UNKNOWN_HOST)
    if urlsplit(endpoint).netloc not in (known or ()) and urlsplit(endpoint).netloc not in own:
        raise _refused(opening, "endpoint", _UNKNOWN_HOST)
    return authority, endpoint


_UNKNOWN_HOST: Final = (
    "must be of one of Microsoft's clouds, both of the same one: correct it, or have the "
    "operator's configuration name the host (--calendar-host)"
)


def _refused(opening: Opening, field: str, problem: str) -> ConfigError:
    return ConfigError(
        Reason.INVALID_SPEC, detail=f"{opening.what}: microsoftGraph.{field} {problem}"
    )


def _lent(
    opening: Opening, config: MicrosoftGraphConfig, authority: str
) -> OperatorIdentity | None:
    if config.identity is None:
        return None
    lent = opening.identities.lent(config.identity, opening.namespace, authority)
    if lent is None:
        raise ConfigError(Reason.IDENTITY_NOT_LENT, identity=config.identity)
    return lent


def _pieces(horizon: Span) -> tuple[Span, ...]:
    """The horizon in stretches that getSchedule takes."""
    starts = [horizon.start]
    while starts[-1] + _LONGEST_SCHEDULE < horizon.end:
        starts.append(starts[-1] + _LONGEST_SCHEDULE)
    return tuple(Span(at, min(at + _LONGEST_SCHEDULE, horizon.end)) for at in starts)


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _digest(bodies: Sequence[bytes]) -> str:
    """Names what a snapshot is made of; the links between pages are not in it."""
    total = hashlib.sha256()
    for body in bodies:
        total.update(hashlib.sha256(body).digest())
    return total.hexdigest()


PROVIDER: Final = Provider(
    name="microsoftGraph",
    config=MicrosoftGraphConfig,
    fields={
        Privacy.FREE_BUSY: TIMES,
        Privacy.BASIC: TIMES | IDENTITY | TEXTS,
        Privacy.DETAILS: TIMES | IDENTITY | TEXTS | {"description"},
    },
    default_refresh=timedelta(minutes=1),
    # Exchange: four at a time, of one application over all mailboxes.
    limits=Limits(concurrent=4),
    open=MicrosoftGraphSource,
)
