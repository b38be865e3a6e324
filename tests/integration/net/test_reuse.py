"""Which connections are not used again: those on which more came than the answer, lest the next one get it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from broker.net.client import post_client
from broker.net.guard import guarded_client
from tests.integration.net.authority import Authority
from tests.integration.net.servers import reply
from tests.integration.trap import Trap

if TYPE_CHECKING:
    from pathlib import Path

    from broker.net.addresses import Policy

HOST = "hook.test"
KEEP = {"Connection": "keep-alive"}
ANSWER, UNASKED = reply(200, b"asked", KEEP), reply(200, b"unasked", KEEP)


Ask: TypeAlias = Callable[[str], Awaitable[bytes]]


@asynccontextmanager
async def getting(*given: Any, **options: Any) -> AsyncIterator[Ask]:
    async with guarded_client(*given, **options) as client:

        async def ask(url: str) -> bytes:
            return (await client.get(url)).content

        yield ask


@asynccontextmanager
async def posting(*given: Any, **options: Any) -> AsyncIterator[Ask]:
    async with post_client(*given, **options) as client:

        async def ask(url: str) -> bytes:
            return (await client.post(url, {}, b"", 100)).body

        yield ask


@pytest.mark.parametrize("asking", [getting, posting])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("more", [UNASKED, UNASKED[:20]], ids=["whole", "part"])
@pytest.mark.parametrize("comes", ["together", "behind", "later"])
async def test_an_answer_that_nobody_asked_for_is_not_the_next_one_s(
    only_site: Policy, tmp_path: Path, comes: str, more: bytes, asking: Any, *, tls: bool
) -> None:
    authority, read, said = Authority(), asyncio.Event(), asyncio.Event()

    async def chatters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            chatter = more if target == b"/chatter" else b""
            if comes == "together":
                writer.write(ANSWER + chatter)
                continue
            writer.write(ANSWER)
            if comes == "later" and chatter:
                await read.wait()
            writer.write(chatter)
            said.set()

    async with Trap(chatters).listen(authority.server(HOST, tmp_path) if tls else None) as trap:
        trust, site = authority.trust(), trap.site(HOST)
        async with asking(only_site, resolver=lambda host, port: ["127.0.0.1"], ssl_context=trust) as ask:
            answers = [await ask(site + target) for target in ("/first", "/chatter")]
            if comes == "later":
                said.clear()
                read.set()
                await said.wait()
            answers.append(await ask(site + "/next"))
        await trap.left()
    assert (answers, trap.connections) == ([b"asked"] * 3, 2)
