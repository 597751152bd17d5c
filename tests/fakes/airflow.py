"""Airflow 3.3's REST API in this process: the same bodies, the same refusals, and faults on demand.

    async with FakeAirflow() as airflow:
        airflow.add_dag("train", params={"epochs": Param(3, {"type": "integer", "maximum": 10})})
        airflow.faults.drop("POST", "/dagRuns", done=True)   # the run is made, the reply is lost
        ...                                                  # the code under test, at airflow.url
        airflow.finish("run-1", "success")

Bodies were taken from Airflow 3.3.2; tests/airflow/test_contract.py compares both servers, request
by request. There is no scheduler: a run stays queued until `start` or `finish`, or until the DAG's
own `starts_after` and `runs_for` have passed on the clock given as `now`.
"""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from aiohttp import web
from multidict import MultiMapping

from tests.fakes.airflow_bodies import (
    Dag,
    DagRun,
    Json,
    Param,
    dag_body,
    details_body,
    health_body,
    run_body,
)
from tests.fakes.airflow_faults import Faults, Hold
from tests.fakes.airflow_lists import instance_list, pool_list, run_list, task_list
from tests.fakes.airflow_rules import (
    Refusal,
    check_params,
    check_run_id,
    checked,
    complaint,
    conflict,
    parsed,
)
from tests.fakes.airflow_tokens import Tokens

__all__ = ["Dag", "DagRun", "FakeAirflow", "Faults", "Hold", "Param", "Refusal"]

FINAL = frozenset({"success", "failed"})
WRITES = frozenset({"POST", "PATCH", "DELETE"})


