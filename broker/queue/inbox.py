"""A worker's ear at Redis: waits for a bell, takes nudges, and keeps quiet while Redis is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from arq import ArqRedis

from broker.queue.connection import Health, bell_name, connect, disconnect, end, queue_name, script_text
from broker.queue.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

T = TypeVar("T")

LOOK_AT = 1000
"""Jobs that one `take` looks at in each queue."""
TAKE_SECONDS = 0.5
"""What `take` gets to answer after work, where nothing has rested that SQL would have shown."""
LEAST_SECONDS = 0.05
"""What every question gets, though it is time to look into SQL."""
TAKE_ROOM_SECONDS = 0.1
"""What is left of an idle worker's pause for `take`."""


class Inbox:
    """Listens for the nudges of `types`. Without a URL, or while Redis is away, it hears nothing and does not fail.

    Nobody waits here for longer than they said, however Redis hangs: what it does not answer in time stays asked in the
    background, and until it answers nothing else is asked. To be constructed on the running loop.
    """

    def __init__(self, redis_url: str | None, types: Sequence[str], idle_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._health = Health("queue")
        self._queues = [queue_name(batch_type) for batch_type in types]
        self._idle_seconds = idle_seconds
        self._listen_seconds = max(idle_seconds - TAKE_ROOM_SECONDS, idle_seconds / 2)
        self._look_by: float | None = None
        self._up = asyncio.Event()
        self._hushed = False
        self._unheeded: str | None = None
        self._asking: asyncio.Task[Any] | None = None
        self._returning: asyncio.Task[None] | None = None
        self.redis: ArqRedis | None = None
        self._listener: Listener | None = None
        if redis_url:
            self.redis = connect(redis_url)
            self._listener = Listener(redis_url, [bell_name(batch_type) for batch_type in types], self._lost_bell)
            self._script = self.redis.register_script(script_text("take.lua"))
            self._up.set()

    async def wait(self) -> None:
        """Until a bell rings, Redis comes back or `idle_seconds` are over."""
        self._look_by = self._loop.time() + self._idle_seconds
        if self._listener is not None and self._up.is_set():
            await self._listener.listen(self._listen_seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._idle_seconds):
                await self._up.wait()

    async def rest(self) -> None:
        """Hear no bell until the next `wait`: who has no room would keep it from others. One that it heard rings again.

        To a worker that is alone it comes back when that one takes what waits, or waits itself: it does not spin.
        """
        if self._listener is None or self.redis is None:
            return
        await self._listener.rest()
        unheeded = {bell for bell in (self._unheeded, self._listener.take()) if bell is not None}
        self._unheeded = None
        for bell in unheeded:
            # As ring.lua does, without its limit: it goes back to where it was.
            await self.ask(cast("Coroutine[Any, Any, int]", self.redis.lpush(bell, 1)))

    def heeded(self) -> None:
        """What the bell that `take` took along had asked for is done, so that it never rings again."""
        self._unheeded = None

    async def take(self, free: int) -> list[tuple[str, str]]:
        """Take waiting nudges off the queues, and bells until `free` are taken with the one that `wait` heard.

        Returns (queue, job id) of other arq jobs that are due, at most `free`; those stay in their queue.
        """
        self._unheeded = self._listener.take() if self._listener is not None else None
        seconds = TAKE_SECONDS if self._look_by is None else self._look_by - self._loop.time()
        self._look_by = None
        found = await self.ask(self._take(free, free - (self._unheeded is not None)), max(seconds, LEAST_SECONDS))
        if found is None:
            return []
        jobs = zip(found[::2], found[1::2], strict=True)
        # An id that is no text is no job of arq's, which finds none by what it becomes here.
        return [(self._queues[int(i) - 1], job_id.decode(errors="replace")) for i, job_id in jobs]

    async def ask(self, question: Coroutine[Any, Any, T], seconds: float = LEAST_SECONDS) -> T | None:
        """Redis' answer to `question`; None where it fails, is away, or has not answered after so many seconds."""
        if not self._up.is_set():
            question.close()
            return None
        task = self._loop.create_task(question, name="redis-question")
        try:
            await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            await end(task)
            raise
        if task.done():
            return self._answer(task)
        self._up.clear()
        self._asking = task
        task.add_done_callback(self._answered_late)
        return None

    def _lost_bell(self, error: BaseException) -> None:
        """Where Redis is known to be away, or nothing is heard any more, this is no news."""
        if self._up.is_set():
            self._lost(error)

    def _lost(self, error: BaseException) -> None:
        """Redis failed: hear nothing until the background finds that it works again."""
        pause = self._health.failed(error)
        self._up.clear()
        if self._returning is None or self._returning.done():
            self._returning = self._loop.create_task(self._return(pause), name="redis-return")

    async def hush(self) -> None:
        """Hear and ask nothing any more: who claims no more would keep a bell from others."""
        await self.rest()
        self._hushed = True
        self._up.clear()
        for task in (self._asking, self._returning):
            if task is not None:
                await end(task)

    async def aclose(self) -> None:
        await self.hush()
        if self.redis is not None:
            await disconnect(self.redis)
        if self._listener is not None:
            await self._listener.aclose()

    async def _take(self, free: int, bells: int) -> list[Any]:
        found: list[Any] = await self._script(keys=self._queues, args=[LOOK_AT, free, bells])
        return found

    def _answer(self, task: asyncio.Task[T]) -> T | None:
        error = task.exception()
        if error is None:
            return task.result()
        self._lost(error)
        return None

    def _answered_late(self, task: asyncio.Task[Any]) -> None:
        """Whatever it says, it is time to look: what was rung meanwhile was not heard."""
        self._asking = None
        if task.cancelled():
            return
        error = task.exception()
        if self._hushed:
            return
        if error is not None:
            self._lost(error)
        else:
            self._up.set()

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
        if self.redis is None or self._listener is None:
            return
        await self._listener.renew()
        await self.redis.connection_pool.disconnect(inuse_connections=False)
        await self.redis.set("broker:queue:probe", 1, px=1000)
