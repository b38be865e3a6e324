"""Making a batch DONE: results, state and the bytes of its webhook in one commit. The only way there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from msgspec.structs import replace

from broker.batches import CANCELLED_CODE, CANCELLED_TEXT, Batch, Outcome, Overview, Result, Status, new_id, outcome_of
from broker.deliveries import EVENT_DONE, DueDelivery, NewDelivery, open_target
from broker.dialects.registry import EVENTS
from broker.endpoints import endpoint_of
from broker.errors import Unavailable
from broker.media.links import Links
from broker.queue.bell import DoneBell
from broker.secrets import Vault
from broker.store.children import complete_parent_ids
from broker.store.database import Database
from broker.store.ends import Ended, EndOrder, Finish, cancel_batches, complete_parents, finish_batches
from broker.store.leases import Lease

PARENTS = 10

log = structlog.get_logger()


class Outbox(Protocol):
    """Who sends webhooks in this process."""

    def offer(self, delivery: NewDelivery) -> NewDelivery:
        """The delivery, to be begun by its birth if there is room for it; must be followed by `owed`."""

    def owed(self, delivery: NewDelivery, begun: DueDelivery | None) -> None:
        """It is written down, and begun or not; or nothing of it is known."""

    def wake(self) -> None:
        """Some delivery may be due."""


@dataclass(frozen=True, slots=True)
class Complete:
    """The use case. `outbox` is told when a webhook is owed, so that a sender in this process need not look."""

    database: Database
    vault: Vault
    links: Links
    bell: DoneBell
    outbox: Outbox | None = None

    async def __call__(
        self, batch: Batch, stored: Sequence[Result], fresh: Sequence[Result], combined: str | None = None
    ) -> bool:
        """Finish a claimed batch. `stored` results are in SQL already; with `fresh` ones there is one a record.

        False when the lease was lost: nothing has changed. Raises Unavailable: nothing is known to have changed.
        """
        outcome = outcome_of((*stored, *fresh))
        finish = self._finish(batch, stored, fresh, outcome, combined)
        delivery = finish.delivery
        weight = 500 + 1000 * len(fresh) + (len(delivery.body) if delivery else 0)
        ended = await self._end(finish, weight)
        if ended is None:
            log.warning("batch.stale", batch=batch.id, lease_seq=batch.lease_seq)
            return False
        self.bell.announce_done([batch.id])
        records = len(batch.records)
        log.info("batch.done", batch=batch.id, type=batch.type, outcome=outcome, records=records, run=batch.run)
        await self._complete_soon(ended.complete)
        return True

    async def _end(self, finish: Finish, weight: int) -> Ended | None:
        """None where the lease was lost."""
        delivery = finish.delivery
        if delivery is None or self.outbox is None:
            return await self.database.writer.write(finish_batches, finish, weight=weight)
        offered, begun = self.outbox.offer(delivery), None
        try:
            offering = replace(finish, delivery=offered)
            ended = await self.database.writer.write(finish_batches, offering, weight=weight)
            begun = ended.begun if ended else None
            return ended
        finally:
            self.outbox.owed(delivery, begun)

    async def cancel(self, id: str) -> Overview | None:
        """End a batch now, and a parent's open children; one that is DONE stays as it is. None: there is none.

        Raises Unavailable: nothing is known to have changed.
        """
        cancelled = await self.database.writer.write(cancel_batches, EndOrder(id, self._cancelled))
        if cancelled is None:
            return None
        if cancelled.ended:
            self._announce(cancelled.ended)
            log.info("batch.cancelled", batch=id, run=cancelled.overview.run, children=len(cancelled.ended) - 1)
        await self._complete_soon(cancelled.complete)
        return cancelled.overview

    async def finish_parents(self, after: str | None = None) -> str | None:
        """Complete PARENTS of those that wait for no child any more, by id, from the one behind `after` on.

        Returns the last one if there may be more: going on behind it, those whose end cannot be made hinder no others.
        Raises Unavailable.
        """
        async with self.database.reading() as connection:
            parents = await complete_parent_ids(connection, PARENTS, after)
        for parent in parents:
            await self._complete(parent)
        return parents[-1] if len(parents) == PARENTS else None

    async def _complete_soon(self, parent: str | None) -> None:
        """Its last child is DONE; what fails here is found again by `finish_parents`."""
        if parent is None:
            return
        try:
            await self._complete(parent)
        except Unavailable:
            log.warning("parent.left_behind", batch=parent)

    async def _complete(self, parent: str) -> None:
        """Raises Unavailable. Whatever else stops its end, e.g. a key that is gone, is no fault of who asks for it."""
        try:
            done = await self.database.writer.write(complete_parents, EndOrder(parent, self._completed))
        except Unavailable:
            raise
        except Exception:
            log.exception("parent.failed", batch=parent)
            return
        if done:
            self._announce([parent])
            log.info("parent.done", batch=parent)

    def _announce(self, ids: Sequence[str]) -> None:
        if self.outbox is not None:
            self.outbox.wake()
        self.bell.announce_done(ids)

    def _cancelled(self, batch: Batch, stored: Sequence[Result]) -> Finish:
        known = {result.index for result in stored}
        fresh = [
            Result(place, CANCELLED_CODE, CANCELLED_TEXT, new_id())
            for place in range(len(batch.records))
            if place not in known
        ]
        return self._finish(batch, stored, fresh, Outcome.CANCELLED)

    def _completed(self, parent: Batch, results: Sequence[Result]) -> Finish:
        return self._finish(parent, results, (), outcome_of(results))

    def _finish(
        self,
        batch: Batch,
        stored: Sequence[Result],
        fresh: Sequence[Result],
        outcome: Outcome,
        combined: str | None = None,
    ) -> Finish:
        results = sorted((*stored, *fresh), key=lambda result: result.index)
        return Finish(
            lease=Lease(batch.id, batch.lease_seq),
            run=batch.run,
            outcome=outcome,
            results=tuple(fresh),
            delivery=self._delivery(batch, outcome, results),
            combined=combined,
            parent=batch.parent,
        )

    def _delivery(self, batch: Batch, outcome: Outcome, results: Sequence[Result]) -> NewDelivery | None:
        if batch.webhook is None:
            return None
        url = open_target(self.vault, batch.webhook).url
        done = replace(batch, status=Status.DONE, outcome=outcome)
        body = EVENTS[batch.dialect](done, [self.links.resolve(batch, result) for result in results])
        return NewDelivery(
            id=new_id(),
            batch=batch.id,
            workspace=batch.workspace,
            run=batch.run,
            event=EVENT_DONE,
            endpoint=endpoint_of(self.vault, batch.workspace, url),
            target=batch.webhook,
            body=body,
        )
