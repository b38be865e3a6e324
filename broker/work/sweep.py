"""The caretaker: finds what a dead worker or a lost nudge left behind. Every step is bounded and idempotent."""

from __future__ import annotations

import asyncio

import structlog

from broker.errors import Unavailable
from broker.queue.nudge import Nudger
from broker.store.crashes import Rescued, RescueOrder, look_at_leases, rescue_batches
from broker.store.database import Database
from broker.store.leases import overdue_batches

SECONDS = 1.0
RESCUES = 100
OVERDUE_MS = 2_000

log = structlog.get_logger()


class Sweep:
    """The use case. Any process may run it, beside any number of others; those that take no batches outlive crashes."""

    def __init__(self, database: Database, nudger: Nudger, lease_seconds: float, max_crashes: int) -> None:
        self._database = database
        self._nudger = nudger
        self._lease_ms = int(lease_seconds * 1000)
        self._max_crashes = max_crashes
        self._since: int | None = None
        self._last = 0

    async def run(self) -> None:
        """Sweep every second until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self.once()
            except Unavailable:
                self._since = None
                log.warning("sweep.failed")

    async def once(self) -> None:
        """Free leases that are over, and nudge for batches that are due but were not claimed."""
        async with self._database.reading() as connection:
            now, over = await look_at_leases(connection)
            overdue = await overdue_batches(connection, OVERDUE_MS, RESCUES)
        since = self._watched_since(now)
        rescued = await self._rescue(since) if over and now - since > self._lease_ms else []
        self._nudger.ring([*((batch.type, batch.id) for batch in rescued), *overdue])

    def _watched_since(self, now: int) -> int:
        """The time from which on we have looked at the database without a gap. All times are the database's."""
        longest = max(2 * SECONDS * 1000, self._lease_ms / 3)
        if self._since is None or not 0 <= now - self._last <= longest:
            self._since = now
        self._last = now
        return self._since

    async def _rescue(self, since: int) -> list[Rescued]:
        order = RescueOrder(RESCUES, self._lease_ms, since, self._max_crashes)
        rescued = await self._database.writer.write(rescue_batches, order)
        for batch in rescued:
            log.warning("batch.rescued", batch=batch.id, type=batch.type, crashes=batch.crashes)
            if batch.given_up is not None:
                log.error("record.given_up", batch=batch.id, place=batch.given_up)
        return rescued
