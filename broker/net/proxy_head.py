"""Heads of HTTP/1.1 messages as the guard proxy takes them and passes them on. No I/O."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from broker.errors import Invalid
from broker.net.urls import parse_url, port_of

Fields: TypeAlias = list[tuple[str, str]]

USER = "x"
END = b"\r\n\r\n"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_REQUEST = re.compile(rf"({_TOKEN.pattern}) ([!-~]+) HTTP/1\.1")
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})((?: [\t -~\x80-\xff]*)?)")
_ABSOLUTE = re.compile(r"http://([^/?#]+)([/?][^#]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^/?#]+:[0-9]+")
_LENGTH = re.compile(r"[0-9]{1,15}")
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    }
)


class Refused(Exception):
    """What the proxy answers with a status of its own."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for: a tunnel to host and port, or, with an `onward` head to send there, one exchange.

    length: bytes of the body that follows.
    """

    host: str
    port: int
    onward: bytes = b""
    length: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """An origin's answer: the head as the client gets it. An interim one is followed by another."""

    onward: bytes
    interim: bool


def read_request(head: bytes, secret: str) -> Request:
    """Raise Refused with 400, with 407 without the secret, with 411 for a body in chunks."""
    first, fields = _split(head, HTTPStatus.BAD_REQUEST)
    line = _REQUEST.fullmatch(first)
    if line is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    if not _knows(fields, secret):
        raise Refused(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
    method, target = line.groups()
    if method != "CONNECT":
        return _exchange(method, target, fields)
    if not _AUTHORITY.fullmatch(target):
        raise Refused(HTTPStatus.BAD_REQUEST)
    return Request(*_destination(target))


def read_response(head: bytes) -> Response:
    """Raise Refused with 502 for what is none."""
    first, fields = _split(head, HTTPStatus.BAD_GATEWAY)
    line = _STATUS.fullmatch(first)
    if line is None or line[1] == "101":  # nobody asked for another protocol
        raise Refused(HTTPStatus.BAD_GATEWAY)
    interim = line[1].startswith("1")
    closing = [] if interim else [("Connection", "close")]
    return Response(_join(f"HTTP/1.1 {line[1]}{line[2] or ' '}", _end_to_end(fields) + closing), interim)


def own_answer(status: HTTPStatus) -> bytes:
    """The proxy's own answer. It says no more than its status."""
    fields = [("Content-Length", "0"), ("Connection", "close")]
    if status is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fields.append(("Proxy-Authenticate", 'Basic realm="guard"'))
    return _join(f"HTTP/1.1 {status.value} {status.phrase}", fields)


def _exchange(method: str, target: str, fields: Fields) -> Request:
    parts = _ABSOLUTE.fullmatch(target)
    if parts is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    host, port = _destination(parts[1])
    rest = parts[2] or "/"
    path = rest if rest.startswith("/") else f"/{rest}"
    # RFC 9112, 3.2.2: the host of the target replaces the one of the header.
    passed = [(name, value) for name, value in _end_to_end(fields) if name.lower() != "host"]
    onward = _join(f"{method} {path} HTTP/1.1", [("Host", parts[1]), *passed, ("Connection", "close")])
    return Request(host, port, onward, _length(fields))


def _destination(authority: str) -> tuple[str, int]:
    try:
        url = parse_url(f"http://{authority}/")
    except Invalid:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
    return url.raw_host.decode("ascii"), port_of(url)


def _length(fields: Fields) -> int:
    """A body in chunks would have to be understood to know its end; no object store takes one in plain HTTP."""
    if _values(fields, "transfer-encoding"):
        raise Refused(HTTPStatus.LENGTH_REQUIRED)
    lengths = set(_values(fields, "content-length"))
    if not lengths:
        return 0
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length):
        raise Refused(HTTPStatus.BAD_REQUEST)
    return int(length)


def _knows(fields: Fields, secret: str) -> bool:
    scheme, _, credentials = "".join(_values(fields, "proxy-authorization")).partition(" ")
    expected = b64encode(f"{USER}:{secret}".encode("ascii"))
    return scheme.lower() == "basic" and hmac.compare_digest(credentials.encode("latin-1"), expected)


def _split(head: bytes, status: HTTPStatus) -> tuple[str, Fields]:
    first, *lines = head.removesuffix(END).decode("latin-1").split("\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not (colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
            raise Refused(status)
        fields.append((name, value.strip(" \t")))
    return first, fields


def _join(first: str, fields: Fields) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + END


def _end_to_end(fields: Fields) -> Fields:
    """Without what concerns one connection only, or is named in Connection; that must not hide a body's end."""
    named = {option.strip().lower() for value in _values(fields, "connection") for option in value.split(",")}
    dropped = _HOP_BY_HOP | named - _FRAMING
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _values(fields: Fields, wanted: str) -> list[str]:
    return [value for name, value in fields if name.lower() == wanted]
