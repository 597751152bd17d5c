"""etcd and kube-apiserver, each one process on loopback."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from email.message import Message
from pathlib import Path

from testbed import web
from testbed.kubernetes import binaries, keys
from testbed.process import Server, free_port


class Etcd(Server):
    """A single etcd member that never waits for the disk."""

    name = "etcd"

    def __init__(self, home: Path | None = None, port: int | None = None) -> None:
        self._binary = binaries.find("etcd")
        super().__init__(home, port)
        self._peer = f"http://127.0.0.1:{free_port()}"

    def command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--data-dir={self.home / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self._peer}",
            f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster=default={self._peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def ready(self) -> bool:
        return web.answers(f"{self.url}/health")


class ApiServer(Server):
    """kube-apiserver with RBAC, signed service account tokens and one administrator's token.

    There is no controller manager (`testbed.kubernetes.cluster` has one): nothing makes default service accounts, collects orphans
    or empties a namespace that is being deleted.
    """

    name = "kube-apiserver"
    start_timeout = 180.0

    def __init__(
        self,
        etcd: Etcd,
        home: Path | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._binary = binaries.find("kube-apiserver")
        super().__init__(home, port)
        self._etcd = etcd
        self._arguments = arguments
        self._certificates = self.home / "certificates"
        self._signing_key = self.home / "service-accounts.pem"
        self._tokens = self.home / "tokens.csv"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def admin_token(self) -> str:
        return self._tokens.read_text().partition(",")[0]

    @property
    def ca_path(self) -> Path:
        """The certificate bundle clients must trust; the server makes it at its first start."""
        return self._certificates / "apiserver.crt"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_path))

    def prepare(self) -> None:
        if not self._signing_key.exists():
            self._signing_key.write_text(keys.private_key_pem())
            self._tokens.write_text(f'{secrets.token_hex(16)},admin,admin,"system:masters"\n')

    def command(self) -> Sequence[str | Path]:
        return [
            self._binary,
            f"--etcd-servers={self._etcd.url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._certificates}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._tokens}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self._signing_key}",
            f"--service-account-key-file={self._signing_key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            # It would demand a service account for each pod, which only controllers make.
            "--disable-admission-plugins=ServiceAccount",
            *self._arguments,
        ]

    def ready(self) -> bool:
        """All its start-up hooks have run, and the namespaces everybody expects are there."""
        if not self.ca_path.exists():
            return False
        return all(
            self.request("GET", path, timeout=5).ok
            for path in ("/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system")
        )

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        content_type: str = "application/json",
        timeout: float = 30,
    ) -> web.Answer:
        """One request as the administrator, or as the bearer of `token`. 503 if unreachable."""
        headers = {
            "Authorization": f"Bearer {token or self.admin_token}",
            "Content-Type": content_type,
        }
        try:
            return web.call(
                method, self.url + path, body, headers=headers, timeout=timeout, context=self.tls
            )
        except OSError as error:
            return web.Answer(503, Message(), str(error).encode())
