"""The query for types whose batches are due while nobody works on any batch of that type."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Text, bindparam, cast, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Status
from broker.store.clock import db_now
from broker.store.columns import constant
from broker.store.tables import BatchRow, WorkspaceRow, table

LOOK_AT = 100
"""Batches of each type, the first by rank, that are looked at; those of paused workspaces are among them."""

_batches, _workspaces = table(BatchRow), table(WorkspaceRow)
_created = _batches.c.status == constant(Status.CREATED.value)


@dataclass(frozen=True, slots=True)
class Unserved:
    """A type, its first batch that waits, and for how long that has been due."""

    type: str
    batch: str
    late_ms: int


async def unserved_types(connection: AsyncConnection, late_ms: int) -> list[Unserved]:
    """The types with a batch that has been due for `late_ms` and with none that a worker holds."""
    found = []
    for type in (await connection.scalars(_TYPES)).all():
        row = (await connection.execute(_FIRST, {"type": type, "late_ms": late_ms})).first()
        if row is not None:
            found.append(Unserved(type, row.id, row.late_ms))
    return found


# From one type to the next by the index that claims use, however many batches each has.
_first = select(cast(func.min(_batches.c.type), Text).label("type")).where(_created).cte("types", recursive=True)
_next = select(func.min(_batches.c.type)).where(_created, _batches.c.type > _first.c.type).scalar_subquery()
_types = _first.union_all(select(_next).where(_first.c.type.is_not(None)))
_TYPES = select(_types.c.type).where(_types.c.type.is_not(None))

_waiting = (
    select(_batches.c.id, _batches.c.due, _batches.c.workspace_id)
    .where(_created, _batches.c.type == bindparam("type"))
    .order_by(_batches.c.rank, _batches.c.id)
    .limit(LOOK_AT)
    .subquery("waiting")
)
_held = exists().where(
    _batches.c.status == constant(Status.PROCESSING.value),
    _batches.c.lease_until.is_not(None),
    _batches.c.type == bindparam("type"),
)
_FIRST = (
    select(_waiting.c.id, (db_now() - _waiting.c.due).label("late_ms"))
    .where(
        _waiting.c.due < db_now() - bindparam("late_ms", type_=BigInteger),
        _waiting.c.workspace_id.not_in(select(_workspaces.c.id).where(_workspaces.c.paused)),
        ~_held,
    )
    .limit(1)
)
