"""Every way in which Google says no: a reason, a sentence, and how long to wait."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import pytest_asyncio

from slackwater.calendars import google as provider
from slackwater.calendars import google_look
from slackwater.calendars.google_client import refusal, token_refusal
from slackwater.core.words import WORDS
from slackwater.net import NetPolicy
from tests.calendars.google_support import READER, TEAM, event, google_source, look, refused
from tests.calendars.support import CANARY, NOW
from tests.fakes.google import FakeGoogle

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def google():
    async with FakeGoogle(lambda: NOW) as fake:
        fake.store.add_calendar(TEAM, "Europe/Berlin")
        fake.store.insert(TEAM, **event("04-01T10:00", "04-01T12:00"))
        yield fake


@pytest_asyncio.fixture(loop_scope="session")
async def source(google, expander):
    made = google_source(google, google.add_reader(TEAM), expander)
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (400, "badRequest", "BadRequest"),
        (401, "authError", "Unauthorized"),
        (403, "rateLimitExceeded", "Throttled"),
        (403, "userRateLimitExceeded", "Throttled"),
        (403, "quotaExceeded", "Throttled"),
        (403, "dailyLimitExceeded", "Throttled"),
        (403, "calendarUsageLimitsExceeded", "Throttled"),
        (403, "insufficientPermissions", "Forbidden"),
        (403, "domainPolicy", "Forbidden"),
        (403, "accessNotConfigured", "ApiDisabled"),
        (403, "requiredAccessLevel", "NotShared"),
        (404, "notFound", "NotShared"),
        (410, "fullSyncRequired", "BadRequest"),
        (429, "rateLimitExceeded", "Throttled"),
        (500, "backendError", "Unavailable"),
        (503, "backendError", "Unavailable"),
        (504, "backendError", "Timeout"),
    ],
)
async def test_each_refusal_has_its_reason(google, source, status, said, reason) -> None:
    google.refuse(status, said, "/events", times=2, message=CANARY)
    error = await refused(source)
    assert error.reason == reason
    assert "research/team" in error.sentence
    assert WORDS[error.reason].remedy


async def test_a_new_form_of_errors_is_read_too() -> None:
    body = {"error": {"code": 403, "status": "PERMISSION_DENIED", "details": [{"reason": ""}]}}
    for said, reason in (("SERVICE_DISABLED", "ApiDisabled"), ("RATE_LIMIT_EXCEEDED", "Throttled")):
        body["error"]["details"] = [{"@type": "ErrorInfo", "reason": said}]
        assert refusal(403, json.dumps(body).encode()) == reason


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error": []}', b'{"error": {"errors": 1}}']
)
async def test_an_error_that_says_nothing_is_its_status(body) -> None:
    assert refusal(403, body) == "Forbidden"
    assert refusal(502, body) == "Unavailable"
    assert refusal(302, body) == "Redirected"
    assert token_refusal(400, body) == "Unauthorized"


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_time_to_wait_is_honoured_and_nothing_is_tried_again(
    google, source, status
) -> None:
    google.refuse(status, "rateLimitExceeded", "/events", headers={"Retry-After": "30"})
    error = await refused(source)
    assert error.retry_after == timedelta(seconds=30)
    assert len(google.lists) == 1
    assert (await look(source)).snapshot is not None


async def test_what_is_not_there_tells_whom_to_share_it_with(google, expander) -> None:
    source = google_source(google, google.add_reader(TEAM), expander, calendar="else@example.com")
    error = await refused(source)
    assert error.reason == "NotShared"
    assert READER in error.sentence
    await source.aclose()


async def test_a_name_that_is_no_service_account_is_not_shown(google, expander) -> None:
    google.store.calendars[TEAM].roles.clear()
    source = google_source(google, google.tokens.add_account(f"{CANARY} secret"), expander)
    assert "the service account" in (await refused(source)).sentence
    await source.aclose()


# --- the key and the token ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "",
        CANARY,
        "[]",
        "{}",
        '{"type": "authorized_user", "client_id": "c4n4ry"}',
        '{"type": "service_account", "client_email": "a@b", "private_key": "c4n4ry"}',
        '{"type": "service_account", "client_email": "a@b"}',
    ],
)
async def test_a_key_that_cannot_be_read_says_what_belongs_there(google, expander, key) -> None:
    source = google_source(google, key, expander)
    error = await refused(source)
    assert error.reason == "CredentialsUnreadable"
    assert "service account key in JSON" in error.sentence
    assert google.asked == []
    await source.aclose()


async def test_a_deleted_key_is_refused(google, source) -> None:
    google.tokens.accounts.clear()
    assert (await refused(source)).reason == "Unauthorized"


@pytest.mark.parametrize("missing", ["delegation", "user"])
async def test_a_subject_needs_delegation_and_must_exist(google, expander, missing) -> None:
    key = google.tokens.add_account(READER)
    if missing == "user":
        google.tokens.delegations[READER] = set(provider.SCOPES.values())
    else:
        google.tokens.users.add("anna@example.com")
    source = google_source(google, key, expander, subject="anna@example.com")
    error = await refused(source)
    assert error.reason == "DelegationRefused"
    assert "delegation" in WORDS[error.reason].remedy
    await source.aclose()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (429, {}, "Throttled"),
        (503, {}, "Unavailable"),
        (500, "<html>c4n4ry", "Unavailable"),
        (302, {}, "Redirected"),
        (400, {"error": "invalid_grant"}, "Unauthorized"),
        (401, {"error": "invalid_client"}, "Unauthorized"),
        (401, {"error": "unauthorized_client"}, "DelegationRefused"),
        (400, {"error": "invalid_scope"}, "DelegationRefused"),
        (403, {"error": "access_denied"}, "DelegationRefused"),
        (200, {"id_token": "c4n4ry"}, "Malformed"),
        (200, "c4n4ry", "Malformed"),
        (200, {"access_token": 3}, "Malformed"),
    ],
)
async def test_what_the_token_endpoint_says_is_told_and_asked_once(
    google, source, status, body, reason
) -> None:
    google.faults.answer(status, "POST", "/token", body=body, headers={"Retry-After": "7"})
    error = await refused(source)
    assert error.reason == reason
    assert [path for _, path, _ in google.asked] == ["/token"]
    if status in {429, 503}:
        assert error.retry_after == timedelta(seconds=7)
    assert (await look(source)).snapshot is not None


async def test_a_token_without_an_end_is_used_until_it_is_refused(google, source) -> None:
    token = google.tokens.issue(READER, provider.SCOPES.values())
    google.faults.answer(200, "POST", "/token", body={"access_token": token})
    assert (await look(source)).snapshot is not None
    google.tokens.revoke()
    assert (await look(source)).snapshot is not None


async def test_a_token_that_is_refused_twice_is_an_error(google, source) -> None:
    await look(source)
    google.refuse(401, "authError", "/events", times=2)
    google.asked.clear()
    assert (await refused(source)).reason == "Unauthorized"
    assert [path.rpartition("/")[2] for _, path, _ in google.asked] == ["events", "token", "events"]


# --- answers that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "<html>c4n4ry</html>",
        "",
        [],
        {},
        {"items": []},
        {"kind": "calendar#events", "items": {}},
        {"kind": "calendar#events", "items": ["c4n4ry"]},
        {"kind": "calendar#freeBusy", "items": []},
    ],
)
async def test_an_answer_that_is_no_listing_is_never_an_empty_calendar(
    google, source, body
) -> None:
    google.faults.answer(200, "GET", "/events", body=body)
    assert (await refused(source)).reason == "Malformed"


async def test_a_connection_that_breaks_is_unreachable(google, source) -> None:
    google.faults.drop("GET", "/events", times=2)  # aiohttp tries a kept connection twice
    assert (await refused(source)).reason == "Unreachable"
    assert (await look(source)).snapshot is not None


async def test_a_server_that_is_silent_is_given_up(google, source, monkeypatch) -> None:
    monkeypatch.setattr(provider, "MAX_TIME", timedelta(milliseconds=50))
    hold = google.faults.hold("GET", "/events")
    error = await refused(source)
    hold.release()
    assert error.reason == "Timeout"


async def test_more_than_can_be_taken_is_refused(google, source, monkeypatch) -> None:
    monkeypatch.setattr(provider, "MAX_BYTES", 100)
    assert (await refused(source)).reason == "TooLarge"


async def test_more_events_than_the_limit_are_refused(google, source, monkeypatch) -> None:
    monkeypatch.setattr(google_look, "MAX_EVENTS", 2)
    google.store.insert(TEAM, **event("04-02T10:00", "04-02T12:00"))
    assert (await look(source)).snapshot is not None
    google.store.insert(TEAM, **event("04-03T10:00", "04-03T12:00"))
    assert (await refused(source)).reason == "LimitExceeded"


async def test_pages_without_end_are_refused(google, source, monkeypatch) -> None:
    monkeypatch.setattr(google_look, "MAX_PAGES", 3)
    google.empty_pages = 5
    assert (await refused(source)).reason == "LimitExceeded"


async def test_a_zone_that_nobody_knows_is_never_read_as_another(google, source, expander) -> None:
    google.store.insert(TEAM, **event("04-03", "04-04"))
    body = {"kind": "calendar#events", "timeZone": "Mars/Olympus", "accessRole": "reader"}
    body["items"] = [{"id": "a", "start": {"date": "2026-04-03"}, "end": {"date": "2026-04-04"}}]
    google.faults.answer(200, "GET", "/events", body=body, times=2)
    assert (await refused(source)).reason == "UnknownTimeZone"

    named = google_source(google, google.add_reader(TEAM), expander, zone="Europe/Berlin")
    found = await look(named)
    assert found.snapshot is not None
    assert len(found.snapshot.events) == 1
    await named.aclose()


# --- addresses ---------------------------------------------------------------------------------


async def test_an_endpoint_on_a_private_address_needs_tls_or_a_named_network(expander) -> None:
    class Elsewhere(FakeGoogle):
        url = "http://10.255.255.1:9"

    google = Elsewhere()
    google.store.add_calendar(TEAM)
    source = google_source(google, google.add_reader(TEAM), expander)
    assert (await refused(source)).reason == "BlockedTarget"
    await source.aclose()


async def test_nothing_leads_to_link_local_addresses(expander) -> None:
    class Metadata(FakeGoogle):
        url = "https://169.254.169.254"

    google = Metadata()
    google.store.add_calendar(TEAM)
    source = google_source(
        google, google.add_reader(TEAM), expander, policy=NetPolicy(private=True, loopback=True)
    )
    assert (await refused(source)).reason == "BlockedTarget"
    await source.aclose()


async def test_a_redirect_is_not_followed(google, source) -> None:
    await look(source)
    google.faults.answer(302, "GET", "/events", headers={"Location": f"{google.url}/c4n4ry"})
    google.asked.clear()
    assert (await refused(source)).reason == "Redirected"
    assert len(google.asked) == 1
