"""A GPU pool whose numbers a Prometheus has."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from slackwater.core.sample import Sample
from slackwater.core.words import Reason
from slackwater.errors import PoolError, StoreError
from slackwater.gpus import queries, questions
from slackwater.gpus.answer import Row
from slackwater.gpus.client import POINTS_LIMIT, PrometheusClient
from slackwater.gpus.config import Mode, PoolConfig, PrometheusConfig, describe
from slackwater.gpus.queries import Scope
from slackwater.gpus.reading import Look, read_exporter, read_kubernetes
from slackwater.net import NetPolicy
from slackwater.ports import Clock, SecretReader

STEP: Final = 15.0
"""Seconds between points of the history, where it is not too long for that."""
DEMAND_STEP: Final = 1800.0
"""The same of the history of demand, which reaches back for weeks."""
WORK_LIMIT: Final = 2_000_000
"""Points times GPUs of one history query: some seconds of a server's time, and far below the
50 million samples at which Prometheus gives up (--query.max-samples)."""
PATTERN_LIMIT: Final = 1000
"""Characters of a list of node names that is sent. A longer one is applied here, to the rows of
every node that has the resource: parsing it some thirty times would cost the server more."""
MOST_SEEN_EVERY: Final = 600.0
"""Seconds for which the most GPUs seen in 24 hours is believed: it costs 289 evaluations."""
LABELS_BELIEVED: Final = 86_400.0
"""Seconds for which labels of pods count as readable after the last pod that carried one."""


@dataclass(frozen=True, slots=True)
class _Membership:
    """Which nodes belong to the pool now: by pattern, and by name where names are known."""

    pattern: str
    names: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class _Most:
    """The most GPUs seen at once, and when (monotonic) and for which nodes that was asked."""

    gpus: int
    at: float
    nodes: _Membership


class PrometheusPool:
    """A `PoolSource` on Prometheus, in mode Kubernetes or Exporter.

    Args:
        pool: which GPUs are meant.
        config: where their numbers are.
        clock: ours; samples are dated by it, their age comes from the server.
        secrets: holds the credentials, in the pool's namespace.
        policy: which addresses may be reached.
    """

    def __init__(
        self,
        pool: PoolConfig,
        config: PrometheusConfig,
        *,
        clock: Clock,
        secrets: SecretReader,
        policy: NetPolicy,
    ) -> None:
        self._pool = pool
        self._config = config
        self._clock = clock
        self._client = PrometheusClient(
            config, pool.ref, clock=clock, secrets=secrets, policy=policy
        )
        self._most: _Most | None = None
        self._labelled_at: float | None = None

    async def sample(self) -> Sample:
        """One complete look: one request, and one more for each query of the pool's own.

        Raises:
            PoolError: NO_DATA, TOO_MANY_SERIES, or as `PrometheusClient.query`; INVALID_SPEC
                where a node selector is used without a cluster.
        """
        nodes = await self._membership()
        if self._config.mode is Mode.EXPORTER:
            return await self._sample_exporter(nodes)
        narrow = nodes.names is None or len(nodes.pattern) <= PATTERN_LIMIT
        scope = self._scope(nodes.pattern if narrow else None)
        asked = questions.kubernetes(scope)
        if not self._config.pod_labels:
            del asked["visible"], asked["labelled"]
        if self._pool.namespaces:
            asked["namespaces"] = queries.requested_by(scope, self._pool.namespaces)
        look = await self._look(asked, nodes)
        return self._remembered(read_kubernetes(look, self._clock.now()))

    def _remembered(self, sample: Sample) -> Sample:
        """The sample, knowing that labels can be read where no pod has any just now.

        Between two runs no pod may be left that carries one.
        """
        now = self._clock.monotonic()
        if sample.visible is not None:
            self._labelled_at = now
        elif self._labelled_at is not None and now - self._labelled_at < LABELS_BELIEVED:
            return replace(sample, visible={})
        return sample

    async def _sample_exporter(self, nodes: _Membership) -> Sample:
        scope = self._scope(nodes.pattern)
        asked = questions.exporter(scope, self._config.busy_percent / 100)
        most = 0 if "coverage" in self._config.queries else await self._most_seen(nodes)
        look = await self._look(asked, nodes)
        return read_exporter(look, most, self._clock.now())

    async def utilization_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """Utilisation from `since` until now, every 15 s or less often where that is too much.

        The server's clock decides what is now; times come back on ours.

        Raises:
            PoolError: TOO_MANY_SERIES, or as `PrometheusClient.query`.
        """
        scope = self._scope((await self._membership()).pattern)
        own = self._config.queries.get("utilization")
        text = queries.utilization(scope) if own is None else own
        found = await self._history(scope, text, "utilization", since, STEP)
        return tuple((at, min(max(value, 0.0), 1.0)) for at, value in found)

    async def demand_since(self, since: datetime) -> tuple[tuple[datetime, float], ...]:
        """GPUs that others asked for, every half-hour or less often where that is too much.

        Raises:
            PoolError: TOO_MANY_SERIES, or as `PrometheusClient.query`.
        """
        scope = self._scope((await self._membership()).pattern)
        raw = self._config.queries.get("requested")
        if raw is None and self._config.mode is Mode.EXPORTER:
            raw = queries.held(scope, self._config.busy_percent / 100)
        elif raw is None:
            raw = queries.requested(scope)
        ref = self._pool.ref
        text = queries.foreground(ref.namespace, ref.name, raw)
        found = await self._history(scope, text, "requested", since, DEMAND_STEP)
        return tuple((at, max(value, 0.0)) for at, value in found)

    async def _history(
        self, scope: Scope, text: str, name: str, since: datetime, least: float
    ) -> list[tuple[datetime, float]]:
        """One series from `since` until now by the server's clock, at times on ours.

        Args:
            scope: which GPUs, to know how much work each point is.
            text: PromQL of the one series.
            name: of `spec.source.prometheus.queries` that may stand behind it.
            since: on our clock.
            least: seconds between points, where that is not too much.
        """
        own = name in self._config.queries
        seen = await self._client.query("vector(0)" if own else queries.gpus_seen(scope))
        now = self._clock.now()
        seconds = (now - since).total_seconds()
        if seconds <= 0 or not seen:
            return []
        server_now, gpus = seen[0].time, max(1.0, seen[0].value)
        most = POINTS_LIMIT if own else min(POINTS_LIMIT, max(10, WORK_LIMIT / gpus))
        step = max(least, math.ceil(seconds / (most - 1)))
        what = describe(self._pool.ref, name) if own else None
        series = await self._client.query_range(
            text, server_now - seconds, server_now, step, what=what
        )
        if len(series) > 1:
            raise PoolError(Reason.TOO_MANY_SERIES, what=what or describe(self._pool.ref))
        ahead = now - datetime.fromtimestamp(server_now, UTC)
        return [
            (datetime.fromtimestamp(time, UTC) + ahead, value)
            for one in series
            for time, value in one.points
        ]

    async def aclose(self) -> None:
        """Let connections go."""
        await self._client.aclose()

    def _scope(self, pattern: str | None) -> Scope:
        return Scope(
            nodes=pattern,
            resource=self._pool.resource,
            tolerations=self._pool.tolerations,
            recorded=self._config.recorded,
        )

    async def _membership(self) -> _Membership:
        """The pool's nodes now; a selector that picks none is no data, never all nodes."""
        if self._pool.select_nodes is None:
            return _Membership(self._pool.nodes or ".+", None)
        try:
            names = await self._pool.select_nodes()
        except StoreError as error:
            raise PoolError(error.reason, retry_after=None, **error.gaps) from None
        if names is None:
            detail = "spec.nodeSelector needs a cluster: use spec.nodes instead."
            raise PoolError(Reason.INVALID_SPEC, detail=detail)
        if not names:
            raise PoolError(Reason.NO_DATA, what=f"The node selector of pool {self._pool.ref}")
        return _Membership(queries.one_of(names), names)

    async def _look(self, asked: Mapping[str, str], nodes: _Membership) -> Look:
        """Ask what nobody replaced, and the replacements, side by side."""
        own = self._config.queries
        wanted = {name: text for name, text in asked.items() if not _replaced(name, own)}
        rows, *answers = await _together(
            self._rows(wanted),
            *(
                self._client.query(text, what=describe(self._pool.ref, name))
                for name, text in own.items()
            ),
        )
        return Look(
            ref=self._pool.ref,
            rows=rows,
            overrides=dict(zip(own, answers, strict=True)),
            names=nodes.names,
        )

    async def _rows(self, wanted: Mapping[str, str]) -> tuple[Row, ...]:
        return await self._client.query(questions.union(wanted)) if wanted else ()

    async def _most_seen(self, nodes: _Membership) -> int:
        now, most = self._clock.monotonic(), self._most
        if most is None or most.nodes != nodes or now - most.at >= MOST_SEEN_EVERY:
            rows = await self._client.query(queries.most_seen(self._scope(nodes.pattern)))
            self._most = most = _Most(int(rows[0].value) if rows else 0, now, nodes)
        return most.gpus


def _replaced(question: str, own: Mapping[str, str]) -> bool:
    """Whether the pool's own queries leave nothing for a built-in question to say."""
    if question.startswith("age."):
        return "sampleAge" in own
    needed_for = {
        "requested": {"requested", "waiting"},
        "visible": {"requested"},
        "labelled": {"requested"},
        "held": {"requested"},
        "reports": {"utilization", "coverage"},
    }
    return needed_for.get(question, {question}) <= own.keys()


async def _together(*asked: Awaitable[tuple[Row, ...]]) -> list[tuple[Row, ...]]:
    """All answers, or the first failure with the rest called off."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
