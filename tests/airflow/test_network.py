from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_network
from pathlib import Path

import pytest

from slackwater.airflow.lane import Server
from slackwater.core.words import Reason
from slackwater.errors import AirflowError, Ambiguous
from slackwater.net import NetPolicy
from slackwater.ports import Airflow
from tests.airflow.conftest import STATIC, Clock, Open, Secrets, calls, eventually
from tests.fakes.airflow import FakeAirflow

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[Talk], Awaitable[str]]]:
    """A server that talks bytes."""
    async with AsyncExitStack() as stack:

        async def start(talk: Talk) -> str:
            server = await asyncio.start_server(talk, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start


async def failed(call: Awaitable[object]) -> AirflowError:
    with pytest.raises(AirflowError) as error:
        await call
    return error.value


async def test_an_address_that_is_not_allowed_is_not_opened(
    opened: Open, fake: FakeAirflow
) -> None:
    error = await failed(opened(policy=NetPolicy(private=True)))
    assert error.reason is Reason.BLOCKED_TARGET
    assert fake.requests == []
    assert Server._known == {}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://169.254.169.254/latest", Reason.BLOCKED_TARGET),
        ("http://no-such-host.invalid", Reason.UNREACHABLE),
        ("ftp://127.0.0.1", Reason.BAD_REQUEST),
    ],
)
async def test_a_url_that_leads_nowhere_good_is_not_opened(
    opened: Open, url: str, reason: Reason
) -> None:
    error = await failed(opened(url))
    assert error.reason is reason
    assert url.partition("//")[2] not in str(error)


async def test_the_address_is_judged_again_before_a_login(
    opened: Open, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow = await opened()
    monkeypatch.setattr(
        "slackwater.airflow.session.check_target",
        lambda url, _policy: _check_elsewhere(),
    )
    assert (await failed(airflow.run("train", "r1"))).reason is Reason.BLOCKED_TARGET
    assert fake.requests == []


async def _check_elsewhere() -> None:
    from slackwater.net import check_target

    await check_target("http://169.254.169.254", NetPolicy())


async def test_a_name_that_leads_elsewhere_when_used_reaches_nothing(
    opened: Open, fake: FakeAirflow, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def allows(_url: str, _policy: NetPolicy) -> tuple[()]:
        return ()

    monkeypatch.setattr("slackwater.airflow.session.check_target", allows)
    secrets.values["token"] = "t"
    airflow = await opened(auth=STATIC, policy=NetPolicy())
    error = await failed(airflow.trigger("train", "r1", {}, ""))
    assert type(error) is AirflowError
    assert error.reason is Reason.BLOCKED_TARGET
    assert fake.requests == []


async def test_a_named_network_is_allowed(opened: Open) -> None:
    airflow = await opened(policy=NetPolicy(networks=(ip_network("127.0.0.0/8"),)))
    assert await airflow.run("train", "r1") is None


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
async def test_proxies_of_the_environment_are_ignored(
    opened: Open, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert await (await opened()).run("train", "r1") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(opened: Open, fake: FakeAirflow, status: int) -> None:
    async with FakeAirflow() as elsewhere:
        airflow = await opened()
        await airflow.run("train", "r1")
        for method, call in (
            ("GET", airflow.run("train", "r1")),
            ("POST", airflow.trigger("train", "r1", {}, "")),
        ):
            fake.faults.answer(status, method, headers={"Location": elsewhere.url})
            error = await failed(call)
            assert type(error) is AirflowError
            assert error.reason is Reason.REDIRECTED
        assert elsewhere.requests == []


async def test_a_read_is_repeated_once_when_its_connection_breaks(
    airflow: Airflow, fake: FakeAirflow
) -> None:
    await airflow.run("train", "r1")
    fake.faults.drop("GET")
    assert await airflow.run("train", "r1") is None
    fake.faults.drop("GET", times=2)
    assert (await failed(airflow.run("train", "r1"))).reason is Reason.UNREACHABLE
    assert calls(fake, "GET") == [404, 0, 404, 0, 0]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, Reason.UNAVAILABLE),
        (503, Reason.UNAVAILABLE),
        (429, Reason.THROTTLED),
        (408, Reason.TIMEOUT),
        (400, Reason.BAD_REQUEST),
        (422, Reason.BAD_REQUEST),
    ],
)
async def test_what_a_status_means_for_a_read(
    airflow: Airflow, fake: FakeAirflow, status: int, reason: Reason
) -> None:
    fake.faults.answer(status, "GET", "/dagRuns", headers={"Retry-After": "9"})
    error = await failed(airflow.active_runs("slackwater."))
    assert error.reason is reason
    wait = error.retry_after.total_seconds() if error.retry_after else None
    assert wait == (None if reason is Reason.BAD_REQUEST else 9)


async def test_a_date_in_retry_after_is_counted_from_our_clock(
    airflow: Airflow, fake: FakeAirflow, clock: Clock
) -> None:
    headers = {"Retry-After": "Mon, 23 Nov 2026 22:00:30 GMT"}
    fake.faults.answer(503, "GET", "/dagRuns", headers=headers)
    error = await failed(airflow.run("train", "r1"))
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 30


