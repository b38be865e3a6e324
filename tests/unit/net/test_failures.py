"""What a customer reads of a connection that failed: fixed words, whatever the error itself says."""

from __future__ import annotations

import errno
import ssl

import httpx
import pytest

from broker.net.connect import BrokenOff, NameNotFound
from broker.net.failures import why_not_connected


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: 10.0.0.7")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (NameNotFound("inside.example"), "name not found"),
        (BrokenOff("10.0.0.7"), "connection lost"),
        (certificate_error(9), "certificate not valid yet"),
        (certificate_error(10), "certificate expired"),
        (certificate_error(20), "certificate of an unknown authority"),
        (certificate_error(62), "certificate not valid for this host"),
        (certificate_error(23), "certificate not valid"),
        (ssl.SSLEOFError(8, "EOF from 10.0.0.7"), "TLS handshake failed"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "10.0.0.7"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "10.0.0.7"), "connection lost"),
        (OSError(errno.EHOSTUNREACH, "10.0.0.7"), "host not reachable"),
        (OSError(errno.ENETUNREACH, "10.0.0.7"), "host not reachable"),
        (OSError(errno.EMFILE, "10.0.0.7"), "connection failed"),
        (None, "connection failed"),
    ],
)
def test_failure_is_told_in_fixed_words_from_whatever_caused_it(cause: Exception | None, words: str) -> None:
    error = httpx.ConnectError("10.0.0.7")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__context__ = cause
    assert why_not_connected(error) == words
