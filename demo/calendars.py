"""The calendars that the story can be told over: a real server, a file, and two simulated services."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from demo.manifests import CALENDAR_URL
from demo.team import Entry
from testbed.caldav import Collection, Radicale
from tests.fakes.google import FakeGoogle
from tests.fakes.graph import FakeGraph
from tests.fakes.graph_entra import CLIENT, TENANT
from tests.fakes.graph_tls import server_tls
from tests.fakes.serving import serving

_OWNER = "research@example.com"
_SECRET = "team-calendar"
_FoundT = TypeVar("_FoundT")


class TeamCalendar(Protocol):
    """One calendar of one provider, that a team writes into.

    Attributes:
        secret: what the Secret `team-calendar` holds.
        flags: what Slackwater has to be told beside the manifests.
        variables: of Slackwater's environment.
        address: what to look at.
        addresses: what stands in place of addresses of the quickstart.
    """

    secret: Mapping[str, str]
    flags: tuple[str, ...]
    variables: Mapping[str, str]
    address: str

    @property
    def addresses(self) -> Mapping[str, str]:
        """See above."""

    def open(self) -> str:
        """Bring it up; gives a line about it."""

    def put(self, entry: Entry) -> None:
        """Add an event, or change it."""

    def adapt(self, manifests: Path) -> None:
        """Have the manifests of the quickstart name this calendar."""

    def close(self) -> None:
        """Take it down."""


def _name_provider(manifests: Path, provider: Mapping[str, Any]) -> None:
    path = manifests / "calendar.yaml"
    calendar = yaml.safe_load(path.read_text())
    calendar["spec"]["provider"] = dict(provider)
    path.write_text(yaml.safe_dump(calendar, sort_keys=False))


def _escaped(text: str) -> str:
    for character, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(character, written)
    return text


# --- a real server


class OverCalDAV:
    """Radicale, as any calendar app writes into it."""

    flags: tuple[str, ...] = ()
    variables: Mapping[str, str] = {}

    def __init__(self, home: Path) -> None:
        self.secret: Mapping[str, str] = {"username": "research", "password": "low-tide"}
        self._server = Radicale({"research": "low-tide"}, home=home)
        self._calendar: Collection | None = None
        self.address = ""

    def open(self) -> str:
        """Start it and make the calendar."""
        self._server.start()
        self._calendar = self._server.collection("team").make("Team")
        self.address = f"{self._calendar.url}  (research, password low-tide)"
        return f"CalDAV server with the team's calendar: {self._calendar.url}"

    def put(self, entry: Entry) -> None:
        """By PUT."""
        assert self._calendar is not None
        lines = [f"SEQUENCE:{entry.sequence}"]
        if entry.description:
            lines.append(f"DESCRIPTION:{_escaped(entry.description)}")
        self._calendar.add(entry.uid, entry.title, entry.start, entry.end, *lines)

    def adapt(self, manifests: Path) -> None:
        """The quickstart's own provider; its address is filled in."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """The calendar's own, in place of the example's."""
        assert self._calendar is not None
        return {CALENDAR_URL: self._calendar.url}

    def close(self) -> None:
        """Stop it."""
        self._server.close()


# --- a file


class AsFile:
    """An iCalendar file beside the manifests, as calendar apps export and publish it."""

    addresses: Mapping[str, str] = {}
    flags: tuple[str, ...] = ()
    variables: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.secret: Mapping[str, str] = {}
        self.address = ""
        self._entries: dict[str, Entry] = {}
        self._file: Path | None = None

    def open(self) -> str:
        """It needs nothing."""
        return "iCalendar file: team.ics beside the manifests"

    def put(self, entry: Entry) -> None:
        """Written anew each time, as an export is."""
        self._entries[entry.uid] = entry
        if self._file is not None:
            self._write(self._file)

    def adapt(self, manifests: Path) -> None:
        """The file lies beside the Calendar that names it."""
        _name_provider(manifests, {"ical": {"file": "team.ics"}})
        self._file = manifests / "team.ics"
        self.address = str(self._file)
        self._write(self._file)

    def close(self) -> None:
        """It holds nothing."""

    def _write(self, path: Path) -> None:
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Slackwater//demo//EN"]
        for entry in self._entries.values():
            lines += [
                "BEGIN:VEVENT",
                f"UID:{entry.uid}",
                f"DTSTAMP:{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
                f"DTSTART:{entry.start.astimezone(UTC):%Y%m%dT%H%M%SZ}",
                f"DTEND:{entry.end.astimezone(UTC):%Y%m%dT%H%M%SZ}",
                f"SEQUENCE:{entry.sequence}",
                f"SUMMARY:{_escaped(entry.title)}",
                f"DESCRIPTION:{_escaped(entry.description)}",
                "END:VEVENT",
            ]
        whole = path.with_suffix(".new")
        whole.write_text("\r\n".join([*lines, "END:VCALENDAR", ""]))
        whole.replace(path)  # nobody reads half of it


