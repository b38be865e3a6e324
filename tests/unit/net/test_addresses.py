"""The address policy, row by row."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from broker.errors import AddressRefused
from broker.net.addresses import Policy

CLOSED = Policy()

# network -> addresses inside it; first and last where the network has edges
FORBIDDEN = {
    "this host": ["0.0.0.0", "0.255.255.255"],
    "private 10/8": ["10.0.0.0", "10.255.255.255"],
    "carrier-grade NAT": ["100.64.0.0", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.255"],
    "link-local": ["169.254.0.0", "169.254.255.255"],
    "private 172.16/12": ["172.16.0.0", "172.31.255.255"],
    "protocol assignments": ["192.0.0.0", "192.0.0.8", "192.0.0.255"],
    "documentation 1": ["192.0.2.0", "192.0.2.255"],
    "6to4 relays": ["192.88.99.0", "192.88.99.1", "192.88.99.255"],
    "private 192.168/16": ["192.168.0.0", "192.168.255.255"],
    "benchmarks": ["198.18.0.0", "198.19.255.255"],
    "documentation 2": ["198.51.100.0", "198.51.100.255"],
    "documentation 3": ["203.0.113.0", "203.0.113.255"],
    "multicast": ["224.0.0.0", "224.0.0.1", "239.255.255.255"],
    "reserved": ["240.0.0.0", "255.255.255.254"],
    "broadcast": ["255.255.255.255"],
    "AS112 and AMT": ["192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"],
    "unspecified v6": ["::"],
    "loopback v6": ["::1"],
    "v4-compatible": ["::127.0.0.1", "::8.8.8.8"],
    "v4-translated": ["::ffff:0:10.0.0.1"],
    "v4-mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:0"],
    "NAT64": ["64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b::808:808"],
    "NAT64, local use": ["64:ff9b:1::a00:1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],
    "discard": ["100::1"],
    "Teredo": ["2001::1", "2001:0:808:808:0:0:f5ff:fffe"],
    "protocol assignments v6": ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],
    "documentation v6": ["2001:db8::1", "3fff::1", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "segment routing": ["5f00::1"],
    "unique local": ["fc00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    "link-local v6": ["fe80::1", "febf::1", "fe80::1%eth0"],
    "site-local": ["fec0::1", "feff::1"],
    "multicast v6": ["ff02::1", "ff0e::1"],
    "ISATAP": ["2606:4700::5efe:a00:1", "2606:4700::200:5efe:a00:1", "2606:4700::5efe:808:808"],
    "unassigned v6": ["4000::1", "1fff:ffff::1", "a000::1"],
    "metadata": [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ],
    "scoped": ["2606:4700::1%1", "::1%lo", "::ffff:8.8.8.8%1"],
}

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2000::1",
    "2001:200::1",
    "2001:db7::1",
    "2001:db9::1",
    "2003::1",
    "2606:4700::1111",
    "2a00:1450:4001:80b::200e",
    "3ffe::1",
    "3fff:1000::1",
]


def policy(*networks: str, ports: frozenset[int] = frozenset({80, 443})) -> Policy:
    return Policy(tuple(ip_network(network) for network in networks), ports)


def is_allowed(by: Policy, address: str, port: int = 80, host: str = "") -> bool:
    try:
        by.check(ip_address(address), port, host)
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("address", [address for row in FORBIDDEN.values() for address in row])
def test_forbidden_addresses_are_refused(address: str) -> None:
    assert not is_allowed(CLOSED, address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(CLOSED, address)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_default_ports_are_allowed(port: int) -> None:
    assert is_allowed(CLOSED, "8.8.8.8", port)


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 81, 65535])
def test_other_ports_of_public_addresses_are_refused(port: int) -> None:
    assert not is_allowed(CLOSED, "8.8.8.8", port)
    assert not is_allowed(policy("10.0.0.0/8"), "8.8.8.8", port)


def test_an_open_network_takes_any_port_and_opens_nothing_beside_it() -> None:
    opened = policy("10.1.0.0/16", "fd12::/16")
    assert is_allowed(opened, "10.1.2.3", 6379)
    assert is_allowed(opened, "::ffff:10.1.2.3", 6379)
    assert is_allowed(opened, "fd12::7", 9000)
    assert not is_allowed(opened, "10.2.0.1")
    assert not is_allowed(opened, "fd13::7")
    assert not is_allowed(opened, "127.0.0.1")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1", "192.168.1.1", "::ffff:127.0.0.1"])
def test_everything_opened_opens_private_addresses(address: str) -> None:
    assert is_allowed(policy("0.0.0.0/0", "::/0"), address, 1)


@pytest.mark.parametrize("address", [*FORBIDDEN["metadata"], "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"])
def test_no_wider_network_opens_a_metadata_address(address: str) -> None:
    assert not is_allowed(policy("0.0.0.0/0", "::/0", "169.254.169.254/31", "fd00:ec2::254/127"), address)


@pytest.mark.parametrize("address", FORBIDDEN["metadata"])
def test_a_metadata_address_is_opened_by_itself(address: str) -> None:
    assert is_allowed(policy(address), address, 1338)


def test_a_mapped_metadata_address_is_opened_with_the_address_that_it_maps() -> None:
    assert is_allowed(policy("169.254.169.254/32"), "::ffff:169.254.169.254")


@pytest.mark.parametrize(
    ("network", "to_private", "to_public"),
    [
        ("::/96", "::10.0.0.1", "::8.8.8.8"),
        ("::ffff:0:0:0/96", "::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"),
        ("64:ff9b::/96", "64:ff9b::a00:1", "64:ff9b::808:808"),
        ("64:ff9b:1::/48", "64:ff9b:1::a00:1", "64:ff9b:1::808:808"),
        ("2002::/16", "2002:a00:1::1", "2002:808:808::1"),
        ("2001::/32", "2001:0:808:808::f5ff:fffe", "2001:0:808:808::f7f7:f7f7"),
        ("2001::/32", "2001:0:a00:1::f7f7:f7f7", "2001:0:808:808::f7f7:f7f7"),
        ("2606:4700::/32", "2606:4700::5efe:a00:1", "2606:4700::5efe:808:808"),
        ("2606:4700::/32", "2606:4700::200:5efe:a00:1", "2606:4700::200:5efe:808:808"),
    ],
)
def test_an_open_translator_is_no_way_to_private_addresses(network: str, to_private: str, to_public: str) -> None:
    assert is_allowed(policy(network), to_public)
    assert not is_allowed(policy(network), to_private)
    assert is_allowed(policy(network, "10.0.0.0/8"), to_private)
    assert not is_allowed(policy(network), to_public, 22)


def test_local_nat64_in_an_unknown_form_stays_closed() -> None:
    # 10.0.0.1 as a translator with the prefix 64:ff9b:1::/48 reads it
    assert not is_allowed(policy("64:ff9b:1::/48"), "64:ff9b:1:a00:0:100::")


def test_opening_loopback_v6_needs_nothing_else() -> None:
    assert is_allowed(policy("::1/128"), "::1", 8000)


OPEN_HOST = Policy(hosts=frozenset({"minio.internal"}))


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::1", "fd12::7", "::ffff:10.0.0.1", "64:ff9b::a00:1"])
def test_an_open_host_may_lead_to_any_address_and_port(address: str) -> None:
    assert is_allowed(OPEN_HOST, address, 9000, "minio.internal")
    assert is_allowed(OPEN_HOST, address, 9000, "MINIO.internal.")


@pytest.mark.parametrize(
    "host", ["", "internal", "a.minio.internal", "minio.internal.test", "minio.internal..", "10.0.0.1"]
)
def test_an_open_host_opens_no_other(host: str) -> None:
    assert not is_allowed(OPEN_HOST, "10.0.0.1", 80, host)
    assert not is_allowed(OPEN_HOST, "8.8.8.8", 9000, host)


@pytest.mark.parametrize(
    "address", [*FORBIDDEN["metadata"], "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]
)
def test_an_open_host_does_not_lead_to_metadata(address: str) -> None:
    assert not is_allowed(OPEN_HOST, address, 80, "minio.internal")


@pytest.mark.parametrize("address", FORBIDDEN["scoped"])
def test_an_open_host_does_not_lead_to_scoped_addresses(address: str) -> None:
    assert not is_allowed(OPEN_HOST, address, 80, "minio.internal")


@pytest.mark.parametrize("address", ["fe80::1%eth0", "::1%lo", "::ffff:127.0.0.1%1"])
def test_a_scoped_address_stays_refused_in_an_open_network(address: str) -> None:
    assert not is_allowed(policy("::/0", "0.0.0.0/0"), address)


@pytest.mark.parametrize(("address", "port"), [("10.0.0.1", 80), ("8.8.8.8", 22), ("169.254.169.254", 80)])
def test_the_refusal_names_neither_address_nor_port(address: str, port: int) -> None:
    with pytest.raises(AddressRefused) as caught:
        CLOSED.check(ip_address(address), port)
    assert str(caught.value) == caught.value.message == "address not allowed"
