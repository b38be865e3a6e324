"""Deleting a batch that is DONE: its rows in one transaction, then its pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.media.blobs import Blobs
from broker.query import Query
from broker.store.database import Database


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
        raise NotImplementedError
