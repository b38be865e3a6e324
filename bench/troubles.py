"""What may befall a Valkey while batches come in: emptied, robbed of its bells, killed, hanging."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias, cast

from redis.asyncio import Redis

from broker.queue.connection import bell_name
from broker.queue.embedded import EmbeddedValkey

Trouble: TypeAlias = Callable[[EmbeddedValkey], AbstractAsyncContextManager[None]]
"""A Valkey that runs -> a context in which it has the trouble. Afterwards it runs again."""

LISTENERS = 200
"""Many times the bells of a second, so that a worker, which listens anew every second, never comes first."""
BEGIN_SECONDS = 60.0


@asynccontextmanager
async def calm(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    """Nothing happens."""
    yield


@asynccontextmanager
async def emptied(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    """FLUSHALL several times a second."""
    async with Redis.from_url(valkey.url) as redis, _going_on(partial(_empty, redis)):
        yield


@asynccontextmanager
async def robbed(valkey: EmbeddedValkey, batch_type: str) -> AsyncIterator[None]:
    """The same, and others stand before the workers and take each bell: nothing that is rung is heard."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(valkey.url))
        for _ in range(LISTENERS):
            await stack.enter_async_context(_going_on(partial(_take_bell, redis, bell_name(batch_type))))
        async with asyncio.timeout(BEGIN_SECONDS):
            while (await redis.info("clients"))["blocked_clients"] < LISTENERS:
                await asyncio.sleep(0.01)
        await stack.enter_async_context(_going_on(partial(_empty, redis)))
        yield


@asynccontextmanager
async def killed(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    """It dies within a second, and stays dead."""
    async with _going_on(partial(_kill, valkey)):
        yield
    await asyncio.to_thread(valkey.start)


@asynccontextmanager
async def hanging(valkey: EmbeddedValkey) -> AsyncIterator[None]:
    """It stops answering for some seconds, again and again."""
    async with _going_on(partial(_hang, valkey)):
        yield


@asynccontextmanager
async def _going_on(act: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """`act` is done again and again. Raises what it raised."""

    async def repeat() -> None:
        while True:
            await act()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _empty(redis: Redis) -> None:
    await asyncio.sleep(random.uniform(0, 0.4))
    await redis.flushall()


async def _take_bell(redis: Redis, bell: str) -> None:
    await cast("Awaitable[object]", redis.blpop([bell]))


async def _kill(valkey: EmbeddedValkey) -> None:
    await asyncio.sleep(random.uniform(0, 1))
    await asyncio.to_thread(valkey.stop)


async def _hang(valkey: EmbeddedValkey) -> None:
    await asyncio.sleep(random.uniform(0, 1))
    pid = valkey.pid
    if pid is None:
        raise RuntimeError("Valkey does not run")
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(random.uniform(1.5, 3))
    finally:
        os.kill(pid, signal.SIGCONT)
