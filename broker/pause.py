"""Holding batches back, one by one or all of a workspace, and letting them go on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.batches import Overview
from broker.query import Query
from broker.queue.nudge import Nudger
from broker.store.database import Database


@dataclass(frozen=True, slots=True)
class Pause:
    """The use case. `workspaces` are those that the caller may see."""

    query: Query
    database: Database
    nudger: Nudger

    async def pause(self, id: str, workspaces: Collection[str]) -> Overview:
        """Keep a waiting batch from being claimed; one that is paused already is answered as it stands.

        A parent's waiting children pause with it; those that run go on to their end. Raises NotFound, Conflict (it
        runs or is DONE), Unavailable.
        """
        raise NotImplementedError

    async def resume(self, id: str, workspaces: Collection[str]) -> Overview:
        """Put a paused batch, and a parent's paused children, back in their place of the queue.

        Raises NotFound, Conflict (it is not paused), Unavailable.
        """
        raise NotImplementedError

    async def pause_workspace(self, workspace: str) -> None:
        """Claim nothing of a workspace from now on; it still accepts. Raises NotFound, Unavailable."""
        raise NotImplementedError

    async def resume_workspace(self, workspace: str) -> None:
        """Claim what a workspace has queued meanwhile. Raises NotFound, Unavailable."""
        raise NotImplementedError
