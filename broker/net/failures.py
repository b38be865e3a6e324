"""Why there is no connection, in a few fixed words that a customer may read: no address, no name, nothing of ours."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator, Mapping

from broker.net.connect import BrokenOff, NameNotFound

CONNECTION_FAILED = "connection failed"
CONNECTION_LOST = "connection lost"
UNKNOWN_AUTHORITY = "certificate of an unknown authority"
WRONG_HOST = "certificate not valid for this host"

_CERTIFICATE: Mapping[int, str] = {
    **dict.fromkeys((2, 7, 18, 19, 20, 21), UNKNOWN_AUTHORITY),
    9: "certificate not valid yet",
    10: "certificate expired",
    62: WRONG_HOST,
    64: WRONG_HOST,
}
"""OpenSSL's X509_V_ERR_* -> what it means."""
_KINDS: Mapping[type[BaseException], str] = {
    NameNotFound: "name not found",
    BrokenOff: CONNECTION_LOST,
    ssl.SSLError: "TLS handshake failed",
    ConnectionRefusedError: "connection refused",
    ConnectionError: CONNECTION_LOST,
}
"""A class comes before the classes it derives from."""
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH}


def why_not_connected(error: BaseException) -> str:
    """The words for what made a client of the guard raise a ConnectError."""
    return next((words for cause in _causes(error) if (words := _words(cause))), CONNECTION_FAILED)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(cause: BaseException) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(cause.verify_code, "certificate not valid")
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return "host not reachable"
    return next((words for kind, words in _KINDS.items() if isinstance(cause, kind)), None)
