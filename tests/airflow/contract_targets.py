"""The two servers of the contract test, moved by the same handles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from testbed.airflow import Airflow
from tests.fakes.airflow import FakeAirflow, Param
from tests.fakes.airflow_tokens import Tokens

DAGS = Path(__file__).with_name("contract_dags")
PREFIX = "slackwater.contract."


class Target(Protocol):
    """What a scenario can do to a server beside asking it."""

    url: str

    def begin(self, dag_id: str, run_id: str) -> None:
        """The scheduler takes a run."""

    def mark(self, dag_id: str, *, stale: bool, import_errors: bool) -> None:
        """The DAG processor finds something."""

    def sign(self, *, good_secret: bool, life: timedelta) -> str:
        """A token of admin."""


@dataclass
class Real:
    server: Airflow
    url: str

    def begin(self, dag_id: str, run_id: str) -> None:
        self.server.set_state(dag_id, run_id, "running")

    def mark(self, dag_id: str, *, stale: bool, import_errors: bool) -> None:
        with sqlite3.connect(self.server.home / "airflow.db", timeout=10) as database:
            database.execute(
                "UPDATE dag SET is_stale = ?, has_import_errors = ? WHERE dag_id = ?",
                (stale, import_errors, dag_id),
            )

    def sign(self, *, good_secret: bool, life: timedelta) -> str:
        secret = self.server.environment()["AIRFLOW__API_AUTH__JWT_SECRET"]
        head, claims, _ = self.server.token().split(".")
        changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
        changed["exp"] = int((datetime.now(UTC) + life).timestamp())
        changed["nbf"] = changed["iat"] = changed["exp"] - 86400
        signed = f"{head}.{_base64(json.dumps(changed).encode())}"
        key = secret.encode() if good_secret else b"another secret" * 5
        return f"{signed}.{_base64(hmac.new(key, signed.encode(), hashlib.sha512).digest())}"


@dataclass
class Faked:
    server: FakeAirflow
    url: str

    def begin(self, dag_id: str, run_id: str) -> None:
        run = self.server.find(run_id, dag_id)
        assert run is not None
        run.state, run.start_date = "running", datetime.now(UTC)

    def mark(self, dag_id: str, *, stale: bool, import_errors: bool) -> None:
        dag = self.server.dags[dag_id]
        dag.stale, dag.import_errors = stale, import_errors

    def sign(self, *, good_secret: bool, life: timedelta) -> str:
        tokens = self.server.tokens if good_secret else Tokens(lambda: datetime.now(UTC), life)
        before, tokens.life = tokens.life, life
        try:
            return tokens.give("admin")
        finally:
            tokens.life = before


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@asynccontextmanager
async def faked() -> AsyncIterator[Faked]:
    """The DAGs of contract_dags, in the fake."""
    users = {name: (name, name) for name in ("admin", "user", "viewer")}
    async with FakeAirflow(users=users) as server:
        server.scheduler = "unhealthy"
        server.add_dag("plain")
        server.add_dag("paused", paused=True)
        server.add_dag("daily", schedule="0 0 * * *")
        server.add_dag("by_asset", schedule="Asset")
        server.add_dag("no_manual", schedule="0 0 * * *", allowed_run_types=["scheduled"])
        server.add_dag(
            "params",
            params={
                "epochs": Param(3, {"type": "integer", "minimum": 1, "maximum": 10}),
                "rate": Param(
                    0.5, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
                ),
                "team": Param("a", {"type": "string", "enum": ["a", "b"]}),
                "label": Param(
                    "abc",
                    {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                ),
                "when": Param(
                    "2026-01-01T00:00:00Z", {"type": ["string", "null"], "format": "date-time"}
                ),
                "plain": Param(7),
            },
        )
        yield Faked(server, server.url)
