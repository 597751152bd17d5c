"""Google's own client over our own HTTP.

google-api-python-client builds requests and reads replies, google-auth signs for the service
account; both block, so they run in worker threads. What goes over the wire goes through
`slackwater.net`, with its address checks, deadlines and size limits (R14), and nowhere else: no
batches, no retries of the library, no credentials of this machine.

A service object is of one thread: shared between threads, one mixed up calendars in 15 of 80
calls (measured with version 2.202).
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from slackwater.core.words import Reason
from slackwater.errors import CalendarError
from slackwater.net import Reply, retry_after

WORKERS: Final = 8

# They log every URL, with the calendar's id and the sync token in it; our errors tell what failed.
for _name in ("google", "googleapiclient", "google_auth_httplib2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

Send = Callable[[str, str, Mapping[str, str], bytes | None], Reply]
"""Method, URL, headers and body to a reply, blocking; raises CalendarError where there is none."""

_RATE_LIMITS: Final = frozenset(
    {
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "quotaExceeded",
        "dailyLimitExceeded",
        "calendarUsageLimitsExceeded",
        "concurrentLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
    }
)
_DISABLED: Final = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
_UNSHARED: Final = frozenset({"notFound", "requiredAccessLevel", "forbidden"})
_NOT_DELEGATED: Final = frozenset({"unauthorized_client", "access_denied", "invalid_scope"})
# Nothing else of a Secret is ever shown.
_ACCOUNT: Final = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]{1,190}\.gserviceaccount\.com")


@lru_cache(maxsize=1)
def workers() -> ThreadPoolExecutor:
    """The threads in which Google's client runs, one small pool for all calendars."""
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="google-calendar")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where Google is: `api` ends in a slash."""

    api: str = "https://www.googleapis.com/calendar/v3/"
    token: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address

    @classmethod
    def at(cls, endpoint: str | None) -> Addresses:
        """Google's own, or those of a server that stands in for it."""
        if endpoint is None:
            return cls()
        origin = endpoint.rstrip("/")
        return cls(f"{origin}/calendar/v3/", f"{origin}/token")


@dataclass(frozen=True, slots=True)
class Account:
    """A service account that can sign.

    Attributes:
        email: its address.
        credentials: of google-auth; used by one thread at a time.
    """

    email: str = field(repr=False)
    credentials: Any = field(repr=False)

    @property
    def shown(self) -> str:
        """Its address for messages, if it is one of a service account."""
        return self.email if _ACCOUNT.fullmatch(self.email) else "the service account"


def read_account(key: str, scope: str, subject: str | None, token_address: str) -> Account | None:
    """The account of a service account key; None where it cannot be read.

    Of the key's own addresses none is used: who wrote the Secret would choose where we connect.

    Args:
        key: the JSON file that Google Cloud gives.
        scope: the only one that is asked for.
        subject: the user for whom the account acts, by domain-wide delegation.
        token_address: where tokens are asked for.
    """
    from google.oauth2 import service_account

    try:
        given = json.loads(key)
        if given["type"] != "service_account":
            return None
        info = {
            "client_email": str(given["client_email"]),
            "private_key": str(given["private_key"]),
            "private_key_id": str(given.get("private_key_id", "")),
            "token_uri": token_address,
        }
        credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, scopes=[scope], subject=subject
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Account(info["client_email"], credentials)


