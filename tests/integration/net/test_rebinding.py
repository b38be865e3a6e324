"""A name that changes its address, or has a good and a bad one, does not lead past the guard."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from broker.errors import AddressRefused
from broker.net.addresses import Policy
from broker.net.guard import guarded_client
from handlers.contract import RecordError
from tests.integration.net.servers import Web, redirect, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.net.conftest import MakeFetcher
    from tests.integration.net.servers import Names


# Here the canary listens on 127.0.0.1 itself, and the other loopback address stands for the public network.


@pytest.fixture
def only_site(other_loopback: str) -> Policy:
    return Policy((ip_network(other_loopback),))


@pytest.fixture
async def site(other_loopback: str) -> AsyncIterator[Web]:
    async with Web().listen(other_loopback) as web:
        yield web


@pytest.fixture
async def canary(site: Web) -> AsyncIterator[Web]:
    async with Web().listen("127.0.0.1", site.port) as web:
        yield web


async def test_the_canary_sings_when_something_connects(canary: Web) -> None:
    _, writer = await asyncio.open_connection(canary.host, canary.port)
    writer.close()
    await writer.wait_closed()
    assert canary.connections == 1


async def test_a_rebound_name_is_looked_up_once_and_then_refused(
    only_site: Policy, site: Web, canary: Web, names: Names
) -> None:
    site.answers["/"] = [reply(200, b"fine")]
    names.answers["rebind.test"] = [[site.host], [canary.host]]
    async with guarded_client(only_site, resolver=names.resolver()) as client:
        first = await client.get(site.url(host="rebind.test"))
        assert (first.content, names.asked, site.connections) == (b"fine", ["rebind.test"], 1)
        with pytest.raises(AddressRefused):
            await client.get(site.url(host="rebind.test"))
    assert names.asked == ["rebind.test"] * 2
    assert (site.connections, canary.connections) == (1, 0)


@pytest.mark.parametrize("bad_first", [True, False])
async def test_one_bad_answer_among_good_ones_refuses_the_name(
    bad_first: bool, only_site: Policy, site: Web, canary: Web, names: Names
) -> None:
    good_and_bad = [site.host, canary.host]
    names.answers["both.test"] = [good_and_bad[::-1] if bad_first else good_and_bad]
    async with guarded_client(only_site, resolver=names.resolver()) as client:
        with pytest.raises(AddressRefused):
            await client.get(site.url(host="both.test"))
    assert (site.connections, canary.connections) == (0, 0)


async def test_a_bad_answer_beyond_those_that_would_be_tried_refuses_the_name(
    only_site: Policy, site: Web, canary: Web, names: Names
) -> None:
    names.answers["many.test"] = [[site.host] * 5 + [canary.host]]
    async with guarded_client(only_site, resolver=names.resolver()) as client:
        with pytest.raises(AddressRefused):
            await client.get(site.url(host="many.test"))
    assert site.connections == 0


async def test_a_redirect_to_a_rebound_name_is_refused_at_the_hop(
    make_fetcher: MakeFetcher, site: Web, canary: Web, names: Names
) -> None:
    names.answers["rebind.test"] = [[site.host], [canary.host]]
    site.answers["/"] = [redirect("/again")]
    site.answers["/again"] = [reply(200, b"fine")]
    with pytest.raises(RecordError) as caught:
        await make_fetcher(resolver=names.resolver()).fetch(site.url(host="rebind.test"))
    assert (caught.value.code, caught.value.text) == (403, "The image could not be downloaded: address not allowed.")
    assert (site.hits("/"), site.hits("/again"), canary.connections) == (1, 0, 0)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "localhost", "0", "[::ffff:127.0.0.1]"]
)
async def test_odd_spellings_of_loopback_reach_nothing(host: str, canary: Web) -> None:
    async with guarded_client(Policy(ports=frozenset({canary.port}))) as client:
        with pytest.raises(AddressRefused):
            await client.get(f"http://{host}:{canary.port}/")
    assert canary.connections == 0
