"""What the two long-running commands are told, from flags and SLACKWATER_* variables.

Every flag has a variable of its name: `--lease-name` is SLACKWATER_LEASE_NAME. A flag wins over its
variable; a variable that is empty counts as not set; lists in variables are separated by commas,
and by the path separator where they name files.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.runtime.last_run import last_manifests
from slackwater.runtime.told import (
    NAMESPACE,
    OBJECT_NAME,
    Address,
    Environment,
    Flags,
    Network,
    Told,
)

DEFAULT_DATA: Final = Path(".slackwater")
DEFAULT_LISTEN: Final = "127.0.0.1:8750"
DEFAULT_METRICS: Final = "0.0.0.0:8080"
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DATABASE: Final = "slackwater.db"
_WINDOWS: Final = "windows.json"
_LISTEN: Final = Address("127.0.0.1", 8750)
_METRICS: Final = Address("0.0.0.0", 8080)  # noqa: S104 - probes come from outside the pod


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the log looks: a name of `LOG_FORMATS`, and the lowest of `LOG_LEVELS` that shows."""

    format: str = "text"
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """What `slackwater operator` is told.

    Attributes:
        namespaces: what to serve; everything where there are none.
        installation: stands in run ids instead of the cluster's own id (R2).
        allow_networks: what calendars, Prometheus and Airflow may be reached at besides (R14).
        identities: the file with the identities that are lent to objects (R14).
        calendar_hosts: what calendars may name as servers for credentials besides the known ones.
        public_url: where people open this operator's pages; stands in the notes of runs.
        endpoints: servers in place of a calendar service's own, by the provider's name.
        lease_namespace: where the Lease stands.
        lease_name: its name.
        instance: of this process, for Events and the Lease.
        metrics: where /metrics and the probes are.
        kubeconfig: the file to use instead of the pod's service account.
        context: the context of the kubeconfig.
        windows: the ConfigMaps that hold the windows file for Airflow; none where there are none.
    """

    namespaces: tuple[str, ...] = ()
    installation: str | None = None
    allow_networks: tuple[Network, ...] = ()
    identities: Path | None = None
    calendar_hosts: frozenset[str] = frozenset()
    public_url: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    lease_namespace: str = "default"
    lease_name: str = "slackwater"
    instance: str = "slackwater"
    metrics: Address = _METRICS
    kubeconfig: Path | None = None
    context: str | None = None
    windows: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """What `slackwater run` is told, and what the commands beside it need to find its state.

    Attributes:
        manifests: directories and files with manifests.
        data: where the state is kept.
        secrets: holds `<namespace>/<name>/<key>`; None for no secrets.
        listen: where metrics and probes are.
        installation: stands in run ids instead of the data directory's own id (R2).
        allow_networks: what calendars, Prometheus and Airflow may be reached at besides (R14).
        identities: the file with the identities that are lent to objects (R14).
        calendar_hosts: what calendars may name as servers for credentials besides the known ones.
        public_url: where people open these pages; stands in the notes of runs.
        endpoints: servers in place of a calendar service's own, by the provider's name.
        poll: time between two looks at the manifests.
    """

    manifests: tuple[Path, ...]
    data: Path = DEFAULT_DATA
    secrets: Path | None = None
    listen: Address = _LISTEN
    installation: str | None = None
    allow_networks: tuple[Network, ...] = ()
    identities: Path | None = None
    calendar_hosts: frozenset[str] = frozenset()
    public_url: str | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    poll: timedelta = timedelta(seconds=1)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / _DATABASE

    @property
    def windows(self) -> Path:
        """The windows file for Airflow."""
        return self.data / _WINDOWS


def log_settings(flags: Flags, environ: Environment, level: str) -> LogSettings:
    """How to log; `level` is the command's own default. Raises ConfigError."""
    told = Told(flags, environ)
    return LogSettings(
        told.one_of("log_format", LOG_FORMATS) or "text",
        told.one_of("log_level", LOG_LEVELS) or level,
    )


