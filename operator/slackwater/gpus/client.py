"""Prometheus' HTTP API: two calls, one deadline each, a closed list of failures.

Also spoken by Thanos, Mimir, Cortex and VictoriaMetrics. Never sent: a time from our clock for an
instant query, so that the server answers as of its own present.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.access import Access
from slackwater.gpus.answer import Row, Series, matrix, vector
from slackwater.gpus.config import PrometheusConfig, describe
from slackwater.net import NetError, NetPolicy, Reply, fetch
from slackwater.ports import Clock, SecretReader

BODY_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one answer: rows of 20,000 nodes, or a day of one series by the second, and room."""
GET_LIMIT: Final = 1500
"""Characters of a query string; what is longer goes as a form, past proxies with short limits."""
RESERVED: Final = frozenset({"query", "time", "start", "end", "step", "timeout"})
"""Parameters that are ours to set."""
POINTS_LIMIT: Final = 11_000
"""Points per series that a range query may ask for; Prometheus refuses more."""

# Compressing 200 kB costs the server more than sending them costs a cluster's network.
_PLAIN: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
_AS_OURS: Final = {
    Reason.MALFORMED: Reason.NOT_PROMETHEUS,  # cannot be decompressed: no answer of the API
    Reason.BAD_REQUEST: Reason.UNREACHABLE,  # an address without a host, or that fails TLS
}


class PrometheusClient:
    """One Prometheus, as one pool may use it.

    Args:
        config: where and how.
        ref: the pool, for messages and for the namespace of its secrets.
        clock: for `Retry-After` dates only.
        secrets: holds the credentials.
        policy: which addresses may be reached.
    """

    def __init__(
        self,
        config: PrometheusConfig,
        ref: Ref,
        *,
        clock: Clock,
        secrets: SecretReader,
        policy: NetPolicy,
    ) -> None:
        self._config = config
        self._what = describe(ref)
        self._clock = clock
        self._access = Access(config, ref.namespace, self._what, secrets=secrets, policy=policy)

    async def query(self, expression: str, *, what: str | None = None) -> tuple[Row, ...]:
        """An instant query as of the server's present.

        Args:
            expression: PromQL.
            what: who is to blame in an error's sentence; this Prometheus when left out.

        Raises:
            PoolError: NOT_A_NUMBER, BAD_RESULT_TYPE, PARTIAL_RESPONSE, BAD_QUERY, TIMEOUT,
                THROTTLED, UNAUTHORIZED, FORBIDDEN, REDIRECTED, NOT_PROMETHEUS, TOO_LARGE,
                UNAVAILABLE, UNREACHABLE, BLOCKED_TARGET, or a secret's reason.
        """
        who = what or self._what
        reply = await self._ask("query", {"query": expression}, who)
        return vector(reply, who, self._clock.now())

    async def query_range(
        self, expression: str, start: float, end: float, step: float, *, what: str | None = None
    ) -> tuple[Series, ...]:
        """A range query.

        Args:
            expression: PromQL.
            start: Unix time by the server's clock, of the first point.
            end: likewise, of the last point at most.
            step: seconds between points.
            what: as for `query`.

        Raises:
            PoolError: as for `query`.
        """
        who = what or self._what
        form = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}"}
        reply = await self._ask("query_range", {**form, "step": f"{step:.3f}"}, who)
        return matrix(reply, who, self._clock.now())

    async def aclose(self) -> None:
        """Let the connections go."""
        await self._access.aclose()

    async def _ask(self, call: str, form: dict[str, str], what: str) -> Reply:
        headers = dict(await self._access.headers())
        session = await self._access.session()
        # The server stops evaluating when nobody waits any more.
        limit = f"{self._config.timeout.total_seconds():g}"
        text = urlencode({**form, "timeout": limit}, quote_via=quote)
        short = len(text) <= GET_LIMIT
        if not short:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            return await fetch(
                session,
                "GET" if short else "POST",
                self._url(call, text if short else ""),
                headers={**_PLAIN, **headers},
                body=None if short else text.encode(),
                total=self._config.timeout,
                limit_bytes=BODY_LIMIT,
            )
        except NetError as error:
            reason = _AS_OURS.get(error.reason, error.reason)
            raise PoolError(reason, retry_after=error.retry_after, what=what) from None

    def _url(self, call: str, text: str) -> str:
        # The users' parameters stay in the URL of a POST too: proxies that check them look there.
        parts = urlsplit(self._config.server_address)
        given = (*parse_qsl(parts.query), *self._config.query_parameters)
        query = "&".join(filter(None, (urlencode(given, quote_via=quote), text)))
        path = f"{parts.path.rstrip('/')}/api/v1/{call}"
        return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
