"""Queries about the idempotency keys of POSTs: which batch has one, and when it is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Batch
from broker.store.clock import moment
from broker.store.rows import batch_of
from broker.store.tables import BatchRow, table

KEPT_MS = 24 * 3600 * 1000

_batches = table(BatchRow)


async def find_keyed(connection: AsyncConnection, workspace: str, name: str) -> tuple[Batch, bytes] | None:
    """The batch of a workspace that has the key of this name, and the hash of its POST's body."""
    row = (await connection.execute(_KEYED, {"workspace": workspace, "name": name})).first()
    return (batch_of(row), row.body_hash) if row else None


_KEYED = select(_batches).where(
    _batches.c.workspace_id == bindparam("workspace"), _batches.c.idempotency_key == bindparam("name")
)


def forget_keys(connection: Connection, limits: Sequence[int]) -> list[int]:
    """Forget keys of batches accepted more than 24 h ago, the oldest first, at most `limit` of them; how many."""
    return [connection.execute(_FORGET, {"limit": limit}).rowcount for limit in limits]


_old = (
    select(_batches.c.id)
    .where(_batches.c.idempotency_key.is_not(None), _batches.c.created < moment(KEPT_MS))
    .order_by(_batches.c.created, _batches.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_FORGET = update(_batches).where(_batches.c.id.in_(_old)).values(idempotency_key=None, body_hash=None)
