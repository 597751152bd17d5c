"""The fake Graph against what is not ours: the published schema, and Microsoft's own client."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from testbed import pythons
from tests.calendars.graph_rig import MAILBOX, GraphRig
from tests.fakes.graph_entra import CLIENT, TENANT
from tests.fakes.graph_json import Prefer, event, master
from tests.fakes.graph_shapes import ENUMS, TYPES, violations
from tests.fakes.graph_store import Instance, daily, weekly
from tests.fakes.graph_tls import server_tls

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parents[1] / "shared" / "reference" / "msgraph-calendar.csdl.xml"
SCHEMA_NEAR = ROOT.parent / "shared" / "reference" / "msgraph-calendar.csdl.xml"
EDM = "{http://docs.oasis-open.org/odata/ns/edm}"


def schema() -> ET.Element:
    for place in (SCHEMA_NEAR, SCHEMA):
        if place.is_file():
            return ET.parse(place).getroot()
    pytest.skip("msgraph-calendar.csdl.xml is not beside this project")


def test_the_table_of_shapes_is_the_published_schema() -> None:
    root = schema()
    enums = {
        one.get("Name"): {member.get("Name") for member in one.iter(f"{EDM}Member")}
        for one in root.iter(f"{EDM}EnumType")
    }
    for name, members in ENUMS.items():
        assert members == enums[name], name
    types = {
        one.get("Name"): one
        for kind in ("ComplexType", "EntityType")
        for one in root.iter(f"{EDM}{kind}")
    }

    def properties(name: str) -> dict[str, str]:
        found = types[name]
        base = (found.get("BaseType") or "").removeprefix("graph.")
        own = {p.get("Name"): p.get("Type") for p in found.iter(f"{EDM}Property")}
        return {**(properties(base) if base in types else {}), **own}

    for name, shape in TYPES.items():
        published = properties(name)
        for key, kind in shape.items():
            assert published[key] == kind, f"{name}.{key}"


def test_a_value_of_another_shape_is_found() -> None:
    good = {"id": "x", "showAs": "busy", "start": {"dateTime": "x", "timeZone": "UTC"}}
    assert list(violations(good, "graph.event")) == []
    for bad in (
        {"showAs": "Busy"},
        {"colour": "red"},
        {"isAllDay": "true"},
        {"start": {"date": "x"}},
        {"categories": "x"},
        {"originalStart": "2026-04-01T10:00:00"},
        {"attendees": [{"emailAddress": {"mail": "x"}}]},
    ):
        assert list(violations({**good, **bad}, "graph.event")), bad


def test_every_event_of_the_fake_is_one_of_the_schema() -> None:
    from tests.fakes.graph_store import Mailbox

    box = Mailbox(MAILBOX)
    numbers = [
        box.create("2026-04-01", "2026-04-02", all_day=True, windows_zone=""),
        box.create("2026-04-01T10:00", "2026-04-01T11:00", organizer=None, online=True),
        box.create("2026-04-01T10:00", "2026-04-01T11:00", recurrence=daily("2026-04-01", times=3)),
        box.create(
            "2026-04-01T10:00",
            "2026-04-01T11:00",
            recurrence=weekly("2026-04-01", "wednesday", until="2026-05-01"),
            attendees=(("A", "a@x.example"),),
        ),
    ]
    for prefer in (Prefer(), Prefer("W. Europe Standard Time", immutable=True, text=True, page=3)):
        for number in numbers:
            item = box.items[number]
            single = Instance(item, item.start, item.end)
            for found in (
                master(item, box, prefer, body=True),
                event(single, box, prefer, body=False),
            ):
                assert list(violations(found, "graph.event")) == []


# --- Microsoft's own client, in an environment of its own ---

_DRIVE = """
import asyncio, json, os, ssl, sys

import httpx
from azure.core.credentials import AccessToken
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.event import Event
from msgraph.generated.users.item.calendar.get_schedule.get_schedule_post_request_body import (
    GetSchedulePostRequestBody,
)
from msgraph.generated.users.item.calendar_view.calendar_view_request_builder import (
    CalendarViewRequestBuilder,
)
from msgraph_core import GraphClientFactory

ORIGIN, MAILBOX, CA = sys.argv[1:4]


class Credential:
    async def get_token(self, *scopes, **_):
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=CA)) as http:
            reply = await http.post(
                f"{ORIGIN}/%(tenant)s/oauth2/v2.0/token",
                data={"grant_type": "client_credentials", "client_id": "%(client)s",
                      "client_secret": "s3cret", "scope": f"{ORIGIN}/.default"},
            )
        return AccessToken(reply.json()["access_token"], 4102444800)

    async def close(self):
        return


def moment(text):
    return DateTimeTimeZone(date_time=text, time_zone="UTC")


