"""What different spellings of a URL's beginning have in common: scheme, host and port in one form. No I/O."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx

DEFAULT_PORTS = {"http": 80, "https": 443}
REMEMBERED = 4096
"""URLs; to take one apart costs as much as the rest of what a webhook's birth takes."""


@lru_cache(REMEMBERED)
def origin_of(url: str) -> str:
    """Scheme, host and port of a valid http(s) URL: what connections and the limit on them share.

    Lower case and IDNA, no dot behind a name, an address in the one form of its kind, no port that is the scheme's own.
    """
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii").removesuffix(".")
    address = address_in(host)
    port = "" if parsed.port in (None, DEFAULT_PORTS[parsed.scheme]) else f":{parsed.port}"
    return f"{parsed.scheme}://{host if address is None else _in_url(address)}{port}"


def address_in(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host spells out, in any form that a name lookup takes for one; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))  # 0x7f.1, 2130706433, 017700000001 …
    except OSError:
        return None


def _in_url(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return f"[{address}]" if address.ipv4_mapped is None else str(address.ipv4_mapped)
