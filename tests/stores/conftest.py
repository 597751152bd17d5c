from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from slackwater.core.spec import Ref
from slackwater.ports import Change, Changed, Deleted, Key, Kind, Listed, Store
from testbed.kubernetes import ControlPlane
from tests.stores.fake_cluster import FakeClock, FakeCluster
from tests.stores.real_cluster import CLUSTER_RULES, CRDS, HOME, HOME_RULES, SystemClock, grant

if TYPE_CHECKING:
    from slackwater.stores.cluster import Cluster
    from slackwater.stores.kubernetes import KubernetesStore


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    # Reading the system's authorities takes longer than most tests; none needs them.
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    """An API server in this process."""
    fake = FakeCluster(tmp_path)
    runner = web.AppRunner(fake.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.kubeconfig.write_text(kubeconfig(f"http://{host}:{port}"))
    yield fake
    for fault in fake.faults:
        if fault.hang is not None:
            fault.hang.set()
    await runner.cleanup()


@pytest.fixture
async def cluster(fake: FakeCluster, clock: FakeClock) -> AsyncIterator[Cluster]:
    """A connection to it."""
    from slackwater.stores.cluster import Cluster  # heavy: only for tests that need it

    cluster = await Cluster.connect(clock, kubeconfig=fake.kubeconfig)
    yield cluster
    await cluster.aclose()


@pytest.fixture
def store(cluster: Cluster, clock: FakeClock) -> KubernetesStore:
    from slackwater.stores.kubernetes import KubernetesStore

    return KubernetesStore(cluster, clock)


@pytest.fixture
def told(store: KubernetesStore) -> Told:
    return Told(store)


@contextlib.asynccontextmanager
async def running(store: KubernetesStore) -> AsyncIterator[asyncio.Task[Any]]:
    """The store's `run`, until the block ends."""
    task: asyncio.Task[Any] = asyncio.create_task(store.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], object], timeout: float = 20) -> None:
    """Poll what another thread or a real server does."""
    async with asyncio.timeout(timeout):
        while not condition():  # there is no event to wait for
            await asyncio.sleep(0.01)


def kubeconfig(server: str, token: str = "t0ken") -> str:
    return f"""
apiVersion: v1
kind: Config
clusters: [{{name: fake, cluster: {{server: "{server}"}}}}]
users: [{{name: fake, user: {{token: {token}}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
current-context: fake
"""


class Told:
    """What a store tells, in order."""

    def __init__(self, store: Store) -> None:
        self._changes = store.changes()

    async def next(self, timeout: float = 20) -> Change:
        async with asyncio.timeout(timeout):
            return await anext(self._changes)

    async def until_listed(self) -> list[Change]:
        seen: list[Change] = []
        while not isinstance(change := await self.next(), Listed):
            seen.append(change)
        return seen

    async def changed(self, name: str) -> Any:
        """The next change, which must be a change of the object of this name."""
        change = await self.next()
        assert isinstance(change, Changed), change
        assert change.object.key.ref.name == name
        return change.object

    async def deleted(self, name: str) -> None:
        change = await self.next()
        assert isinstance(change, Deleted), change
        assert change.key.ref.name == name


def window_key(name: str, namespace: str = "research") -> Key:
    return Key(Kind.TRAINING_WINDOW, Ref(namespace, name))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real API server with our CRDs."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The server with our resources, and a service account with the rights above."""
    for path in sorted(CRDS.glob("*.yaml")):
        control_plane.apply(path)
    control_plane.create_namespace(HOME)
    control_plane.ensure_service_account(HOME, "slackwater")
    grant(control_plane, "ClusterRole", HOME, CLUSTER_RULES)
    grant(control_plane, "Role", HOME, HOME_RULES)
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return control_plane


@pytest.fixture
def namespace(plane: ControlPlane) -> str:
    return plane.create_namespace(f"t-{uuid.uuid4().hex[:8]}", {"team": "research"})


@pytest.fixture
async def real(plane: ControlPlane) -> AsyncIterator[Cluster]:
    """A connection as the operator's service account."""
    token = plane.token_for(HOME, "slackwater")
    from slackwater.stores.cluster import Cluster

    cluster = await Cluster.connect(SystemClock(), kubeconfig=plane.kubeconfig_for(token))
    yield cluster
    await cluster.aclose()
