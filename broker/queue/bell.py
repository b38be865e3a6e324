"""The bell that says a batch is DONE, for those who hold an answer until then."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from arq import ArqRedis

from broker.queue.connection import Health, connect, disconnect, end
from broker.queue.flusher import Flusher

CHANNEL = "broker:done"
LISTEN_SECONDS = 10.0


class DoneBell:
    """Announces and hears DONE over Redis; one subscription a process, opened by its first waiter.

    An announcement may be lost, and without a URL none is heard: look into SQL about once a second beside it.
    """

    def __init__(self, redis_url: str | None) -> None:
        self._redis = connect(redis_url) if redis_url else None
        self._flusher = Flusher(self._publish, Health("bell.announce"))
        self._health = Health("bell.listen")
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None

    def announce_done(self, batch_ids: Iterable[str]) -> None:
        """To be called after the commit, on the event loop. Returns at once and never fails."""
        if self._redis is not None:
            self._flusher.put(batch_ids)

    @contextmanager
    def expecting(self, batch_id: str) -> Iterator[asyncio.Event]:
        """An event that is set by the announcement. Look into SQL inside: what is announced meanwhile is not missed."""
        done = asyncio.Event()
        self._waiting[batch_id].add(done)
        self._listen()
        try:
            yield done
        finally:
            self._waiting[batch_id].discard(done)
            if not self._waiting[batch_id]:
                del self._waiting[batch_id]

    async def start(self) -> None:
        if self._redis is not None:
            self._flusher.start()

    async def aclose(self) -> None:
        """Announce what waits, for at most a second, and disconnect."""
        await self._flusher.aclose()
        if self._listening is not None:
            await end(self._listening)
        if self._redis is not None:
            await disconnect(self._redis)

    async def _publish(self, batch_ids: Sequence[str]) -> None:
        if self._redis is not None:
            await self._redis.publish(CHANNEL, " ".join(batch_ids))

    def _listen(self) -> None:
        if self._redis is not None and self._listening is None:
            self._listening = asyncio.create_task(self._listen_forever(self._redis), name="done-bell")

    async def _listen_forever(self, redis: ArqRedis) -> None:
        while True:
            try:
                await self._hear(redis)
            except Exception as error:
                await asyncio.sleep(self._health.failed(error))

    async def _hear(self, redis: ArqRedis) -> None:
        async with redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            while True:
                message = await subscription.get_message(timeout=LISTEN_SECONDS)
                self._health.worked()
                if message is not None and message["type"] == "message":
                    self._wake(message["data"].decode().split())

    def _wake(self, batch_ids: Iterable[str]) -> None:
        for batch_id in batch_ids:
            for done in self._waiting.get(batch_id, ()):
                done.set()
