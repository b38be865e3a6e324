"""Sends small things from the background: at once at light load, all that waits in one go under load."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from broker.queue.connection import Health, end

AT_ONCE = 1000
"""Items of one send; bounds how long the event loop and Redis are busy with it."""
CROWD = 8
CROWD_PAUSE = 0.005
"""Seconds after a send of CROWD items or more, in which others gather: each send costs as much as a POST."""
CLOSE_SECONDS = 1.0

T = TypeVar("T", bound=Hashable)


class Flusher(Generic[T]):
    """Items put in are sent by one background task; equal items that wait are sent once.

    While sending fails, items wait up to `bound` and further ones are dropped.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T]], Awaitable[object]],
        health: Health,
        *,
        bound: int = 10_000,
    ) -> None:
        self._send = send
        self._health = health
        self._bound = bound
        self._waiting: dict[T, None] = {}
        self._sending: list[T] = []
        self._dropped = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Items not yet known to be sent."""
        return len(self._waiting) + len(self._sending)

    def put(self, items: Iterable[T]) -> None:
        """Never blocks. To be called on the event loop's thread."""
        for item in items:
            if len(self) < self._bound:
                self._waiting[item] = None
            elif item not in self._waiting:
                self._dropped += 1
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._flush_until_closed(), name="flusher")

    async def aclose(self) -> None:
        """Send what waits, for at most a second; not at all if sending fails anyway."""
        self._closing = True
        self._wake.set()
        if self._task is None:
            return
        if self._health.up:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        await end(self._task)

    async def _flush_until_closed(self) -> None:
        while self._waiting or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._flush()

    async def _flush(self) -> None:
        self._sending = list(islice(self._waiting, AT_ONCE))
        for item in self._sending:
            del self._waiting[item]
        try:
            await self._send(self._sending)
        except Exception as error:
            self._waiting = dict.fromkeys(self._sending) | self._waiting
            self._sending = []
            await asyncio.sleep(self._health.failed(error))
            return
        crowd = len(self._sending) >= CROWD
        self._sending = []
        self._health.worked(dropped=self._dropped)
        self._dropped = 0
        if crowd and not self._closing:
            await asyncio.sleep(CROWD_PAUSE)
