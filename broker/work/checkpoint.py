"""Keeping finished records of a running batch safe: stored at most a second after they finished."""

from __future__ import annotations

import asyncio

import structlog

from broker.batches import Result
from broker.errors import Unavailable
from broker.store.database import Database
from broker.store.leases import Lease
from broker.store.results import Checkpoint, checkpoint_results

DELAY = 1.0

log = structlog.get_logger()


class Checkpointer:
    """Collects the results of one run. `stored` are in SQL; `fresh` are to be stored by whoever completes the batch.

    The results that come with the batch's end are never checkpointed apart, so a batch of one record costs nothing.
    """

    def __init__(self, database: Database, lease: Lease, run: int, expected: int) -> None:
        self.stored: list[Result] = []
        self.fresh: list[Result] = []
        self._database = database
        self._lease = lease
        self._run = run
        self._expected = expected
        self._timer: asyncio.Task[None] | None = None

    def add(self, result: Result) -> None:
        """Take a finished record's result; it is stored within a second unless the batch ends before."""
        self.fresh.append(result)
        if self._timer is None and self._expected > 1:
            self._timer = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Store now what is fresh, but for the batch's last results, which its end stores."""
        if len(self.stored) + len(self.fresh) < self._expected:
            await self.close()
            self._timer = None
            await self._flush()

    async def keep(self) -> None:
        """Store all that is fresh, since the run ends here and another one does the rest."""
        await self.close()
        if self.fresh:
            await self._flush()

    async def close(self) -> None:
        """End the timer. A flush that has begun is waited for, so that `stored` and `fresh` are exact.

        Whoever cancels the caller meanwhile cancels it, not the flush.
        """
        if self._timer is not None:
            if not self._timer.cancelling():  # a second one would break into the waiting for the flush
                self._timer.cancel()
            await asyncio.wait({self._timer})

    async def _flush_later(self) -> None:
        held = True
        while held and self.fresh:
            await asyncio.sleep(DELAY)
            flush = asyncio.create_task(self._flush())
            try:
                held = await asyncio.shield(flush)
            except asyncio.CancelledError:
                await asyncio.wait({flush})
                raise
        self._timer = None

    async def _flush(self) -> bool:
        """False when the lease is lost. What could not be stored stays fresh."""
        batch = tuple(self.fresh)
        checkpoint = Checkpoint(self._lease, self._run, batch)
        try:
            held = await self._database.writer.write(checkpoint_results, checkpoint, weight=1000 * len(batch))
        except Unavailable:
            log.warning("batch.checkpoint_failed", batch=self._lease.batch, records=len(batch))
            return True
        if held:
            self.stored += batch
            self.fresh = self.fresh[len(batch) :]
        return held
