"""How many connections the guarded client has: used again, closed when unused, never more than it may have."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.net.guard import guarded_client
from tests.integration.net.servers import not_heard, reply
from tests.integration.trap import Trap, until_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.net.addresses import Policy

ANSWER = reply(200, b"fine", {"Connection": "keep-alive"})
SAYS = {
    "/hang": b"",
    "/garbage": b"no HTTP\r\n\r\n",
    "/part": reply(200, b"part", {"Content-Length": "100"}),
    "/close": reply(200, b"fine"),
}


async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while target := (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode():
        writer.write(SAYS.get(target, ANSWER))
        if target in SAYS:
            await until_left(reader)
            return


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    async with Trap(behave).listen() as trap:
        yield trap


def to_trap(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def get(client: httpx.AsyncClient, url: str) -> bytes:
    async with asyncio.timeout(20):
        return (await client.get(url)).content


async def test_a_connection_is_used_again_however_many_others_hang(only_site: Policy, trap: Trap) -> None:
    hanging = 8
    async with guarded_client(only_site, resolver=to_trap, connections=hanging + 1, keep=60) as client:
        waiting = [asyncio.create_task(client.get(trap.site(f"{number}.test") + "/hang")) for number in range(hanging)]
        await trap.had(hanging)
        for _ in range(3):
            await get(client, trap.url("hook.test"))
        assert trap.connections == hanging + 1
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_connections_are_closed_after_a_while_though_nothing_else_is_sent(only_site: Policy, trap: Trap) -> None:
    async with guarded_client(only_site, resolver=to_trap, keep=0.05) as client:
        for host in ("one.test", "other.test"):
            await get(client, trap.url(host))
        await trap.left()
        await get(client, trap.url("one.test"))
        await trap.left()


async def test_half_as_many_stay_open_unused_and_the_longest_unused_is_closed(only_site: Policy, trap: Trap) -> None:
    opened = []
    async with guarded_client(only_site, resolver=to_trap, connections=4, keep=60) as client:
        for host in ("a.test", "b.test", "a.test", "c.test", "a.test", "c.test", "b.test"):
            await get(client, trap.url(host))
            opened.append(trap.connections)
        await trap.left(but=2)
    assert opened == [1, 2, 2, 3, 3, 3, 4]


async def test_a_failed_connect_pushes_no_unused_connection_out(only_site: Policy, trap: Trap) -> None:
    async with not_heard() as port, guarded_client(only_site, connections=2, keep=60) as client:
        await get(client, trap.url())
        with pytest.raises(httpx.ConnectError):
            await get(client, f"http://127.0.0.1:{port}/")
        await get(client, trap.url())
    assert trap.connections == 1


@pytest.mark.parametrize("target", ["/hang", "/garbage", "/part", "/close", "tls", "refused"])
async def test_every_end_of_a_request_gives_its_place_and_its_connection_back(
    target: str, only_site: Policy, trap: Trap
) -> None:
    places = 2
    async with not_heard() as port, guarded_client(only_site, resolver=to_trap, connections=places) as client:
        urls = {"tls": f"https://tls.test:{trap.port}/", "refused": f"http://127.0.0.1:{port}/"}
        for _ in range(places + 1):
            with suppress(httpx.TransportError, TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.get(urls.get(target, trap.site() + target))
        assert await get(client, trap.url("hook.test")) == b"fine"
        await trap.left(but=1)


async def test_whoever_gives_up_waiting_for_a_place_frees_none(only_site: Policy, trap: Trap) -> None:
    async with guarded_client(only_site, resolver=to_trap, connections=1) as client:
        holding = asyncio.create_task(client.get(trap.site() + "/hang"))
        await trap.had(1)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.get(trap.url())
        assert trap.connections == 1
        holding.cancel()
        await asyncio.wait([holding])


async def test_closing_the_client_ends_what_is_under_way(only_site: Policy, trap: Trap) -> None:
    async with guarded_client(only_site, resolver=to_trap, keep=60) as client:
        await client.get(trap.url("unused.test"))
        async with client.stream("GET", trap.site("hook.test") + "/part") as answer:
            hanging = asyncio.create_task(answer.aread())
            await asyncio.sleep(0)
            await client.aclose()
            with pytest.raises(httpx.TransportError):
                await asyncio.wait_for(hanging, 20)
    await trap.left()
