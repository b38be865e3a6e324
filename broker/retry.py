"""Running batches again that are DONE: a new run with a completion event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from broker.batches import Outcome, Overview, Refusal
from broker.errors import Conflict, Gone, NotFound
from broker.query import Query
from broker.queue.nudge import Nudger
from broker.store.clock import read_clock
from broker.store.database import Database
from broker.store.retries import EndedBatch, EndedFilter, RetryOrder, ended_batches, retry_batches

CHUNK = 100
NAMED = 100
EXPIRED = (Refusal.INPUTS_EXPIRED, Refusal.OUTPUTS_EXPIRED)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retried:
    """What a bulk retry did: batches that run again, those that cannot, and (id, why) of the first NAMED of these."""

    count: int
    refused: int
    refusals: tuple[tuple[str, Refusal], ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The use case. `workspaces` are those that the caller may see."""

    query: Query
    database: Database
    nudger: Nudger

    async def __call__(self, id: str, workspaces: Collection[str], *, all_records: bool = False) -> Overview:
        """Queue a DONE batch again: its failed records, or all.

        It is accepted already, so no limit of open batches holds it up. Raises NotFound, Unavailable, Gone (a picture
        that is needed, or one that a good record made, is no longer kept) and Conflict: not DONE, no record failed, or
        a child or parent.
        """
        found = await self.query.overview(id, workspaces)
        retried = await self.database.writer.write(retry_batches, RetryOrder(found.id, all_records))
        if retried is None:
            raise NotFound()
        if isinstance(retried, Refusal):
            raise Gone(retried) if retried in EXPIRED else Conflict(retried)
        self._queued(retried)
        return retried

    async def many(
        self, workspace: str, outcomes: Collection[Outcome], since_ms: int, *, all_records: bool = False
    ) -> Retried:
        """Queue again what ended with one of `outcomes` from `since_ms` (ms since 1970) until now.

        Raises Unavailable: some may be queued, and asking once more queues the rest.
        """
        async with self.database.reading() as connection:
            until = await connection.run_sync(read_clock)  # what ends again during this is left alone
        which = EndedFilter(workspace, tuple(outcomes), since_ms, until)
        count, refused, after = 0, 0, None
        named: list[tuple[str, Refusal]] = []
        while chunk := await self._next(which, after):
            ids = [one.id for one in chunk if one.chosen]
            answers = await self._retry_all(ids, all_records=all_records)
            refusals = [(id, why) for id, why in zip(ids, answers, strict=True) if isinstance(why, Refusal)]
            refused += len(refusals)
            named += refusals[: NAMED - len(named)]
            count += sum(isinstance(answer, Overview) for answer in answers)
            after = chunk[-1]
        return Retried(count, refused, tuple(named))

    async def _next(self, which: EndedFilter, after: EndedBatch | None) -> list[EndedBatch]:
        async with self.database.reading() as connection:
            return await ended_batches(connection, which, after, CHUNK)

    async def _retry_all(self, ids: Sequence[str], *, all_records: bool) -> list[Overview | Refusal | None]:
        """Written at once, so that they share a commit."""
        write = self.database.writer.write
        answers = await asyncio.gather(*[write(retry_batches, RetryOrder(id, all_records)) for id in ids])
        for answer in answers:
            if isinstance(answer, Overview):
                self._queued(answer)
        return answers

    def _queued(self, batch: Overview) -> None:
        self.nudger.ring([(batch.type, batch.id)])
        log.info("batch.retried", batch=batch.id, type=batch.type, run=batch.run)
