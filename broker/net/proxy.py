"""A proxy on loopback for clients with an HTTP stack of their own: it connects only where the guard lets it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from secrets import token_urlsafe
from typing import TYPE_CHECKING

import httpcore

from broker.errors import AddressRefused
from broker.net.connect import CONNECT_SECONDS, Dial, Guard, Resolver, system_resolver
from broker.net.proxy_head import END, USER, Refused, Request, Response, own_answer, read_request, read_response
from broker.net.relay import CHUNK, Stream, both, pump, pump_some

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from broker.net.addresses import Policy

MAX_HEAD = 32 * 1024
LINGER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for: the client's head; connecting; a pause in both directions at once; one connection in all.

    An answer's head must come within the third, counted from the last byte of the request.
    """

    head: float = 10.0
    connect: float = CONNECT_SECONDS
    idle: float = 60.0
    total: float = 900.0


@asynccontextmanager
async def guard_proxy(
    policy: Policy, *, resolver: Resolver = system_resolver, limits: Limits | None = None
) -> AsyncIterator[str]:
    """Yield the URL of a proxy on a free port of 127.0.0.1, with the secret without which it serves nobody.

    It speaks CONNECT and the absolute form of HTTP/1.1, one exchange a connection. An address that `policy` refuses
    is a 403 that does not name it; an origin that cannot be reached or understood is a 502, one that takes too long
    a 504, one whose name has waited too long for its look-up a 503. It runs on this loop, so a client must not block
    that.
    """
    secret = token_urlsafe(32)
    proxy = _Proxy(Guard(policy, resolver), secret, limits or Limits())
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=MAX_HEAD)
    try:
        yield f"http://{USER}:{secret}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await proxy.aclose()
        await server.wait_closed()


class _Proxy:
    def __init__(self, guard: Guard, secret: str, limits: Limits) -> None:
        self._guard = guard
        self._secret = secret
        self._limits = limits
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Stream(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._guard.close()

    async def _serve(self, client: Stream) -> None:
        try:
            async with asyncio.timeout(self._limits.total):
                await self._answer(client)
                await client.linger(LINGER_SECONDS)
                await client.aclose()
        except OSError:  # TimeoutError is one: it is too late for a status, only a reset tells that the body is cut
            pass
        finally:
            client.abort()

    async def _answer(self, client: Stream) -> None:
        try:
            request = await self._request(client)
            origin = await self._connect(request)
            try:
                await (self._forward(client, origin, request) if request.onward else self._tunnel(client, origin))
                await origin.aclose()
            finally:
                origin.abort()
        except Refused as refused:
            await client.send(own_answer(refused.status))

    async def _request(self, client: Stream) -> Request:
        try:
            async with asyncio.timeout(self._limits.head):
                head = await client.reader.readuntil(END)
        except asyncio.LimitOverrunError:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
        except asyncio.IncompleteReadError:
            raise Refused(HTTPStatus.BAD_REQUEST) from None
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT) from None
        return read_request(head, self._secret)

    async def _connect(self, request: Request) -> Stream:
        try:
            return await self._guard.connect(request.host, request.port, _dialer(request.port), self._limits.connect)
        except AddressRefused:
            raise Refused(HTTPStatus.FORBIDDEN) from None
        except httpcore.ConnectTimeout:
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT) from None
        except httpcore.ConnectError:
            raise Refused(HTTPStatus.BAD_GATEWAY) from None
        except httpcore.PoolTimeout:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE) from None

    async def _tunnel(self, client: Stream, origin: Stream) -> None:
        async with asyncio.timeout(self._limits.idle) as quiet:
            moved = self._postponing(quiet)
            await client.send(b"HTTP/1.1 200 Connection established" + END)
            await both(pump(client.reader, origin, moved), pump(origin.reader, client, moved))

    async def _forward(self, client: Stream, origin: Stream, request: Request) -> None:
        try:
            async with asyncio.timeout(self._limits.idle) as quiet:
                await _exchange(client, origin, request, self._postponing(quiet))
        except TimeoutError:
            if client.told:
                raise
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT) from None

    def _postponing(self, quiet: asyncio.Timeout) -> Callable[[], None]:
        """What is called whenever bytes have moved."""
        loop = asyncio.get_running_loop()

        def moved() -> None:
            if not quiet.expired():
                quiet.reschedule(loop.time() + self._limits.idle)

        return moved


def _dialer(port: int) -> Dial[Stream]:
    async def dial(address: str, seconds: float | None) -> tuple[Stream, str | None]:
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(address, port, limit=MAX_HEAD)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError from error
        peer = writer.get_extra_info("peername")
        return Stream(reader, writer), peer and peer[0]

    return dial


async def _exchange(client: Stream, origin: Stream, request: Request, moved: Callable[[], None]) -> None:
    """One request and its answer, which may come while the request's body is still being sent."""
    upload = asyncio.create_task(_upload(client, origin, request, moved))
    try:
        response = await _response(origin)
        while response.interim:
            await client.send(response.onward)
            response = await _response(origin)
        await client.send(response.onward)
        await pump(origin.reader, client, moved)
    finally:
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)


async def _upload(client: Stream, origin: Stream, request: Request, moved: Callable[[], None]) -> None:
    """Send the request and no byte more: what follows it on the connection may be meant for another origin."""
    await origin.send(request.onward)
    await pump_some(client.reader, request.length, origin, moved)
    while await client.reader.read(CHUNK):
        pass
    origin.finish()


async def _response(origin: Stream) -> Response:
    try:
        return read_response(await origin.reader.readuntil(END))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        raise Refused(HTTPStatus.BAD_GATEWAY) from None
