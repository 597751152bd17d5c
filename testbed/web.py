"""HTTP to loopback servers: an answer is a value, whatever its status, and no proxy is used."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

# `http_proxy` in a developer's environment must not capture requests to 127.0.0.1.
_NO_PROXY = urllib.request.ProxyHandler({})


class _Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are answers too; following them would hide a wrong URL."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message  # reads without regard to case
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def checked(self) -> Answer:
        """Self, or an error that shows what the server said."""
        if not self.ok:
            raise RuntimeError(f"HTTP {self.status}: {self.text[:2000]}")
        return self


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """One request. `bytes` and `str` bodies go as they are, anything else as JSON.

    Raises OSError only when there is no answer at all.
    """
    sent = dict(headers or {})
    if body is None or isinstance(body, bytes):
        data = body
    elif isinstance(body, str):
        data = body.encode()
    else:
        data = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(url, data, sent, method=method)
    opener = urllib.request.build_opener(
        _NO_PROXY, _Stay(), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def answers(url: str, *, timeout: float = 2.0, context: ssl.SSLContext | None = None) -> bool:
    """True once a GET of `url` succeeds: the usual readiness probe."""
    try:
        return call("GET", url, timeout=timeout, context=context).ok
    except (OSError, ValueError):
        return False
