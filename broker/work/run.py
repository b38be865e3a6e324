"""Running a claimed batch: its records at once, a checkpoint of each, and the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.batches import Batch, Result
from broker.complete import Complete
from broker.errors import Unavailable
from broker.media.blobs import Blobs
from broker.media.fetch import Fetcher
from broker.store.database import Database
from broker.store.leases import Claim, GiveBack, give_back_batches
from broker.work.beat import Heartbeat
from broker.work.checkpoint import Checkpointer
from broker.work.documents import load_documents
from broker.work.record import Inputs, RecordRun, check_storable

PAUSE_MS = 2_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """The use case. One a worker process; called once a claim, many at a time."""

    database: Database
    blobs: Blobs
    fetcher: Fetcher
    heartbeat: Heartbeat
    run_record: RecordRun
    complete: Complete

    async def __call__(self, claim: Claim) -> None:
        """Bring a claimed batch to DONE. What is no fault of a record gives the batch back instead."""
        self.heartbeat.hold(claim)
        try:
            await self._finish(claim)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(claim, "stopped", 0))
            raise
        except Unavailable as error:
            await self._give_back(claim, error.code, PAUSE_MS)
        except Exception:
            log.exception("batch.crashed", batch=claim.id)
            await self._give_back(claim, "crashed", PAUSE_MS)

    async def _finish(self, claim: Claim) -> None:
        batch = claim.batch
        known = {result.index for result in claim.results}
        places = [place for place in range(len(batch.records)) if place not in known]
        log.debug("batch.started", batch=batch.id, type=batch.type, lease_seq=batch.lease_seq, records=len(places))
        spec = self.run_record.crew.specs[batch.type]
        inputs = Inputs(
            self.blobs,
            self.fetcher,
            await load_documents(self.database, spec, batch),
            [batch.records[place] for place in places],
        )
        checkpointer = Checkpointer(self.database, claim.lease, batch.run, len(batch.records))
        try:
            async with asyncio.TaskGroup() as group:
                for place in places:
                    group.create_task(self._run_record(claim, place, inputs, checkpointer))
        except* Unavailable as failed:
            raise Unavailable() from failed
        finally:
            inputs.close()
            await checkpointer.close()
        stored, fresh = (*claim.results, *checkpointer.stored), checkpointer.fresh
        combined = await self._combine(batch, (*stored, *fresh))
        self.heartbeat.drop(claim)  # a beat in the same commit as the end would find the lease gone and call it lost
        await self.complete(batch, stored, fresh, combined)

    async def _combine(self, batch: Batch, results: Sequence[Result]) -> str | None:
        """What the handler says about the good records together, as JSON; an error in it costs no record its result."""
        facts = [dict(result.facts) for result in sorted(results, key=lambda result: result.index) if result.ok]
        try:
            combined = await self.run_record.crew.combine(batch.type, batch.id, facts)
            if combined is None:
                return None
            check_storable(combined)
        except Exception:
            log.exception("batch.combine_failed", batch=batch.id)
            return None
        return json.dumps(combined, ensure_ascii=False)

    async def _run_record(self, claim: Claim, place: int, inputs: Inputs, checkpointer: Checkpointer) -> None:
        checkpointer.add(await self.run_record(claim.batch, place, inputs))

    async def _give_back(self, claim: Claim, reason: str, pause_ms: int) -> None:
        """A lease that cannot be given back runs out by itself; one that was lost is not ours to give."""
        self.heartbeat.drop(claim)
        try:
            held = await self.database.writer.write(give_back_batches, GiveBack(claim.lease, pause_ms))
        except Unavailable:
            held = False
        log.info("batch.given_back" if held else "batch.dropped", batch=claim.id, reason=reason)
