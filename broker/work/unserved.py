"""Tells the operator of batches that no worker takes, as of a type whose package was uninstalled everywhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from broker.errors import Unavailable
from broker.store.chores import Turn, take_turn
from broker.store.database import Database
from broker.store.unserved import unserved_types

SECONDS = 60.0
LATE_MS = 60_000
TURN_MS = 50_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unserved:
    """The use case. For web processes: they are there even when no worker is."""

    database: Database
    pause_seconds: float = SECONDS

    async def run(self) -> None:
        """Look every `pause_seconds` until cancelled; one process of the fleet does."""
        while True:
            await asyncio.sleep(self.pause_seconds)
            try:
                if await self.database.writer.write(take_turn, Turn("unserved", TURN_MS)):
                    await self.once()
            except Unavailable:
                log.warning("unserved.failed")

    async def once(self) -> None:
        """One warning for each type that has a batch which is due for a minute, and none that runs."""
        async with self.database.reading() as connection:
            types = await unserved_types(connection, LATE_MS)
        for unserved in types:
            seconds = unserved.late_ms // 1000
            log.warning("type.unserved", type=unserved.type, batch=unserved.batch, seconds=seconds)
