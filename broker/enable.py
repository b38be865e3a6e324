"""Enabling an endpoint again: its failures are forgotten, and what it is owed is sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from broker.endpoint_query import EndpointQuery, Standing
from broker.store.database import Database
from broker.store.endpoints import enable_endpoints

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Enable:
    """The use case. `workspaces` are those that the caller may see."""

    query: EndpointQuery
    database: Database

    async def __call__(self, id: str, workspaces: Collection[str]) -> Standing:
        """Make an endpoint healthy, its circuit breaker closed; one that is healthy is answered as it stands.

        Deliveries that were stopped while it was disabled stay so. Raises NotFound, Unavailable.
        """
        found = await self.query.one(id, workspaces)
        if await self.database.writer.write(enable_endpoints, found.id):
            log.info("endpoint.enabled", endpoint=found.id, workspace=found.workspace)
        return await self.query.one(id, workspaces)
