"""Deleting a batch that is DONE: its rows in one transaction, then its pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from broker.batches import Refusal
from broker.errors import Conflict, NotFound, Unavailable
from broker.media.blobs import Blobs
from broker.query import Query
from broker.store.database import Database
from broker.store.deletions import delete_batches

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delete:
    """The use case. `workspaces` are those that the caller may see."""

    query: Query
    database: Database
    blobs: Blobs

    async def __call__(self, id: str, workspaces: Collection[str]) -> None:
        """Remove a DONE batch with its results, deliveries and attempts; a parent with its children.

        A webhook that is still owed is dropped, a try that is under way may still arrive. Pictures that cannot be
        removed now are left for the search for orphans. Raises NotFound, Conflict (not DONE, or a child), Unavailable.
        """
        found = await self.query.overview(id, workspaces)
        removed = await self.database.writer.write(delete_batches, found.id)
        if removed is None:
            raise NotFound()
        if isinstance(removed, Refusal):
            raise Conflict(removed)
        log.info("batch.deleted", batch=found.id, children=len(removed) - 1)
        for batch in removed:
            await self._remove_blobs(found.workspace, batch)

    async def _remove_blobs(self, workspace: str, batch: str) -> None:
        try:
            await self.blobs.remove_batch(workspace, batch)
        except Unavailable:
            log.warning("batch.blobs_left", batch=batch)
