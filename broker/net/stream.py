"""A connection to a stranger's server that no answer without an end and no handshake without an end can hold."""

from __future__ import annotations

import ssl
from typing import Any

import httpcore

HEAD_BYTES = 128 * 1024
"""What may come before the body. h11 bounds one head to 100 kB, but not how many interim ones, as 103, precede it."""


class GuardedStream(httpcore.AsyncNetworkStream):
    """A stream of httpcore's whose reads fail, from each write to `head_ended`, after HEAD_BYTES.

    It is used for no other request once more has come than the answer, which would be taken for that one's.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._tls: ssl.SSLObject | None = inner.get_extra_info("ssl_object")
        self._head_left: int | None = None
        self._spoilt = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head_left is not None and self._head_left <= 0:
            raise httpcore.RemoteProtocolError("the head of the answer has no end")
        data = await self._inner.read(max_bytes, timeout)
        if self._head_left is not None:
            self._head_left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._head_left = HEAD_BYTES
        await self._inner.write(buffer, timeout)

    def head_ended(self) -> None:
        """What comes from now on is body, whose length is its reader's affair."""
        self._head_left = None

    def spoil(self) -> None:
        """More was read than the answer."""
        self._spoilt = True

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return GuardedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:  # httpcore closes it for an Exception, but not when a deadline cancels the handshake
            await self.aclose()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        found = self._inner.get_extra_info(info)
        if info == "is_readable":  # asked before a connection is used again, which the end of it and all data forbid
            return self._spoilt or found or _holds_data(self._tls)
        return found


def _holds_data(tls: ssl.SSLObject | None) -> bool:
    """Whether there is some that has left the socket already. It is lost by this, as the connection is of no use."""
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True
