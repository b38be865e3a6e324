"""Connections by origin: each serves one request at a time and stays open for the next one for a while.

httpcore's own pool goes over all of its connections for every request, and counts busy ones among those to keep.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeAlias, TypeVar

import httpcore


class Connection(Protocol):
    """Opened by its first request. is_idle: it may serve another. has_expired: it could not."""

    def is_idle(self) -> bool: ...

    def has_expired(self) -> bool: ...

    async def aclose(self) -> None: ...


C = TypeVar("C", bound=Connection)
Connect: TypeAlias = Callable[[httpcore.Origin], C]
"""A connection to be."""
Site: TypeAlias = tuple[bytes, bytes, int]
"""Scheme, host and port."""


class Pool(Generic[C]):
    """Serves as many requests at once as it may have `connections`, half as many of which stay open unused.

    keep: seconds after which an unused one is closed; where there are too many, the longest unused is, before.
    """

    def __init__(self, connect: Connect[C], connections: int, keep: float) -> None:
        self._connect = connect
        self._places = asyncio.Semaphore(connections)
        self._most_unused = connections // 2
        self._keep = keep
        self._used: set[C] = set()
        self._unused: OrderedDict[C, tuple[Site, float]] = OrderedDict()
        self._unused_of: defaultdict[Site, list[C]] = defaultdict(list)
        self._expiry: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def using(self, origin: httpcore.Origin) -> AsyncIterator[C]:
        """A connection for one request, which must be at its end by then to serve another."""
        async with self._places:
            connection = await self._take(origin)
            try:
                yield connection
            finally:
                await self._give_back(connection, _site(origin))

    async def aclose(self) -> None:
        """Close every connection there is. One that is still being made goes on until its request is cancelled."""
        if self._expiry:
            self._expiry.cancel()
        while self._unused:
            await self._close_longest_unused()
        for connection in tuple(self._used):
            await connection.aclose()

    async def _take(self, origin: httpcore.Origin) -> C:
        connection = self._latest_unused(_site(origin))
        while connection and connection.has_expired():
            await connection.aclose()
            connection = self._latest_unused(_site(origin))
        connection = connection or self._connect(origin)
        self._used.add(connection)
        return connection

    async def _give_back(self, connection: C, site: Site) -> None:
        self._used.remove(connection)
        if not connection.is_idle() or connection.has_expired():
            await connection.aclose()
            return
        self._unused[connection] = site, asyncio.get_running_loop().time() + self._keep
        self._unused_of[site].append(connection)
        if not self._expiry or self._expiry.done():
            self._expiry = asyncio.create_task(self._close_expired())
        if len(self._unused) > self._most_unused:
            await self._close_longest_unused()

    async def _close_expired(self) -> None:
        while self._unused:
            _, end = next(iter(self._unused.values()))
            left = end - asyncio.get_running_loop().time()
            if left > 0:
                await asyncio.sleep(left)
            else:
                await self._close_longest_unused()

    async def _close_longest_unused(self) -> None:
        connection, (site, _) = self._unused.popitem(last=False)
        self._forget(connection, site)
        await connection.aclose()

    def _latest_unused(self, site: Site) -> C | None:
        if site not in self._unused_of:
            return None
        connection = self._unused_of[site][-1]
        del self._unused[connection]
        self._forget(connection, site)
        return connection

    def _forget(self, connection: C, site: Site) -> None:
        self._unused_of[site].remove(connection)
        if not self._unused_of[site]:
            del self._unused_of[site]


def _site(origin: httpcore.Origin) -> Site:
    return origin.scheme, origin.host, origin.port
