"""Cancelling a batch: what is finished stays, nothing else is begun, and its completion is announced."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.batches import Outcome, Overview, Refusal
from broker.complete import Complete
from broker.errors import Conflict, NotFound
from broker.query import Query


@dataclass(frozen=True, slots=True)
class Cancel:
    """The use case. `workspaces` are those that the caller may see."""

    query: Query
    complete: Complete

    async def __call__(self, id: str, workspaces: Collection[str]) -> Overview:
        """Make a batch DONE with outcome cancelled; one that is so already is answered as it stands.

        A parent's open children are cancelled with it. Raises NotFound, Conflict (it ended otherwise), Unavailable.
        """
        found = await self.query.overview(id, workspaces)
        overview = await self.complete.cancel(found.id)
        if overview is None:
            raise NotFound()
        if overview.outcome is not Outcome.CANCELLED:
            raise Conflict(Refusal.ENDED)
        return overview
