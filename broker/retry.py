"""Running batches again that are DONE: a new run with a completion event of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.batches import Outcome, Overview
from broker.query import Query
from broker.queue.nudge import Nudger
from broker.store.database import Database


@dataclass(frozen=True, slots=True)
class Retried:
    """What a bulk retry did: batches that run again, and those of which none of it could be run again."""

    count: int
    refused: int


@dataclass(frozen=True, slots=True)
class Retry:
    """The use case. `workspaces` are those that the caller may see."""

    query: Query
    database: Database
    nudger: Nudger

    async def __call__(self, id: str, workspaces: Collection[str], *, all_records: bool = False) -> Overview:
        """Queue a DONE batch again: its failed records, or all.

        Raises NotFound, Gone (a picture that was sent along is no longer kept), Unavailable, and Conflict: not DONE,
        no record failed, or a child or parent.
        """
        raise NotImplementedError

    async def many(
        self, workspace: str, outcomes: Collection[Outcome], since_ms: int, *, all_records: bool = False
    ) -> Retried:
        """Queue again what ended with one of `outcomes` from `since_ms` (ms since 1970) until now.

        Raises Unavailable: some may be queued, and asking once more queues the rest.
        """
        raise NotImplementedError
