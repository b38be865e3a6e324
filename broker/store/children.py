"""Queries about parents and their children: add, lock together, count down, show as one.

Rows of a family are locked in one order: parents first, then all others, each in id order. Nobody can add a child
while its parent is locked, so whoever locks a parent first sees all of its children. The other order would have to
lock, after the parent, children that appeared meanwhile, whose own end waits for the parent: a deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from msgspec.structs import replace
from sqlalchemy import BigInteger, Connection, Integer, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate, Update

from broker.batches import Batch, NewBatch, Result, Status, first_id
from broker.store.batches import insert_batches
from broker.store.columns import Id, constant
from broker.store.given import given
from broker.store.leases import Lease, lock_held
from broker.store.rank import child_rank
from broker.store.rows import batch_of, results_by_batch
from broker.store.tables import BatchRow, table

_batches = table(BatchRow)


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child on its way into SQL; it has no webhook. `ordinal` is its place in the parent's listing, from 0."""

    ordinal: int
    batch: NewBatch


@dataclass(frozen=True, slots=True)
class Expansion:
    """Children that the holder of a parent's lease has listed, and where its listing goes on.

    cursor None: the listing is over; the parent stays PROCESSING without a lease until no child is open.
    """

    lease: Lease
    children: tuple[NewChild, ...]
    cursor: str | None


def add_children(connection: Connection, expansions: Sequence[Expansion]) -> list[bool]:
    """Store children and the cursor of their parents; False where the parent's lease is lost: nothing is stored.

    A child whose ordinal is there already, as when a listing is repeated after a crash, is not stored again.
    """
    held = lock_held(connection, [expansion.lease for expansion in expansions])
    for expansion in expansions:
        if expansion.lease in held:
            _expand(connection, expansion)
    return [expansion.lease in held for expansion in expansions]


def _expand(connection: Connection, expansion: Expansion) -> None:
    parent = expansion.lease.batch
    known = select(_batches.c.ordinal).where(
        _batches.c.parent_id == parent, _batches.c.ordinal.in_([child.ordinal for child in expansion.children])
    )
    there = set(connection.scalars(known))
    new = [child for child in expansion.children if child.ordinal not in there]
    insert_batches(connection, [child.batch for child in new])
    rank = connection.scalars(select(_batches.c.rank).where(_batches.c.id == parent)).one()
    rows = json.dumps([[child.batch.id, child.ordinal] for child in new])
    adopt = _adopt_statement(connection.dialect.name)
    connection.execute(adopt, {"given": rows, "parent": parent, "child_rank": child_rank(rank)})
    over = {"lease_owner": None, "lease_until": None} if expansion.cursor is None else {}
    pending = func.coalesce(_batches.c.pending, 0) + len(new)
    connection.execute(
        update(_batches).where(_batches.c.id == parent).values(pending=pending, cursor=expansion.cursor, **over)
    )


@lru_cache
def _adopt_statement(dialect: str) -> Update:
    new = given(dialect, id=Id, ordinal=Integer)
    return (
        update(_batches)
        .where(_batches.c.id == new.c.id)
        .values(
            parent_id=bindparam("parent", type_=Id),
            ordinal=new.c.ordinal,
            rank=bindparam("child_rank", type_=BigInteger),
        )
    )


def lock_batches(connection: Connection, ids: Collection[str]) -> None:
    """Lock rows in id order."""
    if ids:
        rows = select(_batches.c.id).where(_batches.c.id.in_(ids)).order_by(_batches.c.id).with_for_update()
        connection.execute(rows).all()


def lock_families(connection: Connection, ids: Collection[str]) -> None:
    """Lock batches, their parents and their children."""
    heads = connection.execute(
        select(_batches.c.id, _batches.c.parent_id, _batches.c.pending).where(_batches.c.id.in_(ids))
    ).all()
    parents = {row.id for row in heads if row.pending is not None}
    others = {row.id for row in heads} - parents
    lock_batches(connection, parents | {row.parent_id for row in heads if row.parent_id is not None})
    lock_batches(connection, others | _children_of(connection, parents))
    lock_batches(connection, _children_of(connection, others))  # of one that became a parent before it was locked


def _children_of(connection: Connection, parents: Collection[str]) -> set[str]:
    if not parents:
        return set()
    return set(connection.scalars(select(_batches.c.id).where(_batches.c.parent_id.in_(parents))))


def count_down(connection: Connection, ended: Mapping[str, int]) -> frozenset[str]:
    """Subtract how many children of each parent ended, whose rows are locked; returns those that wait for no more."""
    if not ended:
        return frozenset()
    rows = json.dumps(sorted(map(list, ended.items())))
    counted = connection.execute(_count_statement(connection.dialect.name), {"given": rows})
    return frozenset(row.id for row in counted if row.pending == 0)


@lru_cache
def _count_statement(dialect: str) -> ReturningUpdate[Any]:
    ended = given(dialect, id=Id, children=Integer)
    return (
        update(_batches)
        .where(_batches.c.id == ended.c.id)
        .values(pending=_batches.c.pending - ended.c.children)
        .returning(_batches.c.id, _batches.c.pending)
    )


_complete = (
    _batches.c.status == constant(Status.PROCESSING.value),
    _batches.c.pending == constant(0),
    _batches.c.lease_until.is_(None),
)
FIRST_COMPLETE = select(_batches.c.id).where(*_complete).order_by(_batches.c.id).limit(1).scalar_subquery()
"""A parent that waits for its end alone; no value where there is none."""


def is_complete(connection: Connection, parent: str) -> bool:
    """Whether a parent waits for its end alone: it is listed, and no child is open."""
    return connection.scalar(select(_batches.c.id).where(_batches.c.id == parent, *_complete)) is not None


async def complete_parent_ids(connection: AsyncConnection, limit: int, after: str | None) -> list[str]:
    """Ids of parents that wait for their end alone: the first `limit` of all, or of those behind the id `after`."""
    waiting = select(_batches.c.id).where(*_complete, _batches.c.id > (after or first_id(0)))
    return list(await connection.scalars(waiting.order_by(_batches.c.id).limit(limit)))


def open_children(connection: Connection, parent: str) -> list[tuple[Batch, list[Result]]]:
    """Children that are not DONE, each with the results that it has."""
    mine = select(_batches).where(_batches.c.parent_id == parent, _batches.c.status != Status.DONE)
    children = [batch_of(row) for row in connection.execute(mine.order_by(_batches.c.ordinal))]
    results = results_by_batch(connection, [child.id for child in children])
    return [(child, results[child.id]) for child in children]


def load_family(connection: Connection, id: str) -> tuple[Batch, list[Result]]:
    """A batch with the results that it has; a parent has the records and results of its children, one after another."""
    family = select(_batches).where(or_(_batches.c.id == id, _batches.c.parent_id == id))
    rows = connection.execute(family.order_by(_batches.c.ordinal)).all()
    by_batch = results_by_batch(connection, [row.id for row in rows])
    batch = next(batch_of(row) for row in rows if row.id == id)
    records, results = list(batch.records), by_batch[id]
    for child in (batch_of(row) for row in rows if row.id != id):
        results += [replace(result, index=len(records) + result.index) for result in by_batch[child.id]]
        records += child.records
    return replace(batch, records=tuple(records)), results
