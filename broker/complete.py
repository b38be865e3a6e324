"""Making a batch DONE: results, state and the bytes of its webhook in one commit. The only way there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from broker.batches import Batch, Result, Status, new_id, outcome_of
from broker.deliveries import EVENT_DONE, NewDelivery, endpoint_of
from broker.dialects.registry import EVENTS
from broker.media.links import Links
from broker.queue.bell import DoneBell
from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.leases import Lease
from broker.store.results import Finish, finish_batches

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Complete:
    """The use case. `on_delivery` is told when a webhook is owed, so that a sender in this process need not look."""

    database: Database
    vault: Vault
    links: Links
    bell: DoneBell
    on_delivery: Callable[[], None] | None = None

    async def __call__(
        self, batch: Batch, stored: Sequence[Result], fresh: Sequence[Result], combined: str | None = None
    ) -> bool:
        """Finish a claimed batch. `stored` results are in SQL already; with `fresh` ones there is one a record.

        False when the lease was lost: nothing has changed. Raises Unavailable: nothing is known to have changed.
        """
        results = sorted((*stored, *fresh), key=lambda result: result.index)
        outcome = outcome_of(results)
        delivery = self._delivery(batch, results)
        finish = Finish(Lease(batch.id, batch.lease_seq), batch.run, outcome, tuple(fresh), delivery, combined)
        weight = 500 + 1000 * len(fresh) + (len(delivery.body) if delivery else 0)
        if not await self.database.writer.write(finish_batches, finish, weight=weight):
            log.warning("batch.stale", batch=batch.id, lease_seq=batch.lease_seq)
            return False
        if delivery and self.on_delivery:
            self.on_delivery()
        self.bell.announce_done([batch.id])
        log.info("batch.done", batch=batch.id, type=batch.type, outcome=outcome, records=len(results), run=batch.run)
        return True

    def _delivery(self, batch: Batch, results: Sequence[Result]) -> NewDelivery | None:
        if batch.webhook is None:
            return None
        url = json.loads(self.vault.open(Purpose.WEBHOOK_TARGET, batch.webhook))["url"]
        done = replace(batch, status=Status.DONE)
        body = EVENTS[batch.dialect](done, [self.links.resolve(batch, result) for result in results])
        return NewDelivery(
            id=new_id(),
            batch=batch.id,
            workspace=batch.workspace,
            run=batch.run,
            event=EVENT_DONE,
            endpoint=endpoint_of(batch.workspace, url),
            target=batch.webhook,
            body=body,
        )
