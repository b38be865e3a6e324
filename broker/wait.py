"""Holding an answer until a batch is DONE: a bell, with a look into SQL as its net."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from broker.batches import Status
from broker.queue.bell import DoneBell

LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wait:
    """The use case."""

    bell: DoneBell

    async def until_done(self, id: str, seconds: float, look: Callable[[], Awaitable[Status]]) -> Status:
        """The state of a batch when it is DONE or `seconds` are over. `look` reads it and may raise."""
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        with self.bell.expecting(id) as done:
            while True:
                done.clear()  # before the look: what is announced during it still counts
                status = await look()
                if status is Status.DONE or (left := end - clock()) <= 0:
                    return status
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LOOK_SECONDS)):
                        await done.wait()