# --- simulated services


class _Aside:
    """A service in an event loop of its own thread; what people do there happens in that loop."""

    addresses: Mapping[str, str] = {}

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _begin(self, work: Callable[[AsyncExitStack], Awaitable[_FoundT]]) -> _FoundT:
        self._thread.start()

        async def begun() -> _FoundT:
            return await work(self._stack)

        return asyncio.run_coroutine_threadsafe(begun(), self._loop).result()

    def _do(self, work: Callable[[], _FoundT]) -> _FoundT:
        async def done() -> _FoundT:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def close(self) -> None:
        """Take it down."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


class OverGoogle(_Aside):
    """Google Calendar's API, simulated: the calendar is shared with a service account."""

    variables: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self._google = FakeGoogle()
        self._ids: dict[str, str] = {}
        self.flags: tuple[str, ...] = ()
        self.secret: Mapping[str, str] = {}
        self.address = ""

    def open(self) -> str:
        """Serve it, with a calendar and a reader."""
        self._begin(lambda stack: stack.enter_async_context(self._google))
        self._google.store.add_calendar(_OWNER, "UTC")
        self.secret = {"key.json": self._google.add_reader(_OWNER)}
        self.flags = ("--google-endpoint", self._google.url)
        self.address = f"{self._google.url}/  (Google's API, simulated)"
        return f"Google Calendar, simulated: {self._google.url}"

    def put(self, entry: Entry) -> None:
        """By insert and patch."""
        body = {
            "summary": entry.title,
            "description": entry.description,
            "start": {"dateTime": entry.start.isoformat()},
            "end": {"dateTime": entry.end.isoformat()},
        }
        known = self._ids.get(entry.uid)
        if known is None:
            self._ids[entry.uid] = self._do(lambda: self._google.store.insert(_OWNER, **body))
        else:
            self._do(lambda: self._google.store.patch(_OWNER, known, **body))

    def adapt(self, manifests: Path) -> None:
        """A service account's key, and the calendar's address."""
        secret = {"name": _SECRET, "key": "key.json"}
        provider = {"calendarId": _OWNER, "credentialsSecretRef": secret}
        _name_provider(manifests, {"google": provider})


class OverGraph(_Aside):
    """Microsoft Graph and Entra, simulated: an application with a secret reads one mailbox."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self._graph = FakeGraph()
        self._graph.entra.apps[CLIENT].roles = {"Calendars.Read"}
        self._mailbox = self._graph.mailbox(_OWNER)
        self._numbers: dict[str, int] = {}
        self._origin = ""
        self.flags: tuple[str, ...] = ()
        (secret,) = self._graph.entra.apps[CLIENT].secrets
        self.secret: Mapping[str, str] = {"secret": secret}
        self.variables: Mapping[str, str] = {}
        self.address = ""

    def open(self) -> str:
        """Serve both; Entra is reached by TLS only, so it has an authority of its own."""
        self._home.mkdir(parents=True, exist_ok=True)
        tls, authority = server_tls(self._home)
        origin = self._begin(
            lambda stack: stack.enter_async_context(serving(self._graph.answer, tls))
        )
        self._origin = origin
        self.flags = ("--calendar-host", origin.removeprefix("https://"))
        self.variables = {"SSL_CERT_FILE": str(authority)}
        self.address = f"{origin}/  (Microsoft Graph, simulated)"
        return f"Outlook calendar by Microsoft Graph, simulated: {origin}"

    def put(self, entry: Entry) -> None:
        """As Outlook does it."""
        values = {"subject": entry.title, "body": entry.description, "zone": "UTC"}
        times = [f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" for at in (entry.start, entry.end)]
        known = self._numbers.get(entry.uid)
        if known is None:
            self._numbers[entry.uid] = self._do(
                lambda: self._mailbox.create(*times, **values, windows_zone="UTC")
            )
        else:
            start, end = map(datetime.fromisoformat, times)
            self._do(lambda: self._mailbox.update(known, start=start, end=end, **values))

    def adapt(self, manifests: Path) -> None:
        """The application, its secret and the mailbox."""
        provider = {
            "tenantId": TENANT,
            "clientId": CLIENT,
            "mailbox": _OWNER,
            "clientSecretRef": {"name": _SECRET, "key": "secret"},
            "authority": self._origin,
            "endpoint": self._origin,
        }
        _name_provider(manifests, {"microsoftGraph": provider})


CALENDARS: Mapping[str, Callable[[Path], TeamCalendar]] = {
    "caldav": OverCalDAV,
    "google": lambda _: OverGoogle(),
    "ical": lambda _: AsFile(),
    "outlook": OverGraph,
}
"""By the value of CALENDAR; each is given a folder for its data."""
