"""What the two long-running commands are told, from flags and SLACKWATER_* variables.

Every flag has a variable of its name: `--lease-name` is SLACKWATER_LEASE_NAME. A flag wins over its
variable; a variable that is empty counts as not set; lists in variables are separated by commas,
and by the path separator where they name files.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import ConfigError

Network = IPv4Network | IPv6Network
Flags = Mapping[str, Any]
"""Values of flags by their names with underscores; None where a flag was not given."""
Environment = Mapping[str, str]

DEFAULT_DATA: Final = Path(".slackwater")
DEFAULT_LISTEN: Final = "127.0.0.1:8750"
DEFAULT_METRICS: Final = "0.0.0.0:8080"
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# What stands unchanged in a run id (R2).
_INSTALLATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~:+-]{0,62}")
_PUBLIC_URL: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_ORIGIN: Final = re.compile(r"https?://[^\s/?#@]+")
# Providers whose service may be another than their own: an emulator, or a proxy.
_ENDPOINTS: Final = ("google",)
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?")
_DATABASE: Final = "slackwater.db"
_LAST_RUN: Final = "run.json"
_WINDOWS: Final = "windows.json"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


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
    metrics: Address = Address("0.0.0.0", 8080)  # noqa: S104 - probes come from outside the pod
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
    listen: Address = Address("127.0.0.1", 8750)
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
    told = _Told(flags, environ)
    return LogSettings(
        told.one_of("log_format", LOG_FORMATS) or "text",
        told.one_of("log_level", LOG_LEVELS) or level,
    )


def operator_settings(flags: Flags, environ: Environment) -> OperatorSettings:
    """The settings of `slackwater operator`.

    Raises:
        ConfigError: a value cannot work; names the flag or variable.
    """
    told = _Told(flags, environ)
    return OperatorSettings(
        namespaces=told.names("namespace", _NAMESPACE),
        installation=told.installation(),
        allow_networks=told.networks(),
        identities=told.file("identities"),
        calendar_hosts=told.hosts("calendar_host"),
        public_url=told.url("public_url"),
        endpoints=told.endpoints(),
        lease_namespace=told.name("lease_namespace", _NAMESPACE) or _home(environ),
        lease_name=told.name("lease_name", _OBJECT_NAME) or "slackwater",
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
    told = _Told(flags, environ)
    data = Path(told.one("data") or DEFAULT_DATA).expanduser()
    manifests = tuple(Path(text).expanduser() for text in told.paths("manifests"))
    if not manifests and beside:
        manifests = _last_manifests(data)
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
    told = _Told(flags, environ)
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
    told = _Told(flags, environ)
    in_cluster = any(flags.get(name) for name in ("kubeconfig", "context"))
    if in_cluster and (flags.get("data") or flags.get("manifests")):
        raise ConfigError(
            Reason.INVALID_SPEC,
            detail="--data and --manifests mean a directory, --kubeconfig and --context a "
            "cluster; give only one of the two.",
        )
    return not in_cluster and bool(told.one("data") or told.paths("manifests"))


def remember(settings: DirectorySettings) -> None:
    """Leave word of the manifests in the data directory, for commands beside this process."""
    word = {"manifests": [str(path.absolute()) for path in settings.manifests]}
    fresh = settings.data / f"{_LAST_RUN}.new"
    fresh.write_text(json.dumps(word), encoding="utf-8")
    fresh.replace(settings.data / _LAST_RUN)


def _last_manifests(data: Path) -> tuple[Path, ...]:
    try:
        word = json.loads((data / _LAST_RUN).read_text(encoding="utf-8"))
        return tuple(Path(path) for path in word["manifests"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _home(environ: Environment) -> str:
    """The namespace of this pod; outside a cluster, `default`."""
    if environ.get("POD_NAMESPACE"):
        return environ["POD_NAMESPACE"]
    try:
        return _SERVICE_ACCOUNT.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


class _Told:
    """Flags in front of variables, with a word of where a value came from."""

    def __init__(self, flags: Flags, environ: Environment) -> None:
        self._flags, self._environ = flags, environ

    def one(self, name: str) -> str | None:
        given = self._flags.get(name)
        if given is not None:
            return str(given)
        return self._environ.get(_variable(name)) or None

    def many(self, name: str, separator: str) -> tuple[str, ...]:
        given = self._flags.get(name)
        texts = given or [self._environ.get(_variable(name), "")]
        # A list may also stand in one flag, as `--namespace a,b`.
        parts = [part.strip() for text in texts for part in str(text).split(separator)]
        return tuple(dict.fromkeys(part for part in parts if part))

    def paths(self, name: str) -> tuple[str, ...]:
        given = self._flags.get(name)
        if given:
            return tuple(str(path) for path in given)
        return self.many(name, os.pathsep)

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.one(name)
        if value is not None and value not in choices:
            raise self.wrong(name, f"{value} is not one of {', '.join(choices)}")
        return value

    def name(self, name: str, pattern: re.Pattern[str]) -> str | None:
        value = self.one(name)
        if value is not None and not pattern.fullmatch(value):
            raise self.wrong(name, f"{value} is no name that Kubernetes allows")
        return value

    def names(self, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        values = self.many(name, ",")
        for value in values:
            if not pattern.fullmatch(value):
                raise self.wrong(name, f"{value} is no name that Kubernetes allows")
        return values

    def refs(self, name: str) -> tuple[Ref, ...]:
        found = []
        for text in self.many(name, ","):
            namespace, _, rest = text.partition("/")
            if not _NAMESPACE.fullmatch(namespace) or not _OBJECT_NAME.fullmatch(rest):
                raise self.wrong(name, f"{text} is no NAMESPACE/NAME")
            found.append(Ref(namespace, rest))
        return tuple(found)

    def installation(self) -> str | None:
        value = self.one("installation")
        if value is not None and not _INSTALLATION.fullmatch(value):
            raise self.wrong(
                "installation", "write at most 63 letters, digits and any of _ ~ : + -"
            )
        return value

    def file(self, name: str) -> Path | None:
        value = self.one(name)
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.is_file():
            raise self.wrong(name, f"{path} does not exist")
        return path

    def url(self, name: str) -> str | None:
        value = self.one(name)
        if value is not None and not _PUBLIC_URL.fullmatch(value):
            raise self.wrong(
                name, "write an address such as https://slackwater.example/, with no user name"
            )
        return None if value is None else value.rstrip("/")

    def networks(self) -> tuple[Network, ...]:
        found = []
        for text in self.many("allow_network", ","):
            try:
                found.append(ip_network(text))
            except ValueError:
                raise self.wrong(
                    "allow_network",
                    f"{text} is no range of addresses; write it like 10.20.0.0/16 or fd00::/8",
                ) from None
        return tuple(found)

    def endpoints(self) -> dict[str, str]:
        found = {}
        for provider in _ENDPOINTS:
            name = f"{provider}_endpoint"
            origin = self.one(name)
            if origin is None:
                continue
            if not _ORIGIN.fullmatch(origin):
                raise self.wrong(
                    name, f"{origin} is no origin; write it like https://calendar.example:8443"
                )
            found[provider] = origin
        return found

    def hosts(self, name: str) -> frozenset[str]:
        values = frozenset(value.lower() for value in self.many(name, ","))
        for value in values:
            if not _HOST.fullmatch(value):
                raise self.wrong(
                    name, f"{value} is no host; write it like login.example or login.example:8443"
                )
        return values

    def address(self, name: str, default: str) -> Address:
        text = self.one(name) or default
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""  # an IPv6 address without brackets: where it ends cannot be told
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise self.wrong(
                name, f"{text} is no address to listen on; write HOST:PORT, such as {default}"
            )
        return Address(host, int(port))

    def wrong(self, name: str, problem: str) -> ConfigError:
        given = self._flags.get(name)
        where = f"--{name.replace('_', '-')}" if given else _variable(name)
        return ConfigError(Reason.INVALID_SPEC, detail=f"{where}: {problem}.")


def _variable(name: str) -> str:
    return f"SLACKWATER_{name.upper()}"
