"""The whole operator over calendars full of markers: nothing it writes holds one (R13).

Every provider, through success, through every way in which its service fails, and back; with every
logger at debug. What is searched: logs, Kubernetes Events, statuses, metrics, the database's bytes,
the conf of every run, and what a crash prints.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest

from slackwater.calendars import microsoft_graph
from slackwater.calendars.registry import PROVIDERS, Opening, open_calendar
from slackwater.net import open_session
from slackwater.ports import CalendarSource
from slackwater.runtime import sources
from slackwater.runtime.calendar_follower import CalendarFollower
from slackwater.stores.kubernetes import KubernetesStore
from tests.calendars.conformance.service import SECRET, Planned, Service
from tests.calendars.conformance.services import SERVICES
from tests.calendars.support import CANARY
from tests.fakes.airflow import FakeAirflow
from tests.fakes.graph_tls import server_tls
from tests.fakes.serving import serving
from tests.runtime.quay import DAG, NAMESPACE, Quay, document, until
from tests.runtime.test_app_operator import EVENTS, cluster, operator, populate
from tests.stores.fake_cluster import OURS, SECRETS, FakeCluster, encoded

__all__ = ["cluster"]

# What the services of this test log of their own requests is theirs.
_SERVERS = ("aiohttp.access", "aiohttp.server", "aiohttp.web")
PATIENCE = 150  # a look that was under way when its calendar became another may take its whole time


class Log(logging.Handler):
    """Everything that is logged, tracebacks included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.told: set[tuple[str, str]] = set()
        """The objects that something was told of, and the reason."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_SERVERS):
            return
        self.lines.append(self.format(record))
        if record.name == "slackwater.events":
            self.told.add((record.object.ref.name, record.reason))  # type: ignore[attr-defined]


@pytest.fixture
def log() -> Iterator[Log]:
    names = ("", "slackwater", "kopf", "icalendar", "urllib3", "aiohttp")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    heard = Log()
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(heard)
    yield heard
    loggers[0].removeHandler(heard)
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@dataclass
class Berth:
    """One calendar of one provider, with a window that it triggers."""

    name: str
    provider: str
    service: Service
    origin: str
    fault: str | None

    @property
    def reason(self) -> str | None:
        return None if self.fault is None else str(self.service.faults()[self.fault].reason)

    def cause(self) -> None:
        if self.fault is not None:
            self.service.faults()[self.fault].cause()

    def secrets(self, phase: int) -> dict[str, str]:
        """Its keys, with another line end in each phase: what has every calendar read anew."""
        keys = self.service.secrets(self.origin)
        return {f"{self.name}.{key}": text + "\n" * phase for key, text in keys.items()}

    def documents(self) -> list[dict[str, Any]]:
        config = self.service.config(self.origin)
        text = json.dumps(config)
        for key in self.service.secrets(self.origin):
            text = text.replace(f'"key": "{key}"', f'"key": "{self.name}.{key}"')
        calendar = {"provider": {self.provider: json.loads(text)}, "privacy": "Details"}
        entry = {
            "name": "team",
            "calendarRef": {"name": self.name},
            "effect": "Trigger",
            "match": {"summary": "train:*", "organizers": ["*"]},
        }
        window = {
            "calendars": [entry],
            "dag": {"airflowRef": {"name": "default"}, "dagId": DAG},
        }
        return [
            document("Calendar", self.name, calendar),
            document("TrainingWindow", self.name, window),
        ]


@pytest.fixture
async def berths(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[list[Berth]]:
    """Each provider once for every way in which it fails, and once without."""
    assert set(SERVICES) == set(PROVIDERS)
    now = datetime.now(UTC).replace(microsecond=0)
    tls, authority = server_tls(tmp_path_factory.mktemp("tls"))
    trusting = partial(open_session, ssl=ssl.create_default_context(cafile=authority))
    monkeypatch.setattr(microsoft_graph, "open_session", trusting)
    async with AsyncExitStack() as stack:
        made = []
        for provider in sorted(SERVICES):
            for number, fault in enumerate([None, *SERVICES[provider]().faults()]):
                service = SERVICES[provider]()
                service.put(Planned("one", now - timedelta(hours=1), now + timedelta(hours=2)))
                context = tls if getattr(service, "tls", False) else None
                origin = await stack.enter_async_context(serving(service.answer, context))
                name = f"{provider.lower()}-{number}"
                made.append(Berth(name, provider, service, origin, fault))
        told_where(made, monkeypatch)
        yield made


def told_where(berths: list[Berth], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell each Calendar's provider of its own server, as the operator's settings would of one."""
    origins = {one.name: one.origin for one in berths}

    def opened(name: str, opening: Opening) -> CalendarSource:
        origin = origins[opening.ref.name]
        hosts = frozenset({urlsplit(origin).netloc})
        return open_calendar(name, replace(opening, endpoints={name: origin}, hosts=hosts))

    monkeypatch.setattr(sources, "open_calendar", opened)


