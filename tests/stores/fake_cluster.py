"""A small Kubernetes API server in this process, with faults to order.

It keeps what the stores rely on: growing resource versions, pages with continue tokens, watches
from a version, merge patches with a version in the body, the status subresource. What it lacks
(schemas, rights, conversions) is tested against the real server in the `server` tests.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

OURS = "/apis/slackwater.dev/v1alpha1"
PLURALS = {
    "trainingwindows": "TrainingWindow",
    "calendars": "Calendar",
    "gpupools": "GPUPool",
    "airflowinstances": "AirflowInstance",
}
SECRETS = "/api/v1/secrets"
_PATH = re.compile(
    r"(?P<base>/api/v1|/apis/[^/]+/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>status))?"
)


class FakeClock:
    """Both kinds of time, moved by the test."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.steady = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Fault:
    """What to do with the requests that match, instead of or before answering them."""

    method: str
    path: str
    status: int | None = None  # answer this
    hang: asyncio.Event | None = None  # wait for this first
    lose_reply: bool = False  # do it, and close the connection
    body: str = "{}"
    times: int = 1_000_000

    def matches(self, request: web.Request) -> bool:
        return request.method == self.method and re.search(self.path, request.path) is not None


@dataclass
class _Happened:
    version: int
    type: str
    collection: str
    object: dict[str, Any] = field(repr=False)