async def test_a_server_that_does_not_answer_times_out(
    airflow: Airflow, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    await airflow.run("train", "r1")
    monkeypatch.setattr("slackwater.airflow.session.READ_SECONDS", 0.1)
    hold = fake.faults.hold("GET")
    assert (await failed(airflow.run("train", "r1"))).reason is Reason.TIMEOUT
    hold.release()
    assert calls(fake, "GET") == [404]


async def test_a_server_that_drips_its_answer_times_out_all_the_same(
    opened: Open, raw: Callable[[Talk], Awaitable[str]], clock: Clock
) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            clock.advance(seconds=2)
            try:
                await writer.drain()
                async with asyncio.timeout(0.02):
                    await reader.read()
            except (TimeoutError, ConnectionError):
                continue
            writer.close()

    airflow = await opened(await raw(drip))
    assert (await failed(airflow.version())).reason is Reason.TIMEOUT


async def test_an_endless_answer_is_cut(
    airflow: Airflow, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slackwater.airflow.client._LIMIT_BYTES", 100_000)
    fake.faults.answer(200, "GET", "/dagRuns", body=" " * 200_000)
    assert (await failed(airflow.run("train", "r1"))).reason is Reason.TOO_LARGE
    fake.faults.answer(200, "POST", "/dagRuns", body=" " * 200_000)
    error = await failed(airflow.trigger("train", "r1", {}, ""))
    assert isinstance(error, Ambiguous)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
)
async def test_what_is_no_http_is_unreachable(
    opened: Open, raw: Callable[[Talk], Awaitable[str]], bytes_: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes_)
        await writer.drain()
        writer.close()

    airflow = await opened(await raw(talk))
    assert (await failed(airflow.version())).reason is Reason.UNREACHABLE


async def test_tls_that_is_none_is_unreachable_and_ambiguous_for_nothing(
    opened: Open, fake: FakeAirflow
) -> None:
    airflow = await opened(fake.url.replace("http://", "https://"))
    assert (await failed(airflow.version())).reason is Reason.UNREACHABLE
    # The login comes first, and it is a read: nothing was started.
    error = await failed(airflow.trigger("train", "r1", {}, ""))
    assert type(error) is AirflowError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, its key beside it."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = f"{tool} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=airflow -addext subjectAltName=IP:127.0.0.1"
    command += f" -keyout {folder}/key.pem -out {folder}/certificate.pem"
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture
async def secure(certificate: Path, clock: Clock) -> AsyncIterator[FakeAirflow]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    async with FakeAirflow(now=clock.now, tls=context) as server:
        server.add_dag("train")
        yield server


async def test_a_certificate_that_is_trusted_is_spoken_to(
    opened: Open, secure: FakeAirflow, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    airflow = await opened(secure.url)
    await airflow.trigger("train", "r1", {}, "")
    assert [run.run_id for run in secure.runs] == ["r1"]


async def test_a_certificate_that_nobody_vouches_for_is_not_spoken_to(
    opened: Open, secure: FakeAirflow
) -> None:
    airflow = await opened(secure.url)
    assert (await failed(airflow.trigger("train", "r1", {}, ""))).reason is Reason.UNREACHABLE
    assert secure.requests == []


async def test_tls_to_an_address_that_is_not_allowed_carries_no_request(
    opened: Open, secure: FakeAirflow, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def allows(_url: str, _policy: NetPolicy) -> tuple[()]:
        return ()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr("slackwater.airflow.session.check_target", allows)
    airflow = await opened(secure.url, policy=NetPolicy())
    assert (await failed(airflow.version())).reason is Reason.BLOCKED_TARGET
    assert secure.requests == []


async def test_connections_are_kept_and_used_again(
    airflow: Airflow, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: set[object] = set()
    route = fake._route

    def seen(request: object, text: str) -> object:
        ports.add(request.transport.get_extra_info("peername"))  # type: ignore[attr-defined]
        return route(request, text)  # type: ignore[arg-type]

    monkeypatch.setattr(fake, "_route", seen)
    for number in range(6):
        await airflow.run("train", f"r{number}")
        await airflow.active_runs("slackwater.")
    assert len(ports) == 1


async def test_the_loop_goes_on_while_a_request_waits(airflow: Airflow, fake: FakeAirflow) -> None:
    hold = fake.faults.hold("GET")
    task = asyncio.create_task(airflow.run("train", "r1"))
    await hold.arrived.wait()
    assert threading.current_thread() is threading.main_thread()
    await eventually(lambda: fake._busy[False] == 1)
    hold.release()
    assert await task is None


def test_the_client_package_is_imported_by_opening_a_server_and_not_before() -> None:
    code = (
        "import sys, slackwater.airflow.open\n"
        "heavy = [m for m in sys.modules if m.startswith(('airflow_client', 'urllib3'))]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "operator"}, check=False)
    assert done.returncode == 0
