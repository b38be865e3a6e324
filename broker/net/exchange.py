"""A connection to a stranger's server for one request after the other, and the parts of its answers that are kept."""

from __future__ import annotations

import asyncio
import select
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httptools
from msgspec import Struct

from broker.net.connect import CONNECT_SECONDS, BrokenOff, Guard
from broker.net.stream import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

FRAMING = 10
"""Bytes that may come around one of a body that is kept: chunks of one byte take six."""
_NO_END = "the answer has more around its body than there may be"


class Reply(Struct, frozen=True):
    """headers: names in lower case; of one that comes again, the last value. body: its first bytes, as they came."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Answer:
    """What has come of one. left: bytes that may still come around its body."""

    done: asyncio.Future[Reply]
    cap: int
    status_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    left: int = HEAD_BYTES
    may_end_by_closing: bool = False

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(Reply(self.status_code, self.headers, bytes(self.body[: self.cap])))

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Exchange(asyncio.Protocol):
    """Opened by its first request, where a Guard lets it. Errors are httpcore's, and AddressRefused.

    It is used for no other request once more has come than the answer, which would be taken for that one's.
    """

    def __init__(self, origin: httpcore.Origin, guard: Guard, ssl_context: ssl.SSLContext) -> None:
        self._origin = origin
        self._guard = guard
        self._ssl_context = ssl_context
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._readable = select.poll()
        self._parser: Any = None
        self._answer: _Answer | None = None
        self._idle = False

    async def send(self, request: bytes, cap: int) -> Reply:
        """The answer to one whole request, up to `cap` bytes of its body; what is cut off costs the connection."""
        transport = self._transport or await self._open()
        self._idle = False
        answer = self._answer = _Answer(self._loop.create_future(), cap)
        self._parser = httptools.HttpResponseParser(self)
        transport.write(request)
        try:
            return await answer.done
        finally:
            self._answer = self._parser = None

    def is_idle(self) -> bool:
        return self._idle

    def has_expired(self) -> bool:
        """Whether it is closed, or anything came that nobody asked for."""
        return self._transport is None or self._transport.is_closing() or bool(self._readable.poll(0))

    async def aclose(self) -> None:
        self._close()

    async def _open(self) -> asyncio.Transport:
        host = self._origin.host.decode("ascii")
        await self._guard.connect(host, self._origin.port, self._dial, CONNECT_SECONDS)
        transport = self._transport
        if transport is None or transport.is_closing():  # TLS on it would wait in vain
            raise BrokenOff("it was closed, or spoke before it was asked")
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return await self._begin_tls(transport, host) if self._origin.scheme == b"https" else transport

    async def _dial(self, address: str, seconds: float | None) -> tuple[Exchange, str | None]:
        try:
            async with asyncio.timeout(seconds):
                transport, _ = await self._loop.create_connection(lambda: self, address, self._origin.port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError from error
        peer = transport.get_extra_info("peername")
        return self, peer and peer[0]

    async def _begin_tls(self, transport: asyncio.Transport, host: str) -> asyncio.Transport:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._transport = await self._loop.start_tls(transport, self, self._ssl_context, server_hostname=host)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:  # those of ssl too, but for an end amid the handshake
            ended = isinstance(error, ConnectionError) and error.errno is None
            raise httpcore.ConnectError from (ssl.SSLEOFError() if ended else error)
        finally:
            if self._transport is transport:
                transport.abort()
        if self._transport is None:
            raise httpcore.ReadError("the connection was lost")
        return self._transport

    def _close(self) -> None:
        """At once: who does not read, or does not end TLS, would hold it."""
        if self._transport is not None:
            self._transport.abort()
        self._transport, self._idle = None, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done.done():
            self._close()
            return
        answer.left -= len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end_with(httpcore.RemoteProtocolError("the answer is not HTTP"))
        if answer.left < 0:
            self._end_with(httpcore.RemoteProtocolError(_NO_END))

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        self._transport, self._idle = None, False
        if answer is None:
            return
        if exc is not None:
            answer.fail(httpcore.ReadError("the connection was lost"))
        elif answer.may_end_by_closing:
            answer.end()
        else:
            answer.fail(httpcore.RemoteProtocolError("the answer has no end"))

    def on_message_begin(self) -> None:
        if self._answer is not None and self._answer.done.done():
            self._idle = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._answer.status_code:  # of no trailer, and of no second answer
            self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None or answer.done.done():
            return
        status_code = self._parser.get_status_code()
        if not 100 <= status_code <= 999:
            self._end_with(httpcore.RemoteProtocolError("the answer has no status"))
        elif status_code >= 200:
            answer.status_code = status_code
            answer.left = FRAMING * answer.cap
            chunked = "chunked" in answer.headers.get("transfer-encoding", "").lower()
            answer.may_end_by_closing = not chunked and "content-length" not in answer.headers

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done.done():
            return
        answer.left += len(body)
        answer.body += body[: answer.cap - len(answer.body)]
        if len(answer.body) == answer.cap:
            answer.end()

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or answer.done.done():
            return
        if not answer.status_code:  # what comes before the answer, as 103
            answer.headers.clear()
            return
        sent = self._transport is not None and not self._transport.get_write_buffer_size()
        self._idle = sent and self._parser.should_keep_alive()
        answer.end()

    def _end_with(self, error: Exception) -> None:
        self._idle = False
        if self._answer is not None:
            self._answer.fail(error)
