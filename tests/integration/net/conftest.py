"""Servers, a second loopback address and downloads for the tests of outgoing HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, TypeAlias

import pytest
import uvloop

from broker.media.fetch import Fetcher
from broker.net.addresses import Policy
from broker.net.connect import system_resolver
from tests.integration.net.servers import Names, Web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.net.connect import Resolver

MakeFetcher: TypeAlias = Callable[..., Fetcher]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    """These tests are run on the loop that a broker runs on: it tells of what comes and ends at moments of its own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def only_site() -> Policy:
    """127.0.0.1 is open and stands for the public network; everything else, other loopback too, is closed."""
    return Policy((ip_network("127.0.0.1/32"),))


@pytest.fixture
def other_loopback() -> str:
    """A loopback address besides 127.0.0.1: 127.0.0.2, or ::1 where there is one of the kind only."""
    with suppress(OSError), socket.create_server(("127.0.0.2", 0)):
        return "127.0.0.2"
    return "::1"


@pytest.fixture
async def site() -> AsyncIterator[Web]:
    async with Web().listen("127.0.0.1") as web:
        yield web


@pytest.fixture
async def canary(site: Web, other_loopback: str) -> AsyncIterator[Web]:
    """What must see no connection: the site's port on the address that is not open."""
    async with Web().listen(other_loopback, site.port) as web:
        yield web


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    async with Names().listen() as server:
        yield server


@pytest.fixture
async def make_fetcher(only_site: Policy) -> AsyncIterator[MakeFetcher]:
    async with AsyncExitStack() as stack:

        def make(
            *,
            max_bytes: int = 1_000_000,
            timeout: float = 30.0,
            pause: float = 0.0,
            resolver: Resolver = system_resolver,
        ) -> Fetcher:
            fetcher = Fetcher(only_site, max_bytes=max_bytes, timeout=timeout, pause=pause, resolver=resolver)
            stack.push_async_callback(fetcher.aclose)
            return fetcher

        yield make


@pytest.fixture
def fetcher(make_fetcher: MakeFetcher) -> Fetcher:
    return make_fetcher()
