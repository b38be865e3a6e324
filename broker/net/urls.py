"""What can be said of a customer's URL without asking the network."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import httpx

from broker.errors import AddressRefused, Invalid
from broker.net.addresses import is_public

if TYPE_CHECKING:
    from broker.net.addresses import Address, Policy

MAX_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NUMBER = r"([0-9]+|0x[0-9a-f]*)"
# A name whose last label is a number is an address to some parsers and a name to others; it is neither here.
_NAME = re.compile(rf"(?=.{{1,254}}\Z)(?!(.*\.)?{_NUMBER}\.?\Z)({_LABEL}\.)*{_LABEL}\.?")
# What nearly all customers send: a short lower-case name that ends in letters, so is no address in any spelling, and
# visible ASCII after it. All parsers agree on it, so none is asked: 1 µs in place of 25.
_PLAIN = re.compile(
    r"(https?)://(?=[^/?#:]{1,63}(?:[/?#:]|\Z))((?:[a-z0-9_]+(?:-[a-z0-9_]+)*\.)+(?!localhost\b)[a-z]{2,})"
    r"(?::([1-9][0-9]{1,3}))?(?:[/?#][!-~]*)?"
)


def check_url(url: str, policy: Policy) -> None:
    """Raise Invalid, whose message the customer may read, if the URL can be known to be of no use.

    Nothing is looked up. An address in place of a name is judged here, port included. With a name, the port is judged
    here only if neither it nor any network is opened by the operator, for there any port may be used.
    """
    if len(url) <= MAX_LENGTH and (plain := _PLAIN.fullmatch(url)):
        _check_port(plain[2], int(plain[3] or DEFAULT_PORTS[plain[1]]), policy)
        return
    parsed = parse_url(url)
    port = port_of(parsed)
    host = parsed.raw_host.decode("ascii")
    address = literal(host)
    if address is not None:
        _check_literal(address, port, host, policy)
    else:
        _check_port(host, port, policy)


def parse_url(url: str) -> httpx.URL:
    """The URL as the client that sends it reads it. Raises Invalid for a form that the broker does not take."""
    if len(url) > MAX_LENGTH:
        raise Invalid(f"The URL is longer than {MAX_LENGTH} characters.")
    if " " in url or not url.isprintable():
        raise Invalid("The URL contains spaces or control characters.")
    try:
        parsed = httpx.URL(url)
        name = parsed.host  # raises UnicodeError for a broken xn-- label
    except (httpx.InvalidURL, UnicodeError):
        raise Invalid("Enter a valid URL.") from None
    if parsed.scheme not in DEFAULT_PORTS:
        raise Invalid("The URL must start with http:// or https://.")
    if parsed.userinfo:
        raise Invalid("The URL must not contain a user name or password.")
    if not name or not _is_host(parsed.raw_host.decode("ascii")):
        raise Invalid("The URL has no valid host name.")
    if not 0 < port_of(parsed) < 65536:
        raise Invalid("The URL has no valid port.")
    return parsed


def port_of(url: httpx.URL) -> int:
    """The port of an http(s) URL, its scheme's own if it names none."""
    return DEFAULT_PORTS[url.scheme] if url.port is None else url.port


def literal(host: str) -> Address | None:
    """The address that a host spells out, in any form that a name lookup takes for one; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        host = host.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return IPv4Address(socket.inet_aton(host))  # 0x7f.1, 2130706433, 017700000001 …
    except OSError:
        return None


def _is_host(host: str) -> bool:
    return literal(host) is not None or _NAME.fullmatch(host) is not None


def _check_port(host: str, port: int, policy: Policy) -> None:
    if not policy.networks and port not in policy.ports and not policy.trusts(host):
        raise _port_refused(port)


def _port_refused(port: int) -> Invalid:
    return Invalid(f"Port {port} is not allowed.")


def _check_literal(address: Address, port: int, host: str, policy: Policy) -> None:
    try:
        policy.check(address, port, host)
    except AddressRefused as refused:
        if is_public(address) and port not in policy.ports:
            raise _port_refused(port) from None
        raise Invalid(refused.message) from None