class FakeAirflow:
    """The server. `users` gives name → (password, role); "viewer" may only read.

    With `clients`, id → secret, it is one under Keycloak's auth manager, whose clients may do all.
    """

    def __init__(
        self,
        *,
        version: str = "3.3.2",
        users: Mapping[str, tuple[str, str]] | None = None,
        clients: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        token_life: timedelta = timedelta(days=1),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.version = version
        self.users = dict(users or {"admin": ("admin", "admin"), "viewer": ("viewer", "viewer")})
        self.clients = dict(clients or {})
        self.users |= {name: (secret, "admin") for name, secret in self.clients.items()}
        self.tokens = Tokens(now, token_life)
        self.scheduler = "healthy"
        self.page_limit = 100
        self.faults = Faults()
        self.dags: dict[str, Dag] = {}
        self.runs: list[DagRun] = []
        self.pools: dict[str, int] = {"default_pool": 128}
        self.requests: list[tuple[str, str, int]] = []  # method, path with query, status or 0
        # Called with method and path once a request was carried out, before its reply goes out.
        self.between: Callable[[str, str], None] = lambda _method, _path: None
        self.most_writes_at_once = 0
        self.most_reads_at_once = 0
        self._now = now
        self._tls = tls
        self._busy = {True: 0, False: 0}
        self._numbers = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    # --- life

    async def __aenter__(self) -> Self:
        await self.come_up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.go_down()

    async def come_up(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]

    async def go_down(self) -> None:
        """Refuse connections; runs and DAGs stay."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    # --- the world

    def add_dag(self, dag_id: str, **traits: Any) -> Dag:
        """A DAG with the traits of `Dag`."""
        self.dags[dag_id] = Dag(dag_id, **traits)
        return self.dags[dag_id]

    def find(self, run_id: str, dag_id: str = "") -> DagRun | None:
        """The run of this id."""
        self._pass_time()
        found = (r for r in self.runs if r.run_id == run_id and dag_id in {"", r.dag_id})
        return next(found, None)

    def start(self, run_id: str) -> None:
        """The scheduler takes the run from its queue."""
        run = self._existing(run_id)
        run.state, run.start_date = "running", self._now()

    def finish(self, run_id: str, state: str = "success") -> None:
        """The run ends, whatever it was doing; "failed" is the other end."""
        run = self._existing(run_id)
        run.start_date = run.start_date or self._now()
        run.state, run.end_date = state, self._now()

    def add_run(self, dag_id: str, run_id: str, conf: Json | None = None, **more: Any) -> DagRun:
        """A run that somebody else made."""
        self._numbers += 1
        run = DagRun(self._numbers, dag_id, run_id, conf or {}, None, None, self._now())
        for name, value in more.items():
            setattr(run, name, value)
        self.runs.append(run)
        return run

    def _existing(self, run_id: str) -> DagRun:
        run = self.find(run_id)
        if run is None:
            raise LookupError(run_id)
        return run

    def _pass_time(self) -> None:
        """What a scheduler would have done by now, where a DAG says how quick it is."""
        now = self._now()
        for run in self.runs:
            dag = self.dags.get(run.dag_id)
            if dag is None or dag.starts_after is None:
                continue
            due = run.queued_at + dag.starts_after
            if run.state == "queued" and not dag.paused and now >= due:
                run.state, run.start_date = "running", due
            if run.state == "running" and dag.runs_for is not None and run.start_date is not None:
                end = run.start_date + dag.runs_for
                if now >= end:
                    run.state, run.end_date = dag.outcome, end

    # --- the server

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        is_write = request.method in WRITES and "/auth/" not in request.path
        self._busy[is_write] += 1
        self.most_writes_at_once = max(self.most_writes_at_once, self._busy[True])
        self.most_reads_at_once = max(self.most_reads_at_once, self._busy[False])
        status = 0
        try:
            response = await self._with_faults(request)
            status = response.status if response is not None else 0
        finally:
            self._busy[is_write] -= 1
            self.requests.append((request.method, request.path_qs, status))
        if response is None:
            assert request.transport is not None
            request.transport.abort()
        return response or web.Response()

    async def _with_faults(self, request: web.Request) -> web.Response | None:
        """The answer; None for none."""
        fault = self.faults.take(request.method, request.path)
        if fault is None:
            return await self._answer(request)
        response = await self._answer(request) if fault.done else None
        if fault.hold is not None:
            fault.hold.arrived.set()
            await fault.hold.released.wait()
            return response or await self._answer(request)
        return None if fault.reply is None else fault.reply()

    async def _answer(self, request: web.Request) -> web.Response:
        self._pass_time()
        try:
            status, body = self._route(request, await request.text())
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
        self.between(request.method, request.path)
        if not isinstance(body, dict):
            return web.Response(status=status, text=body, content_type="text/html")
        return web.json_response(body, status=status)

    def _route(self, request: web.Request, text: str) -> tuple[int, Any]:
        method, path = request.method, request.path
        if self._release < (3, 0):
            if path == "/api/v1/version":
                return 200, {"version": self.version, "git_version": None}
            return (403, {}) if path.startswith("/api/v1") else (404, "<html>lost</html>")
        if (method, path) == ("POST", "/auth/token"):
            return 201, {"access_token": self._login(parsed(text))}
        if not path.startswith("/api/"):
            return 200, "<!doctype html><title>Airflow</title>"
        if path.startswith("/api/v1"):
            raise Refusal(
                404,
                error="/api/v1 has been removed in Airflow 3, please use its upgraded version "
                "/api/v2 instead.",
            )
        if (method, path) == ("GET", "/api/v2/version"):
            return 200, {"version": self.version, "git_version": ".release:0"}
        if (method, path) == ("GET", "/api/v2/monitor/health"):
            return 200, health_body(self.scheduler, self._now())
        raw = request.raw_path.partition("?")[0]
        for verb, pattern, answer in _ROUTES:
            if verb == method and (found := re.fullmatch(pattern, raw)):
                user = self.tokens.user(request.headers.get("Authorization", ""))
                writes = method in WRITES and not raw.endswith("/list")
                if writes and self.users[user][1] == "viewer":
                    raise Refusal(403, "Forbidden")
                return answer(self, request.query, text, *map(unquote, found.groups()))
        raise Refusal(404, error="API route not found")

    @property
    def _release(self) -> tuple[int, int]:
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    def _login(self, body: Any) -> str:
        return self.tokens.login(body, self.users, self.clients)

    # --- DAGs

    def _dag(self, dag_id: str) -> Dag:
        if dag_id not in self.dags:
            raise Refusal(404, f"The Dag with ID: `{dag_id}` was not found")
        return self.dags[dag_id]

    def _get_dag(self, _query: Any, _text: str, dag_id: str) -> tuple[int, Json]:
        return 200, dag_body(self._dag(dag_id), self._now())

    def _get_details(self, _query: Any, _text: str, dag_id: str) -> tuple[int, Json]:
        dag = self._dag(dag_id)
        if dag.broken_details:
            return 500, {"detail": "Internal Server Error"}
        running = sum(r.dag_id == dag_id and r.state == "running" for r in self.runs)
        return 200, details_body(dag, self._now(), running)

    def _get_pools(self, query: MultiMapping[str], _text: str) -> tuple[int, Json]:
        return 200, pool_list(self.pools, query, self.page_limit)

    def _get_tasks(self, _query: Any, _text: str, dag_id: str) -> tuple[int, Json]:
        return 200, task_list(self._dag(dag_id))

    # --- runs

    def _run(self, dag_id: str, run_id: str) -> DagRun:
        run = self.find(run_id, dag_id)
        if run is None or run.dag_id != dag_id:
            raise Refusal(
                404, f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"
            )
        return run

    def _get_run(self, _query: Any, _text: str, dag_id: str, run_id: str) -> tuple[int, Json]:
        return 200, run_body(self._run(dag_id, run_id))

    def _post_run(self, _query: Any, text: str, dag_id: str) -> tuple[int, Json]:
        body = checked(parsed(text), _TRIGGER, required=("logical_date",))
        dag = self.dags.get(dag_id)
        if dag is None or dag.stale:
            raise Refusal(404, f"Dag with dag_id: '{dag_id}' not found")
        named = f"Dag with dag_id: '{dag_id}'"
        if dag.import_errors:
            raise Refusal(400, f"{named} has import errors and cannot be triggered")
        if dag.allowed_run_types is not None and "manual" not in dag.allowed_run_types:
            raise Refusal(400, f"{named} does not allow manual runs")
        run_id, conf = body.get("dag_run_id") or f"manual__{uuid.uuid4()}", body.get("conf") or {}
        check_run_id(run_id)
        check_params(dag, conf)
        date = body["logical_date"]
        for run in self.runs:
            same_date = date is not None and run.logical_date == date
            if run.dag_id == dag_id and (run.run_id == run_id or same_date):
                raise Refusal(409, conflict())
        made = self.add_run(dag_id, run_id, conf, note=body.get("note"), logical_date=date)
        self._pass_time()
        return 200, run_body(made)

    def _patch_run(self, _query: Any, text: str, dag_id: str, run_id: str) -> tuple[int, Json]:
        body = checked(parsed(text), {"state": str, "note": str})
        if body.get("state") not in {None, "queued", "success", "failed"}:
            expected = "'queued', 'success' or 'failed'"
            raise Refusal(
                422,
                [
                    complaint("enum", "state", f"Input should be {expected}", body["state"])
                    | {"ctx": {"expected": expected}}
                ],
            )
        run = self._run(dag_id, run_id)
        self._dag(dag_id)
        run.note = body.get("note", run.note)
        if body.get("state") not in {None, run.state}:
            run.state = body["state"]
            run.end_date = self._now() if run.state in FINAL else None
        return 200, run_body(run)

    def _delete_run(self, _query: Any, _text: str, dag_id: str, run_id: str) -> tuple[int, None]:
        run = self._run(dag_id, run_id)
        if run.state == "running":
            raise Refusal(
                409,
                f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` "
                "cannot be deleted in running state",
            )
        self.runs.remove(run)
        return 204, None

    def _get_runs(self, query: MultiMapping[str], _text: str, dag_id: str) -> tuple[int, Json]:
        if dag_id != "~":
            self._dag(dag_id)
        return 200, run_list(self.runs, query, dag_id, self._release, self.page_limit)

    def _post_instances(self, _query: Any, text: str) -> tuple[int, Json]:
        body = checked(parsed(text), _INSTANCES)
        return 200, instance_list(self.dags, self.runs, body, self.page_limit)


_DAGS = "/api/v2/dags/([^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., tuple[int, Any]]], ...] = (
    ("GET", _DAGS, FakeAirflow._get_dag),
    ("GET", f"{_DAGS}/details", FakeAirflow._get_details),
    ("GET", f"{_DAGS}/tasks", FakeAirflow._get_tasks),
    ("GET", f"{_DAGS}/dagRuns", FakeAirflow._get_runs),
    ("POST", f"{_DAGS}/dagRuns", FakeAirflow._post_run),
    ("GET", f"{_DAGS}/dagRuns/([^/]+)", FakeAirflow._get_run),
    ("PATCH", f"{_DAGS}/dagRuns/([^/]+)", FakeAirflow._patch_run),
    ("DELETE", f"{_DAGS}/dagRuns/([^/]+)", FakeAirflow._delete_run),
    ("GET", "/api/v2/pools", FakeAirflow._get_pools),
    ("POST", "/api/v2/dags/~/dagRuns/~/taskInstances/list", FakeAirflow._post_instances),
)
_INSTANCES = {
    "dag_ids": list,
    "dag_run_ids": list,
    "state": list,
    "order_by": str,
    "page_limit": int,
    "page_offset": int,
}
_TRIGGER = {
    "dag_run_id": str,
    "data_interval_start": str,
    "data_interval_end": str,
    "logical_date": str,
    "run_after": str,
    "conf": dict,
    "note": str,
    "partition_key": str,
}
