"""Running a claimed batch: its records, a checkpoint of each, and the end.

The records run at once; with care, after a crash, one by one, each announced before and checkpointed after, so that the
one that takes workers down is known and costs its neighbours nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.batches import Batch, Result
from broker.complete import Complete
from broker.errors import Misconfigured, Unavailable
from broker.media.blobs import Blobs
from broker.media.fetch import Fetcher
from broker.store.claims import Claim
from broker.store.crashes import Announcement, Crash, announce_records, count_crashes
from broker.store.database import Database
from broker.store.leases import GiveBack, give_back_batches
from broker.work.beat import Heartbeat
from broker.work.checkpoint import Checkpointer
from broker.work.documents import load_documents
from broker.work.record import Inputs, RecordRun, check_storable
from broker.work.references import References
from broker.work.snapshots import Snapshots

PAUSE_MS = 2_000
LONGEST_PAUSE_MS = 10_000

log = structlog.get_logger()


class LeaseLost(Exception):
    """The batch is another worker's, or nobody's, by now."""


@dataclass(frozen=True, slots=True)
class Run:
    """The use case. One a worker process; called once a claim, many at a time."""

    database: Database
    blobs: Blobs
    fetcher: Fetcher
    heartbeat: Heartbeat
    snapshots: Snapshots
    run_record: RecordRun
    complete: Complete
    max_crashes: int

    async def __call__(self, claim: Claim) -> None:
        """Bring a claimed batch to DONE. What is no fault of a record gives the batch back instead."""
        try:
            if self.heartbeat.held.begin(claim.lease):
                await self._run(claim)
            else:
                await self._give_back(claim, "lost", 0)  # it may be only in doubt, and nobody else's yet
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(claim, "stopped", 0))
            raise
        except LeaseLost:
            log.info("batch.dropped", batch=claim.id, reason="lost")
        except (Unavailable, Misconfigured) as error:
            log.warning("batch.hindered", batch=claim.id, reason=error.message)
            await self._give_back(claim, error.code, _pause(claim))
        except Exception:
            log.exception("batch.crashed", batch=claim.id)
            await self._count_crash(claim)
        finally:
            self.heartbeat.held.drop(claim.lease)

    async def _run(self, claim: Claim) -> None:
        batch = claim.batch
        known = {result.index for result in claim.results}
        places = [place for place in range(len(batch.records)) if place not in known]
        log.debug("batch.started", batch=batch.id, type=batch.type, lease_seq=batch.lease_seq, records=len(places))
        checkpointer = Checkpointer(self.database, claim.lease, batch.run, len(places))
        run_records = self._one_by_one if claim.careful else self._at_once
        spec = self.run_record.crew.specs[batch.type]
        documents = await load_documents(self.database, spec, batch)
        async with self.snapshots.of_batch(spec, batch) as paths:
            references = References(batch.workspace, documents, paths)
            records = {place: batch.records[place] for place in places}
            inputs = Inputs(self.blobs, self.fetcher, references, records, claim.pictures)
            try:
                await run_records(claim, places, inputs, checkpointer)
                await checkpointer.close()
            except BaseException:
                await asyncio.shield(checkpointer.keep())
                raise
            finally:
                inputs.close()
        stored, fresh = (*claim.results, *checkpointer.stored), checkpointer.fresh
        combined = await self._combine(batch, (*stored, *fresh))
        self.heartbeat.held.end(claim.lease)
        await self.complete(batch, stored, fresh, combined)

    async def _at_once(self, claim: Claim, places: Sequence[int], inputs: Inputs, checkpointer: Checkpointer) -> None:
        async def run(place: int) -> None:
            checkpointer.add(await self.run_record(claim.batch, place, inputs))

        if len(places) == 1:  # needs no task of its own
            await run(places[0])
            return
        try:
            async with asyncio.TaskGroup() as group:
                for place in places:
                    group.create_task(run(place))
        except* Unavailable as failed:
            raise Unavailable() from failed

    async def _one_by_one(
        self, claim: Claim, places: Sequence[int], inputs: Inputs, checkpointer: Checkpointer
    ) -> None:
        for place in places:
            announcement = Announcement(claim.lease, place)
            if not await self.database.writer.write(announce_records, announcement):
                raise LeaseLost
            checkpointer.add(await self.run_record(claim.batch, place, inputs))
            await checkpointer.flush()

    async def _combine(self, batch: Batch, results: Sequence[Result]) -> str | None:
        """What the handler says about the good records together, as JSON; an error in it costs no record its result."""
        crew = self.run_record.crew
        if not crew.combines(batch.type):
            return None
        facts = [dict(result.facts) for result in sorted(results, key=lambda result: result.index) if result.ok]
        try:
            combined = await crew.combine(batch.type, batch.id, facts)
            check_storable(combined)
        except Exception:
            log.exception("batch.combine_failed", batch=batch.id)
            return None
        return json.dumps(combined, ensure_ascii=False)

    async def _give_back(self, claim: Claim, reason: str, pause_ms: int) -> None:
        """What the database does not take now, the heartbeat gives back later."""
        give_back = GiveBack(claim.lease, pause_ms)
        try:
            held = await self.database.writer.write(give_back_batches, give_back)
        except Unavailable:
            self.heartbeat.give_back(give_back)
            return
        log.info("batch.given_back" if held else "batch.dropped", batch=claim.id, reason=reason)

    async def _count_crash(self, claim: Claim) -> None:
        """A failure of ours that nobody foresaw counts like a worker's end: it may be a record's doing."""
        crash = Crash(claim.lease, _pause(claim), self.max_crashes)
        try:
            rescued = await self.database.writer.write(count_crashes, crash)
        except Unavailable:
            self.heartbeat.give_back(GiveBack(claim.lease, crash.pause_ms))
            return
        if rescued is not None and rescued.given_up is not None:
            log.error("record.given_up", batch=claim.id, record=claim.batch.records[rescued.given_up].id)


def _pause(claim: Claim) -> int:
    """How long a batch rests that was given back for want of something: longer each time it was claimed."""
    return int(min(LONGEST_PAUSE_MS, PAUSE_MS * 2 ** min(claim.batch.lease_seq - 1, 10)))
