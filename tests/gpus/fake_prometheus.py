"""A clock, secrets and an in-process fake Prometheus that can answer anything."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import SecretError
from slackwater.net import NetPolicy

REF = Ref("research", "h100")
LOOPBACK = NetPolicy(loopback=True)
SERVER_NOW = 1_900_000_000.0
"""The fake server's present: years away from the test clock's, as clocks of servers may be."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
        self.elapsed = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.elapsed

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.elapsed += seconds


class FakeSecrets:
    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], str] = {}

    async def read(self, namespace: str, name: str, key: str) -> str:
        try:
            return self.values[namespace, name, key]
        except KeyError:
            raise SecretError(Reason.SECRET_NOT_FOUND, ref=f"{namespace}/{name}", key=key) from None


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    url_parameters: dict[str, str]
    form: dict[str, str]

    @property
    def query(self) -> str:
        return self.form.get("query") or self.url_parameters.get("query", "")


@dataclass
class FakePrometheus:
    """Answers by `reply`, a function of the request; keeps what was asked."""

    reply: Callable[[Asked], Any] = lambda asked: vector()
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    handle_raw: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.handle_raw is not None:
            return await self.handle_raw(request)
        asked = Asked(
            request.method,
            request.path,
            dict(request.headers),
            dict(request.query),
            {k: str(v) for k, v in (await request.post()).items()},
        )
        self.asked.append(asked)
        answer = self.reply(asked)
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer)


def row(value: float | str, *, at: float = SERVER_NOW, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [at, str(value)]}


def vector(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return success("vector", list(rows), **more)


def success(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def failure(status: int, kind: str, text: str, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps({"status": "error", "errorType": kind, "error": text}),
        content_type="application/json",
        headers=headers,
    )
