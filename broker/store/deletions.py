"""Queries that remove batches which nobody wants to keep any more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select

from broker.batches import Refusal, Status
from broker.store.children import lock_families
from broker.store.removal import remove_rows
from broker.store.tables import BatchRow, table

_batches = table(BatchRow)


def delete_batches(connection: Connection, ids: Sequence[str]) -> list[tuple[str, ...] | Refusal | None]:
    """Remove batches that are DONE, with all that hangs on them; returns the ids removed: a batch and its children.

    Or why not; None: there is no such batch.
    """
    lock_families(connection, ids)
    return [_delete(connection, id) for id in ids]


def _delete(connection: Connection, id: str) -> tuple[str, ...] | Refusal | None:
    family = select(_batches.c.id, _batches.c.parent_id, _batches.c.status).where(
        or_(_batches.c.id == id, _batches.c.parent_id == id)
    )
    rows = {row.id: row for row in connection.execute(family)}
    if id not in rows:
        return None
    if rows[id].parent_id is not None:
        return Refusal.RELATED
    if any(row.status != Status.DONE for row in rows.values()):
        return Refusal.NOT_DONE
    remove_rows(connection, tuple(rows))
    return tuple(rows)