async def main():
    http = GraphClientFactory.create_with_default_middleware(
        client=httpx.AsyncClient(verify=ssl.create_default_context(cafile=CA), http2=False)
    )
    host = ORIGIN.removeprefix("https://").partition(":")[0]
    auth = AzureIdentityAuthenticationProvider(
        Credential(), scopes=[f"{ORIGIN}/.default"], allowed_hosts=[host]
    )
    adapter = GraphRequestAdapter(auth, client=http)
    adapter.base_url = f"{ORIGIN}/v1.0"
    user = GraphServiceClient(request_adapter=adapter).users.by_user_id(MAILBOX)
    told = {}
    made = await user.events.post(
        Event(subject="train: llm", start=moment("2026-04-01T10:00:00"), end=moment("2026-04-01T11:00:00"))
    )
    told["made"] = made.subject
    query = CalendarViewRequestBuilder.CalendarViewRequestBuilderGetQueryParameters(
        start_date_time="2026-03-15T00:00:00Z", end_date_time="2026-04-20T00:00:00Z",
        select=["id", "subject", "start", "end", "showAs", "type"], top=5,
    )
    config = RequestConfiguration(query_parameters=query)
    config.headers.add("Prefer", 'outlook.timezone="UTC"')
    page = await user.calendar_view.get(request_configuration=config)
    view, pages = list(page.value), 1
    while page.odata_next_link:
        page = await user.calendar_view.with_url(page.odata_next_link).get()
        view += page.value
        pages += 1
    told["pages"] = pages
    told["starts"] = [one.start.date_time for one in view]
    told["types"] = sorted({one.type.value for one in view})
    told["shown"] = sorted({one.show_as.value for one in view})
    told["unselected"] = any(one.body or one.organizer for one in view)
    schedules = await user.calendar.get_schedule.post(
        GetSchedulePostRequestBody(
            schedules=[MAILBOX, "nobody@contoso.example"],
            start_time=moment("2026-04-01T00:00:00"), end_time=moment("2026-04-02T00:00:00"),
            availability_view_interval=60,
        )
    )
    told["view"] = schedules.value[0].availability_view
    told["items"] = [one.status.value for one in schedules.value[0].schedule_items]
    told["error"] = schedules.value[1].error.response_code
    await user.events.by_event_id(made.id).delete()
    left = await user.calendar_view.get(request_configuration=config)
    told["left"] = len(left.value)
    try:
        await user.calendars.by_calendar_id("nothing").calendar_view.get(request_configuration=config)
    except Exception as error:
        told["refused"] = [error.response_status_code, error.error.code]
    print(json.dumps(told))


asyncio.run(main())
"""


@pytest.mark.server
@pytest.mark.timeout(600)
async def test_microsofts_own_client_understands_the_fake(tmp_path: Path) -> None:
    from tests.calendars.support import Secrets
    from tests.fakes.graph import FakeGraph
    from tests.fakes.serving import serving

    uv = str(pythons.uv())
    context, authority = server_tls(tmp_path)
    fake = FakeGraph()
    fake.entra.apps[CLIENT].roles = {"Calendars.ReadWrite"}
    async with serving(fake.answer, context) as origin:
        rig = GraphRig(fake, origin, fake.mailbox(MAILBOX), Secrets())
        rig.box.create(
            "2026-04-03T10:00", "2026-04-03T11:00", recurrence=daily("2026-04-03", times=7)
        )
        rig.box.create("2026-04-01T22:00", "2026-04-01T23:00", show_as="oof")
        drive = tmp_path / "drive.py"
        drive.write_text(_DRIVE % {"tenant": TENANT, "client": CLIENT})
        process = await asyncio.create_subprocess_exec(
            *(uv, "run", "--no-project", "--isolated", "--with", "msgraph-sdk==1.65.0"),
            *("python", str(drive), origin, MAILBOX, str(authority)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if not k.startswith("VIRTUAL_ENV")},
        )
        out, err = await process.communicate()
        text = err.decode()
        if process.returncode and ("Failed to fetch" in text or "error sending request" in text):
            pytest.skip("msgraph-sdk cannot be fetched from the package index")
        assert process.returncode == 0, text[-4000:]
    told = json.loads(out)
    assert told == {
        "made": "train: llm",
        "pages": 2,
        "starts": [
            "2026-04-01T10:00:00.0000000",
            "2026-04-01T20:00:00.0000000",
            *(f"2026-04-{day:02d}T08:00:00.0000000" for day in range(3, 10)),
        ],
        "types": ["occurrence", "singleInstance"],
        "shown": ["busy", "oof"],
        "unselected": False,
        "view": "000000000020000000003000",
        "items": ["busy", "oof"],
        "error": "ErrorMailRecipientNotFound",
        "left": 5,
        "refused": [404, "ErrorItemNotFound"],
    }
    assert fake.violations == []
    second = [one for one in fake.asked if "$skiptoken" in one.query]
    assert [one.prefer for one in second] == [""], "it forgets Prefer on the second page; we do not"
