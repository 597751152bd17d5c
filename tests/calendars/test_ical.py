"""Feeds and files."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from slackwater.calendars.ical import IcalConfig
from slackwater.calendars.turns import Turns
from slackwater.core.event import Warned
from slackwater.core.span import Span
from slackwater.core.spec import Privacy
from slackwater.core.words import Reason
from slackwater.errors import CalendarError, ConfigError, HeldBack
from slackwater.net import CALENDAR_POLICY, NetPolicy
from tests.calendars.support import (
    CANARY,
    HORIZON,
    NOW,
    FixedClock,
    Secrets,
    at,
    calendar,
    opened,
    starts,
    vevent,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

FEED = calendar(vevent("a", "DTSTART:20260401T100000Z", f"SUMMARY:{CANARY}"))


class Server:
    """A feed whose answers a test sets; remembers what it was asked."""

    def __init__(self) -> None:
        self.body = FEED
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        etag = self.headers.get("ETag")
        if etag is not None and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def open_feed(serve, server, expander):
    sources = []

    async def start(**options):
        url = f"{await serve(server.answer)}/{CANARY}/basic.ics"
        sources.append(opened("ical", {"url": url}, expander, **options))
        return sources[-1]

    return start


async def refused(source, state=None) -> CalendarError:
    with pytest.raises(CalendarError) as caught:
        await source.fetch(HORIZON, state, NOW)
    await source.aclose()
    assert CANARY not in repr(caught.value) + str(caught.value) + repr(caught.value.__dict__)
    assert caught.value.__context__ is None
    return caught.value


# --- what is read ---


async def test_a_feed_is_a_complete_snapshot(open_feed) -> None:
    source = await open_feed()
    fetched = await source.fetch(HORIZON, None, NOW)
    await source.aclose()
    assert fetched.snapshot.horizon == HORIZON
    assert fetched.snapshot.fetched_at == NOW
    assert starts(fetched.snapshot.events) == ["04-01T10:00"]
    assert fetched.snapshot.events[0].summary == CANARY
    assert CANARY not in repr(fetched)


async def test_an_unchanged_feed_is_known_by_its_etag(open_feed, server) -> None:
    server.headers = {"ETag": '"1"', "Last-Modified": "Fri, 20 Mar 2026 00:00:00 GMT"}
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    again = await source.fetch(HORIZON, first.state, NOW)
    await source.aclose()
    assert again.snapshot is None
    assert again.state == first.state
    assert server.asked[1]["If-None-Match"] == '"1"'
    assert server.asked[1]["If-Modified-Since"] == "Fri, 20 Mar 2026 00:00:00 GMT"


async def test_an_unchanged_feed_without_validators_is_known_by_its_hash(open_feed, server) -> None:
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    server.headers = {"ETag": '"late"'}
    again = await source.fetch(HORIZON, first.state, NOW)
    third = await source.fetch(HORIZON, again.state, NOW)
    await source.aclose()
    assert again.snapshot is None
    assert third.snapshot is None
    assert "If-None-Match" not in server.asked[1]
    assert server.asked[2]["If-None-Match"] == '"late"'


async def test_another_horizon_is_read_in_full(open_feed, server) -> None:
    server.headers = {"ETag": '"1"'}
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    later = Span(at("2026-04-02"), at("2026-05-01"))
    moved = await source.fetch(later, first.state, NOW)
    await source.aclose()
    assert moved.snapshot.events == ()
    assert "If-None-Match" not in server.asked[1]


async def test_another_privacy_is_read_in_full(open_feed, serve, server, expander) -> None:
    server.headers = {"ETag": '"1"'}
    url = await serve(server.answer)
    one = opened("ical", {"url": url}, expander)
    state = (await one.fetch(HORIZON, None, NOW)).state
    other = opened("ical", {"url": url}, expander, privacy=Privacy.FREE_BUSY)
    fetched = await other.fetch(HORIZON, state, NOW)
    await one.aclose()
    await other.aclose()
    assert fetched.snapshot.events[0].summary is None


async def test_a_change_is_a_new_snapshot_in_which_a_moved_event_keeps_its_key(
    open_feed, server
) -> None:
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    server.body = FEED.replace(b"20260401", b"20260402")
    second = await source.fetch(HORIZON, first.state, NOW)
    await source.aclose()
    assert starts(second.snapshot.events) == ["04-02T10:00"]
    assert [e.key for e in second.snapshot.events] == [e.key for e in first.snapshot.events]


async def test_the_address_may_be_in_a_secret_and_webcal_means_https(
    serve, server, expander
) -> None:
    url = f"{await serve(server.answer)}/{CANARY}.ics"
    secrets = Secrets({("research", "feed", "url"): f"{url}\n", ("research", "web", "url"): f"webcal://127.0.0.1:9/{CANARY}"})  # fmt: skip
    config = {"urlSecretRef": {"name": "feed", "key": "url"}}
    source = opened("ical", config, expander, secrets=secrets)
    assert starts((await source.fetch(HORIZON, None, NOW)).snapshot.events) == ["04-01T10:00"]
    await source.aclose()
    config = {"urlSecretRef": {"name": "web", "key": "url"}}
    source = opened("ical", config, expander, secrets=secrets, policy=CALENDAR_POLICY)
    assert (await refused(source)).reason is Reason.BLOCKED_TARGET


async def test_a_missing_secret_is_named(expander) -> None:
    source = opened("ical", {"urlSecretRef": {"name": "feed", "key": "url"}}, expander)
    error = await refused(source)
    assert error.reason is Reason.SECRET_NOT_FOUND
    assert "research/feed" in error.sentence


async def test_a_byte_order_mark_and_compression_are_read(open_feed, server) -> None:
    server.body = gzip.compress(b"\xef\xbb\xbf" + FEED + b"\r\n\r\n")
    server.headers = {"Content-Encoding": "gzip"}
    source = await open_feed()
    assert starts((await source.fetch(HORIZON, None, NOW)).snapshot.events) == ["04-01T10:00"]
    await source.aclose()


async def test_an_empty_calendar_is_a_calendar(open_feed, server) -> None:
    server.body = calendar()
    source = await open_feed()
    assert (await source.fetch(HORIZON, None, NOW)).snapshot.events == ()
    await source.aclose()


async def test_redirects_are_followed_within_what_is_allowed(serve, server, expander) -> None:
    target = await serve(server.answer)

    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{target}/{CANARY}"})

    source = opened("ical", {"url": await serve(elsewhere)}, expander)
    assert starts((await source.fetch(HORIZON, None, NOW)).snapshot.events) == ["04-01T10:00"]
    await source.aclose()


# --- what is refused ---


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>c4n4ry: please sign in</body></html>",
        FEED[:-20],
        FEED[:-1].rstrip()[:-1],
        b"",
        b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n",
        b"HTTP error\r\n" + FEED,
    ],
    ids=["login page", "cut", "cut by one", "empty", "open event", "preceded"],
)
async def test_what_is_no_whole_calendar_is_malformed_and_deletes_nothing(
    open_feed, server, body
) -> None:
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    server.body = body
    assert (await refused(source, first.state)).reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (401, {}, Reason.UNAUTHORIZED),
        (403, {}, Reason.FORBIDDEN),
        (404, {}, Reason.NOT_FOUND),
        (410, {}, Reason.NOT_FOUND),
        (429, {"Retry-After": "90"}, Reason.THROTTLED),
        (503, {"Retry-After": "Fri, 20 Mar 2026 12:01:30 GMT"}, Reason.UNAVAILABLE),
        (500, {}, Reason.UNAVAILABLE),
        (418, {}, Reason.BAD_REQUEST),
        (304, {}, Reason.REDIRECTED),
        (204, {}, Reason.MALFORMED),
    ],
)
async def test_what_a_server_answers_has_its_reason(
    open_feed, server, status, headers, reason
) -> None:
    server.status, server.headers = status, headers
    server.body = b"" if status in {204, 304} else CANARY.encode()
    error = await refused(await open_feed())
    assert error.reason is reason
    assert (error.retry_after is not None) == bool(headers)
    if headers:
        assert error.retry_after.total_seconds() == 90
    assert "research/team" in error.sentence


async def test_a_bomb_is_too_large(open_feed, server) -> None:
    server.body = gzip.compress(b"\0" * 11_000_000)
    server.headers = {"Content-Encoding": "gzip"}
    assert (await refused(await open_feed())).reason is Reason.TOO_LARGE


async def test_addresses_inside_are_blocked_in_a_cluster(serve, server, expander) -> None:
    port = (await serve(server.answer)).rsplit(":", 1)[1]
    config = {"url": f"https://localhost:{port}/{CANARY}"}
    for policy in (CALENDAR_POLICY, NetPolicy(private=True)):
        source = opened("ical", config, expander, policy=policy)
        assert (await refused(source)).reason is Reason.BLOCKED_TARGET
    assert server.asked == []


async def test_without_tls_only_loopback_and_named_networks_are_read(
    serve, server, expander
) -> None:
    with pytest.raises(ConfigError, match="https"):
        opened("ical", {"url": f"http://{CANARY}.example/"}, expander, policy=CALENDAR_POLICY)
    secrets = Secrets({("research", "feed", "url"): f"http://{CANARY}.example/"})
    config = {"urlSecretRef": {"name": "feed", "key": "url"}}
    source = opened("ical", config, expander, secrets=secrets, policy=CALENDAR_POLICY)
    error = await refused(source)
    assert error.reason is Reason.INVALID_SPEC
    assert "https" in error.sentence
    # A public address is not reached without TLS even where loopback is allowed.
    source = opened("ical", {"url": "http://93.184.216.34/"}, expander)
    assert (await refused(source)).reason is Reason.BLOCKED_TARGET


async def test_a_poisonous_series_is_reported_and_the_rest_stands(open_feed, server) -> None:
    bad = vevent("bad", "DTSTART:20260401T100000Z", "RRULE:FREQ=SECONDLY").encode()
    server.body = FEED.replace(b"END:VCALENDAR", bad + b"END:VCALENDAR")
    source = await open_feed()
    snapshot = (await source.fetch(HORIZON, None, NOW)).snapshot
    await source.aclose()
    assert starts(snapshot.events) == ["04-01T10:00"]
    assert snapshot.warnings == (Warned(Reason.SERIES_SKIPPED, 1),)


# --- unstable UIDs ---


def numbered(prefix: str, count: int = 4, day: int = 1) -> bytes:
    return calendar(
        *(vevent(f"{prefix}{n}", f"DTSTART:202604{day + n:02d}T100000Z") for n in range(count))
    )


@pytest.mark.parametrize(
    ("before", "after", "unstable"),
    [
        (numbered("a"), numbered("b"), 4),
        (numbered("a"), numbered("a", 5), 0),
        (numbered("a"), numbered("b", day=10), 0),  # other events at other times
        (numbered("a", 2), numbered("b", 2), 0),  # too few to tell
        (numbered("a"), calendar(), 0),
    ],
)
async def test_new_uids_at_unchanged_times_are_noticed(
    open_feed, server, before, after, unstable
) -> None:
    server.body = before
    source = await open_feed()
    first = await source.fetch(HORIZON, None, NOW)
    assert first.snapshot.warnings == ()
    server.body = after
    second = await source.fetch(HORIZON, first.state, NOW)
    await source.aclose()
    expected = (Warned(Reason.UNSTABLE_UIDS, unstable),) if unstable else ()
    assert second.snapshot.warnings == expected


# --- files ---


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "team.ics").write_bytes(FEED)
    (tmp_path / "secret.ics").write_bytes(FEED)
    return tmp_path / "manifests"


async def test_a_file_beside_the_manifest_is_read_again_when_it_changes(
    directory, expander
) -> None:
    source = opened("ical", {"file": "team.ics"}, expander, directory=directory)
    first = await source.fetch(HORIZON, None, NOW)
    assert starts(first.snapshot.events) == ["04-01T10:00"]
    assert (await source.fetch(HORIZON, first.state, NOW)).snapshot is None
    (directory / "team.ics").write_bytes(FEED.replace(b"20260401", b"20260402"))
    second = await source.fetch(HORIZON, first.state, NOW)
    assert starts(second.snapshot.events) == ["04-02T10:00"]


@pytest.mark.parametrize("name", ["../secret.ics", "/etc/passwd", "link.ics"])
async def test_a_file_outside_the_directory_is_refused(directory, expander, name) -> None:
    (directory / "link.ics").symlink_to(directory.parent / "secret.ics")
    with pytest.raises(ConfigError, match="directory"):
        opened("ical", {"file": name}, expander, directory=directory)


async def test_a_link_that_is_put_there_later_is_not_followed(directory, expander) -> None:
    source = opened("ical", {"file": "team.ics"}, expander, directory=directory)
    (directory / "team.ics").unlink()
    assert (await refused(source)).reason is Reason.NOT_FOUND
    (directory / "team.ics").symlink_to(directory.parent / "secret.ics")
    assert (await refused(source)).reason is Reason.FORBIDDEN


async def test_in_a_cluster_no_file_is_read(expander) -> None:
    with pytest.raises(ConfigError, match="slackwater run"):
        opened("ical", {"file": "team.ics"}, expander)


async def test_a_file_that_is_no_regular_file_or_too_large_is_refused(directory, expander) -> None:
    source = opened("ical", {"file": "team.ics"}, expander, directory=directory)
    (directory / "team.ics").write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    assert (await refused(source)).reason is Reason.TOO_LARGE
    (directory / "team.ics").unlink()
    os.mkfifo(directory / "team.ics")
    assert (await refused(source)).reason is Reason.NOT_FOUND


# --- politeness ---


async def test_a_feed_is_asked_every_five_minutes_at_most_and_a_file_whenever_one_likes(
    open_feed, server, directory, expander
) -> None:
    turns = Turns(FixedClock())
    source = await open_feed(turns=turns)
    first = await source.fetch(HORIZON, None, NOW)
    with pytest.raises(HeldBack) as caught:
        await source.fetch(HORIZON, first.state, NOW)
    assert caught.value.retry_after == timedelta(minutes=5)
    assert len(server.asked) == 1
    other = await open_feed(turns=turns, zone="Asia/Tokyo")
    await other.fetch(HORIZON, None, NOW)
    assert len(server.asked) == 2, "what was just corrected need not wait"

    file = opened("ical", {"file": "team.ics"}, expander, directory=directory, turns=turns)
    for _ in range(2):
        await file.fetch(HORIZON, None, NOW)


# --- configuration ---


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": "https://a.example/x", "urlSecretRef": {"name": "a", "key": "b"}},
        {"url": "https://a.example/x", "file": "a.ics"},
        {"url": "https://user:password@a.example/x"},
        {"url": "ftp://a.example/x"},
        {"url": "https://a.example/x", "other": 1},
        {"file": ""},
    ],
)
async def test_a_configuration_that_cannot_work_is_refused(config) -> None:
    with pytest.raises(ValidationError):
        IcalConfig.model_validate(config)


async def test_an_at_sign_in_the_path_is_an_ordinary_character() -> None:
    url = "https://calendar.google.com/calendar/ical/team@example.com/public/basic.ics"
    assert IcalConfig.model_validate({"url": url}).url == url


async def test_calendars_of_one_address_share_keys_and_others_do_not(
    serve, server, expander
) -> None:
    origin = await serve(server.answer)
    found = []
    for name, path in (("one", "a"), ("two", "a"), ("three", "b")):
        source = opened("ical", {"url": f"{origin}/{path}"}, expander, name=name)
        found.append((await source.fetch(HORIZON, None, NOW)).snapshot.events[0])
        await source.aclose()
    assert found[0].key == found[1].key != found[2].key
    assert replace(found[0], key=found[2].key, series=found[2].series) == found[2]
