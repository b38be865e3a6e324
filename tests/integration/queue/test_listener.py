"""A bell is heard whenever it rings, and by one listener alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import cast

import pytest
from arq import ArqRedis

from broker.queue.embedded import EmbeddedValkey
from broker.queue.listener import Listener
from tests.integration.queue.ledger import NEVER, PATIENCE, until, until_holds

BELL = "bell"
AT_ONCE = 0.01


@dataclass
class Hearing:
    """A listener, what it said of Redis, and the Redis that it listens to."""

    listener: Listener
    redis: ArqRedis
    failures: list[BaseException] = field(default_factory=list)

    async def ring(self) -> None:
        await cast("Awaitable[int]", self.redis.lpush(BELL, 1))

    async def all_rung_out(self) -> bool:
        return await cast("Awaitable[int]", self.redis.llen(BELL)) == 0

    async def listens(self) -> bool:
        return bool((await self.redis.info("clients"))["blocked_clients"])

    async def rests(self) -> bool:
        """As far as Redis knows, which hears of it later."""
        return not await self.listens()

    async def hears(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            await self.listener.listen(NEVER)
        return self.listener.take() == BELL


@pytest.fixture
async def hearing(valkey: EmbeddedValkey, redis: ArqRedis) -> AsyncIterator[Hearing]:
    failures: list[BaseException] = []
    listener = Listener(valkey.url, [BELL], failures.append)
    yield Hearing(listener, redis, failures)
    await listener.aclose()


async def test_a_bell_that_rings_between_two_listens_is_heard_by_the_second_and_once(hearing: Hearing) -> None:
    await hearing.listener.listen(AT_ONCE)
    assert hearing.listener.take() is None
    await hearing.ring()
    await until_holds(hearing.all_rung_out)
    assert await hearing.hears()
    await hearing.listener.listen(AT_ONCE)
    assert hearing.listener.take() is None


async def test_who_rests_leaves_bells_to_others(hearing: Hearing) -> None:
    await hearing.listener.listen(AT_ONCE)
    await until_holds(hearing.listens)
    await hearing.listener.rest()
    await until_holds(hearing.rests)
    await hearing.ring()
    await hearing.listener.rest()
    assert not await hearing.all_rung_out()
    assert await hearing.hears()


async def test_a_connection_that_was_cut_is_told_once_and_replaced_by_the_next_listen(hearing: Hearing) -> None:
    await hearing.listener.listen(AT_ONCE)
    await until_holds(hearing.listens)
    await hearing.redis.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: len(hearing.failures) == 1)
    await hearing.ring()
    assert await hearing.hears()
    assert len(hearing.failures) == 1
