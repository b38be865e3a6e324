"""Keeping the leases of running batches: one statement for all of them, three times a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from broker.errors import Unavailable
from broker.store.database import Database
from broker.store.leases import Beat, Claim, Lease, extend_leases

log = structlog.get_logger()


@dataclass(slots=True)
class Heartbeat:
    """The leases that this process holds, and the tasks that end when one is lost."""

    database: Database
    owner: str
    lease_seconds: float
    _held: dict[Lease, asyncio.Task[Any] | None] = field(default_factory=dict)

    def hold(self, claim: Claim) -> None:
        """Begin to extend the lease of a batch that the current task runs."""
        self._held[claim.lease] = asyncio.current_task()

    def drop(self, claim: Claim) -> None:
        self._held.pop(claim.lease, None)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            await self._beat()

    async def _beat(self) -> None:
        if not self._held:
            return
        asked = dict(self._held)
        beat = Beat(self.owner, tuple(asked), int(self.lease_seconds * 1000))
        try:
            held = await self.database.writer.write(extend_leases, beat)
        except Unavailable:
            log.warning("lease.beat_failed", leases=len(asked))
            return
        self._cancel_lost(asked, held)

    def _cancel_lost(self, asked: Mapping[Lease, asyncio.Task[Any] | None], held: frozenset[Lease]) -> None:
        for lease, task in asked.items():
            if lease not in held and lease in self._held and task is not None:
                log.warning("lease.lost", batch=lease.batch, lease_seq=lease.seq)
                task.cancel()
