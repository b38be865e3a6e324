"""Waits for a bell in the background: begun once, it goes on from one look of an idle worker to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from broker.queue.connection import ANSWER_SECONDS, connect, disconnect, end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

LISTEN_SECONDS = 5.0
"""After which Redis is asked anew, as a connection may be dead without a sign of it."""


class Listener:
    """One bell at a time. `failed` is told why Redis could not be listened to; the next `listen` begins anew."""

    def __init__(self, redis_url: str, bells: Sequence[str], failed: Callable[[BaseException], None]) -> None:
        self._redis = connect(redis_url, answer_seconds=LISTEN_SECONDS + ANSWER_SECONDS)
        # cast: redis-py's types do not know that this is awaited
        self._pop_bell = cast("Callable[..., Awaitable[tuple[bytes, bytes] | None]]", self._redis.blpop)
        self._bells = list(bells)
        self._failed = failed
        self._listening: asyncio.Task[None] | None = None
        self._heard: str | None = None

    async def listen(self, seconds: float) -> None:
        """Until a bell was heard that nobody has taken, or so many seconds are over."""
        if self._heard is not None:
            return
        if self._listening is None:
            self._listening = asyncio.create_task(self._hear_bell(), name="bell")
            self._listening.add_done_callback(self._ended)
        await asyncio.wait({self._listening}, timeout=seconds)

    def take(self) -> str | None:
        """The name of the bell that was heard since the last call, if any."""
        heard, self._heard = self._heard, None
        return heard

    async def rest(self) -> None:
        """Leave bells to others, until the next `listen`."""
        if self._listening is not None:
            await end(self._listening)

    async def renew(self) -> None:
        """On a new connection from now on."""
        await self.rest()
        await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        await self.rest()
        await disconnect(self._redis)

    async def _hear_bell(self) -> None:
        while (popped := await self._pop_bell(self._bells, timeout=LISTEN_SECONDS)) is None:
            pass
        self._heard = popped[0].decode()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._listening = None
        if not task.cancelled() and (error := task.exception()):
            self._failed(error)