class FakeCluster:
    def __init__(self, files: Path) -> None:
        self.objects: dict[tuple[str, str | None, str], dict[str, Any]] = {}
        self.version = 100
        self.history: list[_Happened] = []
        self.oldest = 0  # watches from before this version get 410
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.page: int | None = None  # a smaller page than was asked for
        self.prune: Callable[[dict[str, Any]], None] = lambda _: None
        self.watchers: dict[asyncio.Event, web.StreamResponse] = {}
        self.news_held = False  # watches stay open and silent
        self.kubeconfig = files / "kubeconfig"
        self.create("/api/v1/namespaces", "kube-system")

    # --- what a test does ------------------------------------------------------------------

    def create(self, collection: str, name: str, namespace: str | None = None, **parts: Any) -> Any:
        """An object made by somebody else; `collection` is its path without namespace."""
        metadata = {
            "name": name,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": "2026-11-23T10:00:00Z",
            "generation": 1,
            **parts.pop("metadata", {}),
        }
        if namespace is not None:
            metadata["namespace"] = namespace
        body = {"metadata": metadata, **parts}
        return self._store(collection, namespace, name, body, "ADDED")

    def window(self, name: str, namespace: str = "research", **parts: Any) -> Any:
        parts.setdefault("spec", {"dag": {"dagId": name}})
        return self.create(f"{OURS}/trainingwindows", name, namespace, **parts)

    def edit(
        self, collection: str, name: str, namespace: str | None, patch: Mapping[str, Any]
    ) -> Any:
        body = copy.deepcopy(self.objects[collection, namespace, name])
        spec = copy.deepcopy(body.get("spec"))
        _merge(body, patch)
        if body.get("spec") != spec:
            body["metadata"]["generation"] += 1
        return self._store(collection, namespace, name, body, "MODIFIED")

    def delete(self, collection: str, name: str, namespace: str | None = None) -> None:
        body = copy.deepcopy(self.objects.pop((collection, namespace, name)))
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._happen("DELETED", collection, body)

    def forget_history(self) -> None:
        """As after five minutes: a watch cannot go on from where it was."""
        self.oldest = self.version
        self.history.clear()

    async def cut_watches(self) -> None:
        """Close every watch connection."""
        for response in list(self.watchers.values()):
            await response.write_eof()
        for news in list(self.watchers):
            news.set()

    def count(self, method: str, path: str = "") -> int:
        return sum(1 for a in self.asked if a.method == method and re.search(path, a.path))

    def fault(self, method: str, path: str, **what: Any) -> Fault:
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    # --- storage ---------------------------------------------------------------------------

    def _store(
        self, collection: str, namespace: str | None, name: str, body: dict[str, Any], type_: str
    ) -> dict[str, Any]:
        before = self.objects.get((collection, namespace, name))
        if before is not None and before == body:
            return before  # a write that changes nothing keeps its version
        self.version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[collection, namespace, name] = body
        self._happen(type_, collection, body)
        return copy.deepcopy(body)

    def _happen(self, type_: str, collection: str, body: dict[str, Any]) -> None:
        self.history.append(_Happened(self.version, type_, collection, copy.deepcopy(body)))
        if not self.news_held:
            for news in self.watchers:
                news.set()

    # --- HTTP ------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.text()
        body = json.loads(raw) if raw else None
        self.asked.append(
            Asked(request.method, request.path, dict(request.query), dict(request.headers), body)
        )
        fault = next((f for f in self.faults if f.times and f.matches(request)), None)
        if fault is not None:
            fault.times -= 1
            if fault.hang is not None:
                await fault.hang.wait()
            if fault.status is not None:
                return web.Response(status=fault.status, text=fault.body)
        answer = await self._dispatch(request, body)
        if fault is not None and fault.lose_reply:
            assert request.transport is not None
            request.transport.close()
        return answer

    async def _dispatch(self, request: web.Request, body: Any) -> web.StreamResponse:
        discovery = _discovery(request.path)
        if discovery is not None:
            return web.json_response(discovery)
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _status(404)
        collection = f"{match['base']}/{match['plural']}"
        namespace, name, sub = match["namespace"], match["name"], match["sub"]
        if request.method == "POST":
            return self._post(collection, namespace, body)
        if name is None:
            if request.query.get("watch") == "true":
                return await self._watch(request, collection, namespace)
            return self._list(request, collection, namespace)
        held = self.objects.get((collection, namespace, name))
        if held is None:
            return _status(404)
        if request.method == "GET":
            return web.json_response(held)
        return self._write(request.method, (collection, namespace, name), sub, held, body)

    def _post(self, collection: str, namespace: str | None, body: Any) -> web.Response:
        name = body["metadata"]["name"]
        if (collection, namespace, name) in self.objects:
            return _status(409)
        return web.json_response(self.create(collection, name, namespace, **body), status=201)

    def _write(
        self,
        method: str,
        key: tuple[str, str | None, str],
        sub: str | None,
        held: dict[str, Any],
        body: Any,
    ) -> web.Response:
        expected = body.get("metadata", {}).get("resourceVersion")
        if expected is not None and expected != held["metadata"]["resourceVersion"]:
            return _status(409)
        after = copy.deepcopy(held)
        if method == "PUT":
            after = copy.deepcopy(body)
        elif sub == "status":
            _merge(after, {"status": body["status"]})
            self.prune(after["status"])
        else:
            _merge(after, body)
        return web.json_response(self._store(*key, after, "MODIFIED"))

    def _list(self, request: web.Request, collection: str, namespace: str | None) -> web.Response:
        known = any(f"{OURS}/{plural}" == collection for plural in PLURALS)
        if collection.startswith("/apis/slackwater.dev") and not known:
            return _status(404)
        start, version = 0, self.version
        if "continue" in request.query:
            start, version = map(int, request.query["continue"].split("-"))
            if version < self.oldest:
                return _status(410)
        items = [
            body
            for (where, home, _), body in sorted(self.objects.items(), key=lambda i: str(i[0]))
            if where == collection and namespace in {None, home}
        ]
        end = start + min(int(request.query.get("limit", 10**6)), self.page or 10**6)
        metadata = {"resourceVersion": str(version)}
        if end < len(items):
            metadata["continue"] = f"{end}-{version}"
        return web.json_response({"metadata": metadata, "items": items[start:end]})

    async def _watch(
        self, request: web.Request, collection: str, namespace: str | None
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        if seen < self.oldest:
            await _send(response, "ERROR", {"code": 410, "reason": "Expired"})
            return response
        news = asyncio.Event()
        self.watchers[news] = response
        try:
            while not response._eof_sent:
                if not self.news_held:
                    for item in [h for h in self.history if h.version > seen]:
                        seen = item.version
                        home = item.object["metadata"].get("namespace")
                        if item.collection == collection and namespace in {None, home}:
                            await _send(response, item.type, item.object)
                news.clear()
                await news.wait()
        finally:
            del self.watchers[news]
        return response


def encoded(**values: str) -> dict[str, str]:
    """The data of a Secret."""
    return {name: base64.b64encode(text.encode()).decode() for name, text in values.items()}


async def _send(response: web.StreamResponse, type_: str, body: Any) -> None:
    await response.write(json.dumps({"type": type_, "object": body}).encode() + b"\n")


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, Mapping):
            inner = target.get(name)
            if not isinstance(inner, dict):
                inner = target[name] = {}
            _merge(inner, value)
        else:
            target[name] = copy.deepcopy(value)


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code}, status=code)


def _discovery(path: str) -> Any:
    """What kopf reads of a server before it watches."""
    verbs = ["get", "list", "watch", "patch", "create", "update", "delete"]

    def resource(plural: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
        names = {"name": plural, "singularName": plural[:-1], "kind": kind}
        return {**names, "namespaced": namespaced, "verbs": verbs}

    version = {"groupVersion": "slackwater.dev/v1alpha1", "version": "v1alpha1"}
    group = {"name": "slackwater.dev", "versions": [version], "preferredVersion": version}
    return {
        "/api": {"versions": ["v1"]},
        "/api/v1": {
            "resources": [
                resource("namespaces", "Namespace", namespaced=False),
                resource("events", "Event", namespaced=True),
            ]
        },
        "/apis": {"groups": [group]},
        OURS: {"resources": [resource(p, kind, namespaced=True) for p, kind in PLURALS.items()]},
    }.get(path)