class Refused(Exception):
    """An answer that is no success, without its text, which may quote what was asked for.

    Attributes:
        reason: the outcome that it means.
        status: of HTTP.
        headers: of the reply, for `Retry-After`.
    """

    def __init__(self, reason: Reason, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(reason.value)
        self.reason, self.status, self.headers = reason, status, headers

    def as_error(self, now: datetime, **gaps: object) -> CalendarError:
        """The same as an error of a calendar."""
        return CalendarError(self.reason, retry_after=retry_after(self.headers, now), **gaps)


class GoogleClient:
    """Calls of Calendar v3 for one calendar; for worker threads, one at a time.

    Args:
        account: who asks.
        addresses: where.
        send: the wire.
    """

    def __init__(self, account: Account, addresses: Addresses, send: Send) -> None:
        self.account = account
        self._api = addresses.api
        self._http = _Http(account.credentials, send)

    def events(self, **parameters: Any) -> Mapping[str, Any]:
        """`events.list`: one page. Raises Refused, CalendarError."""
        return self._call(lambda google: google.events.list(**parameters))

    def busy(self, body: Mapping[str, Any], fields: str) -> Mapping[str, Any]:
        """`freebusy.query`. Raises Refused, CalendarError."""
        return self._call(lambda google: google.freebusy.query(body=body, fields=fields))

    def _call(self, request: Callable[[_Resources], Any]) -> Mapping[str, Any]:
        from google.auth.exceptions import GoogleAuthError
        from googleapiclient.errors import HttpError

        try:
            found = request(_resources(self._api)).execute(http=self._http, num_retries=0)
        except HttpError as error:
            status = int(error.resp.status)
            headers = {"Retry-After": error.resp.get("retry-after", "")}
            reason = refusal(status, error.content)
        except GoogleAuthError:
            status, headers, reason = 401, {}, Reason.UNAUTHORIZED
        except (TypeError, ValueError):
            status, headers, reason = 200, {}, Reason.MALFORMED
        else:
            if isinstance(found, dict):
                return found
            status, headers, reason = 200, {}, Reason.MALFORMED
        # Raised out here: the library's errors quote URLs and answers.
        raise Refused(reason, status, headers)


_of_this_thread = threading.local()


@dataclass(frozen=True, slots=True)
class _Resources:
    """What is used of a service object; each of them costs milliseconds to make."""

    events: Any
    freebusy: Any


def _resources(api: str) -> _Resources:
    """Those of this thread for an address; the service object takes 12 ms and is kept."""
    from googleapiclient.discovery import build

    kept: dict[str, _Resources] = _of_this_thread.__dict__.setdefault("resources", {})
    if api not in kept:
        service = build(
            "calendar",
            "v3",
            http=_Nowhere(),
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": api},
        )
        kept[api] = _Resources(service.events(), service.freebusy())
    return kept[api]


class _Nowhere:
    """Stands where the library wants a transport; every call brings its own."""

    def request(self, *_: object, **__: object) -> tuple[Any, bytes]:
        raise CalendarError(Reason.BLOCKED_TARGET, what="The calendar")


class _Http:
    """What the library takes for `httplib2.Http`."""

    def __init__(self, credentials: Any, send: Send) -> None:
        self._credentials, self._send = credentials, send

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> tuple[Any, bytes]:
        import httplib2

        fresh = not self._credentials.valid
        if fresh:
            self._credentials.refresh(self._token)
        data = body.encode() if isinstance(body, str) else body
        reply = self._sent(uri, method, data, headers)
        if reply.status == 401 and not fresh:  # revoked before its time
            self._credentials.refresh(self._token)
            reply = self._sent(uri, method, data, headers)
        given = {name.lower(): value for name, value in reply.headers.items()}
        return httplib2.Response({**given, "status": str(reply.status)}), reply.body

    def _sent(
        self, uri: str, method: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Reply:
        # aiohttp counts by itself. `before_request` would also look up where the account may be
        # used, at another host and in a thread of its own: only the token is wanted.
        sent = {k: v for k, v in (headers or {}).items() if k.lower() != "content-length"}
        self._credentials.apply(sent)
        return self._send(method, uri, sent, body)

    def _token(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - ours is shorter
        **_: object,
    ) -> Any:
        """`google.auth.transport.Request`: one request of the token endpoint, never repeated."""
        reply = self._send(method, url, headers or {}, body)
        if not reply.ok:
            raise Refused(token_refusal(reply.status, reply.body), reply.status, reply.headers)
        if not isinstance(_json(reply.body).get("access_token"), str):
            raise Refused(Reason.MALFORMED, reply.status, reply.headers)
        return _TokenReply(reply.status, reply.headers, reply.body)


@dataclass(frozen=True, slots=True)
class _TokenReply:
    """`google.auth.transport.Response`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: bytes = field(repr=False)


def refusal(status: int, body: bytes) -> Reason:
    """What an answer of the API that is no success means.

    https://developers.google.com/workspace/calendar/api/guides/errors
    """
    said = _said(body)
    if status == 429 or (status == 403 and said & _RATE_LIMITS):
        return Reason.THROTTLED
    if status == 403 and said & _DISABLED:
        return Reason.API_DISABLED
    if status == 404 or (status == 403 and said & _UNSHARED):
        return Reason.NOT_SHARED
    known = {
        401: Reason.UNAUTHORIZED,
        403: Reason.FORBIDDEN,
        408: Reason.TIMEOUT,
        413: Reason.TOO_LARGE,
        504: Reason.TIMEOUT,
    }
    if status in known:
        return known[status]
    if status >= 500:
        return Reason.UNAVAILABLE
    return Reason.BAD_REQUEST if status >= 400 else Reason.REDIRECTED


def token_refusal(status: int, body: bytes) -> Reason:
    """What an answer of the token endpoint that is no success means (RFC 6749 §5.2)."""
    if status == 429:
        return Reason.THROTTLED
    if status >= 500:
        return Reason.UNAVAILABLE
    if 300 <= status < 400:
        return Reason.REDIRECTED
    answer = _json(body)
    error, text = str(answer.get("error")), str(answer.get("error_description", ""))
    if error in _NOT_DELEGATED or "Invalid email or User ID" in text:
        return Reason.DELEGATION_REFUSED
    return Reason.UNAUTHORIZED


def _said(body: bytes) -> frozenset[str]:
    """The reasons in an error of Google's APIs, of its old form and its new."""
    error = _json(body).get("error")
    found = set()
    if isinstance(error, dict):
        for name in ("errors", "details"):
            listed = error.get(name)
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict):
                    found.add(str(one.get("reason")))
    return frozenset(found)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
