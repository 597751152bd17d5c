"""A Kubernetes API server with its etcd, to apply manifests to and to run operators against."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testbed.kubernetes import binaries
from testbed.kubernetes.servers import ApiServer, Etcd

__all__ = ["ApiServer", "ControlPlane", "Etcd", "binaries"]


class ControlPlane:
    """etcd and kube-apiserver. `etcd` and `apiserver` can be stopped, killed and started singly.

    `arguments` are further flags of kube-apiserver.
    """

    def __init__(
        self, home: Path | None = None, port: int | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self._temporary = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="sw-kubernetes-"))
        self.etcd = Etcd(self.home / "etcd")
        self.apiserver = ApiServer(self.etcd, self.home / "apiserver", port, arguments)
        self.kubeconfig = self.home / "kubeconfig"
        self.started_in: float | None = None

    @property
    def version(self) -> str:
        return binaries.version()

    @property
    def url(self) -> str:
        return self.apiserver.url

    # Life.

    def start(self) -> Self:
        began = time.monotonic()
        try:
            self.etcd.start()
            self.apiserver.start()
        except BaseException:
            self.stop()
            raise
        self.kubeconfig_for(self.apiserver.admin_token, self.kubeconfig)
        self.ensure_service_account("default", "default")
        self.started_in = time.monotonic() - began
        return self

    def stop(self) -> None:
        self.apiserver.stop()
        self.etcd.stop()

    def kill(self) -> None:
        self.apiserver.kill()
        self.etcd.kill()

    def close(self) -> None:
        self.apiserver.close()
        self.etcd.close()
        if self._temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self if self.apiserver.running else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Use.

    def request(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """A JSON answer of the API, as administrator unless `token=` is given; errors raise."""
        return self.apiserver.request(method, path, body, **options).checked().json()

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,  # noqa: A002 (as in subprocess)
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> str:
        """What kubectl prints. `input` may be text, an object or a list of objects.

        With `check` a failure raises with kubectl's message, else stdout and stderr are returned.
        """
        done = subprocess.run(
            [str(binaries.find("kubectl")), *(str(argument) for argument in arguments)],
            input=_as_text(input),
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "KUBECACHEDIR": str(self.home / "kubectl-cache"),
                "NO_PROXY": "127.0.0.1",
            },
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}:\n{done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, manifest: Path | str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
        """`kubectl apply --server-side` of a file, YAML text or objects."""
        if isinstance(manifest, Path):
            return self.kubectl("apply", "--server-side", "-f", manifest)
        return self.kubectl("apply", "--server-side", "-f", "-", input=manifest)

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """A namespace with its `default` service account, which no controller makes here."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.request("POST", "/api/v1/namespaces", {"metadata": metadata})
        self.ensure_service_account(name, "default")
        return name

    def ensure_service_account(self, namespace: str, name: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        answer = self.apiserver.request("POST", path, {"metadata": {"name": name}})
        if answer.status != 409:
            answer.checked()

    def token_for(self, namespace: str, service_account: str, seconds: int = 3600) -> str:
        """A token as a pod of that service account would hold; the account is made if missing."""
        self.ensure_service_account(namespace, service_account)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {"spec": {"expirationSeconds": seconds}}
        token: str = self.request("POST", path, body)["status"]["token"]
        return token

    def kubeconfig_for(
        self, token: str, path: Path | None = None, namespace: str = "default"
    ) -> Path:
        """A kubeconfig that carries `token`; in a new file unless `path` is given."""
        if path is None:
            handle, name = tempfile.mkstemp(prefix="kubeconfig-", dir=self.home)
            os.close(handle)
            path = Path(name)
        authority = base64.b64encode(self.apiserver.ca_path.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        context = {"cluster": "testbed", "user": "testbed", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": cluster}],
            "users": [{"name": "testbed", "user": {"token": token}}],
            "contexts": [{"name": "testbed", "context": context}],
            "current-context": "testbed",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))
        return path


def _as_text(value: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return json.dumps(value)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(value)})
