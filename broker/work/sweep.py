"""The caretaker: finds what a dead worker or a lost nudge left behind. Every step is bounded and idempotent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from broker.complete import Complete
from broker.errors import Unavailable
from broker.queue.nudge import Nudger
from broker.store.claims import overdue_batches
from broker.store.crashes import Look, RescueOrder, rescue_batches
from broker.store.database import Database
from broker.store.tallies import fold_tallies

SECONDS = 1.0
RESCUES = 100
OVERDUE_MS = 2_000
PART = 100
"""Looks for what is overdue take at most one second of so many, as each process that sweeps reads what may not be
claimed, as of paused workspaces,"""
LONGEST = 10.0
"""unless the next would be as many seconds away. Idle workers look for batches by themselves, nudged or not."""

log = structlog.get_logger()


class Sweep:
    """The use case. Any process may run it, beside any number of others; those that take no batches outlive crashes."""

    def __init__(
        self, database: Database, nudger: Nudger, complete: Complete, lease_seconds: float, max_crashes: int
    ) -> None:
        self._database = database
        self._nudger = nudger
        self._complete = complete
        self._lease_ms = int(lease_seconds * 1000)
        self._max_crashes = max_crashes
        self._longest_gap = int(max(2 * SECONDS * 1000, self._lease_ms / 3))
        self._since: int | None = None
        self._last = 0
        self._behind: str | None = None
        self._next_overdue = 0.0

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
        """Free leases that are over, complete parents, add up tallies, nudge for batches that are due but unclaimed."""
        look, _ = await asyncio.gather(self._rescue(), self._database.writer.write(fold_tallies, None))
        self._behind = await self._complete.finish_parents(self._behind) if look.complete else None
        overdue = await self._overdue() if look.waiting else ()
        self._nudger.ring([*((batch.type, batch.id) for batch in look.rescued), *overdue])

    async def _overdue(self) -> Sequence[tuple[str, str]]:
        if time.monotonic() < self._next_overdue:
            return ()
        async with self._database.reading() as connection:
            began = time.monotonic()
            overdue = await overdue_batches(connection, OVERDUE_MS, RESCUES)
        now = time.monotonic()
        self._next_overdue = now + pause_after(now - began)
        return overdue

    async def _rescue(self) -> Look:
        """All times are the database's. A look that comes late, e.g. after an outage, begins the watch anew."""
        since, until = (self._since, self._last + self._longest_gap) if self._since is not None else (0, 0)
        order = RescueOrder(RESCUES, self._lease_ms, since, until, self._max_crashes)
        look = await self._database.writer.write(rescue_batches, order)
        if not self._last <= look.now <= until:
            self._since = look.now
        self._last = look.now
        for batch in look.rescued:
            log.warning("batch.rescued", batch=batch.id, type=batch.type, crashes=batch.crashes)
            if batch.given_up is not None:
                log.error("record.given_up", batch=batch.id, place=batch.given_up)
        return look


def pause_after(seconds: float) -> float:
    """How long not to look for what is overdue after a look that took so long."""
    return min(PART * seconds, LONGEST)
