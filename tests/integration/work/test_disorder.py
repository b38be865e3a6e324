"""Redis that loses, doubles and reorders nudges and bells all the time: each batch runs once, and soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

from arq import ArqRedis
from sqlalchemy import select

from broker.queue.connection import bell_name, connect, disconnect, end, queue_name
from broker.work.sweep import OVERDUE_MS
from tests.integration.running import StartBroker, StartWorker
from tests.integration.work.scene import BATCHES, Scene

QUEUE, BELL = queue_name("hostile"), bell_name("hostile")
SEED = 4
TIMES, AT_ONCE = 3, 4
LISTENERS = 8
HOUR_MS = 3_600_000
FOR_EVER = 3600


@dataclass
class Disorder:
    """What may happen to the keys of a type. `accepted`: batches whose nudges may come once more, however late."""

    redis: ArqRedis
    random: Random = field(default_factory=lambda: Random(SEED))
    accepted: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def going_on(self, act: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """`act` is done again and again."""
        going = asyncio.create_task(self._repeat(act))
        try:
            yield
            assert not going.done()
        finally:
            await end(going)

    async def hear(self) -> None:
        """Take a bell, before a worker that began to listen later."""
        await cast("Awaitable[object]", self.redis.blpop([BELL]))

    async def shuffle(self) -> None:
        """Every nudge gets a place from an hour ago to one ahead, where nobody takes it."""
        for nudge, score in await self.redis.zrange(QUEUE, 0, -1, withscores=True):
            await self.redis.zadd(QUEUE, {nudge: score + self.random.uniform(-HOUR_MS, HOUR_MS)})

    async def double(self) -> None:
        await self.redis.zadd(QUEUE, {f"nudge:{id}": 0 for id in self.random.sample(self.accepted, AT_ONCE)})

    async def ring_in_vain(self) -> None:
        await cast("Awaitable[int]", self.redis.lpush(BELL, *range(self.random.randint(1, 100))))

    async def lose_all(self) -> None:
        await self.redis.flushall()

    async def _repeat(self, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            await act()
            await asyncio.sleep(self.random.uniform(0, 0.02))


async def test_each_batch_runs_once_and_soon_whatever_becomes_of_its_nudge_and_bell(
    hostile: Path, start_broker: StartBroker, start_worker: StartWorker, valkey_url: str, tmp_path: Path
) -> None:
    """Soon: before the sweep would ring for it again, though a busy machine may hold up one in ten."""
    scene = Scene(await start_broker(redis_url=valkey_url), tmp_path)
    for _ in range(2):
        await start_worker("hostile", redis_url=valkey_url)
    disorder = Disorder(connect(valkey_url, answer_seconds=FOR_EVER))

    async def burst() -> None:
        ids = await asyncio.gather(*[scene.post(scene.free()) for _ in range(AT_ONCE)])
        for id in ids:
            await scene.broker.done(id)
        disorder.accepted += ids

    await burst()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(disconnect, disorder.redis)
        for _ in range(LISTENERS):
            await stack.enter_async_context(disorder.going_on(disorder.hear))
        for act in (disorder.shuffle, disorder.double, disorder.ring_in_vain, disorder.lose_all) * TIMES:
            async with disorder.going_on(act):
                await burst()
    rows = await scene.broker.store.rows(select(BATCHES))
    assert {(row.lease_seq, row.crashes, row.outcome) for row in rows} == {(1, 0, "succeeded")}
    assert scene.noted() == {"0 started": len(disorder.accepted)}
    waits = sorted(row.finished - row.created for row in rows)
    assert waits[len(waits) * 9 // 10] < OVERDUE_MS
