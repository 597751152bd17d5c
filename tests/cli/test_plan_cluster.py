"""The reading commands in a cluster, with the rights of the person who looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slackwater.api.status import to_wire
from slackwater.core.ledger import Line, State
from slackwater.core.span import Span
from slackwater.core.status import Status
from slackwater.core.words import Reason
from tests.cli.reading_bench import (
    ASIDE,
    NOW,
    Bench,
    Json,
    Printed,
    entry,
    event,
    pool,
    static,
    window,
)
from tests.stores.fake_cluster import OURS, FakeCluster

PLURALS = {
    "TrainingWindow": "trainingwindows",
    "Calendar": "calendars",
    "GPUPool": "gpupools",
}
TRAIN = entry("team", "Trigger", "train:*")
NIGHT = event("a", "train: x", "2026-11-24T22:00:00Z", "2026-11-25T06:00:00Z")


class Cluster(Bench):
    """A bench whose objects are in a cluster."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, monkeypatch)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        self.server = FakeCluster(root)
        self.runner = web.AppRunner(self.server.app(), shutdown_timeout=0.1)

    async def come_up(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        port = self.runner.addresses[0][1]
        self.server.kubeconfig.write_text(
            f"{{apiVersion: v1, kind: Config, current-context: fake, clusters: [{{name: fake, "
            f'cluster: {{server: "http://127.0.0.1:{port}"}}}}], users: [{{name: fake, user: '
            f"{{token: t0ken}}}}], contexts: [{{name: fake, context: {{cluster: fake, user: "
            f"fake}}}}]}}"
        )

    def put(self, *documents: Json, namespace: str = "research", **parts: Any) -> None:
        for document in documents:
            collection = f"{OURS}/{PLURALS[document['kind']]}"
            name = document["metadata"]["name"]
            self.server.create(collection, name, namespace, spec=document["spec"], **parts)

    def look(self, command: str, *words: str) -> Printed:
        where = ["--kubeconfig", str(self.server.kubeconfig)]
        return self.run(command, *words, *where, directory=False)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, monkeypatch)
    ASIDE.do(cluster.come_up())
    yield cluster
    ASIDE.do(cluster.runner.cleanup())


def test_all_windows_are_planned_and_one_that_cannot_be_is_no_bad_manifest(
    cluster: Cluster,
) -> None:
    cluster.put(static(NIGHT), window(calendars=[TRAIN]))
    cluster.put(window("wrong", timeZone="Europe/Berln"))

    printed = cluster.look("plan", "-o", "json")

    assert printed.code == 1
    assert [p["trainingWindow"] for p in printed.json] == ["research/nightly"]
    assert printed.err == (
        "slackwater: research/wrong: spec.timeZone: Europe/Berln is not a time zone of the IANA "
        "database. Use a name such as Europe/Berlin or UTC.\n"
    )


def test_a_person_of_one_namespace_looks_at_it_and_at_what_it_refers_to(cluster: Cluster) -> None:
    far = {"name": "team", "namespace": "office"}
    cluster.put(static(NIGHT, allowedNamespaces={"from": "All"}), namespace="office")
    cluster.put(window(calendars=[{**TRAIN, "calendarRef": far}]))
    cluster.server.fault("GET", f"^{OURS}/[^/]+$", status=403)

    everywhere = cluster.look("plan")
    here = cluster.look("plan", "-o", "json", "-n", "research")
    named = cluster.look("plan", "-o", "json", "--window", "research/nightly")

    assert everywhere.code == 1
    assert "the Kubernetes API accepts the credentials but denies access." in everywhere.err
    assert here.code == named.code == 0
    assert here.json == named.json
    assert [p["trainingWindow"] for p in here.json] == ["research/nightly"]


