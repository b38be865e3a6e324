"""Queries that forget batches: which of the old ones are needed for nothing any more, and removing those."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store.columns import Id
from broker.store.deliveries import OWED
from broker.store.ended import Gone, Place, gone, is_over, next_ended, walk
from broker.store.given import given
from broker.store.removal import remove_rows
from broker.store.tables import BatchRow, DeliveryRow, table

_batches, _deliveries = table(BatchRow), table(DeliveryRow)
_parent, _child = _batches.alias("parent"), _batches.alias("child")


@dataclass(frozen=True, slots=True)
class Prune:
    """Remove those of `ids` that ended over `age_ms` ago and are needed for nothing."""

    ids: tuple[str, ...]
    age_ms: int


@dataclass(frozen=True, slots=True)
class Prunable:
    """Those of a chunk that may go. after: the chunk's last place, None when the walk is over."""

    ids: tuple[str, ...]
    after: Place | None


async def prunable_batches(connection: AsyncConnection, after: Place, age_ms: int, limit: int) -> Prunable:
    """Look at the next `limit` batches that ended over `age_ms` ago."""
    rows = (await connection.execute(_NEXT, walk(after, age_ms, limit))).all()
    last = Place(rows[-1].finished, rows[-1].id) if len(rows) == limit else None
    return Prunable(tuple(row.id for row in rows if row.unneeded), last)


def prune_batches(connection: Connection, orders: Sequence[Prune]) -> list[tuple[Gone, ...]]:
    """Remove batches with all that hangs on them; returns those that went.

    One stays while a webhook of it is owed, a child until its parent may go too, a parent until its children are gone.
    """
    return [_prune(connection, order) for order in orders]


def _prune(connection: Connection, order: Prune) -> tuple[Gone, ...]:
    dialect = connection.dialect.name
    ids = {"given": json.dumps([[id] for id in order.ids])}
    rows = connection.execute(_lock_statement(dialect), {**ids, "age_ms": order.age_ms}).all()
    deliveries = connection.execute(_lock_deliveries_statement(dialect), ids)
    owed = {delivery.batch_id for delivery in deliveries if delivery.owed}
    removed = gone(row for row in rows if row.id not in owed)
    remove_rows(connection, [batch.batch for batch in removed])
    return removed


def _is_unneeded(batch: FromClause) -> ColumnElement[bool]:
    return and_(
        ~exists().where(_deliveries.c.batch_id == batch.c.id, OWED),
        ~exists().where(_child.c.parent_id == batch.c.id),
        or_(batch.c.parent_id.is_(None), exists().where(_parent.c.id == batch.c.parent_id, is_over(_parent))),
    )


_ended = next_ended(_batches.c.parent_id).subquery("ended")
# The questions are asked about the chunk alone: PostgreSQL plans for all that a limit around them would cut off.
_NEXT = select(_ended, _is_unneeded(_ended).label("unneeded")).order_by(_ended.c.finished, _ended.c.id)


@lru_cache
def _lock_statement(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id)
    return (
        select(_batches.c.id, _batches.c.workspace_id, _batches.c.lease_seq)
        .join(mine, mine.c.id == _batches.c.id)
        .where(is_over(_batches), _is_unneeded(_batches))
        .order_by(_batches.c.id)
        .with_for_update(of=_batches)
    )


@lru_cache
def _lock_deliveries_statement(dialect: str) -> Select[Any]:
    """A webhook may be sent again at this very moment: then it is owed once its row is locked."""
    mine = given(dialect, id=Id)
    return (
        select(_deliveries.c.batch_id, OWED.label("owed"))
        .join(mine, mine.c.id == _deliveries.c.batch_id)
        .order_by(_deliveries.c.id)
        .with_for_update(of=_deliveries)
    )
