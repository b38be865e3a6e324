"""Queries that write down webhooks that are owed from now on: due, or begun by who owes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, insert

from broker.deliveries import DueDelivery, NewDelivery, State
from broker.store.driver import insert_rows, rows_text
from broker.store.endpoints import insert_endpoints
from broker.store.tables import AttemptRow, DeliveryRow, table

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)


def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery], now: int) -> list[DueDelivery]:
    """Owe webhooks from `now` on, ms of `db_now()`. Returns those that are begun: `claim_ms` is given, and the endpoint
    is open.

    They are claimed, and the rows of their first tries are written, as if a claim had found them at once.
    """
    if not deliveries:
        return []
    is_open = insert_endpoints(connection, [delivery.endpoint for delivery in deliveries], now)
    begun = [one for one in deliveries if one.claim_ms is not None and one.endpoint.id in is_open]
    tried = {one.id for one in begun}
    rows = [_row(delivery, delivery.id in tried, now) for delivery in deliveries]
    insert_rows(connection, _insert_text(connection.dialect), rows)
    if begun:
        tries = [(one.id, 1, False, now) for one in begun]
        insert_rows(connection, _insert_tries_text(connection.dialect), tries)
    return [one.first_try() for one in begun]


def _row(delivery: NewDelivery, tried: bool, now: int) -> tuple[Any, ...]:
    """What the columns _GIVEN hold."""
    return (
        delivery.id,
        delivery.workspace,
        delivery.batch,
        delivery.run,
        delivery.event,
        delivery.endpoint.id,
        delivery.target,
        delivery.body,
        State.PENDING.value,
        *(int(tried), int(tried)),
        *(False, False),
        now + (delivery.claim_ms or 0) if tried else now,
        int(tried),
        now,
    )


_GIVEN = (
    "id workspace_id batch_id run event endpoint target body state attempts step hurried manual due lease_seq created"
).split()


@lru_cache
def _insert_text(dialect: Dialect) -> str:
    return rows_text(insert(_deliveries), dialect, _GIVEN)


@lru_cache
def _insert_tries_text(dialect: Dialect) -> str:
    return rows_text(insert(_attempts), dialect, ["delivery_id", "number", "manual", "started"])
