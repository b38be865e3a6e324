"""The HTTP client for customers' URLs: it connects only where the guard lets it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from broker.errors import AddressRefused
from broker.net.connect import CONNECT_SECONDS, Guard, Resolver, system_resolver
from broker.net.pool import Pool
from broker.net.stream import GuardedStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Iterator

    from broker.net.addresses import Policy

CONNECTIONS = 100
KEEPALIVE_SECONDS = 5.0

# A class comes before the classes it derives from.
_HTTPX_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.ProtocolError: httpx.ProtocolError,
}


@cache
def system_ssl_context() -> ssl.SSLContext:
    """Certificates that everybody trusts; one for all clients, as reading them takes 60 ms."""
    return httpx.create_ssl_context()


def guarded_client(
    policy: Policy,
    *,
    resolver: Resolver = system_resolver,
    ssl_context: ssl.SSLContext | None = None,
    connections: int = CONNECTIONS,
    keep: float = KEEPALIVE_SECONDS,
) -> httpx.AsyncClient:
    """A client whose every connection obeys `policy`; a refused one raises AddressRefused, other failures httpx's own.

    It follows no redirect, knows no proxy, keeps no cookie and asks for no compression. Only connecting has a time
    limit here, 10 s: reads are limited one by one in httpx, so a caller puts one `asyncio.timeout` around
    everything from the request to the last byte. Requests beyond so many `connections` wait for one; half as many stay
    open unused, for `keep` seconds.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(policy, resolver, ssl_context or system_ssl_context(), connections, keep),
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "image-broker"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


class GuardedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a pool whose connections all come from a GuardedBackend."""

    def __init__(
        self, policy: Policy, resolver: Resolver, ssl_context: ssl.SSLContext, connections: int, keep: float
    ) -> None:
        self._backend = GuardedBackend(policy, resolver)
        connect = partial(
            httpcore.AsyncHTTPConnection,
            ssl_context=ssl_context,
            network_backend=self._backend,
            keepalive_expiry=keep,
        )
        self._pool = Pool(connect, connections, keep)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol("neither http nor https")
        sent = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _httpx_errors():
            answer, use = await self._send(sent)
        if isinstance(stream := answer.extensions["network_stream"], GuardedStream):
            stream.head_ended()
        return _Response(answer.status, headers=answer.headers, stream=_Body(answer, use), extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()
        self._backend.close()

    async def _send(self, request: httpcore.Request) -> tuple[httpcore.Response, AsyncExitStack]:
        """The answer, and what must be closed to end it: until then it has its connection and counts."""
        async with AsyncExitStack() as use:
            connection = await use.enter_async_context(self._pool.using(request.url.origin))
            answer = await connection.handle_async_request(request)
            use.push_async_callback(answer.aclose)
            return answer, use.pop_all()


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections where a Guard lets it. TLS and Host above it go on with the name.

    inner: what opens the connection once its address is checked.
    """

    def __init__(self, policy: Policy, resolver: Resolver, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._guard = Guard(policy, resolver)
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async def dial(address: str, seconds: float | None) -> tuple[httpcore.AsyncNetworkStream, str | None]:
            stream = await self._inner.connect_tcp(address, port, seconds, local_address, socket_options)
            peer = stream.get_extra_info("server_addr")
            return stream, peer and peer[0]

        return GuardedStream(await self._guard.connect(host, port, dial, timeout))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        self._guard.close()


class _Response(httpx.Response):
    """One whose Location httpx leaves alone: it would read it even where it follows none, and fail on a broken one."""

    @property
    def has_redirect_location(self) -> bool:
        return False


class _Body(httpx.AsyncByteStream):
    """The body of httpcore's response with httpx's errors."""

    def __init__(self, answer: httpcore.Response, use: AsyncExitStack) -> None:
        self._answer = answer
        self._use = use

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        stream = self._answer.extensions["network_stream"]
        if isinstance(stream, GuardedStream) and _read_beyond(self._answer):
            stream.spoil()
        await self._use.aclose()


def _read_beyond(answer: httpcore.Response) -> bool:
    """Whether httpcore holds more than this answer. It tells nobody, and would begin the next one with it."""
    stream: Any = answer.stream
    trailing, _ = stream._connection._h11_state.trailing_data
    return bool(trailing)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except tuple(_HTTPX_ERRORS) as error:
        shown = next(shown for raised, shown in _HTTPX_ERRORS.items() if isinstance(error, raised))
        raise shown(str(error)) from error
