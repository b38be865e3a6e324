"""Endpoints, and deliveries that they are owed, that lie in SQL without a webhook of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update

from broker.batches import new_id
from broker.endpoints import endpoint_of
from broker.store.clock import read_clock
from broker.store.endpoints import insert_endpoints
from broker.store.tables import DeliveryRow, EndpointRow, table
from tests.integration.running import Broker

ENDPOINTS, DELIVERIES = table(EndpointRow), table(DeliveryRow)
LATER = 253_402_300_000_000
"""Ms since 1970 of a day in the year 9999."""


async def place(broker: Broker, url: str, workspace: str | None = None, **values: Any) -> str:
    """The id of a new endpoint; `values` are written over its columns."""
    made = endpoint_of(broker.core.vault, workspace or broker.tenant.workspace, url)

    def write(connection: Any, endpoints: Sequence[Any]) -> list[None]:
        insert_endpoints(connection, endpoints, read_clock(connection))
        return [None] * len(endpoints)

    await broker.core.database.writer.write(write, made)
    if values:
        await broker.store.change(update(ENDPOINTS).where(ENDPOINTS.c.id == made.id).values(**values))
    return made.id


async def owe(broker: Broker, endpoint: str, count: int = 1, **values: Any) -> None:
    """Deliveries to an endpoint, pending unless `values` say otherwise."""
    for _ in range(count):
        row: dict[str, Any] = {
            "id": new_id(),
            "workspace_id": broker.tenant.workspace,
            "run": 1,
            "event": "batch.done",
            "endpoint": endpoint,
            "target": b"box",
            "body": b"{}",
            "state": "pending",
            "attempts": 0,
            "step": 0,
            "hurried": False,
            "manual": False,
            "lease_seq": 0,
            "created": 1,
        }
        await broker.store.change(insert(DELIVERIES).values(**{**row, **values}))


async def condition(broker: Broker, id: str) -> dict[str, Any]:
    """All that is stored of an endpoint."""
    return (await broker.store.row(select(ENDPOINTS).where(ENDPOINTS.c.id == id)))._asdict()
