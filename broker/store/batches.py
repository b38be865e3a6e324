"""Queries about batches from the customer's side: accept, find, list, count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    Select,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.batches import Batch, BatchHead, IdempotencyKey, NewBatch, Status
from broker.store.clock import read_clock
from broker.store.columns import Id
from broker.store.driver import driver_text
from broker.store.given import given
from broker.store.group import brief
from broker.store.pages import read_page
from broker.store.pictures import insert_pictures
from broker.store.rank import fresh_rank
from broker.store.rows import batch_of, dump_pins
from broker.store.tables import BatchRow, table
from broker.store.tallies import BatchFilter

_batches = table(BatchRow)


@brief
def insert_batches(connection: Connection, rows: Sequence[NewBatch]) -> list[int | None]:
    """Store accepted batches; returns when each was created, in ms of `db_now()`.

    None: it is not stored, as another batch has its idempotency key. Of two in one call the first has it.
    """
    now = read_clock(connection)
    if plain := [_values(row, now) for row in rows if row.key is None]:
        _insert(connection, _insert_text(connection.dialect), plain)
    refused = _insert_keyed(connection, [(row, row.key) for row in rows if row.key is not None], now)
    insert_pictures(connection, {row.id: row.pictures for row in rows if row.pictures and row.id not in refused})
    return [None if row.id in refused else now for row in rows]


def _insert_keyed(connection: Connection, pairs: Sequence[tuple[NewBatch, IdempotencyKey]], now: int) -> frozenset[str]:
    """Store batches whose keys are free; returns the ids of the others. Waits for a key that is not committed yet."""
    if not pairs:
        return frozenset()
    # In one order in every process, so that two which wait for each other's keys do not deadlock.
    ordered = sorted(pairs, key=lambda pair: (pair[0].workspace, pair[1].name))
    values = [_values(row, now, key.name, key.body_hash) for row, key in ordered]
    _insert(connection, _insert_keyed_text(connection.dialect), values)
    ids = [row.id for row, _ in pairs]
    kept = connection.scalars(_kept_statement(connection.dialect.name), {"given": json.dumps([[id] for id in ids])})
    return frozenset(ids).difference(kept)


def _insert(connection: Connection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    """In one statement on PostgreSQL, whose triggers are called once a statement."""
    postgres = connection.dialect.name == "postgresql"
    connection.exec_driver_sql(statement, tuple(zip(*rows, strict=True)) if postgres else rows)


def _values(row: NewBatch, now: int, *key: str | bytes) -> tuple[Any, ...]:
    """What the columns of a new row hold, in the order of the table's."""
    return (
        row.id,
        row.workspace,
        row.dialect,
        row.external_id,
        row.type,
        row.endpoint,
        row.params,
        row.records,
        row.extra,
        dump_pins(row.pinned),
        row.size,
        row.base_url,
        None if row.webhook is None else memoryview(row.webhook),  # SQLite would take a text as well
        *(fresh_rank(now), now),
        *key,
        *(now, now),
    )


_GIVEN = "id workspace_id dialect external_id type endpoint params records extra pinned size base_url webhook".split()
_FIXED = {"status": f"'{Status.CREATED}'", "run": "1", "lease_seq": "0", "crashes": "0", "doubts": "0"}


@lru_cache
def _insert_text(dialect: Dialect) -> str:
    return _text_of(insert(_batches), dialect)


@lru_cache
def _insert_keyed_text(dialect: Dialect) -> str:
    flavour = postgresql if dialect.name == "postgresql" else sqlite
    taken = [_batches.c.workspace_id, _batches.c.idempotency_key]
    statement = flavour.insert(_batches).on_conflict_do_nothing(
        index_elements=taken, index_where=_batches.c.idempotency_key.is_not(None)
    )
    return _text_of(statement, dialect, "idempotency_key", "body_hash")


def _text_of(statement: Insert, dialect: Dialect, *key: str) -> str:
    """An INSERT in the driver's own words, with a parameter a column; on PostgreSQL each is an array of all rows'."""
    columns = [*_GIVEN, "rank", "due", *key, "created", "modified"]
    fixed: dict[str, ColumnElement[Any]] = {name: literal_column(value) for name, value in _FIXED.items()}
    if dialect.name == "postgresql":
        arrays = [cast(bindparam(name), postgresql.ARRAY(_batches.c[name].type)) for name in columns]
        rows = func.unnest(*arrays).table_valued(*columns).render_derived()
        whole = statement.from_select([*columns, *fixed], select(*rows.c, *fixed.values()))
    else:
        whole = statement.inline().values(fixed)
    return driver_text(whole, dialect, columns)


@lru_cache
def _kept_statement(dialect: str) -> Select[Any]:
    mine = given(dialect, id=Id)
    return select(_batches.c.id).join(mine, mine.c.id == _batches.c.id)


async def find_batch(connection: AsyncConnection, id: str) -> Batch | None:
    """A batch by its id, whoever owns it."""
    row = (await connection.execute(select(_batches).where(_batches.c.id == id))).first()
    return batch_of(row) if row else None


async def find_head(connection: AsyncConnection, id: str) -> BatchHead | None:
    """The head of a batch, without its records."""
    row = (await connection.execute(_LOOK.where(_batches.c.id == id))).first()
    return _head(row) if row else None


async def list_batches(
    connection: AsyncConnection, which: BatchFilter, offset: int, limit: int
) -> tuple[int, list[BatchHead]]:
    """(how many batches `which` has, those from `offset` on, the newest first); 0 and none where none is there."""
    count, rows = await read_page(connection, _LOOK, which, offset, limit)
    return count, [_head(row) for row in rows]


_LOOK = select(
    _batches.c.id,
    _batches.c.workspace_id,
    _batches.c.dialect,
    _batches.c.type,
    _batches.c.status,
    _batches.c.created,
)


def _head(row: Any) -> BatchHead:
    return BatchHead(row.id, row.workspace_id, row.dialect, row.type, Status(row.status), row.created)
