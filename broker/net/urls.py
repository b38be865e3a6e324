"""What can be said of a customer's URL without asking the network."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import httpx

from broker.errors import AddressRefused, Invalid
from broker.net.addresses import is_public
from broker.origins import DEFAULT_PORTS, address_in

if TYPE_CHECKING:
    from broker.net.addresses import Address, Policy

MAX_LENGTH = 2048

_SCHEME = re.compile(r"([a-z][a-z0-9+-]{0,31}):(?![0-9])", re.ASCII | re.IGNORECASE)  # "localhost:80" has none
_AUTHORITY = re.compile(r"[^:/?#]*://([^/?#]*)")
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

    Nothing is looked up. An address in place of a name is judged here, port included, and named as it was written. With
    a name, the port is judged here only if neither it nor any network is opened by the operator, for there any port may
    be used.
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
    _check_scheme(url)
    _check_authority(url)
    try:
        parsed = httpx.URL(url)
        name = parsed.host  # raises UnicodeError for a broken xn-- label
    except (httpx.InvalidURL, UnicodeError):
        raise Invalid("Enter a valid URL.") from None
    if not name or not _is_host(parsed.raw_host.decode("ascii")):
        raise Invalid("The URL has no valid host name.")
    return parsed


def port_of(url: httpx.URL) -> int:
    """The port of an http(s) URL, its scheme's own if it names none."""
    return DEFAULT_PORTS[url.scheme] if url.port is None else url.port


def literal(host: str) -> Address | None:
    """The address that a host spells out, `localhost` among them; None if it is a name."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    return address_in(host)


def _check_scheme(url: str) -> None:
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if scheme in DEFAULT_PORTS:
        return
    wanted = "he URL must start with http:// or https://."
    raise Invalid(f"Scheme {scheme} is not allowed; t{wanted}" if scheme else f"T{wanted}")


def _check_authority(url: str) -> None:
    """No user, however empty, and a port of digits alone: parsers take `+80`, `8_0` and `٨٠` for one too."""
    found = _AUTHORITY.match(url)
    authority = found[1] if found else ""
    if "@" in authority:
        raise Invalid("The URL must not contain a user name or password.")
    host, colon, port = authority.rpartition(":")
    if not colon or (host.startswith("[") and not host.endswith("]")):
        return
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Invalid(f"Port {port[:20]} is not valid." if port else "The URL has no valid port.")


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
    except AddressRefused:
        if is_public(address) and port not in policy.ports:
            raise _port_refused(port) from None
        raise Invalid(f"Host {host} is not allowed.") from None
