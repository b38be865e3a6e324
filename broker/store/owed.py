"""Queries that write down webhooks that are owed from now on: due, or begun by who owes them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Connection, insert

from broker.deliveries import DueDelivery, NewDelivery, State
from broker.store.clock import read_clock
from broker.store.endpoints import insert_endpoints
from broker.store.tables import AttemptRow, DeliveryRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery]) -> list[DueDelivery]:
    """Owe webhooks. Returns those that are begun: `claim_ms` is given, and the endpoint is open.

    They are claimed, and the rows of their first tries are written, as if a claim had found them at once.
    """
    if not deliveries:
        return []
    is_open = insert_endpoints(connection, [delivery.endpoint for delivery in deliveries])
    begun = [one for one in deliveries if one.claim_ms is not None and one.endpoint.id in is_open]
    now = read_clock(connection)
    connection.execute(insert(_deliveries), _rows(deliveries, {one.id for one in begun}, now))
    if begun:
        tries = [{"delivery_id": one.id, "number": 1, "manual": False, "started": now} for one in begun]
        connection.execute(insert(_attempts), tries)
    return [_begun(one) for one in begun]


def _rows(deliveries: Sequence[NewDelivery], begun: AbstractSet[str], now: int) -> list[dict[str, Any]]:
    return [
        {
            "id": delivery.id,
            "workspace_id": delivery.workspace,
            "batch_id": delivery.batch,
            "run": delivery.run,
            "event": delivery.event,
            "endpoint": delivery.endpoint.id,
            "target": delivery.target,
            "body": delivery.body,
            "state": State.PENDING,
            "attempts": 1 if delivery.id in begun else 0,
            "step": 1 if delivery.id in begun else 0,
            "hurried": False,
            "manual": False,
            "due": now + (delivery.claim_ms or 0) if delivery.id in begun else now,
            "lease_seq": 1 if delivery.id in begun else 0,
            "created": now,
        }
        for delivery in deliveries
    ]


def _begun(delivery: NewDelivery) -> DueDelivery:
    return DueDelivery(
        id=delivery.id,
        batch=delivery.batch,
        workspace=delivery.workspace,
        endpoint=delivery.endpoint.id,
        origin=delivery.endpoint.origin,
        target=delivery.target,
        body=delivery.body,
        lease_seq=1,
        attempt=1,
        step=1,
        hurried=False,
        manual=False,
        state=State.PENDING,
    )
