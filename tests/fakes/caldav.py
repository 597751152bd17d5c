"""A CalDAV server in a few lines, whose every weakness can be switched on.

It answers by RFC 4791 and RFC 6578 from a dict of objects. It reads requests by regular
expression and not with our own code, so that a mistake there cannot cancel itself out.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

HEAD = '<?xml version="1.0"?><multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:CS="http://calendarserver.org/ns/">'  # fmt: skip
HOME = "/dav/team%40work/"


@dataclass
class FakeDav:
    """One calendar at `HOME`, one principal.

    Attributes:
        objects: iCalendar text by file name.
        tokens: whether sync tokens are given and understood.
        ctags: whether a ctag is given.
        etags: whether objects have ETags.
        multiget: whether that report is understood.
        lost_token: status of the answer to a token that is not known.
        refuse: status for every request; `refuse_methods` for some of them.
        body: sent in place of every answer of status 207.
    """

    objects: dict[str, str] = field(default_factory=dict)
    user: str = "alice"
    password: str = "secret"
    tokens: bool = True
    ctags: bool = True
    etags: bool = True
    multiget: bool = True
    lost_token: int = 403
    forgets: bool = False
    noisy: bool = False
    truncates: bool = False
    withholds: frozenset[str] = frozenset()
    partial: bool = True
    refuse: int | None = None
    refuse_reports: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    zone: str | None = None
    resource: str = "<collection/><C:calendar/>"
    owner: str | None = "/principals/team/"
    addresses: tuple[str, ...] = ("mailto:Team@Example.com",)
    version: int = 1
    asked: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    log: dict[str, int] = field(default_factory=dict)

    def put(self, name: str, text: str | bytes) -> None:
        self.version += 1
        self.objects[name] = text.decode() if isinstance(text, bytes) else text
        self.log[name] = self.version

    def delete(self, name: str) -> None:
        self.version += 1
        del self.objects[name]
        self.log[name] = self.version

    @property
    def counts(self) -> Counter[str]:
        """What has been asked since the last look at it."""
        found = Counter(self.asked)
        self.asked.clear()
        return found

    async def answer(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        kind = self.kind(request, body)
        self.asked.append(kind)
        self.bodies.append(body)
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        status = self.refuse or self.refuse_reports.get(kind)
        if status is not None:
            return web.Response(status=status, headers=self.headers, body=b"c4n4ry")
        if self.body is not None:
            return web.Response(status=207, body=self.body)
        assert kind == "multiget" or request.headers["Depth"] == (
            "1" if kind in {"query", "etags"} else "0"
        )
        return getattr(self, f"_{kind}")(body)

    def kind(self, request: web.Request, body: str) -> str:
        if request.method == "PROPFIND":
            return "marks" if request.raw_path == HOME else "principal"
        assert request.raw_path == HOME
        if "sync-collection" in body:
            return "sync"
        if "multiget" in body:
            return "multiget"
        return "query" if "calendar-data" in body else "etags"

    def _marks(self, body: str) -> web.Response:
        props = f"<resourcetype>{self.resource}</resourcetype>"
        if self.tokens:
            props += f"<sync-token>{self._token}</sync-token>"
        if self.ctags:
            props += f"<CS:getctag>{self.version}</CS:getctag>"
        if self.owner:
            props += f"<owner><href>{self.owner}</href></owner>"
        if self.zone:
            props += f"<C:calendar-timezone>{escape(self.zone)}</C:calendar-timezone>"
        return self._multistatus(self._response(HOME, props))

    def _principal(self, body: str) -> web.Response:
        hrefs = "".join(f"<href>{address}</href>" for address in self.addresses)
        props = f"<C:calendar-user-address-set>{hrefs}</C:calendar-user-address-set>"
        return self._multistatus(self._response("/principals/team/", props))

    def _sync(self, body: str) -> web.Response:
        token = re.search(r"sync-token>http://x/(\d+)&amp;</", body)
        if not self.tokens:
            return web.Response(status=501)
        if token is None or self.forgets:
            error = '<error xmlns="DAV:"><valid-sync-token/></error>'
            return web.Response(status=self.lost_token, text=error)
        found = ""
        for name, version in self.log.items():
            if version <= int(token[1]):
                continue
            if name in self.objects:
                found += self._response(HOME + name, f"<getetag>{self._etag(name)}</getetag>")
            else:
                found += f"<response><href>{HOME}{name}</href><status>HTTP/1.1 404 Not Found</status></response>"
        if self.noisy:
            found += self._response(HOME, "<getetag/>")
        if self.truncates:
            found += f"<response><href>{HOME}</href><status>HTTP/1.1 507 Insufficient Storage</status></response>"
        return self._multistatus(found + f"<sync-token>{self._token}</sync-token>")

    def _etags(self, body: str) -> web.Response:
        return self._multistatus("".join(self._object(name, data=False) for name in self.objects))

    def _query(self, body: str) -> web.Response:
        assert re.search(r'time-range start="\d{8}T\d{6}Z" end="\d{8}T\d{6}Z"', body)
        return self._multistatus("".join(self._object(name) for name in self.objects))

    def _multiget(self, body: str) -> web.Response:
        if not self.multiget:
            return web.Response(status=400)
        found = ""
        for href in re.findall(r"href>([^<]*)</", body):
            name = href.removeprefix(HOME)
            if name in self.objects:
                found += self._object(name)
            else:
                found += f"<response><href>{href}</href><status>HTTP/1.1 404 Not Found</status></response>"
        return self._multistatus(found)

    def _object(self, name: str, *, data: bool = True) -> str:
        props = f"<getetag>{self._etag(name)}</getetag>" if self.etags else ""
        if (
            data
            and name not in self.withholds
            and (self.partial or "c:prop" not in self.bodies[-1])
        ):
            props += f"<C:calendar-data>{escape(self.objects[name])}</C:calendar-data>"
        return self._response(HOME + name, props)

    def _etag(self, name: str) -> str:
        return escape(f'"{self.log[name]}"')

    @property
    def _token(self) -> str:
        return f"http://x/{self.version}&amp;"

    def _response(self, href: str, props: str) -> str:
        found = f"<propstat><prop>{props}</prop><status>HTTP/1.1 200 OK</status></propstat>"
        missing = "<propstat><prop><displayname/></prop><status>HTTP/1.1 404 Not Found</status></propstat>"
        return f"<response><href>{href}</href>{found}{missing}</response>"

    def _multistatus(self, inner: str) -> web.Response:
        return web.Response(
            status=207, text=f"{HEAD}{inner}</multistatus>", content_type="application/xml"
        )
