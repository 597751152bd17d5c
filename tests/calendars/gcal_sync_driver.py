"""Drives gcal_sync, Home Assistant's client of Google Calendar, in an environment of its own.

Arguments: address of Calendar v3, access token, calendar, first and last instant. Each line of
standard input is a command, each line of output its answer as JSON:

- `sync`: synchronise by token; the events inside, expanded by gcal_sync itself
- `list`: the events inside as the server expands them
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime

import aiohttp
from gcal_sync.api import GoogleCalendarService, ListEventsRequest, LocalListEventsRequest
from gcal_sync.auth import AbstractAuth
from gcal_sync.sync import CalendarEventSyncManager


class Auth(AbstractAuth):
    def __init__(self, session: aiohttp.ClientSession, host: str, token: str) -> None:
        super().__init__(session, host)
        self._token = token

    async def async_get_access_token(self) -> str:
        return self._token


def told(events: list) -> list[list[str]]:
    found = [
        [
            event.start.value.isoformat() if event.start.date else event.start.value.timestamp(),
            event.end.value.isoformat() if event.end.date else event.end.value.timestamp(),
            event.summary,
        ]
        for event in events
        if event.status != "cancelled"
    ]
    return sorted(found, key=str)


async def main(host: str, token: str, calendar: str, first: str, last: str) -> None:
    low, high = datetime.fromisoformat(first), datetime.fromisoformat(last)
    async with aiohttp.ClientSession() as session:
        api = GoogleCalendarService(Auth(session, host, token))
        manager = CalendarEventSyncManager(api, calendar)
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if line == "sync":
                await manager.run()
                request = LocalListEventsRequest(start_time=low, end_time=high)
                found = (await manager.store_service.async_list_events(request)).events
            else:
                request = ListEventsRequest(calendar_id=calendar, start_time=low, end_time=high)
                found = []
                async for page in await api.async_list_events(request):
                    found += page.items
            print(json.dumps(told(found)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
