"""Calendar collections by raw HTTP: make, put, get, delete."""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime
from urllib.parse import quote, unquote, urlsplit

from testbed import web

_MKCALENDAR = """<?xml version="1.0" encoding="utf-8"?>
<C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
 <D:set><D:prop>
  <D:displayname>{name}</D:displayname>
  <C:supported-calendar-component-set><C:comp name="VEVENT"/></C:supported-calendar-component-set>
 </D:prop></D:set>
</C:mkcalendar>"""


class Collection:
    """One calendar at `url`, with the credentials that reach it."""

    def __init__(self, url: str, username: str | None = None, password: str | None = None) -> None:
        self.url = url.rstrip("/") + "/"
        self.username = username
        self.password = password

    def request(
        self,
        method: str,
        path: str = "",
        body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> web.Answer:
        """One request below the collection, whatever its answer."""
        sent = {"Content-Type": "application/xml; charset=utf-8", **(headers or {})}
        if self.username is not None:
            pair = f"{self.username}:{self.password}".encode()
            sent["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return web.call(method, self.url + path, body, headers=sent)

    def make(self, name: str = "calendar") -> Collection:
        """Create it (MKCALENDAR)."""
        self.request("MKCALENDAR", body=_MKCALENDAR.format(name=name)).checked()
        return self

    def put(self, uid: str, ics: str) -> str:
        """Add or replace the event stored as `<uid>.ics`; returns its ETag."""
        headers = {"Content-Type": "text/calendar; charset=utf-8"}
        answer = self.request("PUT", _file(uid), ics, headers).checked()
        return answer.headers.get("ETag", "")

    def add(
        self, uid: str, summary: str, start: datetime | date, end: datetime | date, *lines: str
    ) -> str:
        """`put` of an event made by `event`; returns its ETag."""
        return self.put(uid, event(uid, summary, start, end, *lines))

    def get(self, uid: str) -> str | None:
        answer = self.request("GET", _file(uid))
        return None if answer.status == 404 else answer.checked().text

    def delete(self, uid: str) -> None:
        self.request("DELETE", _file(uid)).checked()

    def uids(self) -> list[str]:
        """The events' file names, without `.ics`."""
        body = '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>'
        answer = self.request("PROPFIND", body=body, headers={"Depth": "1"}).checked()
        hrefs = re.findall(r"<(?:\w+:)?href>([^<]*)</", answer.text)
        names = [unquote(urlsplit(href).path).rpartition("/")[2] for href in hrefs]
        return sorted(name.removesuffix(".ics") for name in names if name.endswith(".ics"))

    def remove(self) -> None:
        """Delete the whole collection."""
        self.request("DELETE").checked()


def event(uid: str, summary: str, start: datetime | date, end: datetime | date, *lines: str) -> str:
    """An iCalendar object with one event; `lines` are further properties, such as an RRULE."""
    content = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//slackwater//testbed//EN",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"DTSTAMP:{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
        f"SUMMARY:{_escaped(summary)}",
        f"DTSTART{_time(start)}",
        f"DTEND{_time(end)}",
        *lines,
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    ]
    return "\r\n".join(content)


def _time(value: datetime | date) -> str:
    """A UTC time, a floating one (no zone given), or a day."""
    if not isinstance(value, datetime):
        return f";VALUE=DATE:{value:%Y%m%d}"
    if value.tzinfo is None:
        return f":{value:%Y%m%dT%H%M%S}"
    return f":{value.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for character, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(character, written)
    return text


def _file(uid: str) -> str:
    return f"{quote(uid, safe='')}.ics"
