from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.net import CALENDAR_POLICY, SERVICE_POLICY, NetPolicy

EVERYTHING = NetPolicy(private=True, loopback=True)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are_allowed_to_all(address: str) -> None:
    assert CALENDAR_POLICY.allows(address)
    assert SERVICE_POLICY.allows(address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.5.5", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "::ffff:10.1.1.1"],
)
def test_private_addresses_are_for_services_only(address: str) -> None:
    assert not CALENDAR_POLICY.allows(address)
    assert SERVICE_POLICY.allows(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"],
)
def test_loopback_needs_its_own_permission(address: str) -> None:
    assert not CALENDAR_POLICY.allows(address)
    assert not SERVICE_POLICY.allows(address)
    assert NetPolicy(loopback=True).allows(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_link_local_and_metadata_are_reached_only_when_named(address: str) -> None:
    assert not EVERYTHING.allows(address)
    plain = address.split("%", maxsplit=1)[0]
    assert NetPolicy(networks=(ip_network(plain),)).allows(address)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1"]
)
def test_what_is_no_server_is_never_reached(address: str) -> None:
    named = NetPolicy(
        private=True, loopback=True, networks=(ip_network("0.0.0.0/0"), ip_network("::/0"))
    )
    assert not named.allows(address)


@pytest.mark.parametrize("address", ["", "localhost", "2130706433", "127.1", "0x7f000001", "1.2.3"])
def test_what_is_no_address_is_not_allowed(address: str) -> None:
    assert not EVERYTHING.allows(address)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "198.18.0.1", "2001:db8::1", "5f00::1", "::7f00:1", "fec0::1"]
)
def test_special_ranges_are_not_public(address: str) -> None:
    assert not EVERYTHING.allows(address)


def test_a_named_network_opens_nothing_beside_it() -> None:
    policy = NetPolicy(networks=(ip_network("10.1.0.0/16"),))
    assert policy.allows("10.1.2.3")
    assert policy.allows("::ffff:10.1.2.3")
    assert not policy.allows("10.2.0.1")


def test_plain_http_is_for_loopback_and_named_networks() -> None:
    policy = NetPolicy(private=True, loopback=True, networks=(ip_network("10.1.0.0/16"),)).plain()
    assert policy.allows("127.0.0.1")
    assert policy.allows("10.1.0.1")
    assert not policy.allows("10.2.0.1")
    assert not policy.allows("8.8.8.8")
    assert not CALENDAR_POLICY.plain().allows("127.0.0.1")


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_in_ipv6_dress_is_judged_alike(address: IPv4Address) -> None:
    for policy in (CALENDAR_POLICY, SERVICE_POLICY, EVERYTHING):
        dressed = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
        assert policy.allows(dressed) == policy.allows(address)


@given(st.ip_addresses())
def test_the_calendars_policy_agrees_with_the_standard_library_on_what_is_global(address) -> None:
    if CALENDAR_POLICY.allows(address) and getattr(address, "sixtofour", None) is None:
        assert address.is_global or str(address).startswith("64:ff9b::")
