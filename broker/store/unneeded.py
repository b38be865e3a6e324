"""Queries that forget webhooks of no batch once they are old, and endpoints that no delivery goes to any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, bindparam, delete, exists, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.endpoints import Health
from broker.store.clock import moment
from broker.store.deliveries import OWED
from broker.store.tables import AttemptRow, DeliveryRow, EndpointRow, table

_deliveries, _attempts, _endpoints = table(DeliveryRow), table(AttemptRow), table(EndpointRow)


@dataclass(frozen=True, slots=True)
class Forget:
    """Of what is older than `age_ms`, at most `limit`."""

    age_ms: int
    limit: int


def forget_told(connection: Connection, orders: Sequence[Forget]) -> list[int]:
    """Forget webhooks to the operator that are owed no more, with their attempts, the oldest first; how many."""
    return [_forget_told(connection, order) for order in orders]


def _forget_told(connection: Connection, order: Forget) -> int:
    ids = list(connection.scalars(_TOLD, {"age_ms": order.age_ms, "limit": order.limit}))
    connection.execute(delete(_attempts).where(_attempts.c.delivery_id.in_(ids)))
    connection.execute(delete(_deliveries).where(_deliveries.c.id.in_(ids)))
    return len(ids)


async def unused_endpoints(
    connection: AsyncConnection, after: str, age_ms: int, limit: int
) -> tuple[list[str], str | None]:
    """Look at the next `limit` old endpoints behind `after`: those that may go, and where to go on, None at the end."""
    rows = (await connection.execute(_OLD, {"after": after, "age_ms": age_ms, "limit": limit})).all()
    return [row.id for row in rows if row.unused], rows[-1].id if len(rows) == limit else None


def forget_endpoints(connection: Connection, orders: Sequence[Sequence[str]]) -> list[int]:
    """Forget endpoints unless a delivery goes there after all, or is being born; how many."""
    return [_forget(connection, ids) for ids in orders]


def _forget(connection: Connection, ids: Sequence[str]) -> int:
    """Lock, then look: a delivery that was born meanwhile shows."""
    mine = list(connection.scalars(_LOCK.where(_endpoints.c.id.in_(ids))))
    return connection.execute(_FORGET.where(_endpoints.c.id.in_(mine))).rowcount


_TOLD = (
    select(_deliveries.c.id)
    .where(
        _deliveries.c.batch_id.is_(None),
        _deliveries.c.created < moment(bindparam("age_ms", type_=BigInteger)),
        ~OWED,
    )
    .order_by(_deliveries.c.created)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_unused = ~exists().where(_deliveries.c.endpoint == _endpoints.c.id)
_OLD = (
    select(_endpoints.c.id, _unused.label("unused"))
    .where(
        _endpoints.c.id > bindparam("after"),
        _endpoints.c.created < moment(bindparam("age_ms", type_=BigInteger)),
        # A disabled one would be healthy when it is met again.
        _endpoints.c.state != literal(Health.DISABLED.value),
    )
    .order_by(_endpoints.c.id)
    .limit(bindparam("limit"))
)
_LOCK = select(_endpoints.c.id).with_for_update(skip_locked=True)
_FORGET = delete(_endpoints).where(_unused, _endpoints.c.state != literal(Health.DISABLED.value))
