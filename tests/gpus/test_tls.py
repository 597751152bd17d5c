"""Trust and client certificates against a TLS server in this process."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.access import trust
from slackwater.gpus.config import ClientCertificate, SecretKey
from tests.gpus.fake_prometheus import row, vector

SHOWN = ClientCertificate(SecretKey("tls", "crt"), SecretKey("tls", "key"))


@dataclass
class Papers:
    """An authority, a server's and two clients' certificates, and a key under a password."""

    at: Path

    def read(self, name: str) -> str:
        return (self.at / name).read_text()


def openssl(at: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=at, check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Papers:
    at = tmp_path_factory.mktemp("papers")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca = ("-addext", "keyUsage=critical,keyCertSign", "-subj", "/CN=ca")
    openssl(at, *new, "-keyout", "ca.key", "-out", "ca.crt", *ca)
    for name in ("server", "ada", "bob"):
        issued = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE")
        names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl(at, *new, "-keyout", f"{name}.key", "-out", f"{name}.crt", *issued, *names)
    openssl(at, "pkey", "-in", "ada.key", "-aes128", "-passout", "pass:x", "-out", "locked.key")
    return Papers(at)


@pytest.fixture
async def server(papers) -> AsyncIterator[tuple[str, list[str]]]:
    """Asks for a client certificate; gives its address and the names that it was shown."""
    shown: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        peer = request.get_extra_info("peercert")
        shown.append(dict(pair[0] for pair in peer["subject"])["commonName"])
        return web.json_response(vector(row(1)))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=papers.at / "ca.crt")
    context.load_cert_chain(papers.at / "server.crt", papers.at / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}", shown
    await runner.cleanup()


def give(secrets, papers, name: str) -> None:
    for kind in ("crt", "key"):
        secrets.values["research", "tls", kind] = papers.read(f"{name}.{kind}")


async def reason(awaitable) -> Reason:
    with pytest.raises(PoolError) as caught:
        await awaitable
    return caught.value.reason


async def test_a_renewed_client_certificate_is_shown_at_once(server, papers, secrets, connect):
    address, shown = server
    client = connect(server_address=address, auth=SHOWN, ca_bundle=papers.read("ca.crt"))
    for name in ("ada", "ada", "bob"):
        give(secrets, papers, name)
        assert len(await client.query("up")) == 1
    assert shown == ["ada", "ada", "bob"]


async def test_a_certificate_that_did_not_change_keeps_the_connection(
    server, papers, secrets, connect
):
    address, _ = server
    give(secrets, papers, "ada")
    client = connect(server_address=address, auth=SHOWN, ca_bundle=papers.read("ca.crt"))
    await client.query("up")
    session = await client._access.session()
    await client.query("up")
    assert await client._access.session() is session


async def test_a_server_that_the_bundle_does_not_vouch_for_is_not_asked(
    server, papers, secrets, connect
):
    address, shown = server
    give(secrets, papers, "ada")
    client = connect(server_address=address, auth=SHOWN, ca_bundle=papers.read("bob.crt"))
    assert await reason(client.query("up")) is Reason.UNREACHABLE
    assert shown == []


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("ada.crt", "bob.key"), ("ada.crt", "locked.key"), ("ada.key", "ada.key")],
    ids=["another's key", "a key under a password", "no certificate"],
)
async def test_papers_that_do_not_fit_are_refused_credentials(
    server, papers, secrets, connect, certificate, key
):
    address, shown = server
    secrets.values["research", "tls", "crt"] = papers.read(certificate)
    secrets.values["research", "tls", "key"] = papers.read(key)
    client = connect(server_address=address, auth=SHOWN, ca_bundle=papers.read("ca.crt"))
    assert await reason(client.query("up")) is Reason.UNAUTHORIZED
    assert shown == []


async def test_no_key_stays_on_disk(server, papers, secrets, connect, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    give(secrets, papers, "ada")
    client = connect(server_address=server[0], auth=SHOWN, ca_bundle=papers.read("ca.crt"))
    await client.query("up")
    assert list(tmp_path.iterdir()) == []
    assert papers.read("ada.key").splitlines()[1] not in repr(client._access._opened)


def test_a_bundle_replaces_the_systems_authorities(papers):
    assert len(trust(papers.read("ca.crt")).get_ca_certs()) == 1