def secrets(berths: list[Berth], phase: int) -> dict[str, str]:
    """The one Secret that all calendars name."""
    return {key: text for one in berths for key, text in one.secrets(phase).items()}


@pytest.mark.server  # dozens of calendars and their children: alone on the machine
@pytest.mark.timeout(600)
async def test_slackwater_run_writes_no_marker_anywhere(
    quay: Quay,
    airflow: FakeAirflow,
    berths: list[Berth],
    log: Log,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = quay.settings.secrets / NAMESPACE / SECRET

    def tell(phase: int) -> None:
        """All keys at once, as the kubelet changes them: half a change would cost feeds a turn."""
        fresh = folder.with_name(f"edition-{phase}")
        fresh.mkdir()
        for key, text in secrets(berths, phase).items():
            (fresh / key).write_text(text)
        link = folder.with_name("next")
        link.symlink_to(fresh, target_is_directory=True)
        link.replace(folder)

    for one in berths:
        quay.write(f"{one.name}.yaml", *one.documents())
    tell(0)
    async with quay.running() as process:
        await until(lambda: len(quay.runs()) == len(berths), PATIENCE)
        texts = [(await process.get("/metrics"))[1]]
        for one in berths:
            one.cause()
        tell(1)
        troubles = {(one.name, one.reason) for one in berths if one.reason is not None}
        await until(lambda: troubles <= log.told, PATIENCE)
        texts.append((await process.get("/metrics"))[1])
        for one in berths:
            one.service.heal()
        broken = CalendarFollower._succeeded

        crashed = set()

        def crash(self: Any, snapshot: Any) -> None:
            broken(self, snapshot)
            crashed.add(self.ref)
            raise RuntimeError(f"a bug, with {self.snapshot!r} from {self.source!r} in hand")

        monkeypatch.setattr(CalendarFollower, "_succeeded", crash)
        tell(2)
        await until(lambda: len(crashed) == len(berths), PATIENCE)
        texts.append((await process.get("/metrics"))[1])

    files = [path for path in quay.settings.data.rglob("*") if path.is_file()]
    texts += [path.read_bytes().decode(errors="replace") for path in files]
    assert any("SQLite format" in text for text in texts)
    out, err = capfd.readouterr()
    texts += ["\n".join(log.lines), out, err, json.dumps([run.conf for run in quay.runs()])]
    for text in texts:
        assert CANARY not in text
        assert "127.0.0.1:" + berths[0].origin.rsplit(":", 1)[1] not in text
    assert "slackwater_calendar_requests_total" in texts[0]
    assert "RuntimeError" in "\n".join(log.lines)


@pytest.mark.server
@pytest.mark.timeout(600)
async def test_the_operator_writes_no_marker_into_the_cluster(
    cluster: FakeCluster,
    airflow: FakeAirflow,
    berths: list[Berth],
    log: Log,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = timedelta(milliseconds=300)
    monkeypatch.setitem(KubernetesStore.__init__.__kwdefaults__, "secrets_every", soon)
    populate(cluster, airflow)
    cluster.create(SECRETS, SECRET, NAMESPACE, data=encoded(**secrets(berths, 0)))
    for one in berths:
        for made in one.documents():
            plural = f"{OURS}/{made['kind'].lower()}s"
            cluster.create(plural, one.name, NAMESPACE, spec=made["spec"])
    networks = (ip_network("127.0.0.0/8"),)
    async with operator(cluster, allow_networks=networks):
        await until(lambda: len(airflow.runs) == len(berths) + 1, PATIENCE)
        for one in berths:
            one.cause()
        data = encoded(**secrets(berths, 1))
        cluster.edit(SECRETS, SECRET, NAMESPACE, {"data": data})
        ready = f"{OURS}/calendars"

        def failed() -> bool:
            return all(
                one.reason in json.dumps(cluster.objects[ready, NAMESPACE, one.name]["status"])
                for one in berths
                if one.reason is not None
            )

        await until(failed, PATIENCE)
        await asyncio.sleep(0)

    written = {
        key: body.get("status", {}) if key[0].startswith(OURS) else body
        for key, body in cluster.objects.items()
        if key[0] != SECRETS
    }
    assert any(key[0] == EVENTS for key in written)
    assert sum("occurrences" in str(body) for body in written.values()) >= len(berths)
    patches = [asked.body for asked in cluster.asked if asked.method in {"PATCH", "POST", "PUT"}]
    assert patches
    confs = [run.conf for run in airflow.runs]
    out, err = capfd.readouterr()
    everything = (
        json.dumps([list(written.values()), patches, confs]) + "\n".join(log.lines) + out + err
    )
    assert CANARY not in everything