def operator_settings(flags: Flags, environ: Environment) -> OperatorSettings:
    """The settings of `slackwater operator`.

    Raises:
        ConfigError: a value cannot work; names the flag or variable.
    """
    told = Told(flags, environ)
    return OperatorSettings(
        namespaces=told.names("namespace", NAMESPACE),
        installation=told.installation(),
        allow_networks=told.networks(),
        identities=told.file("identities"),
        calendar_hosts=told.hosts("calendar_host"),
        public_url=told.url("public_url"),
        endpoints=told.endpoints(),
        lease_namespace=told.name("lease_namespace", NAMESPACE) or _home(environ),
        lease_name=told.name("lease_name", OBJECT_NAME) or "slackwater",
        instance=environ.get("POD_NAME") or socket.gethostname() or "slackwater",
        metrics=told.address("metrics_address", DEFAULT_METRICS),
        kubeconfig=kubeconfig_of(flags, environ),
        context=told.one("context"),
        windows=told.refs("windows_config_map"),
    )


def directory_settings(
    flags: Flags, environ: Environment, *, beside: bool = False
) -> DirectorySettings:
    """The settings of `slackwater run`, or of a command that works beside it.

    Args:
        flags: see `Flags`.
        environ: the environment.
        beside: take the manifests that the last `slackwater run` on the data directory had,
            where none are named.

    Raises:
        ConfigError: a value cannot work, or no manifests are named; names the flag or variable.
    """
    told = Told(flags, environ)
    data = Path(told.one("data") or DEFAULT_DATA).expanduser()
    manifests = tuple(Path(text).expanduser() for text in told.paths("manifests"))
    if not manifests and beside:
        manifests = last_manifests(data)
    if not manifests:
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail="No manifests are named; say where they are with --manifests DIR.",
        )
    secrets = told.one("secrets")
    return DirectorySettings(
        manifests=manifests,
        data=data,
        secrets=None if secrets is None else Path(secrets).expanduser(),
        listen=told.address("listen", DEFAULT_LISTEN),
        installation=told.installation(),
        allow_networks=told.networks(),
        identities=told.file("identities"),
        calendar_hosts=told.hosts("calendar_host"),
        public_url=told.url("public_url"),
        endpoints=told.endpoints(),
    )


def kubeconfig_of(flags: Flags, environ: Environment) -> Path | None:
    """The kubeconfig that is named; None for the pod's service account, or kubectl's own.

    Raises:
        ConfigError: it does not exist, or there is nothing at all to find a cluster by.
    """
    told = Told(flags, environ)
    if (named := told.one("kubeconfig")) is not None:
        kubeconfig = Path(named).expanduser()
        if not kubeconfig.is_file():
            raise told.wrong("kubeconfig", f"{kubeconfig} does not exist")
        return kubeconfig
    files = (environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    in_pod = "KUBERNETES_SERVICE_HOST" in environ
    if not in_pod and not any(Path(file).expanduser().is_file() for file in files if file):
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail=f"There is no cluster to talk to, as {' and '.join(files)} does not exist; "
            "name a kubeconfig with --kubeconfig FILE.",
        )
    return None


def names_directory(flags: Flags, environ: Environment) -> bool:
    """Whether a command is told to work on a directory rather than in a cluster."""
    told = Told(flags, environ)
    in_cluster = any(flags.get(name) for name in ("kubeconfig", "context"))
    if in_cluster and (flags.get("data") or flags.get("manifests")):
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail="--data and --manifests mean a directory, --kubeconfig and --context a "
            "cluster; give only one of the two.",
        )
    return not in_cluster and bool(told.one("data") or told.paths("manifests"))


def _home(environ: Environment) -> str:
    """The namespace of this pod; outside a cluster, `default`."""
    if environ.get("POD_NAMESPACE"):
        return environ["POD_NAMESPACE"]
    try:
        return _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"
