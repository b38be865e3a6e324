"""The caretaker: finds what a dead worker or a lost nudge left behind. Every step is bounded and idempotent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from broker.errors import Unavailable
from broker.queue.nudge import Nudger
from broker.store.database import Database
from broker.store.leases import overdue_batches, rescue_batches

SECONDS = 1.0
RESCUES = 100
OVERDUE_MS = 2_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sweep:
    """The use case."""

    database: Database
    nudger: Nudger

    async def run(self) -> None:
        """Sweep every second until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self.once()
            except Unavailable:
                log.warning("sweep.failed")

    async def once(self) -> None:
        """Free leases that are over, and nudge for batches that are due but were not claimed."""
        rescued = await self.database.writer.write(rescue_batches, RESCUES)
        for type, id in rescued:
            log.warning("batch.rescued", batch=id, type=type)
        async with self.database.reading() as connection:
            overdue = await overdue_batches(connection, OVERDUE_MS, RESCUES)
        self.nudger.ring([*rescued, *overdue])
