"""Which addresses a request may reach (R14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# IANA special-purpose registries (RFC 6890), by what a request to them would reach.
_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
_PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"
)
_NEVER: Final = _networks("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
_LOCAL: Final = _networks(
    "169.254.0.0/16",  # link-local; metadata of AWS, Azure, Google and most others
    "fe80::/10",
    "100.100.100.200/32",  # metadata of Alibaba
    "168.63.129.16/32",  # Azure's own agent endpoint
    "192.0.0.0/24",  # IETF assignments; metadata of Oracle
    "fd00:ec2::254/128",  # metadata of AWS
    "fd00:ec2::23/128",  # pod credentials of AWS EKS
    "fd20:ce::254/128",  # metadata of Google
    "fd00:42::42/128",  # metadata of Scaleway
)
_SPECIAL: Final = _networks(
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
)
_UNICAST: Final = IPv6Network("2000::/3")  # all of IPv6 that IANA has given out
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # NAT64: the last four bytes are IPv4
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == net.version and address in net for net in networks)


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED:
        return IPv4Address(address.packed[12:])
    if address in _SIX_TO_FOUR:
        return IPv4Address(address.packed[2:6])
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPolicy:
    """Which addresses may be reached.

    Attributes:
        public: addresses of the Internet.
        private: RFC 1918, unique local (RFC 4193) and carrier-grade NAT (RFC 6598) addresses.
        loopback: this machine.
        networks: named by the operator's configuration; they win over everything but multicast,
            unspecified and reserved addresses, which never are a server.
    """

    public: bool = True
    private: bool = False
    loopback: bool = False
    networks: tuple[Network, ...] = ()

    def allows(self, address: Address | str) -> bool:
        """Whether a connection to this address may be made; False for what is no address."""
        try:
            judged = ip_address(address)
        except ValueError:
            return False
        if (inner := _embedded(judged)) is not None:
            return _within(judged, self.networks) or self.allows(inner)
        if _within(judged, _NEVER):
            return False
        if _within(judged, self.networks):
            return True
        if _within(judged, _LOCAL):
            return False
        if _within(judged, _LOOPBACK):
            return self.loopback
        if _within(judged, _PRIVATE):
            return self.private
        if _within(judged, _SPECIAL) or (judged.version == 6 and judged not in _UNICAST):
            return False
        return self.public

    def plain(self) -> NetPolicy:
        """Where credentials may travel without TLS: only loopback and named networks."""
        return replace(self, public=False, private=False)


CALENDAR_POLICY: Final = NetPolicy()
SERVICE_POLICY: Final = NetPolicy(private=True)
