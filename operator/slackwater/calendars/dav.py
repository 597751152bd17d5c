"""What of WebDAV (RFC 4918), CalDAV (RFC 4791) and sync-collection (RFC 6578) is spoken here.

Request bodies, and the reading of multistatus replies. A reply is read event by event with a
document type refused, so no entity can swell it, and hrefs stay as the server wrote them: they are
sent back to it, and decoding them could make two of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape

from slackwater.core.span import Span

DAV: Final = "DAV:"
CALDAV: Final = "urn:ietf:params:xml:ns:caldav"
CALENDAR_SERVER: Final = "http://calendarserver.org/ns/"

SYNC_TOKEN: Final = f"{DAV} sync-token"
GETETAG: Final = f"{DAV} getetag"
RESOURCE_TYPE: Final = f"{DAV} resourcetype"
OWNER: Final = f"{DAV} owner"
CURRENT_USER: Final = f"{DAV} current-user-principal"
GETCTAG: Final = f"{CALENDAR_SERVER} getctag"
CALENDAR: Final = f"{CALDAV} calendar"
CALENDAR_DATA: Final = f"{CALDAV} calendar-data"
CALENDAR_TIMEZONE: Final = f"{CALDAV} calendar-timezone"
USER_ADDRESSES: Final = f"{CALDAV} calendar-user-address-set"

_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
_NAMES: Final = f'xmlns:d="{DAV}" xmlns:c="{CALDAV}" xmlns:s="{CALENDAR_SERVER}"'
_PREFIX: Final = {DAV: "d", CALDAV: "c", CALENDAR_SERVER: "s"}

# All of a calendar object, or no more than says when somebody is busy (R13). Asked of a server
# that does not filter, it gives everything, and the expander leaves the rest out.
WHOLE: Final = "<c:calendar-data/>"
_BUSY_PROPERTIES: Final = (
    *("UID", "SEQUENCE", "RECURRENCE-ID", "DTSTART", "DTEND", "DURATION"),
    *("RRULE", "RDATE", "EXDATE", "EXRULE"),
    *("STATUS", "TRANSP", "X-MICROSOFT-CDO-BUSYSTATUS"),
)
BUSY_TIMES: Final = (
    '<c:calendar-data><c:comp name="VCALENDAR"><c:prop name="VERSION"/>'
    '<c:prop name="X-WR-TIMEZONE"/><c:comp name="VEVENT">'
    + "".join(f'<c:prop name="{name}"/>' for name in _BUSY_PROPERTIES)
    + '</c:comp><c:comp name="VTIMEZONE"/></c:comp></c:calendar-data>'
)


class UnreadableError(ValueError):
    """The reply is no multistatus."""


# --- requests ----------------------------------------------------------------------------------


def propfind(*names: str) -> bytes:
    """Ask for properties, named as the constants of this module."""
    wanted = "".join(f"<{_PREFIX[ns]}:{name}/>" for ns, name in (n.split(" ") for n in names))
    return f"{_HEAD}<d:propfind {_NAMES}><d:prop>{wanted}</d:prop></d:propfind>".encode()


def sync_collection(token: str) -> bytes:
    """Ask for what changed since `token`."""
    return (
        f"{_HEAD}<d:sync-collection {_NAMES}><d:sync-token>{escape(token)}</d:sync-token>"
        "<d:sync-level>1</d:sync-level><d:prop><d:getetag/></d:prop></d:sync-collection>"
    ).encode()


def calendar_query(within: Span, data: str = "") -> bytes:
    """Ask for the objects with an event inside a span: their ETags, and `data` of them."""
    return (
        f"{_HEAD}<c:calendar-query {_NAMES}><d:prop><d:getetag/>{data}</d:prop><c:filter>"
        '<c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT">'
        f'<c:time-range start="{_stamp(within.start)}" end="{_stamp(within.end)}"/>'
        "</c:comp-filter></c:comp-filter></c:filter></c:calendar-query>"
    ).encode()


def calendar_multiget(hrefs: Iterable[str], data: str) -> bytes:
    """Ask for objects by href."""
    named = "".join(f"<d:href>{escape(href)}</d:href>" for href in hrefs)
    return (
        f"{_HEAD}<c:calendar-multiget {_NAMES}><d:prop><d:getetag/>{data}</d:prop>{named}"
        "</c:calendar-multiget>"
    ).encode()


def _stamp(instant: datetime) -> str:
    return instant.strftime("%Y%m%dT%H%M%SZ")


# --- replies -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Item:
    """One response of a multistatus.

    Attributes:
        href: as the server wrote it.
        status: of the resource as a whole; None where each property has its own.
        texts: the text of each property that was found.
        children: the names of the elements in each property that was found.
        hrefs: the hrefs in each property that was found.
    """

    href: str = ""
    status: int | None = None
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    children: dict[str, set[str]] = field(default_factory=dict)
    hrefs: dict[str, list[str]] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Multistatus:
    """A multistatus reply, and the sync token beside its responses."""

    items: list[Item] = field(default_factory=list)
    sync_token: str | None = None


_OK: Final = frozenset({200, 201, 207})  # SOGo answers 201 for what was added


def read(body: bytes) -> Multistatus:
    """Read a multistatus. Raises UnreadableError."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        raise UnreadableError from None
    if not reader.is_multistatus:
        raise UnreadableError
    return reader.found


def _refuse(*_: object) -> None:
    raise UnreadableError


class _Reader:
    """Builds a Multistatus from the events of the parser."""

    def __init__(self) -> None:
        self.found = Multistatus()
        self.is_multistatus = False
        self._path: list[str] = []
        self._text: list[str] = []
        self._item = Item()
        self._stat = Item()  # what one propstat holds, until its status is known

    def start(self, name: str, _attributes: object) -> None:
        if not self._path:
            self.is_multistatus = name == f"{DAV} multistatus"
        self._path.append(name)
        self._text.clear()
        if name == f"{DAV} response" and len(self._path) == 2:
            self._item = Item()
        elif name == f"{DAV} propstat":
            self._stat = Item(status=200)
        elif (prop := self._property) is not None:
            self._stat.children.setdefault(prop, set())
            if name != prop:
                self._stat.children[prop].add(name)

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, name: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        prop, depth = self._property, len(self._path)
        self._path.pop()
        if prop is not None:
            if name == prop and depth == 5:
                self._stat.texts[prop] = text
            elif name == f"{DAV} href":
                self._stat.hrefs.setdefault(prop, []).append(text.strip())
        elif name == f"{DAV} status":
            holder = self._stat if self._path[-1:] == [f"{DAV} propstat"] else self._item
            holder.status = _status(text)
        elif name == f"{DAV} propstat" and self._stat.status in _OK:
            self._item.texts |= self._stat.texts
            self._item.children |= self._stat.children
            self._item.hrefs |= self._stat.hrefs
        elif name == f"{DAV} href" and depth == 3:
            self._item.href = text.strip()
        elif name == f"{DAV} response" and depth == 2:
            self.found.items.append(self._item)
        elif name == SYNC_TOKEN and depth == 2:
            self.found.sync_token = text.strip() or None

    @property
    def _property(self) -> str | None:
        """The property we are in: multistatus/response/propstat/prop/<it>."""
        path = self._path
        inside = len(path) > 4 and path[2] == f"{DAV} propstat" and path[3] == f"{DAV} prop"
        return path[4] if inside else None


def _status(line: str) -> int:
    """The code of a status line such as `HTTP/1.1 200 OK`."""
    parts = line.split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 200
