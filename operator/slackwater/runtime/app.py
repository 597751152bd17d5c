"""The composition roots: an operator in a cluster, and `slackwater run` on a directory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from random import SystemRandom
from typing import TYPE_CHECKING, Final, NoReturn

from slackwater import __version__
from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import Clock, Kind, Lease, Recorder, Store, Stored, WindowsFile
from slackwater.runtime.board import Board
from slackwater.runtime.clock import SystemClock
from slackwater.runtime.engine import Engine
from slackwater.runtime.identities import read_identities
from slackwater.runtime.last_run import remember
from slackwater.runtime.logs import LoggedFaults, TransitionLog
from slackwater.runtime.metrics import Metrics
from slackwater.runtime.process import Parts
from slackwater.runtime.records import Sources
from slackwater.runtime.serve import Health, TidePage, serving
from slackwater.runtime.settings import (
    DirectorySettings,
    OperatorSettings,
)
from slackwater.runtime.sources import LiveSources, cluster_policies, directory_policies
from slackwater.runtime.tell import Teller
from slackwater.runtime.told import Address
from slackwater.runtime.windows_file import WindowsWriter

if TYPE_CHECKING:
    from slackwater.stores.kubernetes import KubernetesStore
    from slackwater.stores.recorder import EventRecorder

_log = logging.getLogger(__name__)

# Together less than the 30 seconds after which Kubernetes kills a pod.
_ENGINE_GRACE: Final = timedelta(seconds=8)
_EVENTS_GRACE: Final = timedelta(seconds=5)
_LEASE_GRACE: Final = timedelta(seconds=10)
_STORE_GRACE: Final = timedelta(seconds=3)
_LEASE_LOOK: Final = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True)
class _Controller:
    engine: Engine
    metrics: Metrics
    board: Board

    def writer(self, file: WindowsFile, clock: Clock, lease: Lease) -> WindowsWriter:
        """Keeps the windows file."""
        return WindowsWriter(self.board, file, clock, lease, lambda: self.engine.ready)


def _controller(
    clock: Clock,
    store: Store,
    lease: Lease,
    sources: Sources,
    recorder: Recorder,
    dropped: Callable[[], int],
    metrics: Metrics,
    pages: str | None,
) -> _Controller:
    engine = Engine(
        clock=clock,
        store=store,
        lease=lease,
        sources=sources,
        teller=Teller(recorder, metrics),
        metrics=metrics,
        random=SystemRandom(),
    )
    engine.world.pages = pages
    metrics.expose(engine.world, leading=lambda: lease.held, dropped=dropped)
    return _Controller(engine, metrics, Board(engine.world))


async def run_operator(
    settings: OperatorSettings, stop: asyncio.Event, *, clock: Clock | None = None
) -> int:
    """Serve a cluster until `stop` is set.

    A process that has lost its lease ends: it must not act any more, and what it did not do
    meanwhile is nowhere written down. Kubernetes starts it anew.

    Args:
        settings: what it is told.
        stop: ends it in good order.
        clock: the present, the machine's where none is given.

    Returns:
        The exit code: 0 when it was asked to stop, 1 when it could not go on.

    Raises:
        ConfigError: there is no usable way to the cluster, or the address is taken.
    """
    # The client of the API is heavy, and the other composition needs none.
    from slackwater.stores.cluster import Cluster
    from slackwater.stores.kubernetes import KubernetesStore
    from slackwater.stores.lease import KubernetesLease
    from slackwater.stores.recorder import EventRecorder
    from slackwater.stores.windows_files import ConfigMaps

    clock = clock or SystemClock()
    identities = await asyncio.to_thread(read_identities, settings.identities)
    cluster = await Cluster.connect(clock, kubeconfig=settings.kubeconfig, context=settings.context)
    async with contextlib.aclosing(cluster):
        store = KubernetesStore(
            cluster, clock, namespaces=settings.namespaces, installation=settings.installation
        )
        lease = KubernetesLease(
            cluster,
            clock,
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=f"{settings.instance}_{uuid.uuid4()}",
        )
        recorder = EventRecorder(cluster, clock, instance=settings.instance, look=store.peek)
        calendars, services = cluster_policies(settings.allow_networks)
        metrics = Metrics()
        sources = LiveSources(
            clock=clock,
            store=store,
            calendars=calendars,
            services=services,
            identities=identities,
            counted=metrics.asked,
            endpoints=settings.endpoints,
            hosts=settings.calendar_hosts,
        )
        told = LoggedFaults(recorder)
        controller = _controller(
            clock,
            store,
            lease,
            sources,
            told,
            lambda: recorder.dropped,
            metrics,
            settings.public_url,
        )
        health = Health(controller.engine, clock, lambda: store.watch_trusted)
        async with (
            contextlib.aclosing(sources),
            serving(
                settings.metrics,
                health,
                controller.metrics.registry,
                TidePage(controller.board, clock, lambda: lease.held),
                "--metrics-address",
            ) as address,
        ):
            where = ", ".join(settings.namespaces) or "all namespaces"
            _log.info("Slackwater %s serves %s; metrics at %s", __version__, where, address)
            parts = Parts()
            try:
                parts.start("store", _run_store(store))
                parts.start("recorder", recorder.run())
                parts.start("lease", lease.run())
                parts.start("hold on the lease", _until_lost(lease))
                parts.start("engine", controller.engine.run())
                if settings.windows:
                    file = ConfigMaps(cluster, settings.windows)
                    parts.start("windows file", controller.writer(file, clock, lease).run())
                good = await parts.wait(stop)
            finally:
                parts.cancel("windows file")
                await _stop_operator(parts, recorder)
    return 0 if good else 1


async def _run_store(store: KubernetesStore) -> NoReturn:
    try:
        await store.run()
    except StoreError as error:
        if error.reason is Reason.NOT_FOUND:
            _log.error(
                "the cluster lacks Slackwater's resources; install them with "
                "`slackwater crds | kubectl apply --server-side -f -`"
            )
        raise


async def _until_lost(lease: Lease) -> None:
    """Return when a lease that was held is held no more."""
    await lease.wait_held()
    while lease.held:  # noqa: ASYNC110 - it ends by the passing of time, which sets no event
        await asyncio.sleep(_LEASE_LOOK.total_seconds())
    _log.error("the lease is lost: another process may act now, so this one ends")


async def _stop_operator(parts: Parts, recorder: EventRecorder) -> None:
    """Stop acting first, let others act last."""
    parts.cancel("hold on the lease")
    await parts.end("engine", _ENGINE_GRACE)
    parts.cancel("store")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EVENTS_GRACE.total_seconds()):
            await recorder.flush()
    await parts.end("recorder", _STORE_GRACE)
    await parts.end("lease", _LEASE_GRACE)
    await parts.gone("store", _STORE_GRACE)


async def run_directory(
    settings: DirectorySettings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    started: Callable[[Address], None] = lambda _: None,
) -> int:
    """Serve a directory of manifests until `stop` is set.

    Args:
        settings: what it is told.
        stop: ends it in good order.
        clock: the present, the machine's where none is given.
        started: called with the address of metrics and probes once they are served.

    Returns:
        The exit code: 0 when it was asked to stop, 1 when it could not go on.

    Raises:
        ConfigError: a directory is missing, the data directory is in use or unusable, or the
            address is taken.
        StoreError: the database does not answer as it should.
    """
    from slackwater.stores.directory import DirectoryStore
    from slackwater.stores.lease import AlwaysHeld
    from slackwater.stores.windows_files import LocalWindowsFile

    clock = clock or SystemClock()
    identities = await asyncio.to_thread(read_identities, settings.identities)
    store = DirectoryStore(
        settings.manifests,
        settings.database,
        settings.secrets,
        clock,
        settings.poll,
        installation=settings.installation,
    )
    async with contextlib.aclosing(store):
        await store.open()
        remember(settings.manifests, settings.data)
        lease, recorder = AlwaysHeld(), TransitionLog()
        calendars, services = directory_policies(settings.allow_networks)
        metrics = Metrics()
        sources = LiveSources(
            clock=clock,
            store=store,
            calendars=calendars,
            services=services,
            identities=identities,
            hosts=settings.calendar_hosts,
            directory_of=store.directory_of,
            counted=metrics.asked,
            endpoints=settings.endpoints,
        )
        controller = _controller(
            clock,
            store,
            lease,
            sources,
            recorder,
            lambda: recorder.dropped,
            metrics,
            settings.public_url,
        )
        health = Health(controller.engine, clock, lambda: True)
        async with (
            contextlib.aclosing(sources),
            serving(
                settings.listen,
                health,
                controller.metrics.registry,
                TidePage(controller.board, clock, lambda: lease.held),
                "--listen",
            ) as address,
        ):
            _greet(settings, address, await store.objects(), len(store.problems()))
            started(address)
            parts = Parts()
            try:
                parts.start("engine", controller.engine.run())
                file = LocalWindowsFile(settings.windows)
                parts.start("windows file", controller.writer(file, clock, lease).run())
                good = await parts.wait(stop)
            finally:
                parts.cancel("windows file")
                await parts.end("engine", _ENGINE_GRACE)
    return 0 if good else 1


def _greet(
    settings: DirectorySettings, address: Address, objects: Iterable[Stored], problems: int
) -> None:
    """Say what was found, where the state is and where to look."""
    where = ", ".join(str(path) for path in settings.manifests)
    _log.info("Slackwater %s found %s in %s", __version__, _found(objects), where)
    if problems:
        _log.warning(
            "faults in the files: %d, see above; each file is read again when it changes",
            problems,
        )
    secrets = "no secrets directory (--secrets)"
    if settings.secrets is not None:
        secrets = f"secrets in {settings.secrets}"
    _log.info(
        "state in %s, %s; tide table, metrics and health at http://%s/",
        settings.data,
        secrets,
        address,
    )


def _found(objects: Iterable[Stored]) -> str:
    counts = Counter(stored.key.kind for stored in objects)
    words = [
        f"{counts[kind]} {kind}{'' if counts[kind] == 1 else 's'}"
        for kind in Kind
        if counts[kind] or kind is Kind.TRAINING_WINDOW
    ]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
