"""A flag or a variable as the value that it means; what cannot work is named and refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
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

NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# What stands unchanged in a run id (R2).
_INSTALLATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~:+-]{0,62}")
_PUBLIC_URL: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_ORIGIN: Final = re.compile(r"https?://[^\s/?#@]+")
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?")
# Providers whose service may be another than their own: an emulator, or a proxy.
_ENDPOINTS: Final = ("google",)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Told:
    """Flags in front of variables, with a word of where a value came from."""

    def __init__(self, flags: Flags, environ: Environment) -> None:
        self._flags, self._environ = flags, environ

    def one(self, name: str) -> str | None:
        """The value as text; None where it is not given."""
        given = self._flags.get(name)
        if given is not None:
            return str(given)
        return self._environ.get(variable(name)) or None

    def many(self, name: str, separator: str) -> tuple[str, ...]:
        """All values, each once, in their order."""
        given = self._flags.get(name)
        texts = given or [self._environ.get(variable(name), "")]
        # A list may also stand in one flag, as `--namespace a,b`.
        parts = [part.strip() for text in texts for part in str(text).split(separator)]
        return tuple(dict.fromkeys(part for part in parts if part))

    def paths(self, name: str) -> tuple[str, ...]:
        """Values that name files."""
        given = self._flags.get(name)
        if given:
            return tuple(str(path) for path in given)
        return self.many(name, os.pathsep)

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        """A value that is one of some words. Raises ConfigError."""
        value = self.one(name)
        if value is not None and value not in choices:
            raise self.wrong(name, f"{value} is not one of {', '.join(choices)}")
        return value

    def name(self, name: str, pattern: re.Pattern[str]) -> str | None:
        """A name that matches a pattern. Raises ConfigError."""
        value = self.one(name)
        if value is not None and not pattern.fullmatch(value):
            raise self.wrong(name, f"{value} is no name that Kubernetes allows")
        return value

    def names(self, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """Names that match a pattern. Raises ConfigError."""
        values = self.many(name, ",")
        for value in values:
            if not pattern.fullmatch(value):
                raise self.wrong(name, f"{value} is no name that Kubernetes allows")
        return values

    def refs(self, name: str) -> tuple[Ref, ...]:
        """Objects as NAMESPACE/NAME. Raises ConfigError."""
        found = []
        for text in self.many(name, ","):
            namespace, _, rest = text.partition("/")
            if not NAMESPACE.fullmatch(namespace) or not OBJECT_NAME.fullmatch(rest):
                raise self.wrong(name, f"{text} is no NAMESPACE/NAME")
            found.append(Ref(namespace, rest))
        return tuple(found)

    def installation(self) -> str | None:
        """What stands in run ids. Raises ConfigError."""
        value = self.one("installation")
        if value is not None and not _INSTALLATION.fullmatch(value):
            raise self.wrong(
                "installation", "write at most 63 letters, digits and any of _ ~ : + -"
            )
        return value

    def file(self, name: str) -> Path | None:
        """A file. Raises ConfigError."""
        value = self.one(name)
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.is_file():
            raise self.wrong(name, f"{path} does not exist")
        return path

    def url(self, name: str) -> str | None:
        """An address without its last slash. Raises ConfigError."""
        value = self.one(name)
        if value is not None and not _PUBLIC_URL.fullmatch(value):
            raise self.wrong(
                name, "write an address such as https://slackwater.example/, with no user name"
            )
        return None if value is None else value.rstrip("/")

    def networks(self) -> tuple[Network, ...]:
        """Ranges of addresses. Raises ConfigError."""
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
        """Addresses by provider. Raises ConfigError."""
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
        """Hosts, in lower case. Raises ConfigError."""
        values = frozenset(value.lower() for value in self.many(name, ","))
        for value in values:
            if not _HOST.fullmatch(value):
                raise self.wrong(
                    name, f"{value} is no host; write it like login.example or login.example:8443"
                )
        return values

    def address(self, name: str, default: str) -> Address:
        """Where to listen. Raises ConfigError."""
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
        """The error that names the flag or variable."""
        given = self._flags.get(name)
        where = f"--{name.replace('_', '-')}" if given else variable(name)
        return ConfigError(Reason.INVALID_SPEC, detail=f"{where}: {problem}.")


def variable(name: str) -> str:
    """The variable of a flag."""
    return f"SLACKWATER_{name.upper()}"
