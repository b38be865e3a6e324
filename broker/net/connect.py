"""The way from a name to a connection: looked up once, every answer checked, one of those connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import httpcore
from publicsuffixlist import PublicSuffixList

from broker.errors import AddressRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.net.addresses import Address, Policy

Resolver: TypeAlias = "Callable[[str, int], Iterable[str]]"
"""(host, port) -> its addresses as text. Blocks; is called in a thread. Raises OSError for a name that has none."""

LOOKUP_THREADS = 512
"""Twice the tries that a sender makes at endpoints that do not answer: what stalls keeps its thread for up to 10 s."""
LOOKUPS_A_DOMAIN = 8
TURN_SECONDS = 5.0
LOOKUP_SECONDS = 5.0
CONNECT_SECONDS = 10.0
MAX_ADDRESSES = 3


class Connection(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=Connection)
Dial: TypeAlias = Callable[[str, float | None], Awaitable[tuple[C, str | None]]]
"""(address, seconds) -> a connection and the address at its other end, None if that has broken it off already.

Raises httpcore's ConnectError and ConnectTimeout."""


class NameNotFound(httpcore.ConnectError):
    """There is no such name, or it has no address."""


class BrokenOff(httpcore.ConnectError):
    """The other end has broken the connection off before anything was sent."""


def system_resolver(host: str, port: int) -> list[str]:
    """The operating system's answers, in its order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class Guard:
    """Decides where a name leads, whatever dials. Its failures are httpcore's, a refusal is AddressRefused.

    PoolTimeout: no look-up was free for the name within 5 s, which says nothing about it.
    """

    def __init__(self, policy: Policy, resolver: Resolver = system_resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        # Not the loop's own threads: a handful of stalled lookups would stop everything else that uses those.
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")
        self._free = asyncio.Semaphore(LOOKUP_THREADS)
        self._suffixes = _public_suffixes()
        self._domains: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def connect(self, host: str, port: int, dial: Dial[C], timeout: float | None) -> C:
        """Raise AddressRefused if any answer for `host` is refused; else dial up to three until one takes it.

        timeout: seconds for all the tries together, the lookup's own 5 s and the wait for its turn not counted.
        """
        addresses = await self._lookup(host, port)
        for address in addresses:
            self._policy.check(address, port, host)
        candidates = addresses[:MAX_ADDRESSES]
        share = None if timeout is None else timeout / len(candidates)
        *others, last = candidates
        for address in others:
            try:
                return await _dial(dial, address, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await _dial(dial, last, share)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lookup(self, host: str, port: int) -> list[Address]:
        domain = self._domains.setdefault(self._domain(host), asyncio.Semaphore(LOOKUPS_A_DOMAIN))
        await self._turn(domain)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                answers = await asyncio.wrap_future(self._start_lookup(host, port, domain))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name was not found in time") from error
        except (OSError, UnicodeError) as error:
            raise NameNotFound("the name was not found") from error
        addresses = [ip_address(answer) for answer in answers]
        if not addresses:
            raise NameNotFound("the name has no address")
        return addresses

    async def _turn(self, domain: asyncio.Semaphore) -> None:
        """Wait for one of the domain's look-ups, then for one of all. Raises PoolTimeout."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await domain.acquire()
                try:
                    await self._free.acquire()
                except asyncio.CancelledError:
                    domain.release()
                    raise
        except TimeoutError as error:
            raise httpcore.PoolTimeout("no look-up was free for the name") from error

    def _start_lookup(self, host: str, port: int, domain: asyncio.Semaphore) -> Future[Iterable[str]]:
        """A lookup that nobody waits for any more keeps its thread, and so its domain's turn, until it ends."""
        loop = asyncio.get_running_loop()

        def free() -> None:
            domain.release()
            self._free.release()

        def end(_: Future[Iterable[str]]) -> None:
            with suppress(RuntimeError):  # the loop has ended before the lookup
                loop.call_soon_threadsafe(free)

        lookup = self._threads.submit(self._resolver, host, port)
        lookup.add_done_callback(end)
        return lookup

    def _domain(self, host: str) -> str:
        """What shares its lookups: what one owner registers. One whose name servers stall delays only itself."""
        return self._suffixes.privatesuffix(host) or host.lower()


@cache
def _public_suffixes() -> PublicSuffixList:
    """Under what domains are registered, in private registries too; one for all, as reading it takes 100 ms."""
    return PublicSuffixList()


async def _dial(dial: Dial[C], address: Address, timeout: float | None) -> C:
    connection, peer = await dial(str(address), timeout)
    if peer is not None and ip_address(peer) == address:
        return connection
    await connection.aclose()
    if peer is not None:
        raise AddressRefused
    raise BrokenOff("the connection was reset")
