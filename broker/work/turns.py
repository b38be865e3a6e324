"""Whose turn it is to use a CPU: as many at once as there are, in the order in which they asked."""

from __future__ import annotations

import asyncio


class Turn:
    """One of the CPUs, taken."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._taken = True

    def end(self) -> None:
        """Let the next one begin. Ending it again does nothing."""
        if self._taken:
            self._taken = False
            self._free.release()


class Turns:
    """For the event loop's thread only."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)

    async def take(self) -> Turn:
        """Wait for a turn. Who is cancelled while waiting has none."""
        await self._free.acquire()
        return Turn(self._free)
