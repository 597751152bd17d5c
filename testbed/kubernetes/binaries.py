"""The programs of the control plane, built once from the pinned module."""

from __future__ import annotations

from pathlib import Path

from testbed import gobuild

MODULE = Path(__file__).parent

# Name of the executable → its package. To run a further part of Kubernetes: add it here and
# as a `tool` in go.mod, then `go mod tidy`.
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-state-metrics": "k8s.io/kube-state-metrics/v2",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}


def version() -> str:
    """The Kubernetes version, such as v1.37.2."""
    return gobuild.require(MODULE / "go.mod", "k8s.io/kubernetes")


def find(name: str) -> Path:
    """One executable; each is its own cache entry, so a new one does not rebuild the others."""
    release = version()
    major, minor, _ = release.removeprefix("v").split(".")
    values = {"gitVersion": release, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    # Without these the server calls itself v0.0.0-master, and charts with a kubeVersion refuse.
    variables = {f"k8s.io/component-base/version.{key}": value for key, value in values.items()}
    return gobuild.build(name, MODULE, {name: PACKAGES[name]}, variables=variables) / name


def find_all() -> dict[str, Path]:
    return {name: find(name) for name in PACKAGES}
