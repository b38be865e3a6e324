"""Deliveries that lie in SQL without a batch that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from broker.batches import Webhook, new_id
from broker.deliveries import EVENT_DONE, NewDelivery, seal_target
from broker.endpoints import endpoint_id, endpoint_of
from broker.store.clock import read_clock
from broker.store.owed import insert_deliveries
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table
from tests.integration.running import Broker

DELIVERIES, ATTEMPTS, ENDPOINTS = table(DeliveryRow), table(AttemptRow), table(EndpointRow)
HOOK = "https://hooks.example.com/done"


async def owe(
    broker: Broker,
    count: int = 1,
    *,
    url: str = HOOK,
    headers: Mapping[str, str] | None = None,
    workspace: str | None = None,
    batch: str | None = None,
    **values: Any,
) -> list[str]:
    """Ids of `count` further deliveries, the newest first; `values` are written over their columns."""
    vault, owner = broker.core.vault, workspace or broker.tenant.workspace
    target = seal_target(vault, Webhook(url, headers or {}))
    made = [
        NewDelivery(
            id=new_id(),
            batch=batch,
            workspace=owner,
            run=1,
            event=EVENT_DONE,
            endpoint=endpoint_of(vault, owner, url),
            target=target,
            body=b'{"status":"DONE"}',
        )
        for _ in range(count)
    ]
    await broker.core.database.writer.write(_insert, (made, values))
    return [delivery.id for delivery in reversed(made)]


def _insert(connection: Connection, groups: Sequence[tuple[Sequence[NewDelivery], Mapping[str, Any]]]) -> list[None]:
    """In one transaction, so that no sender comes between."""
    for made, values in groups:
        insert_deliveries(connection, made, read_clock(connection))
        if values:
            ids = [delivery.id for delivery in made]
            connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(ids)).values(**values))
    return [None] * len(groups)


async def delivery_row(broker: Broker, id: str | None = None) -> Row[Any]:
    """A delivery, by default the only one."""
    every = select(DELIVERIES)
    return await broker.store.row(every if id is None else every.where(DELIVERIES.c.id == id))


async def change_endpoint(broker: Broker, url: str = HOOK, **values: Any) -> str:
    """The id of the default tenant's endpoint for this URL, whose columns are changed."""
    id = endpoint_id(broker.tenant.workspace, url)
    assert await broker.store.change(update(ENDPOINTS).where(ENDPOINTS.c.id == id).values(**values)) == 1
    return id


async def attempt_rows(broker: Broker, id: str | None = None) -> list[tuple[int, bool, int | None, str | None]]:
    """(number, manual, status, error) of a delivery's attempts in their order, by default of all."""
    some = select(ATTEMPTS.c.number, ATTEMPTS.c.manual, ATTEMPTS.c.status_code, ATTEMPTS.c.error)
    some = some.order_by(ATTEMPTS.c.delivery_id, ATTEMPTS.c.number)
    rows = await broker.store.rows(some if id is None else some.where(ATTEMPTS.c.delivery_id == id))
    return [(row.number, row.manual, row.status_code, row.error) for row in rows]


async def shown_answers(broker: Broker, id: str) -> list[str | None]:
    """What may be seen of the answers to a delivery's tries."""
    return [one["response"] for one in (await broker.get(f"/api/deliveries/{id}"))["tries"]]
