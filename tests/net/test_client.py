from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import zlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from slackwater.core.words import Reason
from slackwater.net import (
    CALENDAR_POLICY,
    SERVICE_POLICY,
    NetError,
    NetPolicy,
    check_target,
    fetch,
    retry_after,
)

LONG = timedelta(seconds=10)
CANARY = "c4n4ry"


async def get(session, url, **options):
    settings = {"total": LONG, "limit_bytes": 100_000, **options}
    return await fetch(session, "GET", url, **settings)


async def refused(awaitable) -> Reason:
    with pytest.raises(NetError) as caught:
        await awaitable
    assert CANARY not in repr(caught.value) + str(caught.value)
    assert caught.value.__context__ is None
    return caught.value.reason


def only(address: str) -> NetPolicy:
    return NetPolicy(networks=(ip_network(address),))


class Names(AbstractResolver):
    """Answers in turn; the last answer stays."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host,
                "host": a,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for a in addresses
        ]

    async def close(self):
        pass


async def test_an_answer_comes_whole_and_its_headers_ignore_case(serve, opened) -> None:
    async def handler(request):
        return web.Response(status=418, body=b"short", headers={"ETag": '"1"'})

    reply = await get(opened(), await serve(handler))
    assert (reply.status, reply.ok, reply.body, reply.headers["etag"]) == (
        418,
        False,
        b"short",
        '"1"',
    )
    assert "short" not in repr(reply)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]"])
async def test_a_literal_address_is_judged(serve, opened, host) -> None:
    seen = []

    async def handler(request):
        seen.append(request.path)
        return web.Response()

    url = (await serve(handler)).replace("127.0.0.1", host)
    for policy in (CALENDAR_POLICY, SERVICE_POLICY):
        assert await refused(get(opened(policy), f"{url}/{CANARY}")) is Reason.BLOCKED_TARGET
    assert seen == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1"])
async def test_an_odd_spelling_of_loopback_reaches_nothing(serve, opened, host) -> None:
    async def handler(request):
        raise AssertionError

    url = (await serve(handler)).replace("127.0.0.1", host)
    assert await refused(get(opened(CALENDAR_POLICY), url)) in {
        Reason.BLOCKED_TARGET,
        Reason.BAD_REQUEST,
        Reason.UNREACHABLE,
    }


async def test_a_name_that_turns_to_loopback_after_the_check_reaches_nothing(
    serve, opened, monkeypatch
) -> None:
    seen = []

    async def handler(request):
        seen.append(request.path)
        return web.Response()

    port = int((await serve(handler)).rsplit(":", 1)[1])
    answers = ["93.184.216.34", "127.0.0.1", "127.0.0.1"]

    async def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    url = f"http://rebind.example:{port}/feed"
    assert [str(a) for a in await check_target(url, CALENDAR_POLICY)] == ["93.184.216.34"]
    assert await refused(get(opened(CALENDAR_POLICY), url)) is Reason.BLOCKED_TARGET
    assert seen == []
    assert await refused(check_target(url, CALENDAR_POLICY)) is Reason.BLOCKED_TARGET


async def test_of_mixed_addresses_only_the_allowed_ones_are_used(serve, opened) -> None:
    seen = []

    async def inner(request):
        seen.append("forbidden")
        return web.Response()

    async def outer(request):
        return web.Response(body=b"allowed")

    url = await serve(outer, "127.0.0.2")
    port = int(url.rsplit(":", 1)[1])
    await serve(inner)
    session = opened(only("127.0.0.2"), resolver=Names(("127.0.0.1", "127.0.0.2")))
    reply = await get(session, f"http://mixed.example:{port}/")
    assert reply.body == b"allowed"
    assert seen == []


async def test_check_target_refuses_a_name_with_one_bad_address(monkeypatch) -> None:
    async def getaddrinfo(host, port, **_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("93.184.216.34", "169.254.169.254")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert (
        await refused(check_target("https://x.example/", SERVICE_POLICY)) is Reason.BLOCKED_TARGET
    )


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "https://", "http://[::1", "gopher:x"]
)
async def test_what_is_no_web_address_is_a_bad_request(opened, url) -> None:
    assert await refused(check_target(url, SERVICE_POLICY)) is Reason.BAD_REQUEST
    assert await refused(get(opened(), url)) is Reason.BAD_REQUEST


async def test_a_name_without_address_is_unreachable(opened, monkeypatch) -> None:
    async def getaddrinfo(host, port, **_):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    url = f"https://{CANARY}.example/"
    assert await refused(get(opened(), url)) is Reason.UNREACHABLE
    assert await refused(check_target(url, CALENDAR_POLICY)) is Reason.UNREACHABLE


async def test_a_closed_port_is_unreachable(opened) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert await refused(get(opened(), f"http://127.0.0.1:{port}/{CANARY}")) is Reason.UNREACHABLE


async def test_a_server_that_drips_runs_into_the_total_deadline(serve, opened) -> None:
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b".")
            await asyncio.sleep(0.01)
        return response

    url = await serve(handler)
    assert await refused(get(opened(), url, total=timedelta(milliseconds=150))) is Reason.TIMEOUT


async def test_a_body_cut_short_is_no_answer(serve, opened) -> None:
    async def handler(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        request.transport.close()
        return response

    assert await refused(get(opened(), await serve(handler))) is Reason.UNREACHABLE


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_refused(serve, opened, chunked) -> None:
    async def handler(request):
        response = web.Response(body=b"x" * 1001)
        if chunked:
            response.enable_chunked_encoding()
        return response

    url = await serve(handler)
    assert await refused(get(opened(), url, limit_bytes=1000)) is Reason.TOO_LARGE
    assert len((await get(opened(), url, limit_bytes=1001)).body) == 1001


def _packed(encoding: str, body: bytes) -> bytes:
    return gzip.compress(body) if encoding == "gzip" else zlib.compress(body)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_size_counts_after_decompression(serve, opened, encoding) -> None:
    bomb = _packed(encoding, b"\0" * 50_000_000)

    async def handler(request):
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    url = await serve(handler)
    assert len(bomb) < 60_000
    assert await refused(get(opened(), url, limit_bytes=1_000_000)) is Reason.TOO_LARGE


async def test_compressed_bodies_are_decoded_also_when_laid_end_to_end(serve, opened) -> None:
    async def handler(request):
        assert request.headers["Accept-Encoding"] == "gzip"
        body = gzip.compress(b"first ") + gzip.compress(b"second")
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    assert (await get(opened(), await serve(handler))).body == b"first second"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", b"not gzip", id="not-gzip"),
        pytest.param("gzip", gzip.compress(b"cut" * 999)[:-12], id="cut-off"),
        pytest.param("br", b"unasked", id="unasked"),
        pytest.param("gzip", b"", id="empty"),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_malformed(serve, opened, encoding, body) -> None:
    async def handler(request):
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    assert await refused(get(opened(), await serve(handler))) is Reason.MALFORMED


async def test_the_body_of_a_failure_is_cut_not_refused(serve, opened) -> None:
    async def handler(request):
        return web.Response(status=500, body=b"e" * 500_000)

    reply = await get(opened(), await serve(handler), limit_bytes=1_000_000)
    assert (reply.status, len(reply.body)) == (500, 65536)


@pytest.mark.parametrize("path", ["/a%40b/c@d/%2F/%7E?q=%20+&r=%2B", "/%C3%BC"])
async def test_a_path_is_sent_as_it_was_written(serve, opened, path) -> None:
    async def handler(request):
        return web.Response(body=request.raw_path.encode())

    assert (await get(opened(), await serve(handler) + path)).body == path.encode()


async def test_a_path_with_foreign_characters_is_encoded(serve, opened) -> None:
    async def handler(request):
        return web.Response(body=request.raw_path.encode())

    assert (await get(opened(), await serve(handler) + "/ü x")).body == b"/%C3%BC%20x"


async def test_redirects_are_followed_only_as_far_as_allowed(serve, opened) -> None:
    async def handler(request):
        if request.path == "/3":
            return web.Response(body=b"there")
        return web.Response(status=302, headers={"Location": f"/{int(request.path[1:]) + 1}"})

    url = await serve(handler)
    assert (await get(opened(), f"{url}/1", redirects=2)).body == b"there"
    assert await refused(get(opened(), f"{url}/1", redirects=1)) is Reason.REDIRECTED
    assert await refused(get(opened(), f"{url}/1")) is Reason.REDIRECTED


async def test_a_redirect_to_a_forbidden_address_is_blocked(serve, opened) -> None:
    seen = []

    async def victim(request):
        seen.append(request.path)
        return web.Response()

    forbidden = await serve(victim)

    async def handler(request):
        return web.Response(status=302, headers={"Location": forbidden})

    allowed = await serve(handler, "127.0.0.2")
    session = opened(only("127.0.0.2"))
    assert await refused(get(session, allowed, redirects=3)) is Reason.BLOCKED_TARGET
    assert seen == []


async def test_credentials_stay_with_their_origin(serve, opened) -> None:
    seen = []

    async def other(request):
        seen.append(dict(request.headers))
        return web.Response(body=b"ok")

    elsewhere = await serve(other)

    async def handler(request):
        seen.append(dict(request.headers))
        if request.path == "/one":
            return web.Response(status=307, headers={"Location": "/two"})
        return web.Response(status=307, headers={"Location": elsewhere.replace("//", "//evil:x@")})

    origin = (await serve(handler)).replace("//", "//user:p%40ss@")
    headers = {"X-Token": CANARY, "Accept": "text/calendar", "If-None-Match": '"1"'}
    reply = await get(opened(), f"{origin}/one", redirects=3, headers=headers)
    first, second, third = seen
    for own in (first, second):
        assert own["Authorization"] == "Basic dXNlcjpwQHNz"
        assert own["X-Token"] == CANARY
    assert "Authorization" not in third
    assert "X-Token" not in third
    assert (third["Accept"], third["If-None-Match"]) == ("text/calendar", '"1"')
    assert "user" not in reply.url


async def test_a_body_is_not_carried_to_another_origin(serve, opened) -> None:
    async def other(request):
        raise AssertionError

    elsewhere = await serve(other)

    async def handler(request):
        return web.Response(status=308, headers={"Location": elsewhere})

    url = await serve(handler)
    failed = fetch(
        opened(), "POST", url, body=CANARY.encode(), total=LONG, limit_bytes=10, redirects=1
    )
    assert await refused(failed) is Reason.REDIRECTED


async def test_see_other_becomes_a_get(serve, opened) -> None:
    async def handler(request):
        if request.method == "POST":
            return web.Response(status=303, headers={"Location": "/done"})
        return web.Response(body=f"{request.method} {request.path}".encode())

    reply = await fetch(
        opened(), "POST", await serve(handler), body=b"x", total=LONG, limit_bytes=99, redirects=1
    )
    assert reply.body == b"GET /done"


async def test_a_redirect_out_of_tls_is_refused(opened, monkeypatch) -> None:
    asked = []

    class Response:
        status, headers = 302, {"Location": "http://127.0.0.1/"}

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            return None

    def request(self, method, url, **_):
        asked.append(url.scheme)
        return Response()

    monkeypatch.setattr(aiohttp.ClientSession, "request", request)
    assert await refused(get(opened(), "https://safe.example/", redirects=5)) is Reason.REDIRECTED
    assert asked == ["https"]


async def test_cookies_are_not_kept(serve, opened) -> None:
    cookies = []

    async def handler(request):
        cookies.append(dict(request.cookies))
        response = web.Response()
        response.set_cookie("session", CANARY)
        return response

    url, session = await serve(handler), opened()
    await get(session, url)
    await get(session, url)
    assert cookies == [{}, {}]


async def test_no_proxy_of_the_environment_is_used(serve, opened, monkeypatch) -> None:
    async def handler(request):
        return web.Response(body=b"direct")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await get(opened(), await serve(handler))).body == b"direct"


async def test_nothing_of_a_request_is_logged(serve, opened, caplog) -> None:
    async def handler(request):
        return web.Response(status=500)

    with caplog.at_level(logging.DEBUG):
        await get(opened(), f"{await serve(handler)}/{CANARY}", headers={"Authorization": CANARY})
    client_records = [
        r for r in caplog.records if r.name not in {"aiohttp.access", "aiohttp.server"}
    ]
    assert all(CANARY not in record.getMessage() for record in client_records)


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta()),
        ("99999999999999999999", timedelta(days=1)),
        ("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta()),
        ("Fri, 01 Jan 2100 00:00:00 GMT", timedelta(days=1)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_reads_seconds_and_dates(text: str, expected: timedelta | None) -> None:
    assert retry_after({"Retry-After": text}, NOW) == expected
