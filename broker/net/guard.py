"""The HTTP client for customers' URLs: it looks a name up once, checks every answer and connects to one of them."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

import httpcore
import httpx

from broker.errors import AddressRefused

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from broker.net.addresses import Address, Policy

Resolver: TypeAlias = "Callable[[str, int], Iterable[str]]"
"""(host, port) -> its addresses as text. Blocks; is called in a thread. Raises OSError for a name that has none."""

LOOKUP_THREADS = 32
LOOKUP_SECONDS = 5.0
CONNECT_SECONDS = 10.0
MAX_ADDRESSES = 3
MAX_CONNECTIONS = 100
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
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
}


@cache
def system_ssl_context() -> ssl.SSLContext:
    """Certificates that everybody trusts; one for all clients, as reading them takes 60 ms."""
    return httpx.create_ssl_context()


def system_resolver(host: str, port: int) -> list[str]:
    """The operating system's answers, in its order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def guarded_client(
    policy: Policy, *, resolver: Resolver = system_resolver, ssl_context: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """A client whose every connection obeys `policy`; a refused one raises AddressRefused, other failures httpx's own.

    It follows no redirect, knows no proxy, keeps no cookie and asks for no compression. Only connecting has a time
    limit here, 10 s: reads are limited one by one in httpx, so a caller puts one `asyncio.timeout` around
    everything from the request to the last byte.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(policy, resolver, ssl_context or system_ssl_context()),
        headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "image-broker"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


class GuardedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a pool whose connections all come from a GuardedBackend."""

    def __init__(self, policy: Policy, resolver: Resolver, ssl_context: ssl.SSLContext) -> None:
        self._backend = GuardedBackend(policy, resolver)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            network_backend=self._backend,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
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
            answer = await self._pool.handle_async_request(sent)
        return _Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()
        self._backend.close()


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to checked addresses. TLS and Host above it go on with the name.

    inner: what opens the connection once its address is checked.
    """

    def __init__(self, policy: Policy, resolver: Resolver, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._policy = policy
        self._resolver = resolver
        self._inner = inner or httpcore.AnyIOBackend()
        # Not the loop's own threads: a handful of stalled lookups would stop everything else that uses those.
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raise AddressRefused if any answer for `host` is refused; else connect to the first that takes it, of three.

        timeout: seconds for all the tries together, the lookup's own 5 s not counted.
        """
        addresses = await self._lookup(host, port)
        for address in addresses:
            self._policy.check(address, port)
        candidates = addresses[:MAX_ADDRESSES]
        share = None if timeout is None else timeout / len(candidates)
        *others, last = candidates
        for address in others:
            try:
                return await self._connect(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(last, port, share, local_address, socket_options)

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
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lookup(self, host: str, port: int) -> list[Address]:
        lookup = asyncio.get_running_loop().run_in_executor(self._threads, self._resolver, host, port)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                answers = await lookup
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name was not found in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the name was not found") from error
        addresses = [ip_address(answer) for answer in answers]
        if not addresses:
            raise httpcore.ConnectError("the name has no address")
        return addresses

    async def _connect(
        self,
        address: Address,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
        peer = stream.get_extra_info("server_addr")
        if ip_address(peer[0]) != address:
            await stream.aclose()
            raise AddressRefused
        return stream


class _Response(httpx.Response):
    """One whose Location httpx leaves alone: it would read it even where it follows none, and fail on a broken one."""

    @property
    def has_redirect_location(self) -> bool:
        return False


class _Body(httpx.AsyncByteStream):
    """The body of httpcore's response with httpx's errors."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except tuple(_HTTPX_ERRORS) as error:
        shown = next(shown for raised, shown in _HTTPX_ERRORS.items() if isinstance(error, raised))
        raise shown(str(error)) from error
