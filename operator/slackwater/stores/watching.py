"""kopf's low-level watch of our four resources, in a thread of its own.

kopf watches well: it resumes by resource version, follows bookmarks, leaves dead connections and
lists anew after 410. Of its handlers only `on.event` is used, which writes nothing. When kopf
ends it cancels every task of its loop that is younger than itself, waits for those that do not
end, and as the main thread's guest takes over SIGTERM and SIGINT; in its own thread and loop none
of that reaches our tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Coroutine
from datetime import timedelta
from typing import Any, Final, NoReturn

import kopf

from slackwater.core.words import Reason
from slackwater.errors import StoreError
from slackwater.ports import Kind, Stored
from slackwater.stores.backoff import EndlessJitter
from slackwater.stores.cluster import Access, Cluster
from slackwater.stores.objects import GROUP, PLURALS, VERSION, is_leaving, parse

_WHAT: Final = "the watch of the Kubernetes API"
_STOP_GRACE: Final = timedelta(seconds=15)


class Watch:
    """Tells what the API server says about our objects, for as long as it runs.

    Args:
        cluster: gives the server's address and credentials.
        namespaces: what to watch; all namespaces where there are none.
        shown: called in the loop that runs `run`, in the server's order for each object, with
            whether the object is still there.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Collection[str],
        shown: Callable[[Stored, bool], None],
    ) -> None:
        self._cluster = cluster
        self._namespaces = tuple(namespaces)
        self._shown = shown

    async def run(self) -> NoReturn:
        """Watch until cancelled.

        Raises:
            StoreError: kopf gave up or ended; Kubernetes restarts us.
        """
        home = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = home.create_future()
        stop = _StopFlag()

        def finish(error: BaseException | None) -> None:
            if not ended.done():
                ended.set_result(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._operate(home, stop))
            except BaseException as raised:  # noqa: BLE001  # told to the loop that waits for it
                error = raised
            with contextlib.suppress(RuntimeError):  # that loop is closed
                home.call_soon_threadsafe(finish, error)

        threading.Thread(target=work, name="kopf", daemon=True).start()
        try:
            await asyncio.wait([ended])
        finally:
            stop.set()
            if not ended.done():
                await asyncio.wait([ended], timeout=_STOP_GRACE.total_seconds())
        reason = Reason.UNAVAILABLE
        if isinstance(ended.result(), kopf.LoginError):
            reason = Reason.UNAUTHORIZED
        raise StoreError(reason, what=_WHAT) from ended.result()

    async def _operate(self, home: asyncio.AbstractEventLoop, stop: _StopFlag) -> None:
        registry = kopf.OperatorRegistry()
        for kind, plural in PLURALS.items():
            kopf.on.event(GROUP, VERSION, plural, id=plural, registry=registry)(
                self._handler(home, kind)
            )

        async def login(**_: Any) -> kopf.ConnectionInfo:
            asked = asyncio.run_coroutine_threadsafe(self._cluster.access(), home)
            return _connection(await asyncio.wrap_future(asked))

        kopf.on.login(registry=registry)(login)
        _quieten()
        await kopf.operator(
            registry=registry,
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            stop_flag=stop.bound(),
            memo=(),  # copied for every object: a tuple copies to itself
        )

    def _handler(
        self, home: asyncio.AbstractEventLoop, kind: Kind
    ) -> Callable[..., Coroutine[None, None, None]]:
        async def tell(event: kopf.RawEvent, **_: Any) -> None:
            body: Any = event["object"]
            there = event["type"] != "DELETED" and not is_leaving(body)
            with contextlib.suppress(RuntimeError):  # our loop is closed: nobody listens
                home.call_soon_threadsafe(self._shown, parse(kind, body), there)

        return tell


class _StopFlag:
    """Set in one loop, awaited in another that may not have begun yet."""

    def __init__(self) -> None:
        self._asked = False
        self._bound: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def bound(self) -> asyncio.Event:
        """The flag for the loop that runs now."""
        event = asyncio.Event()
        self._bound = (asyncio.get_running_loop(), event)
        if self._asked:
            event.set()
        return event

    def set(self) -> None:
        """Ask for the end, from any thread."""
        self._asked = True
        if self._bound is not None:
            loop, event = self._bound
            with contextlib.suppress(RuntimeError):  # its loop has ended already
                loop.call_soon_threadsafe(event.set)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # the process is not kopf's to kill
    settings.peering.standalone = True  # a Lease elects the leader
    settings.scanning.disabled = True  # needs no rights on CRDs and namespaces
    settings.posting.enabled = False  # the recorder posts
    settings.watching.chunk_size = 500
    settings.watching.inactivity_timeout = 70
    settings.queueing.idle_timeout = 0.5
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = EndlessJitter()
    settings.networking.trust_env = True  # as `kubernetes.aio` does
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.diffbase_storage = _NullDiffBase()
    settings.persistence.progress_storage = _NullProgress()
    return settings


def _connection(access: Access) -> kopf.ConnectionInfo:
    scheme, _, token = (access.authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=access.server,
        ca_path=access.ca_file,
        insecure=not access.verify,
        scheme=scheme or None,
        token=token.strip() or None,
        certificate_path=access.cert_file,
        private_key_path=access.key_file,
        proxy_url=access.proxy,
        trust_env=True,
    )


def _quieten() -> None:
    """Drop what kopf says for every object, and that signals are not its own; keep errors."""
    for name, level in (
        ("kopf.objects", logging.WARNING),
        ("kopf._core.reactor.running", logging.ERROR),
    ):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)


class _NullDiffBase(kopf.DiffBaseStorage):
    """No record of what was handled last; building one would be half the cost of an event."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _NullProgress(kopf.ProgressStorage):
    """No record of handlers, as `on.event` has none."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
