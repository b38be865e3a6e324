"""A worker's ear at Redis: waits for a bell, takes nudges, and keeps quiet while Redis is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from arq import ArqRedis

from broker.queue.connection import Health, bell_name, connect, disconnect, end, queue_name, script_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

LOOK_AT = 1000
"""Jobs that one `take` looks at in each queue."""
TAKE_SECONDS = 1.0
LATE_SECONDS = 0.5
"""A blocking wait without an answer this long after its own end means that Redis hangs."""


class Inbox:
    """Listens for the nudges of `types`. Without a URL, or while Redis is away, it hears nothing and does not fail.

    A hanging Redis delays its caller once, by at most TAKE_SECONDS; from then on Redis is asked from the background.
    """

    def __init__(self, redis_url: str | None, types: Sequence[str], idle_seconds: float) -> None:
        self._health = Health("queue")
        self._queues = [queue_name(batch_type) for batch_type in types]
        self._bells = [bell_name(batch_type) for batch_type in types]
        self._bells_taken = 0
        self._idle_seconds = idle_seconds
        self._up = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None
        self.redis: ArqRedis | None = None
        if redis_url:
            self.redis = connect(redis_url)
            self._blocked = connect(redis_url, answer_seconds=idle_seconds + 2 * LATE_SECONDS)
            # cast: redis-py's types know neither a fraction of a second nor that this is awaited
            self._pop_bell = cast("Callable[..., Awaitable[object]]", self._blocked.blpop)
            self._script = self.redis.register_script(script_text("take.lua"))
            self._up.set()

    async def wait(self) -> None:
        """Until a bell rings, Redis comes back or `idle_seconds` are over."""
        if not self._up.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_seconds):
                    await self._up.wait()
            return
        try:
            async with asyncio.timeout(self._idle_seconds + LATE_SECONDS):
                bell = await self._pop_bell(self._bells, timeout=self._idle_seconds)
        except Exception as error:
            self.lost(error)
        else:
            self._bells_taken = 0 if bell is None else 1

    async def take(self, free: int) -> list[tuple[str, str]]:
        """Take waiting nudges off the queues, and bells until `free` are taken with the one that `wait` heard.

        Returns (queue, job id) of other arq jobs that are due, at most `free`; those stay in their queue.
        """
        bells, self._bells_taken = free - self._bells_taken, 0
        if not self._up.is_set():
            return []
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                found = await self._script(keys=self._queues, args=[LOOK_AT, free, bells])
        except Exception as error:
            self.lost(error)
            return []
        jobs = zip(found[::2], found[1::2], strict=True)
        # An id that is no text is no job of arq's, which finds none by what it becomes here.
        return [(self._queues[int(i) - 1], job_id.decode(errors="replace")) for i, job_id in jobs]

    def lost(self, error: Exception) -> None:
        """Redis failed: hear nothing until the background finds that it works again."""
        pause = self._health.failed(error)
        self._up.clear()
        if self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(self._return(pause), name="redis-return")

    async def aclose(self) -> None:
        if self._returning is not None:
            await end(self._returning)
        if self.redis is not None:
            await disconnect(self.redis)
            await disconnect(self._blocked)

    async def _return(self, pause: float) -> None:
        while not self._up.is_set():
            await asyncio.sleep(pause)
            try:
                await self._try_again()
            except Exception as error:
                pause = self._health.failed(error)
            else:
                self._health.worked()
                self._up.set()

    async def _try_again(self) -> None:
        """On new connections, as a name may lead elsewhere after a failover; with a write, as a replica takes none."""
        if self.redis is None:
            return
        for client in (self.redis, self._blocked):
            await client.connection_pool.disconnect(inuse_connections=False)
        await self.redis.set("broker:queue:probe", 1, px=1000)
