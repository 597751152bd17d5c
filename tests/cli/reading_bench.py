"""Manifests, a clock and a terminal for tests of the commands that only look."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from slackwater.api.status import to_wire
from slackwater.calendars.expand import Expander, Expansion, Source
from slackwater.cli import main
from slackwater.core.span import Span
from slackwater.core.spec import Ref
from slackwater.core.status import Status
from slackwater.ports import Key, Kind
from slackwater.stores.directory import DirectoryStore

# One in each readable thing of each calendar; it may show on the user's own terminal alone.
CANARY = "c4n4ry"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

_Found = TypeVar("_Found")
Json = dict[str, Any]


class StillClock:
    """Stands still."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


class Aside:
    """An event loop in a thread: commands have loops of their own, and servers must go on."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._expander: Expander | None = None
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def expand(self, documents: Sequence[bytes], horizon: Span, source: Source) -> Expansion:
        self._expander = self._expander or Expander()
        return await self._expander.expand(documents, horizon, source)


ASIDE = Aside()


class SharedExpander:
    """The real expander, whose child starts once for all tests."""

    async def expand(self, documents: Sequence[bytes], horizon: Span, source: Source) -> Expansion:
        work = ASIDE.expand(documents, horizon, source)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, ASIDE.loop))

    async def aclose(self) -> None:
        """It goes on."""


class Screenful(io.StringIO):
    """What a command prints; a terminal where it is told so."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Bench:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        self.manifests, self.data = root / "manifests", root / "data"
        self.secrets = root / "secrets"
        self.manifests.mkdir()
        self.clock = StillClock()
        self.terminal = False
        monkeypatch.chdir(root)
        for name in ("KUBECONFIG", "NO_COLOR", "COLUMNS", "TERM", "SLACKWATER_MANIFESTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("slackwater.runtime.sources.Expander", SharedExpander)

    def write(self, name: str, *documents: Json) -> Path:
        path = self.manifests / name
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
        return path

    def secret(self, name: str, **values: str) -> None:
        folder = self.secrets / "research" / name
        folder.mkdir(parents=True)
        for key, value in values.items():
            (folder / key).write_text(value)

    def run(self, command: str, *words: str, directory: bool = True) -> Printed:
        """The command as `slackwater` would run it, at the bench's time."""
        where = ["--manifests", str(self.manifests), "--data", str(self.data)]
        argv = [command, *words, *(where if directory else [])]
        out, err = Screenful(terminal=self.terminal), Screenful(terminal=self.terminal)
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr("slackwater.runtime.clock.SystemClock", lambda: self.clock)
            code = main.main(argv)
        return Printed(code, out.getvalue(), err.getvalue())

    def plan(self, *words: str) -> list[Json]:
        """The plan as JSON; it went well, and says no title."""
        printed = self.run("plan", "-o", "json", *words)
        assert (printed.code, printed.err) == (0, "")
        assert CANARY not in printed.out
        found: list[Json] = printed.json
        return found

    def record(self, status: Status, name: str = "nightly") -> None:
        """The status of a TrainingWindow, as a `slackwater run` leaves it."""
        ASIDE.do(self._record(status, name))

    async def _record(self, status: Status, name: str) -> None:
        database = self.data / "slackwater.db"
        store = DirectoryStore([self.manifests], database, None, self.clock)
        try:
            await store.open()
            key = Key(Kind.TRAINING_WINDOW, Ref("research", name))
            stored = next(s for s in await store.objects() if s.key == key)
            await store.write_status(key, to_wire(status), stored.resource_version)
        finally:
            await store.aclose()


# --- objects -----------------------------------------------------------------------------------


def _object(kind: str, name: str, spec: Json, namespace: str = "research") -> Json:
    return {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def window(name: str = "nightly", **spec: Any) -> Json:
    if "calendars" not in spec and "windows" not in spec:
        spec["windows"] = [inline("daily", "Trigger", schedule="0 12 * * *", durationSeconds=3600)]
    spec = {"dag": {"airflowRef": {"name": "default"}, "dagId": "train"}, **spec}
    return _object("TrainingWindow", name, spec)


def inline(name: str, effect: str, **more: Any) -> Json:
    return {"name": name, "effect": effect, **more}


def entry(name: str, effect: str, summary: str | None = None, **more: Any) -> Json:
    match = {} if summary is None else {"match": {"summary": summary}}
    return {"name": name, "calendarRef": {"name": "team"}, "effect": effect, **match, **more}


def static(*events: Json, name: str = "team", **spec: Any) -> Json:
    return _object("Calendar", name, {"provider": {"static": {"events": list(events)}}, **spec})


def ical(file: str, name: str = "team", **spec: Any) -> Json:
    return _object("Calendar", name, {"provider": {"ical": {"file": file}}, **spec})


def event(uid: str, summary: str, start: str, end: str, **more: Any) -> Json:
    return {"uid": uid, "summary": summary, "start": start, "end": end, **more}


def pool(gpus: int = 8, name: str = "box", **spec: Any) -> Json:
    return _object("GPUPool", name, {"source": {"static": {"gpus": gpus}}, **spec})


def airflow(url: str, name: str = "default", **spec: Any) -> Json:
    login = {
        "usernameSecretRef": {"name": "airflow", "key": "username"},
        "passwordSecretRef": {"name": "airflow", "key": "password"},
    }
    return _object("AirflowInstance", name, {"url": url, "auth": {"login": login}, **spec})


def feed(*parts: str) -> str:
    """An iCalendar document of components."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *parts, "END:VCALENDAR", ""]
    return "\r\n".join(lines)


def vevent(uid: str, *lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", *lines, "END:VEVENT"])
