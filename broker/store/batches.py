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
    insert,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from broker.batches import Batch, BatchHead, IdempotencyKey, NewBatch, Status
from broker.store.clock import db_now, read_clock
from broker.store.columns import Id
from broker.store.driver import driver_text, unnested
from broker.store.given import given
from broker.store.group import brief, single
from broker.store.pages import read_page
from broker.store.pictures import PICTURE_COLUMNS, PICTURES, insert_pictures, picture_rows
from broker.store.rank import fresh_rank
from broker.store.rows import batch_of, dump_pins
from broker.store.tables import BatchRow, table
from broker.store.tallies import BatchFilter

_batches = table(BatchRow)


def _is_free(item: NewBatch) -> bool:
    """Whether nobody else's key is in its way."""
    return item.key is None


@brief
@single(_is_free)
def insert_batches(connection: Connection, rows: Sequence[NewBatch]) -> list[int | None]:
    """Store accepted batches; returns when each was created, in ms of `db_now()`.

    None: it is not stored, as another batch has its idempotency key. Of two in one call the first has it.
    """
    free = [row for row in rows if row.key is None]
    now = _insert_free(connection, free) if free else None
    keyed = _insert_keyed(connection, [(row, row.key) for row in rows if row.key is not None])
    return [now if row.key is None else keyed.get(row.id) for row in rows]


def _insert_free(connection: Connection, rows: Sequence[NewBatch]) -> int | None:
    """Returns when they were created. On PostgreSQL it is all in one statement."""
    values, dialect = [_values(row) for row in rows], connection.dialect
    pictures = picture_rows({row.id: row.pictures for row in rows if row.pictures})
    if pictures and dialect.name == "postgresql":
        given = (*zip(*pictures, strict=True), *zip(*values, strict=True))
        created: int | None = connection.exec_driver_sql(_insert_all_text(dialect), given).scalars().first()
        return created
    now = _insert(connection, _insert_text(dialect), values)
    insert_pictures(connection, pictures)
    return now


def _insert_keyed(connection: Connection, pairs: Sequence[tuple[NewBatch, IdempotencyKey]]) -> dict[str, int]:
    """Store batches whose keys are free; when each of them was created. Waits for a key that is not committed yet."""
    if not pairs:
        return {}
    # In one order in every process, so that two which wait for each other's keys do not deadlock.
    ordered = sorted(pairs, key=lambda pair: (pair[0].workspace, pair[1].name))
    values = [_values(row, key.name, key.body_hash) for row, key in ordered]
    _insert(connection, _insert_keyed_text(connection.dialect), values)
    given = {"given": json.dumps([[row.id] for row, _ in pairs])}
    kept = {row.id: row.created for row in connection.execute(_kept_statement(connection.dialect.name), given)}
    insert_pictures(connection, picture_rows({row.id: row.pictures for row, _ in pairs if row.id in kept}))
    return kept


def _insert(connection: Connection, statement: str, rows: list[tuple[Any, ...]]) -> int | None:
    """Returns when they were created, if any was.

    On PostgreSQL it is all in one statement, whose triggers are called once a statement.
    """
    if connection.dialect.name == "postgresql":
        created: int | None = connection.exec_driver_sql(statement, tuple(zip(*rows, strict=True))).scalars().first()
        return created
    now = read_clock(connection)
    given, rank = len(_GIVEN), fresh_rank(now)
    connection.exec_driver_sql(statement, [(*row[:given], rank, now, *row[given:], now, now) for row in rows])
    return now


def _values(row: NewBatch, *key: str | bytes) -> tuple[Any, ...]:
    """What a new row holds but for its times, in the order of `_GIVEN`."""
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
        *key,
    )


_GIVEN = "id workspace_id dialect external_id type endpoint params records extra pinned size base_url webhook".split()
_FIXED = {"status": f"'{Status.CREATED}'", "run": "1", "lease_seq": "0", "crashes": "0", "doubts": "0"}


@lru_cache
def _insert_text(dialect: Dialect) -> str:
    if dialect.name == "postgresql":
        return driver_text(_insertion(insert(_batches), _GIVEN), dialect, _GIVEN)
    return _one_row_text(insert(_batches), dialect)


@lru_cache
def _insert_keyed_text(dialect: Dialect) -> str:
    flavour = postgresql if dialect.name == "postgresql" else sqlite
    taken = [_batches.c.workspace_id, _batches.c.idempotency_key]
    statement = flavour.insert(_batches).on_conflict_do_nothing(
        index_elements=taken, index_where=_batches.c.idempotency_key.is_not(None)
    )
    key = ["idempotency_key", "body_hash"]
    if dialect.name == "postgresql":
        return driver_text(_insertion(statement, [*_GIVEN, *key]), dialect, [*_GIVEN, *key])
    return _one_row_text(statement, dialect, *key)


@lru_cache
def _insert_all_text(dialect: Dialect) -> str:
    """Of batches and of pictures that came with them, which are looked for among the batches when all is there."""
    stored = _insertion(insert(_batches), _GIVEN).cte("stored")
    kept = insert(PICTURES).from_select(PICTURE_COLUMNS, select(*unnested(PICTURES, PICTURE_COLUMNS).c)).cte("kept")
    return driver_text(select(stored.c.created).add_cte(kept), dialect, [*PICTURE_COLUMNS, *_GIVEN])


def _one_row_text(statement: Insert, dialect: Dialect, *key: str) -> str:
    """An INSERT with a parameter a column; times are among them."""
    in_order = [*_GIVEN, "rank", "due", *key, "created", "modified"]
    return driver_text(statement.inline().values(_fixed()), dialect, in_order)


def _insertion(statement: Insert, columns: Sequence[str]) -> ReturningInsert[int]:
    """An INSERT of any number of rows, for PostgreSQL: it reads the clock and tells it."""
    clock = select(db_now().label("now")).cte("clock")
    times = {"rank": fresh_rank(clock.c.now), **dict.fromkeys(("due", "created", "modified"), clock.c.now)}
    rows = unnested(_batches, columns)
    fresh = select(*rows.c, *times.values(), *_fixed().values()).join_from(rows, clock, true())
    return statement.from_select([*columns, *times, *_FIXED], fresh).returning(_batches.c.created)


def _fixed() -> dict[str, ColumnElement[Any]]:
    return {name: literal_column(value) for name, value in _FIXED.items()}


@lru_cache
def _kept_statement(dialect: str) -> Select[str, int]:
    mine = given(dialect, id=Id)
    return select(_batches.c.id, _batches.c.created).join(mine, mine.c.id == _batches.c.id)


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
