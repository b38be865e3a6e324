"""Name servers that do not answer for some names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stalling:
    """A resolver that leaves names with `evil` in them without an answer until `release` is set.

    asked: the names in the order in which they were asked for.
    """

    address: str = "127.0.0.1"
    asked: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if "evil" in host:
            self.release.wait(60)
        return [self.address]

    @asynccontextmanager
    async def stalled(self, requests: Iterable[Awaitable[Any]]) -> AsyncIterator[Sequence[asyncio.Future[Any]]]:
        """Requests whose look-ups have all begun; they are released, and given up, at the end."""
        futures = [asyncio.ensure_future(request) for request in requests]
        try:
            async with asyncio.timeout(30):
                while len(self.asked) < len(futures):
                    await asyncio.sleep(0.01)
            yield futures
        finally:
            for future in futures:
                future.cancel()
            self.release.set()
            await asyncio.gather(*futures, return_exceptions=True)
