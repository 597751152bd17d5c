"""The cluster of `make demo-cluster`: one of our own on loopback, or the current one.

The chart is rendered by Helm and applied but for its Deployment: its pod is played by a process
on this machine, with the arguments of the container and a token of the chart's service account,
so that a right that the chart does not give is a right that the operator does not have.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from demo.manifests import NAMESPACE, Secrets
from slackwater.ports import Kind
from testbed import helm
from testbed.kubernetes import ControlPlane, binaries

CHART = Path(__file__).parents[1] / "helm" / "slackwater"
HOME = "slackwater-system"
RELEASE = "slackwater"
_TIMEOUT = 120.0

Object = dict[str, Any]


class ClusterUnusable(RuntimeError):
    """The demo does not want to touch this cluster; the message says what to do."""


class Cluster:
    """Where the operator's objects live.

    Args:
        data: for kubeconfigs and the servers of a cluster of our own.
        current: use the cluster that KUBECONFIG names.
    """

    def __init__(self, data: Path, *, current: bool) -> None:
        self._data = data
        self._current = current
        self._plane: ControlPlane | None = None
        self._made: list[Object] = []
        self.kubeconfig = data / "kubeconfig"
        self.operator_kubeconfig = data / "operator.kubeconfig"
        self.arguments: list[str] = []
        self.variables: dict[str, str] = {}

    # --- life

    def open(self) -> str:
        """Bring it up and install the chart; gives a line about it."""
        self._data.mkdir(parents=True, exist_ok=True)
        if self._current:
            self._use_current()
            words = "Kubernetes: the current cluster"
        else:
            self._plane = ControlPlane(self._data / "kubernetes").start()
            self.kubeconfig = self._plane.kubeconfig
            words = f"Kubernetes {self._plane.version} (kube-apiserver and etcd)"
        self._install()
        return f"{words}, with the chart's CRDs and rights"

    def close(self) -> None:
        """Stop a cluster of our own; take out of another what was put in."""
        if self._plane is not None:
            self._plane.close()
        elif self._made:
            self._delete(self._made)
            self._made = []

    def _use_current(self) -> None:
        named = os.environ.get("KUBECONFIG")
        if not named:
            raise ClusterUnusable("CLUSTER=current needs KUBECONFIG")
        self.kubeconfig = self._data / "kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        flat = self.kubectl("config", "view", "--raw", "--flatten", "--minify", config=Path(named))
        self.kubeconfig.write_text(flat)
        # The demo neither shares nor deletes what is there.
        for kind, name in (
            ("customresourcedefinition", "trainingwindows.slackwater.dev"),
            ("namespace", HOME),
            ("namespace", NAMESPACE),
        ):
            if self.kubectl("get", kind, name, "--ignore-not-found", "--output=name").strip():
                raise ClusterUnusable(
                    f"the current cluster has a {kind} {name} already; the demo needs a cluster "
                    f"without one"
                )

    # --- what is put in

    def _install(self) -> None:
        values = {"operator": {"allowNetworks": ["127.0.0.0/8"], "logFormat": "text"}}
        written = self._data / "values.json"
        written.write_text(json.dumps(values))
        rendered = helm.run("template", RELEASE, CHART, "--namespace", HOME, "--values", written)
        documents: list[Object] = [one for one in yaml.safe_load_all(rendered) if one]
        (deployment,) = [one for one in documents if one["kind"] == "Deployment"]
        documents.remove(deployment)
        self._read_pod(deployment["spec"]["template"]["spec"])
        self._create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}})
        self._create(*documents)
        crds = [one for one in documents if one["kind"] == "CustomResourceDefinition"]
        names = [f"crd/{one['metadata']['name']}" for one in crds]
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        self._log_in_as(account)

    def _read_pod(self, pod: Object) -> None:
        (container,) = pod["containers"]
        # Where metrics are served is the only thing that the process decides itself: the pod
        # serves them on all addresses.
        self.arguments = [
            word for word in container["args"] if not word.startswith("--metrics-address=")
        ]
        fields = {"metadata.name": f"{RELEASE}-0", "metadata.namespace": HOME}
        for variable in container["env"]:
            if "valueFrom" in variable:
                value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                value = variable["value"]
            self.variables[variable["name"]] = value

    def _log_in_as(self, account: str) -> None:
        token = self.kubectl("create", "token", account, f"--namespace={HOME}", "--duration=2h")
        config = json.loads(
            self.kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json")
        )
        (user,) = config["users"]
        user["user"] = {"token": token.strip()}
        self.operator_kubeconfig.touch(mode=0o600)
        self.operator_kubeconfig.write_text(json.dumps(config))

    def apply(self, manifests: Path, secrets: Secrets) -> None:
        """Create namespace and secrets, and `kubectl apply` the manifests."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self._create(namespace)
        for name, keys in secrets.items():
            metadata = {"name": name, "namespace": NAMESPACE}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
            self._create({**secret, "stringData": dict(keys)})
        self.kubectl("apply", "-f", manifests)

    def objects(self, kind: Kind) -> Sequence[Object]:
        """The objects of a kind as the API has them."""
        answer = self.kubectl(
            "get", f"{kind}.slackwater.dev", f"--namespace={NAMESPACE}", "--output=json"
        )
        items: Sequence[Object] = json.loads(answer)["items"]
        return items

    def _create(self, *objects: Object) -> None:
        # Noted first: what was made before a failure is to be taken out as well.
        self._made += [one for one in objects if one not in self._made]
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(items))

    def _delete(self, objects: Sequence[Object]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(reversed(objects))}
        self.kubectl(
            *("delete", "--ignore-not-found", "--wait=false", "-f", "-"), stdin=json.dumps(items)
        )

    # --- kubectl

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, config: Path | None = None
    ) -> str:
        """What kubectl prints; a failure raises with its message."""
        found = shutil.which("kubectl") if self._current else None
        command = [found or str(binaries.find("kubectl")), *map(str, arguments)]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
            env={**os.environ, **self._environment(config or self.kubeconfig)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, arguments))}:\n{done.stderr.strip()}")
        return done.stdout

    def _environment(self, config: Path) -> Mapping[str, str]:
        own = {"KUBECONFIG": str(config), "KUBECACHEDIR": str(self._data / "kubectl-cache")}
        if not self._current:
            own |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        return own
