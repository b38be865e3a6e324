"""Which addresses the broker goes to: a table of those it does not, and the operator's exceptions to it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

from broker.errors import AddressRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.settings import Network

Address: TypeAlias = IPv4Address | IPv6Address

# `ipaddress.is_global` is not enough: it calls 64:ff9b::a9fe:a9fe, 2002:7f00:1::, 224.0.0.1 and fec0::1 global.
FORBIDDEN: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        # Only 2000::/3 is global unicast. Outside it lie loopback, v4-compatible, NAT64, discard, segment routing,
        # unique local, link-local, site-local, multicast, and whatever is invented next.
        "::/3",
        "4000::/2",
        "8000::/1",
        "2001::/23",  # protocol assignments, with Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

METADATA: frozenset[Address] = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS
        "168.63.129.16",  # Azure
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS EKS
        "fd20:ce::254",  # Google
    )
)
"""Where clouds hand out credentials: opened by the address itself, never by a wider network around it."""

_V4_IN_LAST_32_BITS = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # v4-compatible
        "::ffff:0:0:0/96",  # v4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/96",  # NAT64, local use
    )
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP = 0x5EFE


@dataclass(frozen=True, slots=True)
class Policy:
    """Where outgoing connections may lead.

    networks: those of the operator's own that may be reached, on any port, although the table forbids them.
    ports: those that may be used at every other address.
    hosts: names, in lower case, that may lead to any address and port but to metadata.
    """

    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})
    hosts: frozenset[str] = frozenset()

    def trusts(self, host: str) -> bool:
        """Whether the operator has opened this very name; those below it are others."""
        return host.lower().removesuffix(".") in self.hosts

    def check(self, address: Address, port: int, host: str = "") -> None:
        """Raise AddressRefused, whose message names nothing, unless a connection may be opened there.

        An IPv6 address that carries IPv4 addresses is judged together with each of them. host: the name that led here.
        """
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise AddressRefused
        trusted = self.trusts(host)
        if not all(self._allows(face, port, trusted) for face in _faces(address)):
            raise AddressRefused

    def _allows(self, address: Address, port: int, trusted: bool) -> bool:
        if trusted and address not in METADATA:
            return True
        if any(address in network for network in self.networks if _may_open(network, address)):
            return True
        return port in self.ports and _is_public(address)


def is_public(address: Address) -> bool:
    """Whether anybody's connections may lead there, over some port."""
    return all(_is_public(face) for face in _faces(address))


def hidden(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a translator or tunnel may lead to when it is handed this one.

    Local NAT64 outside its /96 form yields 0.0.0.0: which bits count there depends on the translator, so none is safe.
    """
    if isinstance(address, IPv4Address):
        return
    bits = int(address)
    last = IPv4Address(bits & 0xFFFF_FFFF)
    if bits > 1 and any(address in network for network in _V4_IN_LAST_32_BITS):
        yield last
    elif address in _LOCAL_NAT64:
        yield IPv4Address(0)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if bits >> 32 & 0xFDFF_FFFF == _ISATAP:
        yield last


def _faces(address: Address) -> tuple[Address, ...]:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    return (address, *hidden(address))


def _may_open(network: Network, address: Address) -> bool:
    return address not in METADATA or network.num_addresses == 1


def _is_public(address: Address) -> bool:
    if address in METADATA or any(address in network for network in FORBIDDEN):
        return False
    return not any(hidden(address))
