"""What is kept how long: ends the life of pictures, idempotency keys and batches. Bounded steps, rows before blobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from broker.errors import Unavailable
from broker.media.blobs import Blobs
from broker.store.chores import Turn, take_turn
from broker.store.database import Database
from broker.store.ended import Gone, Place
from broker.store.expiry import Expire, Kind, expire_blobs
from broker.store.keys import forget_keys
from broker.store.retention import Prune, prunable_batches, prune_batches
from broker.store.shrink import shrink_file
from broker.store.unneeded import Forget, forget_endpoints, forget_told, unused_endpoints

SECONDS = 60.0
TURN_MS = 50_000
"""Less than the pause between two looks, so that a process alone has its turn at each of them."""
CHUNK = 100
PAUSE = 0.05
"""Seconds between two chunks, in which others write."""
SHRINK_SECONDS = 30.0
"""Of one look, as what expires next shall not wait for it: a large file whose pages became free in another order than
they lie in may take an hour."""
REMOVALS_AT_ONCE = 4
LINKS_OVERTIME_MS = 60_000
"""Links are dated by this process or a moment after their batch has ended, and their clocks may differ a little."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retention:
    """The use case. Times in ms from the end of a batch."""

    database: Database
    blobs: Blobs
    input_ms: int
    output_ms: int
    batch_ms: int
    pause_seconds: float = SECONDS
    shrink_seconds: float = SHRINK_SECONDS

    async def run(self) -> None:
        """Look every `pause_seconds` until cancelled."""
        while True:
            await asyncio.sleep(self.pause_seconds)
            await self.once()

    async def once(self) -> None:
        """Do what is this process's turn. What could not be done now is done in a later turn."""
        chores: dict[str, Callable[[], Awaitable[int]]] = {
            Kind.OUTPUTS: partial(self.expire, Kind.OUTPUTS),
            Kind.INPUTS: partial(self.expire, Kind.INPUTS),
            "keys": self.forget,
            "batches": self.prune,
            "told": self.forget_told,
            "endpoints": self.forget_endpoints,
            "file": self.shrink,
        }
        for name, chore in chores.items():
            try:
                if await self.database.writer.write(take_turn, Turn(name, TURN_MS)) and (count := await chore()):
                    log.info("retention.done", chore=name, count=count)
            except Unavailable:
                log.warning("retention.failed", chore=name)

    async def expire(self, kind: Kind) -> int:
        """End the life of inputs or outputs; of how many batches."""
        age_ms = self.input_ms if kind is Kind.INPUTS else self.output_ms + LINKS_OVERTIME_MS
        count, more = 0, True
        while more:
            expired = await self.database.writer.write(expire_blobs, Expire(kind, age_ms, CHUNK))
            await self._remove(self._inputs if kind is Kind.INPUTS else self._outputs, expired.gone)
            count, more = count + len(expired.gone), expired.more
            await asyncio.sleep(PAUSE)
        return count

    async def forget(self) -> int:
        """Forget idempotency keys; how many."""
        count = 0
        while forgotten := await self.database.writer.write(forget_keys, CHUNK):
            count += forgotten
            await asyncio.sleep(PAUSE)
        return count

    async def forget_told(self) -> int:
        """Forget what the operator was told long ago; how many webhooks."""
        count = 0
        while forgotten := await self.database.writer.write(forget_told, Forget(self.batch_ms, CHUNK)):
            count += forgotten
            await asyncio.sleep(PAUSE)
        return count

    async def forget_endpoints(self) -> int:
        """Forget endpoints that nothing has gone to for as long as batches are kept; how many."""
        count = 0
        place: str | None = ""
        while place is not None:
            async with self.database.reading() as connection:
                unused, place = await unused_endpoints(connection, place, self.batch_ms, CHUNK)
            if unused:
                count += await self.database.writer.write(forget_endpoints, unused)
            await asyncio.sleep(PAUSE)
        return count

    async def shrink(self) -> int:
        """Give back to the disk what lies free in the database's file, for a while; how many pages."""
        count, end = 0, time.monotonic() + self.shrink_seconds
        while given := await self.database.writer.write(shrink_file, None):
            count += given
            if time.monotonic() >= end:
                break
            await asyncio.sleep(PAUSE)
        return count

    async def prune(self) -> int:
        """Remove old batches with their pictures; how many."""
        count = 0
        place: Place | None = Place()
        while place is not None:
            async with self.database.reading() as connection:
                found = await prunable_batches(connection, place, self.batch_ms, CHUNK)
            if found.ids:
                gone = await self.database.writer.write(prune_batches, Prune(found.ids, self.batch_ms))
                await self._remove(self._all, gone)
                count += len(gone)
            place = found.after
            await asyncio.sleep(PAUSE)
        return count

    async def _remove(self, remove: Callable[[Gone], Awaitable[None]], gone: Sequence[Gone]) -> None:
        """Remove blobs that no row speaks of any more. What stays, e.g. in a crash, the search for orphans finds."""
        room = asyncio.Semaphore(REMOVALS_AT_ONCE)

        async def in_turn(batch: Gone) -> None:
            async with room:
                await remove(batch)

        ends = await asyncio.gather(*map(in_turn, gone), return_exceptions=True)
        if failed := [end for end in ends if isinstance(end, BaseException)]:
            raise failed[0]

    async def _inputs(self, batch: Gone) -> None:
        await self.blobs.remove_inputs(batch.workspace, batch.batch)

    async def _outputs(self, batch: Gone) -> None:
        await self.blobs.remove_outputs(batch.workspace, batch.batch, batch.lease_seq)

    async def _all(self, batch: Gone) -> None:
        await self.blobs.remove_batch(batch.workspace, batch.batch)
