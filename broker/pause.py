"""Holding batches back, one by one or all of a workspace, and letting them go on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from broker.batches import Overview, Refusal, Status
from broker.errors import Conflict, NotFound
from broker.query import Query
from broker.queue.nudge import Nudger
from broker.store.database import Database
from broker.store.pauses import pause_batches, resume_batches
from broker.store.workspaces import Hold, hold_workspaces

log = structlog.get_logger()


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
        found = await self.query.overview(id, workspaces)
        moved = await self.database.writer.write(pause_batches, found.id)
        if moved is None:
            raise NotFound()
        if moved.overview.status is not Status.PAUSED:
            raise Conflict(Refusal.NOT_WAITING)
        if moved.changed:
            log.info("batch.paused", batch=found.id)
        return moved.overview

    async def resume(self, id: str, workspaces: Collection[str]) -> Overview:
        """Put a paused batch, and a parent's paused children, back in their place of the queue.

        Raises NotFound, Conflict (it is not paused), Unavailable.
        """
        found = await self.query.overview(id, workspaces)
        moved = await self.database.writer.write(resume_batches, found.id)
        if moved is None:
            raise NotFound()
        if not moved.changed:
            raise Conflict(Refusal.NOT_PAUSED)
        self.nudger.ring(moved.due)
        log.info("batch.resumed", batch=found.id)
        return moved.overview

    async def pause_workspace(self, workspace: str) -> None:
        """Claim nothing of a workspace from now on; it still accepts. Raises NotFound, Unavailable."""
        await self._hold(workspace, paused=True)

    async def resume_workspace(self, workspace: str) -> None:
        """Claim what a workspace has queued meanwhile. Raises NotFound, Unavailable."""
        await self._hold(workspace, paused=False)

    async def _hold(self, workspace: str, *, paused: bool) -> None:
        """No nudges: workers look by themselves within a second, and the sweep rings for what stays behind."""
        if not await self.database.writer.write(hold_workspaces, Hold(workspace, paused)):
            raise NotFound()
        log.info("workspace.paused" if paused else "workspace.resumed", workspace=workspace)
