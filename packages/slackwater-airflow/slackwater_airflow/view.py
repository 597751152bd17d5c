"""The tide table inside Airflow's own UI: an ASGI app that imports Airflow when it is first asked.

Airflow does not guard the apps of plugins, so this one asks Airflow's own login for the user of each
request and shows only windows of DAGs that this user may read. Where it cannot ask, it shows nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from slackwater_airflow import file as windows_file
from slackwater_windows.document import Document
from slackwater_windows.page import View, render
from slackwater_windows.style import headers
from slackwater_windows.wire import BadDocument

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOG: Final = logging.getLogger(__name__)
_PLAIN: Final = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a page is made of: equal, and of the same document, means the same page."""

    document: Document = field(compare=False)
    allowed: frozenset[str]
    minute: datetime
    view: View


class TideTable:
    """The app. `readable` is what a test replaces.

    The last page is kept until its minute, its windows file, its reader's rights or what is asked of
    it is another one: people who watch together, and pages that renew themselves, are drawn once.
    """

    def __init__(self) -> None:
        self._last: tuple[_Asked, str] | None = None

    async def __call__(self, scope: _Scope, _: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, "only GET", {**_PLAIN, "Allow": "GET, HEAD"})
            return
        status, text, sent = await self._page(scope)
        await _answer(send, status, text, sent, body=scope["method"] == "GET")

    async def _page(self, scope: _Scope) -> tuple[int, str, dict[str, str]]:
        from anyio import to_thread

        try:
            allowed = await self.readable(scope)
        except Refused as refused:
            return refused.status, refused.words, _PLAIN
        except Exception:
            LOG.exception("the tide table cannot ask Airflow who is asking, and shows nothing")
            return 503, "Airflow's login cannot be asked", _PLAIN
        now = datetime.now(UTC)
        asked = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        view = View.asked(asked)
        try:
            document = await to_thread.run_sync(windows_file.load)
        except BadDocument as error:
            document, view = None, replace(view, note=f"{error}.")
        if document is None:
            note = view.note or f"There is no windows file at {windows_file.place()}."
            view, document = replace(view, note=note), Document(installation="", written_at=now)
        minute = now.replace(second=0, microsecond=0)
        drawn = _Asked(document, frozenset(allowed), minute, view)
        last = self._last
        if last is not None and last[0] == drawn and last[0].document is document:
            return 200, last[1], headers(framed=True)
        shown = _for_reader(document, allowed)
        text = await to_thread.run_sync(render, shown, minute, view)
        self._last = drawn, text
        return 200, text, headers(framed=True)

    async def readable(self, scope: _Scope) -> set[str]:
        """DAGs that the user of a request may read. Raises Refused where there is none."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.core_api.security import get_user
        from anyio import to_thread
        from fastapi import HTTPException, Request
        from fastapi.security import HTTPAuthorizationCredentials

        request = Request(scope)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        bearer = (
            HTTPAuthorizationCredentials(scheme=kind, credentials=token.strip())
            if kind.lower() == "bearer" and token.strip()
            else None
        )
        try:
            user = await get_user(request, None, bearer)
        except HTTPException as error:
            raise Refused(error.status_code, str(error.detail)) from None
        if user is None:
            raise Refused(401, "Not authenticated")

        def ask() -> set[str]:
            return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))

        found: set[str] = await to_thread.run_sync(ask)
        return found


class Refused(Exception):
    """Airflow does not accept who is asking."""

    def __init__(self, status: int, words: str) -> None:
        self.status, self.words = status, words
        super().__init__(words)


def _for_reader(document: Document, allowed: set[str]) -> Document:
    """Windows of DAGs that may be read, and the pools that they use."""
    windows = tuple(window for window in document.windows if window.dag_id in allowed)
    used = {window.pool for window in windows}
    pools = tuple(pool for pool in document.pools if pool.name in used)
    return replace(document, windows=windows, pools=pools)


async def _answer(
    send: _Send, status: int, text: str, sent: dict[str, str], *, body: bool = True
) -> None:
    raw = text.encode()
    lines = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    lines.append((b"content-length", str(len(raw)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": raw if body else b""})
