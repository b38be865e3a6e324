"""Queries about the blobs of batches: say in the row when they are no longer kept, tell what is still kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from broker.store.clock import db_now, read_clock
from broker.store.columns import Id
from broker.store.ended import DONE, Gone, Place, gone, is_over, next_ended, walk
from broker.store.given import given
from broker.store.pictures import remove_pictures
from broker.store.rows import load_records
from broker.store.tables import BatchRow, ChoreRow, table

_batches, _chores = table(BatchRow), table(ChoreRow)


class Kind(StrEnum):
    """Blobs with a life of their own; also the name of the chore that ends it, whose cursor tells how far that is."""

    INPUTS = "inputs"
    OUTPUTS = "outputs"


@dataclass(frozen=True, slots=True)
class Expire:
    """Look at the next `limit` batches that ended over `age_ms` ago."""

    kind: Kind
    age_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class Expired:
    """The batches whose blobs the caller is to remove; `more` when the next look may find more."""

    gone: tuple[Gone, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a batch that exists. lease_seq: of its last claim; expired blobs are of no later one."""

    lease_seq: int
    inputs: bool
    outputs: bool


def expire_blobs(connection: Connection, orders: Sequence[Expire]) -> list[Expired]:
    """Say in the rows of the next batches that their blobs are no longer kept; small pictures go at once.

    A batch that runs again meanwhile stays as it is. Take a turn at the chore named like the kind before.
    """
    return [_expire(connection, order) for order in orders]


def _expire(connection: Connection, order: Expire) -> Expired:
    cursor = connection.scalar(_CURSOR, {"kind": order.kind})
    after = Place(*json.loads(cursor)) if cursor else Place()
    rows = connection.execute(_NEXT[order.kind], walk(after, order.age_ms, order.limit)).all()
    if not rows:
        return Expired((), more=False)
    marked = _mark(connection, order, rows)
    connection.execute(_ADVANCE, {"kind": order.kind, "place": json.dumps([rows[-1].finished, rows[-1].id])})
    return Expired(gone(marked), more=len(rows) == order.limit)


def _mark(connection: Connection, order: Expire, rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Mark those of `rows` that still are over; returns the ones that may have blobs."""
    statement = _mark_statement(connection.dialect.name, order.kind)
    age = {"age_ms": order.age_ms}
    if order.kind is Kind.OUTPUTS:
        return connection.execute(statement, {"given": json.dumps([[row.id] for row in rows]), **age}).all()
    records = {row.id: load_records(row.records) for row in rows}
    ids = [[id] for id, mine in records.items() if any(record.came_along for record in mine)]
    marked = connection.execute(statement, {"given": json.dumps(ids), **age}).all()
    remove_pictures(connection, [row.id for row in marked])
    return [row for row in marked if any(record.blob is not None for record in records[row.id])]


_NEXT = {Kind.INPUTS: next_ended(_batches.c.records), Kind.OUTPUTS: next_ended()}
_CURSOR = select(_chores.c.cursor).where(_chores.c.name == bindparam("kind")).with_for_update()
_ADVANCE = update(_chores).where(_chores.c.name == bindparam("kind")).values(cursor=bindparam("place"))


def _column(kind: Kind) -> ColumnElement[int | None]:
    return _batches.c.inputs_expired if kind is Kind.INPUTS else _batches.c.outputs_expired


def _is_expired(kind: Kind) -> ColumnElement[bool]:
    """Of the last run; what an earlier one made may have expired before."""
    return and_(_batches.c.status == DONE, _column(kind).is_not(None), _column(kind) >= _batches.c.finished)


@lru_cache
def _mark_statement(dialect: str, kind: Kind) -> ReturningUpdate[Any]:
    mine = given(dialect, id=Id)
    theirs = (
        select(_batches.c.id)
        .join(mine, mine.c.id == _batches.c.id)
        .where(is_over(_batches), or_(_column(kind).is_(None), _column(kind) < _batches.c.finished))
        .order_by(_batches.c.id)
        .with_for_update(of=_batches)
    )
    return (
        update(_batches)
        .where(_batches.c.id.in_(theirs))
        .values({_column(kind): db_now()})
        .returning(_batches.c.id, _batches.c.workspace_id, _batches.c.lease_seq)
    )


async def kept_of(connection: AsyncConnection, ids: Sequence[str]) -> tuple[int, dict[str, Kept]]:
    """The time (ms of `db_now()`), and what is kept of those of the batches that exist."""
    now = await connection.run_sync(read_clock)
    rows = await connection.execute(
        _kept_statement(connection.dialect.name), {"given": json.dumps([[id] for id in ids])}
    )
    return now, {row.id: Kept(row.lease_seq, row.inputs, row.outputs) for row in rows}


@lru_cache
def _kept_statement(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id)
    return select(
        _batches.c.id,
        _batches.c.lease_seq,
        not_(_is_expired(Kind.INPUTS)).label("inputs"),
        not_(_is_expired(Kind.OUTPUTS)).label("outputs"),
    ).join(mine, mine.c.id == _batches.c.id)