def test_what_a_person_may_not_see_is_not_called_missing(cluster: Cluster) -> None:
    far = {"name": "team", "namespace": "office"}
    chosen = {"from": "Selector", "selector": {"matchLabels": {"team": "research"}}}
    cluster.put(static(NIGHT, allowedNamespaces=chosen), namespace="office")
    cluster.put(window(calendars=[{**TRAIN, "calendarRef": far}]))
    cluster.server.create(
        "/api/v1/namespaces", "research", metadata={"labels": {"team": "research"}}
    )

    free = cluster.look("plan", "-n", "research")
    labels = cluster.server.fault("GET", "^/api/v1/namespaces/research$", status=403)
    unlabelled = cluster.look("plan", "-n", "research")
    labels.times = 0
    cluster.server.fault("GET", "/namespaces/office/calendars/", status=403)
    unseen = cluster.look("plan", "-n", "research")

    assert free.code == 0
    for printed in (unlabelled, unseen):
        assert printed.code == 1
        assert "the Kubernetes API accepts the credentials but denies access." in printed.out


def test_times_are_suggested_to_a_person_of_one_namespace(cluster: Cluster) -> None:
    far = {"name": "team", "namespace": "office"}
    cluster.put(static(NIGHT, allowedNamespaces={"from": "All"}), namespace="office")
    allow = {"name": "x", "effect": "Allow", "schedule": "0 3 * * *", "durationSeconds": 3600}
    cluster.put(window(calendars=[{**TRAIN, "calendarRef": far}], windows=[allow]))
    cluster.server.fault("GET", f"^{OURS}/[^/]+$", status=403)

    found = cluster.look("suggest", "research/nightly", "-o", "json", "--days", "2")
    file = cluster.look("suggest", "research/nightly", "-o", "ics", "--days", "2")

    assert (found.code, found.err, file.code) == (0, "", 0)
    starts = [one["start"] for one in found.json["suggestions"]]
    assert starts == ["2026-11-24T03:00:00Z", "2026-11-25T03:00:00Z"]
    assert file.out.count("SUMMARY:train: nightly") == 2


def test_a_past_night_is_told_from_the_status_in_the_cluster(cluster: Cluster) -> None:
    line = Line(
        id="0123",
        entry="team",
        state=State.MISSED,
        reason=Reason.CONTROLLER_DOWN,
        window=Span(NOW.replace(day=20, hour=22), NOW.replace(day=21, hour=6)),
    )
    status = to_wire(Status(message="All is quiet.", lines=(line,)))
    cluster.put(static(NIGHT), window(calendars=[TRAIN]), status=status)

    printed = cluster.look("explain", "research/nightly", "--at", "2026-11-20")

    assert printed.code == 0
    assert printed.out.splitlines()[1] == (
        "Fri 2026-11-20 22:00 - Sat 06:00: Missed: Slackwater was not running during the window."
    )


def test_check_counts_a_window_that_the_cluster_took_and_nobody_can_use(cluster: Cluster) -> None:
    cluster.put(window("wrong", timeZone="Europe/Berln"))

    printed = cluster.look("check", "-o", "json")

    assert printed.code == 1
    assert [(f["about"], f["reason"]) for f in printed.json if not f["ok"]] == [
        ("TrainingWindow research/wrong", "UnknownTimeZone")
    ]


def test_a_cluster_that_is_not_there_is_a_failure_with_its_remedy(cluster: Cluster) -> None:
    ASIDE.do(cluster.runner.cleanup())

    printed = cluster.look("plan")

    assert printed.code == 1
    assert printed.err == (
        "slackwater: the Kubernetes API cannot be reached. Check the address, DNS and network "
        "policies.\n"
    )


def test_the_queue_of_a_pool_shows_the_windows_of_all_namespaces(cluster: Cluster) -> None:
    cluster.put(pool(16, grants=[{"namespaces": {"from": "All"}}]))
    gpu = {"gpu": {"poolRef": {"name": "box", "namespace": "research"}, "count": 8}}
    line = Line(
        id="0123",
        entry="daily",
        state=State.WAITING,
        reason=Reason.WAITING_FOR_GPUS,
        condition="CapacityAvailable",
        since=NOW,
        window=Span(NOW.replace(hour=11), NOW.replace(hour=20)),
    )
    status = to_wire(Status(lines=(line,)))
    cluster.put(window("nightly", **gpu), status=status)
    cluster.put(window("theirs", priority=7, **gpu), namespace="sales", status=status)

    printed = cluster.look("queue", "research/box", "-o", "json")

    assert (printed.code, printed.err) == (0, "")
    assert [(w["trainingWindow"], w["mayStartNow"]) for w in printed.json["waiting"]] == [
        ("sales/theirs", True),
        ("research/nightly", True),
    ]
