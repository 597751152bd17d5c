"""The providers' configuration before a real kube-apiserver: its rules judge as Python does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from slackwater.calendars.registry import PROVIDERS
from testbed.kubernetes import ControlPlane
from testbed.process import wait_until

pytestmark = pytest.mark.server

CRD = Path(__file__).parents[2] / "crds" / "slackwater.dev_calendars.yaml"
CALENDARS = "/apis/slackwater.dev/v1alpha1/namespaces/default/calendars"

EVENT = {"uid": "a", "summary": "s", "start": "2026-04-01T10:00:00Z", "end": "2026-04-01T11:00:00Z"}
DAYS = {"start": "2026-04-01", "end": "2026-04-02", "allDay": True}
SECRET = {"name": "n", "key": "k"}
KEY = {"credentialsSecretRef": SECRET}
LOGIN = {"usernameSecretRef": SECRET, "passwordSecretRef": SECRET}


def static(*events: dict[str, Any]) -> dict[str, Any]:
    return {"static": {"events": [{**EVENT, **event} for event in events]}}


GOOD = [
    static(),
    static({}),
    static({"start": "2026-04-01T10:00:00+02:00", "end": "2026-04-01T11:00:00-05:00"}),
    static({"start": "2026-04-01T10:00", "end": "2026-04-01T11:00:30"}),
    static(DAYS),
    static({"rrule": "FREQ=WEEKLY;BYDAY=MO,-1FR;UNTIL=20261231T000000Z", "busy": "OutOfOffice"}),
    static({"categories": ["a", "b"], "description": "gpus=8\nlr: 0.1"}),
    static({"uid": "a"}, {"uid": "b"}),
    {"ical": {"url": "https://example.com/team@work/basic.ics?x=@"}},
    {"ical": {"url": "http://127.0.0.1:8080"}},
    {"ical": {"urlSecretRef": SECRET}},
    {"caldav": {"url": "https://dav.example.com/team%40work/", **LOGIN}},
    {"google": {"calendarId": "team@example.com", **KEY}},
    {"google": {"calendarId": "en.german#holiday@group.v.calendar.google.com", **KEY}},
    {"google": {"calendarId": "primary", "subject": "anna@example.com", **KEY}},
]
BAD = [
    static({"allDay": True}),
    static({"start": "2026-04-01"}),
    static({"start": "2026-04-01", "end": "2026-04-02"}),
    static({**DAYS, "end": "2026-04-02T10:00:00"}),
    static({"end": "2026-04-01T11:00:00"}),
    static({"start": "10:00"}),
    static({"rrule": "RRULE:FREQ=DAILY"}),
    static({"rrule": "FREQ=DAILY\nX:1"}),
    static({"uid": "a b"}),
    static({"busy": "Sleeping"}),
    static({}, {}),
    {"static": {}},
    {"ical": {}},
    {"ical": {"url": "https://example.com/", "urlSecretRef": SECRET}},
    {"ical": {"url": "https://user:password@example.com/"}},
    {"ical": {"url": "webcal://example.com/x"}},
    {"caldav": {"url": "https://example.com/"}},
    {"caldav": {"url": "https://user@example.com/", **LOGIN}},
    {"google": {"calendarId": "primary", **KEY}},
    {"google": {"calendarId": "team calendar", **KEY}},
    {"google": {"calendarId": "team@example.com", "subject": "anna", **KEY}},
    {"google": {"calendarId": "team@example.com"}},
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", CRD)
        wait_until(lambda: plane.apiserver.request("GET", CALENDARS).ok, "calendars served")
        yield plane


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
def test_the_server_judges_a_provider_as_python_does(cluster: ControlPlane, good: bool) -> None:
    for provider in GOOD if good else BAD:
        ((name, config),) = provider.items()
        try:
            PROVIDERS[name].config.model_validate(config)
            taken = True
        except ValidationError:
            taken = False
        body = {
            "apiVersion": "slackwater.dev/v1alpha1",
            "kind": "Calendar",
            "metadata": {"name": "c"},
            "spec": {"provider": provider},
        }
        url = f"{CALENDARS}?dryRun=All&fieldValidation=Strict"
        answer = cluster.apiserver.request("POST", url, body)
        assert (taken, answer.ok) == (good, good), (provider, answer.text)
