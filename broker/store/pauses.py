"""Queries that hold batches back and let them go on: CREATED <-> PAUSED, and a parent's PROCESSING <-> PAUSED."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, case, or_, update

from broker.batches import Overview, Status
from broker.store.children import lock_families
from broker.store.clock import db_now
from broker.store.overviews import overviews_of
from broker.store.tables import BatchRow, table

_batches = table(BatchRow)


@dataclass(frozen=True, slots=True)
class Moved:
    """How a batch stands now. changed: whether this call moved it; due: (type, id) of what waits for a worker again."""

    overview: Overview
    changed: bool
    due: tuple[tuple[str, str], ...] = ()


def pause_batches(connection: Connection, ids: Sequence[str]) -> list[Moved | None]:
    """Hold batches back that wait, and parents with their waiting children; None: there is no such batch.

    A parent that is being listed loses its lease: the listing goes on where it was once the parent is resumed.
    """
    lock_families(connection, ids)
    return [_pause(connection, id) for id in ids]


def _pause(connection: Connection, id: str) -> Moved | None:
    changed = connection.scalar(_PAUSE, {"batch": id}) is not None
    if changed:
        connection.execute(_PAUSE_CHILDREN, {"batch": id})
    found = overviews_of(connection, [id])
    return Moved(found[id], changed) if found else None


def resume_batches(connection: Connection, ids: Sequence[str]) -> list[Moved | None]:
    """Put paused batches, and parents with their paused children, back in their place; due now.

    A parent whose listing is over goes back to waiting for its children.
    """
    lock_families(connection, ids)
    return [_resume(connection, id) for id in ids]


def _resume(connection: Connection, id: str) -> Moved | None:
    own = connection.execute(_RESUME, {"batch": id}).all()
    children = connection.execute(_RESUME_CHILDREN, {"batch": id}).all() if own else []
    found = overviews_of(connection, [id])
    due = tuple((row.type, row.id) for row in (*own, *children) if row.status == Status.CREATED)
    return Moved(found[id], bool(own), due) if found else None


_this = _batches.c.id == bindparam("batch")
_its_children = _batches.c.parent_id == bindparam("batch")
_held = {"status": Status.PAUSED, "lease_owner": None, "lease_until": None, "modified": db_now()}
_PAUSE = (
    update(_batches)
    .where(
        _this,
        or_(
            _batches.c.status == Status.CREATED,
            and_(_batches.c.status == Status.PROCESSING, _batches.c.pending.is_not(None)),
        ),
    )
    .values(_held)
    .returning(_batches.c.id)
)
_PAUSE_CHILDREN = update(_batches).where(_its_children, _batches.c.status == Status.CREATED).values(_held)
_listed = and_(_batches.c.pending.is_not(None), _batches.c.cursor.is_(None))
_RESUME = (
    update(_batches)
    .where(_this, _batches.c.status == Status.PAUSED)
    .values(
        status=case((_listed, Status.PROCESSING.value), else_=Status.CREATED.value), due=db_now(), modified=db_now()
    )
    .returning(_batches.c.id, _batches.c.type, _batches.c.status)
)
_RESUME_CHILDREN = (
    update(_batches)
    .where(_its_children, _batches.c.status == Status.PAUSED)
    .values(status=Status.CREATED, due=db_now(), modified=db_now())
    .returning(_batches.c.id, _batches.c.type, _batches.c.status)
)
