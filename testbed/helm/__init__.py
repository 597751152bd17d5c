"""Helm 3, built from its pinned module."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path

from testbed import gobuild

MODULE = Path(__file__).parent
_GO_MODULE = "helm.sh/helm/v3"


@functools.cache
def find() -> Path:
    """The `helm` executable.

    It is told the Kubernetes version of the testbed's control plane: a plain build believes
    in 1.20, and `helm template` and `helm lint` then refuse charts with a `kubeVersion`.
    """
    kubernetes = MODULE.parent / "kubernetes" / "go.mod"
    major, minor, _ = gobuild.require(kubernetes, "k8s.io/kubernetes").removeprefix("v").split(".")
    variables = {
        "helm.sh/helm/v3/internal/version.version": gobuild.require(MODULE / "go.mod", _GO_MODULE)
    }
    for package in ("chartutil", "lint/rules"):
        variables[f"helm.sh/helm/v3/pkg/{package}.k8sVersionMajor"] = major
        variables[f"helm.sh/helm/v3/pkg/{package}.k8sVersionMinor"] = minor
    directory = gobuild.build(
        "helm", MODULE, {"helm": "helm.sh/helm/v3/cmd/helm"}, variables=variables
    )
    return directory / "helm"


def run(*arguments: str | Path, kubeconfig: Path | None = None) -> str:
    """What helm prints; a failure raises with its message. Uses no configuration but ours."""
    with tempfile.TemporaryDirectory(prefix="sw-helm-") as home:
        own = {f"HELM_{kind}_HOME": f"{home}/{kind}" for kind in ("CACHE", "CONFIG", "DATA")}
        env = {**os.environ, **own, "NO_PROXY": "127.0.0.1"}
        env["KUBECONFIG"] = str(kubeconfig) if kubeconfig else os.devnull
        command = [str(find()), *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout
