"""Which connections are not used again: those on which more came than the answer, lest the next one get it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

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


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("more", [UNASKED, UNASKED[:20]], ids=["whole", "part"])
@pytest.mark.parametrize("comes", ["together", "behind", "later"])
async def test_an_answer_that_nobody_asked_for_is_not_the_next_one_s(
    only_site: Policy, tmp_path: Path, comes: str, more: bytes, *, tls: bool
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

    async with (
        Trap(chatters).listen(authority.server(HOST, tmp_path) if tls else None) as trap,
        guarded_client(only_site, resolver=lambda host, port: ["127.0.0.1"], ssl_context=authority.trust()) as client,
    ):
        site = trap.site(HOST)
        answers = [(await client.get(site + target)).content for target in ("/first", "/chatter")]
        if comes == "later":
            said.clear()
            read.set()
            await said.wait()
        answers.append((await client.get(site + "/next")).content)
        await client.aclose()
        await trap.left()
    assert (answers, trap.connections) == ([b"asked"] * 3, 2)
