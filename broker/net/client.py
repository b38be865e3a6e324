"""The HTTP client for webhooks: POSTs over connections that are kept, only where the guard lets them lead.

It does what httpx over httpcore does, as far as a webhook needs it, at less than a tenth of the cost.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import httpcore
import httpx

from broker.net.connect import Guard, Resolver, system_resolver
from broker.net.exchange import Exchange, Reply
from broker.net.guard import CONNECTIONS, KEEPALIVE_SECONDS, system_ssl_context
from broker.net.pool import Pool
from broker.origins import DEFAULT_PORTS

if TYPE_CHECKING:
    import ssl

    from broker.net.addresses import Policy

PLACES = 4096
"""URLs that are remembered as they are sent."""
_USUAL = {"accept": "*/*", "accept-encoding": "identity", "connection": "keep-alive", "user-agent": "image-broker"}
_BREAK = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads: whom to connect to, and the beginning of the request."""

    origin: httpcore.Origin
    head: str


class PostClient:
    """It follows no redirect, knows no proxy, keeps no cookie and asks for no compression.

    Only connecting has a time limit here, 10 s each for TCP and TLS, so a caller puts one `asyncio.timeout` around it.
    POSTs beyond so many `connections` wait for one; half as many stay open unused, for `keep` seconds.
    """

    def __init__(self, guard: Guard, ssl_context: ssl.SSLContext, connections: int, keep: float) -> None:
        self._pool = Pool(partial(Exchange, guard=guard, ssl_context=ssl_context), connections, keep)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, cap: int) -> Reply:
        """The answer, with up to `cap` bytes of its body.

        Raises AddressRefused, httpcore's errors, httpx.InvalidURL, and ValueError for headers that cannot be sent.
        """
        place = _place(url)
        request = _head(place, headers, len(body)) + body
        async with self._pool.using(place.origin) as connection:
            return await connection.send(request, cap)

    async def aclose(self) -> None:
        await self._pool.aclose()


@asynccontextmanager
async def post_client(
    policy: Policy,
    *,
    resolver: Resolver = system_resolver,
    ssl_context: ssl.SSLContext | None = None,
    connections: int = CONNECTIONS,
    keep: float = KEEPALIVE_SECONDS,
) -> AsyncIterator[PostClient]:
    """A client whose every connection obeys `policy`."""
    guard = Guard(policy, resolver)
    client = PostClient(guard, ssl_context or system_ssl_context(), connections, keep)
    try:
        yield client
    finally:
        await client.aclose()
        guard.close()


@lru_cache(PLACES)
def _place(url: str) -> _Place:
    """As httpx reads it, which is who has checked it."""
    parsed = httpx.URL(url)
    if parsed.scheme not in DEFAULT_PORTS:
        raise httpx.InvalidURL("neither http nor https")
    origin = httpcore.Origin(parsed.raw_scheme, parsed.raw_host, parsed.port or DEFAULT_PORTS[parsed.scheme])
    target, host = parsed.raw_path.decode("ascii"), parsed.netloc.decode("ascii")
    return _Place(origin, f"POST {target} HTTP/1.1\r\nhost: {host}\r\n")


def _head(place: _Place, headers: Mapping[str, str], length: int) -> bytes:
    names = {name.lower() for name in headers}
    lines = [f"{name}: {value}" for name, value in _USUAL.items() if name not in names]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(map(_BREAK.search, lines)):
        raise ValueError("a header would end before its end")
    lines.append(f"content-length: {length}\r\n\r\n")
    return (place.head + "\r\n".join(lines)).encode("ascii")
